package cdc

import (
	"context"
	"strconv"
	"time"
)

// lockKey is the advisory lock of whoever beats for all that share a database.
const lockKey = "7813863428905104741"

// The forms of a beat: what is visible, how far the log goes, and whom commits wait for. The first puts a commit
// behind it and so has the log sent up to there; the last is for when nobody asks, or others
// commit enough.
const (
	leadSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
  (pg_catalog.pg_logical_emit_message(true, 'lifeguard', 'beat') OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.text,
  'true', pg_catalog.current_setting('synchronous_standby_names')`
	followSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
  (pg_catalog.pg_current_wal_insert_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.text,
  pg_catalog.pg_try_advisory_lock(` + lockKey + `)::pg_catalog.text,
  pg_catalog.current_setting('synchronous_standby_names')`
	idleSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
  (pg_catalog.pg_current_wal_insert_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.text,
  'false', pg_catalog.current_setting('synchronous_standby_names')`
	unlockSQL = `SELECT pg_catalog.pg_advisory_unlock(` + lockKey + `)`
)

const (
	beatsPerBound = 4
	busyCommits   = 8                    // of others between two beats: more will come
	pendingEvery  = 5 * time.Millisecond // between two looks while nothing may be served
	pendingMost   = 250 * time.Millisecond
	idleEvery     = time.Second // between two looks while nobody asks

	// republishAfter is how long new tables wait for a stream that has them: often more
	// than one comes.
	republishAfter = time.Second
)

// beat is the control loop. It ends with ctx, or an error.
func (s *stream) beat(ctx context.Context) error {
	pause := pendingEvery
	var polled time.Duration
	s.askedAt = s.now()
	for {
		snapshot, locked, err := s.look(ctx)
		if err != nil {
			return err
		}
		s.unsettled.settle(&snapshot)
		if locked {
			s.leads.Store(true)
			continue // with a commit behind it this time
		}
		settled, err := s.settle(ctx, &snapshot)
		if err != nil {
			return err
		}
		limits := s.limits.Load()
		if now := s.now(); now-polled >= limits.poll {
			polled = now
			if err := s.poll(ctx, &snapshot); err != nil {
				return err
			}
		}
		if s.republished != 0 && s.now()-s.republished > republishAfter {
			return errRepublished
		}
		every := max(limits.bound/beatsPerBound, time.Millisecond)
		wait := every
		switch {
		case !settled:
			wait = min(pause, max(every, pendingEvery))
			pause = min(2*pause, pendingMost)
		case s.idle.Load():
			wait = max(every, idleEvery)
		default:
			pause = pendingEvery
		}
		if err := s.sleep(ctx, wait); err != nil {
			return err
		}
		if err := s.rest(ctx, settled, &snapshot); err != nil {
			return err
		}
	}
}

// rest stops the beats when nobody has asked for long, and begins them again. What nobody
// asks for need not be confirmed, and each beat is a commit of the server's. Changes of rows
// are told all the while; those of the catalog are looked for before anything is confirmed.
func (s *stream) rest(ctx context.Context, settled bool, snapshot *Snapshot) error {
	now, limits := s.now(), s.limits.Load()
	if s.asked.Swap(false) {
		s.askedAt = now
	}
	was := s.idle.Load()
	is := settled && limits.idle > 0 && now-s.askedAt > max(limits.idle, limits.bound)
	s.idle.Store(is)
	if is && s.asked.Load() { // who asked since did not see that he has to wake us
		s.askedAt, is = now, false
		s.idle.Store(false)
	}
	switch {
	case was && !is:
		return s.poll(ctx, snapshot)
	case is && !was:
		s.mu.Lock()
		s.beats = s.beats[:0]
		s.mu.Unlock()
		if s.leads.Swap(false) { // somebody else may beat
			if _, err := query(ctx, s.control, unlockSQL); err != nil {
				return err
			}
		}
	}
	if is {
		s.mu.Lock()
		quiet := !s.settlingLocked()
		s.mu.Unlock()
		if quiet {
			s.setState(Idle)
		}
	}
	return nil
}

// sleep waits, or until somebody wakes the loop.
func (s *stream) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.kick:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// look is one beat, and reports whether this process has become the one that beats for all.
// Who does not lead beats, too, if nothing was confirmed for two beats: the leader may be
// stopped, or have a longer bound. And who leads makes no commit while others make enough:
// theirs show as well that the log was read.
func (s *stream) look(ctx context.Context) (Snapshot, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	s.mu.Lock()
	hungry := len(s.beats) >= 2
	s.mu.Unlock()
	traffic := s.traffic.Load()
	busy := traffic-s.trafficSeen >= busyCommits
	s.trafficSeen = traffic
	idle, leads, sql := s.idle.Load(), s.leads.Load(), followSQL
	switch {
	case idle, leads && busy && !hungry:
		sql = idleSQL
	case leads, hungry && s.mayBeat():
		sql = leadSQL
	}
	at := s.now() // before it is sent: what is visible now is before that position
	rows, err := query(ctx, s.control, sql)
	if err != nil {
		return Snapshot{}, false, err
	}
	if len(rows) != 1 {
		return Snapshot{}, false, &protocolError{"no beat"}
	}
	if s.countsAsStandby(rows[0][3]) { // since a reload
		return Snapshot{}, false, errStandby
	}
	snapshot, err := ParseSnapshot(rows[0][0])
	if err != nil {
		return Snapshot{}, false, err
	}
	position, err := strconv.ParseUint(rows[0][1], 10, 64)
	if err != nil {
		return Snapshot{}, false, &protocolError{"no position"}
	}
	if !idle {
		s.sent(beat{at: at, position: position})
	}
	behind := s.behind(position)
	s.lag.Store(behind)
	if behind > s.limits.Load().lag && !s.follows.Load() { // for a follower the server keeps nothing
		return Snapshot{}, false, errBehind
	}
	return snapshot, sql == followSQL && rows[0][2] == "true", nil
}

// mostBeats is how many wait for the position. While more come, the latest takes the place
// of the one before it: it says more.
const mostBeats = 64

// sent notes a beat, whose position may have been reached already.
func (s *stream) sent(b beat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position == 0 {
		s.position = 1 // nothing was read yet; the first beat's position is the beginning
	}
	if len(s.beats) == mostBeats {
		s.beats = s.beats[:mostBeats-1]
	}
	s.beats = append(s.beats, b)
	s.confirmLocked()
}

// behind is how far the reader is from a position; 0 before it has read anything.
func (s *stream) behind(end uint64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position <= 1 || end <= s.position {
		return 0
	}
	return int64(end - s.position) //nolint:gosec // of one log
}

// settle looks whether the changes of the schema, and what ran when the stream began, are
// visible, and then reads the catalog anew. It reports whether nothing is left of them.
//
// The reader asks whether it is settling before it maps tables to their roots: if not, it
// has the new map. What it noted under old roots counts for everything from here on.
func (s *stream) settle(ctx context.Context, snapshot *Snapshot) (bool, error) {
	s.mu.Lock()
	changes, settling := s.changes, s.settlingLocked()
	visible := s.upTo == 0 || s.upTo < snapshot.xmin
	for _, xid := range s.pending {
		visible = visible && snapshot.sees(xid)
	}
	s.mu.Unlock()
	if !settling || !visible {
		return !settling, nil
	}
	if err := s.readCatalog(ctx); err != nil {
		return false, err
	}
	s.unsettled.generalize()
	s.each(func(c *Consumer) { c.cfg.Cache.SchemaChanged() }) // what was learnt meanwhile may be of before
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes {
		return false, nil // one more came
	}
	s.pending, s.upTo = nil, 0
	s.beats = s.beats[:0] // the next one counts
	return true, nil
}

// readCatalog reads which tables there are and which are published.
func (s *stream) readCatalog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	if !s.follows.Load() { // else the leader does
		if err := EnsurePublication(ctx, s.control, s.publication); err != nil {
			return err
		}
	}
	if err := s.readFingerprint(ctx); err != nil { // before the rest: a change in between is found
		return err
	}
	p, err := s.published(ctx)
	if err != nil {
		return err
	}
	if !p.within(&s.base) && s.republished == 0 && !s.follows.Load() { // the leader begins another epoch
		s.republished = s.now()
	}
	t, err := loadTables(ctx, s.control, p.and(&s.base))
	if err != nil {
		return err
	}
	announced, err := Announces(ctx, s.control)
	if err != nil {
		return err
	}
	s.tables.Store(t)
	s.announced.Store(announced)
	return nil
}

// poll compares the catalog's fingerprint, for what no trigger tells. A look that sees a
// difference sees the change, so that there is nothing to wait for.
func (s *stream) poll(ctx context.Context, snapshot *Snapshot) error {
	before := s.fingerprint
	if err := s.readFingerprint(ctx); err != nil {
		return err
	}
	if before != "" && s.fingerprint != before {
		s.schemaChanged(max(snapshot.xmin, 1) - 1) // which is visible
	}
	return nil
}

func (s *stream) readFingerprint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	rows, err := query(ctx, s.control, fingerprintSQL)
	if err != nil {
		return err
	}
	s.fingerprint = rows[0][0]
	return nil
}
