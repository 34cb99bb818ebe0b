package lifeguard_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
	"github.com/lifeguard-go/lifeguard/internal/redisurl"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// deaf is a cache that nobody reads: of a process of which only the slot matters.
type deaf struct{}

func (deaf) Begin(string)           {}
func (deaf) Changed([]cdc.Relation) {}
func (deaf) Lost()                  {}
func (deaf) SchemaChanged()         {}

// openFollower opens a database whose cache hears of changes through Redis, whatever happens
// to the two that have slots: the only one that it might take is taken.
func openFollower(t *testing.T, server *pgtest.Server, schema string, settings ...string) *cachedDB {
	t.Helper()
	redis := pgtest.Redis(t)
	c := openCDC(t, server, schema, append([]string{"lifeguard_redis=" + redis, "lifeguard_cdc_slots=1"}, settings...)...)
	open, err := redisurl.Dialer(redis)
	if err != nil {
		t.Fatal(err)
	}
	relay := &cdc.Relay{Open: open, Place: redisurl.Place(redis), Slots: 3}
	holder, err := pgx.Connect(t.Context(), c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close(context.Background()) })
	eventually(t, "the slot is taken from the pool", func() bool {
		var taken bool
		if err := holder.QueryRow(t.Context(), "select pg_try_advisory_lock($1)", relay.SlotLock("lifeguard")).Scan(&taken); err != nil {
			t.Fatal(err)
		}
		if !taken {
			mustExec(t, c.plain, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lifeguard cdc' and backend_type = 'client backend'")
		}
		return taken
	})
	began := time.Now()
	for range 2 {
		leader := cdc.New(cdc.Config{
			Connect: func(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
				cfg, err := pgconn.ParseConfig(c.dsn)
				if err != nil {
					return nil, err
				}
				if replication {
					cfg.RuntimeParams["replication"] = "database"
				}
				return pgconn.ConnectConfig(ctx, cfg)
			},
			Cache: deaf{}, Now: func() time.Duration { return time.Since(began) }, Relay: relay,
			Bound: time.Second, MaxLag: 1 << 30, Publication: "lifeguard", PollEvery: time.Second,
		})
		t.Cleanup(leader.Close)
	}
	follows(c)
	return c
}

func follows(c *cachedDB) {
	c.t.Helper()
	eventually(c.t, "it follows", func() bool {
		c.read("select 1")
		st := c.stats().CDC
		return st.Role == string(cdc.Follower) && st.State == string(cdc.Streaming)
	})
}

func TestAFollowersReadIsNotOlderThanTheBound(t *testing.T) {
	const bound = 300 * time.Millisecond
	c := openFollower(t, logicalServer(t), boundSchema, "lifeguard_cache_bound="+bound.String())
	noReadIsOlder(t, c, bound)
	follows(c)
	st := c.stats().CDC
	if st.Restarts[string(cdc.RelayMoved)] == 0 || st.Relayed == 0 {
		t.Errorf("no leader was ever replaced: %+v", st)
	}
}

func TestAFollowerSeesWhatOthersWrite(t *testing.T) {
	c := openFollower(t, logicalServer(t), cacheSchema+`create materialized view counted as select count(*) as n from item;`+cdc.InstallSQL)
	queries := []string{"select * from item order by id", "select count(*) from other", "select n from counted"}
	for _, q := range queries {
		c.warm(q)
	}
	for _, write := range []string{
		"update item set name = 'theirs' where id = 7",
		"insert into other values (1000, 'x')",
		"delete from item where id = 3",
		"refresh materialized view counted",
		"truncate other",
		"alter table item add column more int default 5",
		"do $$ begin delete from item where id = 1; commit; insert into other values (1, 'y'); end $$",
		"insert into other select i, 'z' from generate_series(3001, 20000) i",
	} {
		mustExec(t, c.plain, write)
		c.heard()
		for _, q := range queries {
			c.same(write, q)
			c.warm(q)
		}
	}
	st := c.stats()
	if st.CDC.Role != string(cdc.Follower) || st.Hits == 0 || st.Redis != nil {
		t.Errorf("%+v\n%+v", st, st.CDC)
	}
}
