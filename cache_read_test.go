package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
)

func TestReadsByNamedArgumentsAreCached(t *testing.T) {
	c := openCached(t, cacheSchema)
	const query = "select name from item where id = @id and name <> @name"
	args := pgx.NamedArgs{"id": 7, "name": "x"}
	c.warm(query, args)
	c.warm(query, pgx.StrictNamedArgs{"id": 8, "name": "x"})
	if !c.isWarm("select name from item where id = $1 and name <> $2", 7, "x") {
		t.Error("the text that it makes is another question")
	}
	if got := c.read(query, args); got != "item 7|\n" {
		t.Errorf("%q", got)
	}
	for _, wrong := range []any{pgx.StrictNamedArgs{"id": 7}, pgx.StrictNamedArgs{"id": 7, "name": "x", "more": 1}} {
		_, err := readAll(t.Context(), c.DB, query, wrong)
		_, want := readAll(t.Context(), c.plain, query, wrong)
		if err == nil || err.Error() != want.Error() {
			t.Errorf("%v: %v, and without Lifeguard %v", wrong, err, want)
		}
	}
	if n := c.stats().Invalidations; n["ddl"]+n["everything"] > 0 {
		t.Errorf("reads have emptied the cache: %v", n)
	}
}

func TestWritesByNamedArgumentsFenceTheirTable(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 7)
	c.warm("select name from other where id = $1", 7)
	for range 3 {
		mustExec(t, c, "update item set name = @name where id = @id", pgx.NamedArgs{"id": 7, "name": "named"})
		c.same("after the write", oneItem, 7)
	}
	if !c.isWarm("select name from other where id = $1", 7) {
		t.Errorf("the write of another table has emptied the cache: %v", c.stats().Invalidations)
	}
}

// A Critical caller stands in the queue himself, and not behind the Background one who
// asked the same before.
func TestWhoIsMoreUrgentDoesNotWaitBehindALeaderInTheQueue(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=1")
	c.warm(oneItem, 1)
	hold, err := c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	queued := func() int { return c.names.Stats().Limiter.Queued }
	answers := make(chan error, 4)
	ask := func(ctx context.Context) {
		go func() { _, err := readAll(ctx, c.DB, oneItem, 2); answers <- err }()
	}
	ask(lifeguard.WithPriority(t.Context(), lifeguard.Low))
	eventually(t, "the first in the queue", func() bool { return queued() == 1 })
	ask(lifeguard.WithPriority(t.Context(), lifeguard.Low))
	ask(lifeguard.WithPriority(t.Context(), lifeguard.Critical))
	ask(lifeguard.WithPriority(t.Context(), lifeguard.Critical))
	eventually(t, "one of each class in the queue", func() bool { return queued() == 2 })
	eventually(t, "the others to wait for them", func() bool { return c.InUse() == 5 })
	_ = hold.Rollback()
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if st := c.stats(); st.Shared < 2 {
		t.Errorf("nothing was shared: %+v", st)
	}
}

// Who holds a slot and waits for one who waits for a slot would wait for ever.
func TestANestedReadDoesNotWaitBehindALeaderInTheQueue(t *testing.T) {
	c := openCached(t, cacheSchema, "pool_max_conns=1")
	c.warm(oneItem, 1)
	scope := lifeguard.Scope(t.Context())
	hold, err := c.BeginTx(scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() { _, err := readAll(ctx, c.DB, oneItem, 2); led <- err }()
	eventually(t, "the leader in the queue", func() bool { return c.names.Stats().Limiter.Queued == 1 })
	bounded, cancel := context.WithTimeout(scope, 20*time.Second)
	defer cancel()
	if _, err := readAll(bounded, c.DB, oneItem, 2); !errors.Is(err, lifeguard.ErrNestedAcquire) {
		t.Errorf("it waited: %v", err)
	}
	leave()
	if err := <-led; err == nil {
		t.Error("the leader of a flight that he left has no error")
	}
	_ = hold.Rollback()
}

func TestAPanicOfAConnectHookLeavesNoFlightThatNobodyLeads(t *testing.T) {
	c := openCached(t, cacheSchema)
	cfg, err := lifeguard.ParseConfig(withSettings(c.dsn, "lifeguard_cache=local", "pool_max_conn_lifetime=1h"))
	if err != nil {
		t.Fatal(err)
	}
	bad := false
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
		if bad {
			panic("hook")
		}
		return nil
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	h := openCachedOn(t, db, c.plain, c.dsn)
	h.warm(oneItem, 1)
	hold, err := h.Begin() // takes the only connection
	if err != nil {
		t.Fatal(err)
	}
	bad = true
	func() {
		defer func() { t.Log("recovered:", recover()) }()
		_, err := readAll(t.Context(), h.DB, oneItem, 2)
		t.Log("no panic:", err)
	}()
	bad = false
	_ = hold.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := readAll(ctx, h.DB, oneItem, 2); err != nil {
		t.Errorf("the same question waits for nobody: %v", err)
	}
}

func TestCloseWaitsForNoFlightAndEndsNone(t *testing.T) {
	for _, mode := range []string{"off", "local"} {
		c := openCached(t, cacheSchema)
		db := openDSN(t, withSettings(c.dsn, "lifeguard_cache="+mode))
		const query = "select count(*) from item"
		for range 3 {
			if _, err := readAll(t.Context(), db, query); err != nil {
				t.Fatal(err)
			}
		}
		mustExec(t, db, "update item set name = name")
		release := c.lockItems()
		asked := make(chan error, 1)
		go func() { _, err := readAll(context.Background(), db, query); asked <- err }()
		eventually(t, "the read to wait", func() bool { return c.blocked() == 1 })
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: Close waits for a query", mode)
		}
		release()
		if err := <-asked; err != nil {
			t.Errorf("%s: the query that was under way: %v", mode, err)
		}
	}
}

// The length of an argument is no letter of it.
func TestAClockArgumentOfAnyLengthIsAnsweredByTheServer(t *testing.T) {
	c := openCached(t, cacheSchema)
	today := "today" + strings.Repeat(" ", 60)
	for range 6 {
		c.read("select $1::date", today)
	}
	if c.isWarm("select $1::date", today) {
		t.Error("'today' is answered from memory")
	}
}

func TestATextWhoseHitsDoNotPayBypassesTheCacheForAWhile(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(c *cachedDB, i int)
	}{
		{"one-off arguments", func(c *cachedDB, i int) { c.read(oneItem, i) }},
		{"a row that is written all the time", func(c *cachedDB, _ int) {
			mustExec(c.t, c, "update item set name = name where id = 7")
			c.same("after a write", oneItem, 7)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := openCached(t, cacheSchema)
			const pause = 2 * time.Second
			lifeguard.ShortenWorth(db.names, 16, pause)
			isOff := func() bool {
				t.Helper()
				x, err := db.names.ExplainCache(t.Context(), oneItem)
				if err != nil {
					t.Fatal(err)
				}
				return x.Reason == "unprofitable" && !x.Cacheable
			}
			for i := 0; db.stats().Bypasses["unprofitable"] == 0; i++ {
				c.read(db, i)
				if i > 200 {
					t.Fatalf("it is filled for ever: %+v", db.stats())
				}
			}
			if misses := db.stats().Misses; misses < 32 || misses > 36 {
				t.Errorf("%d fills before it was switched off", misses)
			}
			if !isOff() {
				t.Log("tried again already")
			}
			eventually(t, "another try", func() bool { return !isOff() })
			eventually(t, "hits", func() bool {
				return db.isWarm(oneItem, 7)
			})
			for i := range 200 { // they pay
				db.read(oneItem, 1+i%20)
			}
			if isOff() {
				t.Error("off in spite of its hits")
			}
		})
	}
}

// An entry that no read can be served any more must not wait for somebody to push it out.
func TestResultsOfDroppedVersionsDoNotLinger(t *testing.T) {
	c := openCached(t, cacheSchema)
	c.warm(oneItem, 1)
	c.warm("select name from other where id = $1", 1)
	for i := range 50 {
		c.read(oneItem, i)
	}
	before := c.stats()
	if before.Entries != 51 {
		t.Fatalf("%+v", before)
	}
	mustExec(t, c, "update item set name = name")
	eventually(t, "the results of item to go", func() bool { return c.stats().Entries == 1 })
	if after := c.stats(); after.Bytes >= before.Bytes/10 {
		t.Errorf("%d bytes of %d are left", after.Bytes, before.Bytes)
	}
	if !c.isWarm("select name from other where id = $1", 1) {
		t.Error("the other table's went too")
	}
}
