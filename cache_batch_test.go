package lifeguard_test

import (
	"context"
	"database/sql"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/lifeguard-go/lifeguard"
)

const batchCacheSchema = cacheSchema + `
	create table parted (id int, name text) partition by list (id);
	create table parted_1 partition of parted for values in (1);
	create table parted_2 partition of parted default;
	create table log (n int, name text);
	create table watched (id int primary key, name text);
	create function note() returns trigger language plpgsql as
		'begin insert into log values (new.id, new.name); return new; end';
	create trigger note after insert on watched for each row execute function note();
	create table parent (id int primary key, name text);
	create table child (id int references parent on update cascade, name text);
	insert into parent values (1, 'p'); insert into child values (1, 'c');
	create view items as select id, name from item;`

type batchCacheRow struct {
	ID   int    `db:"id"`
	Name string `db:"name"`
}

// insertAll writes rows by a BatchInserter in one flush.
func insertAll(t *testing.T, db *sql.DB, table string, cfg lifeguard.BatchConfig, rows ...batchCacheRow) {
	t.Helper()
	b, err := lifeguard.NewBatchInserter[batchCacheRow](db, table, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := b.Add(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAFlushMakesItsTablesResultsInvalidAndNoOthers(t *testing.T) {
	upsert := lifeguard.BatchConfig{OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}}
	for name, c := range map[string]struct {
		table  string
		config lifeguard.BatchConfig
		reads  string // a query whose result changes
		all    bool   // everything is fenced
	}{
		"a table":           {table: "item", reads: "select count(*) from item"},
		"a partitioned one": {table: "parted", reads: "select count(*) from parted_1"},
		"a partition":       {table: "parted_1", reads: "select count(*) from parted"},
		"an upsert":         {table: "item", config: upsert, reads: "select count(*) from item"},
		"through a view":    {table: "items", reads: "select count(*) from item"},
		"a trigger":         {table: "watched", reads: "select count(*) from log", all: true},
		"a foreign key":     {table: "parent", config: upsert, reads: "select count(*) from parent"},
	} {
		t.Run(name, func(t *testing.T) {
			db := openCached(t, batchCacheSchema)
			for round := range 3 {
				db.warm(c.reads)
				db.warm(allOthers)
				id := 1000 + round
				if c.table[:2] == "pa" && c.table != "parent" {
					id = 1
				}
				insertAll(t, db.DB, c.table, c.config, batchCacheRow{id, "new"})
				db.same("after the flush", c.reads)
				if survived := db.survived(allOthers); survived == c.all {
					t.Errorf("round %d: the other table's result is still there: %v; %v", round, survived, db.stats().Invalidations)
				}
			}
		})
	}
}

func TestCopyIntoFencesWhatItsTableCarriesAlong(t *testing.T) {
	db := openCached(t, batchCacheSchema)
	for _, table := range []string{"item", "parted", "parted_1", "watched"} {
		for round := range 2 {
			reads := []string{"select count(*) from " + table, "select count(*) from parted", "select count(*) from log"}
			for _, query := range reads {
				db.warm(query)
			}
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			id := 2000 + round
			if table == "parted_1" {
				id = 1
			}
			if _, err := lifeguard.CopyInto(t.Context(), tx, table, slices.Values([]batchCacheRow{{id, "copied"}})); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			for _, query := range reads {
				db.same("copied into "+table, query)
			}
		}
	}
}

func TestAKnownBatchCostsNoRoundTripMore(t *testing.T) {
	upsert := lifeguard.BatchConfig{OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}}
	for name, c := range map[string]struct {
		table  string
		config lifeguard.BatchConfig
	}{"copy": {table: "item"}, "upsert": {table: "item", config: upsert}, "trigger": {table: "watched"}} {
		t.Run(name, func(t *testing.T) {
			base := openCached(t, batchCacheSchema)
			if err := base.Close(); err != nil { // or who has no cache would look at writes, too
				t.Fatal(err)
			}
			trips := func(mode string, first int) int64 {
				var count atomic.Int64
				db := openCounting(t, withSettings(base.dsn, "lifeguard_cache="+mode, "pool_max_conns=1"), &count)
				insertAll(t, db, c.table, c.config, batchCacheRow{first, "x"})
				insertAll(t, db, c.table, c.config, batchCacheRow{first + 1, "x"})
				b, err := lifeguard.NewBatchInserter[batchCacheRow](db, c.table, c.config)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				defer b.Close(t.Context())
				flush := func(id int) {
					if err := b.Add(t.Context(), batchCacheRow{id, "x"}); err != nil {
						t.Fatal(err)
					}
					if err := b.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				flush(first + 2)
				before := count.Load()
				for i := range 10 {
					flush(first + 3 + i)
				}
				return count.Load() - before
			}
			with, without := trips("local", 5000), trips("off", 6000) // one after the other
			if with != without {
				t.Errorf("%d writes to the socket with a cache, %d without", with, without)
			}
			t.Logf("%d", with)
		})
	}
}

// countedConn counts what is written to the socket: about one write for each round trip.
type countedConn struct {
	net.Conn
	count *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.count.Add(1)
	return c.Conn.Write(b)
}

func openCounting(t *testing.T, dsn string, count *atomic.Int64) *sql.DB {
	t.Helper()
	db, _ := openMeasured(t, dsn, func(cfg *lifeguard.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return countedConn{conn, count}, nil
		}
	})
	return db
}

func TestAFlushWhoseAnswerIsLostIsNeverServedStale(t *testing.T) {
	for name, choice := range map[string]cut{"not sent": cutBefore, "sent": cutAfter} {
		t.Run(name, func(t *testing.T) {
			plain := openCached(t, batchCacheSchema)
			c := &cutter{commits: copyDone}
			left := 1
			c.choose = func() cut {
				if left--; left < 0 {
					return cutNot
				}
				return choice
			}
			db := openCachedOn(t, openCut(t, c, withSettings(plain.dsn, "lifeguard_cache=local")), plain.plain, plain.dsn)
			const reads = "select count(*) from item"
			insertAll(t, db.DB, "item", lifeguard.BatchConfig{}, batchCacheRow{7000, "x"})
			db.warm(reads)
			c.armed.Store(true)
			insertAll(t, db.DB, "item", lifeguard.BatchConfig{}, batchCacheRow{7001, "x"})
			db.same("after the flush", reads)
			if c.before.Load()+c.after.Load() != 1 {
				t.Error("nothing was cut")
			}
			eventually(t, "an end to the doubt", func() bool { return db.stats().Unsettled == 0 })
			db.warm(reads)
			db.same("later", reads)
		})
	}
}
