package lifeguard

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/cache"
)

// waitsFor is what has to be known before a fence may end.
//
//	waitsForBackend   a commit's connection was lost: its backend is gone
//	waitsForLife      a connection died by itself, so perhaps the server did, and has lost
//	                  what nobody waited to be written: it lives as before
//	waitsForLog       a commit did not wait for its log (synchronous_commit=off): it is
//	                  written, so that no crash undoes what is read from here on
//	waitsForReload    the configuration is read again: every backend has been told
type waitsFor uint8

const (
	waitsForBackend waitsFor = iota
	waitsForLife
	waitsForLog
	waitsForReload
)

// cause is what the end of the fence counts as, unless that was counted before.
func (w waitsFor) cause() (cause invalidation, counts bool) {
	switch w {
	case waitsForBackend:
		return causeUnsettled, true
	case waitsForLife:
		return causeLost, true
	case waitsForLog, waitsForReload:
	}
	return 0, false
}

const (
	// crashShows is how long a server may take to end all its backends after one has
	// crashed: until then another one may still answer as if nothing had happened.
	crashShows = 250 * time.Millisecond
	// reloadTakes is how long the backends may take to hear of a new configuration.
	reloadTakes = time.Second
)

// suspect fences everything off until it is known whether the server has crashed. The
// entries are good if it has not.
func (u *unsettled) suspect(p *site) {
	u.mu.Lock()
	for _, l := range u.waiting {
		if l.waits == waitsForLife && l.site == p && !l.ended.Load() {
			l.since = u.of.core.limiter.now()
			u.mu.Unlock()
			return
		}
	}
	u.mu.Unlock()
	var everything cache.Writes
	everything.AddEverything()
	u.adopt([]*lostCommit{{waits: waitsForLife, fence: &fence{local: p.ledger.Raise(&everything)}, site: p.again()}})
}

// later leaves the end of a fence to what it waits for.
func (u *unsettled) later(ph *physical, fence *fence, waits waitsFor) {
	if fence == nil || ph.cached.site == nil {
		return
	}
	u.adopt([]*lostCommit{{waits: waits, fence: fence, ddl: waits == waitsForReload, site: ph.cached.site.again()}})
}

// logSQL tells how far the log is made, and written.
const logSQL = `SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8::pg_catalog.text,
	pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::pg_catalog.int8::pg_catalog.text`

// askServer asks what the server itself has to tell. Where it does not, there is nothing
// to wait for.
func (u *unsettled) askServer(ctx context.Context, pg *pgconn.PgConn, waiting []*lostCommit) {
	var asked [waitsForReload + 1]bool
	for _, l := range waiting {
		asked[l.waits] = true
	}
	var life string
	var made, written uint64
	if asked[waitsForLife] {
		delete(pg.CustomData(), incarnationKey)
		life = incarnation(ctx, pg)
	}
	if asked[waitsForLog] {
		made, written = logOf(ctx, pg)
	}
	if pg.IsClosed() {
		return
	}
	now := u.of.core.limiter.now()
	for _, l := range waiting {
		switch l.waits {
		case waitsForBackend:
		case waitsForLife:
			u.lives(l, life, now)
		case waitsForLog:
			if l.lsn == 0 {
				l.lsn = made
			}
			if written >= l.lsn {
				u.settle(l)
			}
		case waitsForReload:
			if now-l.since > reloadTakes {
				u.settle(l)
			}
		}
	}
}

// lives ends the suspicion of a crash.
func (u *unsettled) lives(l *lostCommit, life string, now time.Duration) {
	u.of.mu.Lock()
	same := life != "" && life == u.of.incarnation
	u.of.incarnation = life
	u.of.mu.Unlock()
	if !same {
		l.ddl = true
		u.settle(l)
		return
	}
	// Under the lock of suspect, which otherwise might begin anew what ends here, and
	// leave the connection that it is about without a fence.
	u.mu.Lock()
	over := now-l.since > crashShows && !l.ended.Swap(true)
	u.mu.Unlock()
	if over {
		l.fence.Lower()
		l.site.letGo()
	}
}

// logOf is how far the log is made, and written; 0 if the server does not tell.
func logOf(ctx context.Context, pg *pgconn.PgConn) (made, written uint64) {
	result := pg.ExecParams(ctx, logSQL, nil, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) != 1 {
		return 0, 0
	}
	made, _ = strconv.ParseUint(string(result.Rows[0][0]), 10, 64)
	written, _ = strconv.ParseUint(string(result.Rows[0][1]), 10, 64)
	return made, written
}
