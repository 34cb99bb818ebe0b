package lifeguard

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// groupPlans is what a physical connection knows to send groups. All but altered is its
// owner's.
type groupPlans struct {
	altered atomic.Bool // its session may not be as it began

	fit     fitness
	session string        // as it was read last
	lookAt  time.Duration // when its session may be looked at again

	byText  map[string]*groupPlan
	dropped []string // names of statements that are to be deallocated
	made    int      // plans so far: each has a name of its own
	encoder groupEncoder
}

// fitness says whether groups may be sent over a connection.
type fitness uint8

const (
	fitUnknown fitness = iota
	fitEver
	fitNever
)

// sessionAgain is how often a session that may have been changed is looked at.
const sessionAgain = time.Second

// noted tells of a statement that is sent over a connection, and has been: whether it may
// change the session, or what texts mean. A function may do so too; then a group meets
// what any other statement would meet that this connection happens to be leased to.
func (g *groups) noted(ph *physical, st *sqltext.Statement) {
	switch st.Kind {
	case sqltext.Empty, sqltext.Values, sqltext.Table, sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge,
		sqltext.Copy, sqltext.Begin, sqltext.Rollback, sqltext.Savepoint, sqltext.Release, sqltext.RollbackTo,
		sqltext.Truncate, sqltext.Refresh, sqltext.Show, sqltext.Notify, sqltext.Maintenance, sqltext.Lock:
		return
	case sqltext.Commit, sqltext.TwoPhase: // now others see what it did
		if ph.plans.altered.Load() {
			g.catalog.Forget()
		}
		return
	case sqltext.Select:
		if !st.Flags.Has(sqltext.SelectInto) && !strings.Contains(st.Normalized, "set_config") {
			return
		}
	case sqltext.Set, sqltext.Reset, sqltext.Discard:
	default:
		g.catalog.Forget()
	}
	ph.plans.altered.Store(true)
}

// meet reads the session of the first connection that is opened, before anybody can change it.
func (g *groups) meet(ctx context.Context, ph *physical) {
	if g != nil && g.home.Load() == nil {
		_, _ = g.atHome(ctx, ph, ph.opened) // if that breaks the connection, who leases it finds out
	}
}

// atHome reports whether the connection's session is as those of all others begin, and
// finds that out if it is not known. With an error the connection, or the context, is gone.
func (g *groups) atHome(ctx context.Context, ph *physical, now time.Duration) (bool, error) {
	p := &ph.plans
	if p.known(g) {
		return true, nil
	}
	if now < p.lookAt || ph.pg.TxStatus() != 'I' {
		return false, nil
	}
	p.lookAt = now + sessionAgain
	if p.fit == fitUnknown {
		fit, err := ph.groupable(ctx)
		if err != nil {
			return false, err
		}
		p.fit = fit
	}
	if p.fit == fitNever {
		p.lookAt = never
		return false, nil
	}
	began := !p.altered.Load()
	s, err := catalog.ReadSession(ctx, ph.pg)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil || s.Reason != "":
		return false, stillOpen(ph, err)
	}
	home := g.home.Load()
	if began && (home == nil || *home != s.Key) { // ALTER ROLE … SET, for instance, counts for new ones
		home = &s.Key
		g.home.Store(home)
	}
	if home == nil || *home != s.Key {
		p.session = ""
		return false, nil
	}
	p.session = *home // the same string: it is compared often
	p.altered.Store(false)
	return true, nil
}

// known reports whether the session has been read, and is that of all.
func (p *groupPlans) known(g *groups) bool {
	home := g.home.Load()
	return home != nil && p.session == *home && !p.altered.Load()
}

// stillOpen returns err if the connection broke of it.
func stillOpen(ph *physical, err error) error {
	if err != nil && ph.dead() {
		return err
	}
	return nil
}

// groupable reports whether groups may be sent over the connection: it prepares statements
// as pgx does by default, nobody traces it by means of pgx, reading from it can be
// interrupted, and no proxy hands its statements to sessions in turns.
func (ph *physical) groupable(ctx context.Context) (fitness, error) {
	cfg, bounded := ph.pgxConn().Config(), ph.pg.Conn().SetDeadline(time.Time{}) == nil
	if !bounded || cfg.Tracer != nil || cfg.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || cfg.StatementCacheCapacity == 0 {
		return fitNever, nil
	}
	result := ph.pg.ExecParams(ctx, "SELECT pg_catalog.pg_backend_pid()::pg_catalog.text", nil, nil, nil, nil).Read()
	if result.Err != nil {
		return fitUnknown, result.Err
	}
	if len(result.Rows) != 1 || string(result.Rows[0][0]) != strconv.FormatUint(uint64(ph.pg.PID()), 10) {
		return fitNever, nil
	}
	return fitEver, nil
}
