package cdc

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// cableOf leads to the server of a DSN.
func cableOf(t *testing.T, dsn string) *cable.Cable {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cable.New(t, net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)))
}

// through leads the replication connection, or both, through a cable.
func through(c *cable.Cable, both bool) func(*Config) {
	return func(cfg *Config) {
		connect := cfg.Connect
		cfg.Connect = func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
			if !replication && !both {
				return connect(ctx, replication)
			}
			return connect(context.WithValue(ctx, cableKey{}, c), replication)
		}
	}
}

// cableKey is of the cable, in the context of connectTo.
type cableKey struct{}

// A stream that falls silent says nothing about what others write, and no error either: only
// the bound keeps what is stale from being served.
func TestASilentStreamServesNothingBeyondTheBound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	h := cableOf(t, dsn)
	l := listenOn(t, dsn, shop, through(h, false), func(c *Config) { c.Bound = 300 * time.Millisecond })
	l.ready()
	table := l.oid("item")
	l.confirmed()
	before := l.version(table)
	h.Set(cable.Held)
	l.exec("update item set id = id where id = 1")
	written := l.cfg.Now()
	worst := time.Duration(0)
	for l.cfg.Now()-written < 4*l.cfg.Bound {
		if now := l.cfg.Now(); l.Serves(now) {
			worst = max(worst, now-written)
		}
		<-time.After(time.Millisecond)
	}
	if worst > l.cfg.Bound {
		t.Errorf("it served what it had not heard of for %v; the bound is %v", worst, l.cfg.Bound)
	}
	if l.version(table) != before || l.Stats().Lag == 0 {
		t.Error("the stream was not silent: this shows nothing")
	}
	h.Set(cable.Intact)
	l.ready()
	if l.version(table) == before {
		t.Error("it serves, and has not told")
	}
}

// When nothing comes from the server at all, the stream is given up, and begins anew.
func TestAServerThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	h := cableOf(t, dsn)
	l := listenOn(t, dsn, shop, through(h, true))
	l.ready()
	h.Set(cable.Held)
	l.ended(Unreachable)
	if l.serves() {
		t.Error("it serves")
	}
	h.Set(cable.Intact)
	l.ready()
	eventually(t, "one slot is left", func() bool { return slots(t, l.conn) == 1 })
}
