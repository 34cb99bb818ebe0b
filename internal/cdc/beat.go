package cdc

import (
	"context"
	"strconv"
	"time"
)

// lockKey is the advisory lock of whoever beats for all that share a database.
const lockKey = "7813863428905104741"

// The two forms of a beat: what is visible, and how far the log goes. The first puts a
// commit behind it and so has the log sent up to there.
const (
	leadSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
  (pg_catalog.pg_logical_emit_message(true, 'lifeguard', 'beat') OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.text,
  'true'`
	followSQL = `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
  (pg_catalog.pg_current_wal_insert_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.text,
  pg_catalog.pg_try_advisory_lock(` + lockKey + `)::pg_catalog.text`
)

const (
	beatsPerBound = 4
	pendingEvery  = 5 * time.Millisecond // between two looks while nothing may be served
	pendingMost   = 250 * time.Millisecond

	// republishAfter is how long new tables wait for a stream that has them: often more
	// than one comes.
	republishAfter = time.Second
)

// beat is the control loop. It ends with ctx, or an error.
func (s *stream) beat(ctx context.Context) error {
	c := s.c
	every := max(c.cfg.Bound/beatsPerBound, time.Millisecond)
	pause := pendingEvery
	leads := false
	var polled time.Duration
	for {
		snapshot, locked, err := s.look(ctx, leads)
		if err != nil {
			return err
		}
		c.unsettled.settle(&snapshot)
		if locked && !leads {
			leads = true
			c.count(func(st *Stats) { st.Leads = true })
			continue // with a commit behind it this time
		}
		settled, err := s.settle(ctx, &snapshot)
		if err != nil {
			return err
		}
		if now := c.cfg.Now(); now-polled >= c.cfg.PollEvery {
			polled = now
			if err := s.poll(ctx, &snapshot); err != nil {
				return err
			}
		}
		if s.republished != 0 && c.cfg.Now()-s.republished > republishAfter {
			return errRepublished
		}
		wait := every
		if !settled {
			wait = min(pause, max(every, pendingEvery))
			pause = min(2*pause, pendingMost)
		} else {
			pause = pendingEvery
		}
		if err := c.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// sleep waits, or until somebody wakes the loop.
func (c *Consumer) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.kick:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// look is one beat. Who does not lead beats, too, if nothing was confirmed for two beats: the
// leader may be stopped, or have a longer bound.
func (s *stream) look(ctx context.Context, leads bool) (Snapshot, bool, error) {
	c := s.c
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	s.mu.Lock()
	hungry := len(s.beats) >= 2
	s.mu.Unlock()
	sql := followSQL
	if leads || hungry {
		sql = leadSQL
	}
	at := c.cfg.Now() // before it is sent: what is visible now is before that position
	rows, err := query(ctx, s.control, sql)
	if err != nil {
		return Snapshot{}, false, err
	}
	if len(rows) != 1 {
		return Snapshot{}, false, &protocolError{"no beat"}
	}
	snapshot, err := ParseSnapshot(rows[0][0])
	if err != nil {
		return Snapshot{}, false, err
	}
	position, err := strconv.ParseUint(rows[0][1], 10, 64)
	if err != nil {
		return Snapshot{}, false, &protocolError{"no position"}
	}
	behind := s.sent(beat{at: at, position: position})
	c.count(func(st *Stats) { st.Lag = behind })
	if behind > c.cfg.MaxLag {
		return Snapshot{}, false, errBehind
	}
	return snapshot, rows[0][2] == "true" && sql == followSQL || leads, nil
}

// mostBeats is how many wait for the position. While more come, the latest takes the place
// of the one before it: it says more.
const mostBeats = 64

// sent notes a beat, whose position may have been reached already, and returns how far the
// reader is behind it.
func (s *stream) sent(b beat) (behind int64) {
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
	return s.lagLocked(b.position)
}

// lagLocked is the distance from where the reader is; 0 before it has read anything.
func (s *stream) lagLocked(end uint64) int64 {
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
	s.c.unsettled.generalize()
	s.c.cfg.Cache.SchemaChanged() // what was learnt meanwhile may be of before
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
	c := s.c
	if err := EnsurePublication(ctx, s.control, c.cfg.Publication); err != nil {
		return err
	}
	if err := s.readFingerprint(ctx); err != nil { // before the rest: a change in between is found
		return err
	}
	p, err := loadPublication(ctx, s.control, c.cfg.Publication, s.version)
	switch {
	case err != nil:
		return err
	case p == nil:
		return errNoPublication
	case !p.usable:
		return errUnusable
	case !p.published.within(&s.base) && s.republished == 0:
		s.republished = c.cfg.Now()
	}
	t, err := loadTables(ctx, s.control, p.published.and(&s.base))
	if err != nil {
		return err
	}
	rows, err := query(ctx, s.control, installedSQL)
	if err != nil {
		return err
	}
	announced := len(rows) == 1 && rows[0][0] == "true"
	c.tables.Store(t)
	c.count(func(st *Stats) { st.Announced = announced })
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
