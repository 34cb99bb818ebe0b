package lifeguard_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// series compares what the registry has with what it should have, name{labels} → value.
func series(t *testing.T, registry prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	for name, want := range want {
		metric, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		if got := value(t, registry, metric, labels); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
}

// topLine returns what TopQueries has under a summary.
func topLine(t *testing.T, db *sql.DB, summary string) (found lifeguard.QueryStats) {
	t.Helper()
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, q := range connector.TopQueries(0) {
		if q.Summary == summary {
			found = q
			lines++
		}
	}
	if lines != 1 {
		t.Fatalf("TopQueries has %d lines for %s", lines, summary)
	}
	return found
}

func TestFlushesAreSeenInMetricsTopQueriesAndTheLog(t *testing.T) {
	book := &logBook{}
	db, registry := openMeasured(t, pgtest.DSN(t), func(c *lifeguard.Config) { c.Slow, c.Logger = time.Nanosecond, book.logger() })
	mustExec(t, db, "create table item (id bigint check (id <> 13), name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{MaxRows: 100, FlushInterval: -1})
	rows := items(250)
	for i := range rows {
		rows[i].Name = "hunter2"
	}
	addAll(t, b, rows[:99])
	series(t, registry, map[string]float64{"lifeguard_batch_pending_rows{pool=shop}": 99})
	if got := value(t, registry, "lifeguard_batch_pending_bytes", "pool=shop"); got < 99*7 {
		t.Errorf("99 rows take %v bytes", got)
	}
	addAll(t, b, rows[99:])
	if err := b.Flush(t.Context()); err == nil {
		t.Fatal("no row was refused")
	}
	stats := b.Stats()
	_, _ = b.Close(t.Context())

	series(t, registry, map[string]float64{
		"lifeguard_batch_rows_total{pool=shop,result=written}":               249,
		"lifeguard_batch_rows_total{pool=shop,result=refused}":               1,
		"lifeguard_batch_chunks_total{outcome=ok,pool=shop}":                 3,
		"lifeguard_batch_chunks_total{outcome=failed,pool=shop}":             0,
		"lifeguard_batch_bytes_total{pool=shop}":                             float64(stats.Bytes),
		"lifeguard_batch_retries_total{pool=shop}":                           0,
		"lifeguard_batch_flush_duration_seconds{pool=shop}":                  3,
		"lifeguard_batch_pending_rows{pool=shop}":                            0,
		"lifeguard_batch_pending_bytes{pool=shop}":                           0,
		"lifeguard_queries_total{op=copy,outcome=ok,pool=shop,source=db}":    3,
		"lifeguard_queries_total{op=copy,outcome=error,pool=shop,source=db}": 1, // the chunk with row 13
		"lifeguard_errors_total{class=23,pool=shop}":                         1,
		"lifeguard_query_duration_seconds{op=copy,pool=shop,source=db}":      4,
		"lifeguard_queries_total{op=select,outcome=ok,pool=shop,source=db}":  0, // what is read of the catalog is none of the application's
		"lifeguard_coroutine_wait_seconds{pool=shop,priority=bulk}":          4,
	})
	if top := topLine(t, db, "COPY public.item"); top.Calls != 4 || top.Errors != 1 || top.Rows != 249 || top.Total <= 0 {
		t.Errorf("TopQueries: %+v", top)
	}

	slow, refused := book.lines(t, "lifeguard: slow flush"), 0.0
	for _, line := range slow {
		refused += line["refused"].(float64) //nolint:errcheck,forcetypeassert // a test may panic
		if line["summary"] != "COPY public.item" || line["duration_ms"] == 0.0 || line["bytes"] == 0.0 {
			t.Errorf("the log has %v", line)
		}
	}
	if len(slow) != 3 || refused != 1 {
		t.Errorf("%d slow flushes with %v rows refused: %v", len(slow), refused, slow)
	}
	if strings.Contains(book.String(), "hunter2") {
		t.Error("the log has a value")
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}

func TestAnUpsertIsObservedAsTheInsertThatItIs(t *testing.T) {
	db, registry := openMeasured(t, pgtest.DSN(t), nil)
	mustExec(t, db, "create table item (id bigint primary key, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{OnConflict: lifeguard.Conflict{Action: lifeguard.ConflictUpdate, Keys: []string{"id"}}})
	addAll(t, b, []batchItem{{1, "a"}, {2, "b"}, {1, "c"}}) // refused for the equal keys, then resolved
	closed(t, b)
	series(t, registry, map[string]float64{
		"lifeguard_batch_rows_total{pool=shop,result=written}":                 3,
		"lifeguard_queries_total{op=insert,outcome=ok,pool=shop,source=db}":    1,
		"lifeguard_queries_total{op=insert,outcome=error,pool=shop,source=db}": 1,
		"lifeguard_batch_flush_duration_seconds{pool=shop}":                    1,
	})
	if top := topLine(t, db, "INSERT public.item"); top.Calls != 2 || top.Errors != 1 || top.Rows != 3 {
		t.Errorf("TopQueries: %+v", top)
	}
}

func TestALostAnswerIsObserved(t *testing.T) {
	var once sync.Once
	c := &cutter{commits: copyDone, choose: func() (choice cut) {
		once.Do(func() { choice = cutAfter })
		return choice
	}}
	dsn := pgtest.DSN(t)
	out := observer(t, dsn)
	mustExec(t, openDSN(t, dsn), "create table item (id bigint, name text)")
	c.meanwhile = func() { // until it is committed
		eventually(t, "the rows are there", func() bool {
			var n int
			return out.QueryRow(context.Background(), "select count(*) from item").Scan(&n) == nil && n > 0
		})
	}
	book := &logBook{}
	db, registry := openMeasured(t, dsn, func(cfg *lifeguard.Config) {
		cfg.ConnConfig.DialFunc, cfg.Logger = c.dial, book.logger()
	})
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{})
	c.armed.Store(true)
	addAll(t, b, items(10))
	closed(t, b)
	series(t, registry, map[string]float64{
		"lifeguard_batch_rows_total{pool=shop,result=written}":            10,
		"lifeguard_batch_recovered_total{pool=shop}":                      1,
		"lifeguard_batch_chunks_total{outcome=ok,pool=shop}":              1,
		"lifeguard_queries_total{op=copy,outcome=ok,pool=shop,source=db}": 1,
		"lifeguard_errors_total{class=08,pool=shop}":                      1,
	})
	if lines := book.lines(t, "lifeguard: connection lost during a statement"); len(lines) != 1 || lines[0]["summary"] != "COPY public.item" {
		t.Errorf("the log has %v", lines)
	}
}

func TestAFailedChunkStaysPendingUntilClose(t *testing.T) {
	db, registry := openMeasured(t, pgtest.DSN(t), nil)
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{})
	addAll(t, b, items(3))
	mustExec(t, db, "drop table item")
	if err := b.Flush(t.Context()); err == nil {
		t.Fatal("no error")
	}
	series(t, registry, map[string]float64{
		"lifeguard_batch_chunks_total{outcome=failed,pool=shop}": 1,
		"lifeguard_batch_rows_total{pool=shop,result=written}":   0,
		"lifeguard_batch_pending_rows{pool=shop}":                3,
		"lifeguard_errors_total{class=42,pool=shop}":             1,
	})
	if _, err := b.Close(t.Context()); err == nil {
		t.Error("no error")
	}
	series(t, registry, map[string]float64{"lifeguard_batch_pending_rows{pool=shop}": 0})
}
