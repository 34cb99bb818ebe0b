package lifeguard_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A sequence is not rolled back, so a trigger can fail a number of times and then not.
func failsAtFirst(t *testing.T, db interface {
	lifeguard.Execer
}, code string, times int,
) {
	t.Helper()
	mustExec(t, db, "create table item (id bigint, name text)")
	mustExec(t, db, "create sequence failures")
	mustExec(t, db, `create function fuss() returns trigger language plpgsql as $$ begin
		if nextval('failures') <= `+string(rune('0'+times))+` then raise exception using errcode = '`+code+`'; end if; return null; end $$`)
	mustExec(t, db, "create trigger fuss before insert on item for each statement execute function fuss()")
}

func TestFailuresThatPassSendTheChunkAgain(t *testing.T) {
	for _, code := range []string{"40001", "40P01", "53300", "08006", "55P03"} {
		t.Run(code, func(t *testing.T) {
			db := open(t)
			failsAtFirst(t, db, code, 3)
			b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{Retry: lifeguard.BatchRetry{MinBackoff: time.Millisecond}})
			addAll(t, b, items(10))
			if stats := closed(t, b); stats.Retries != 3 || stats.Written != 10 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func TestFailuresThatDoNotPassEndTheLoading(t *testing.T) {
	db := open(t)
	failsAtFirst(t, db, "40001", 9)
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{Retry: lifeguard.BatchRetry{Attempts: 4, MinBackoff: time.Millisecond}})
	addAll(t, b, items(10))
	var batchErr *lifeguard.BatchError
	if stats, err := b.Close(t.Context()); !errors.As(err, &batchErr) || batchErr.Unwritten != 10 || stats.Retries != 3 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestARefusalByTheAdmissionQueueIsWaitedOut(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=1", "lifeguard_queue_timeout=20ms"))
	mustExec(t, db, "create table item (id bigint, name text)")
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{Retry: lifeguard.BatchRetry{Attempts: -1, MinBackoff: time.Millisecond}, Workers: 5})
	addAll(t, b, items(10))
	conn, err := db.Conn(t.Context()) // the only connection
	if err != nil {
		t.Fatal(err)
	}
	if backendPID(t, conn) == 0 {
		t.Fatal("no backend")
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := b.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush says %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if stats := closed(t, b); stats.Written != 10 || stats.Retries == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAChunkAwaitsItsTurnAtBulkPriority(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	mustExec(t, db, "create table item (id bigint, name text)")
	connector, err := lifeguard.FromDB(db)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		priority *lifeguard.Priority
		want     lifeguard.Priority
	}{{nil, lifeguard.Bulk}, {new(lifeguard.High), lifeguard.High}} {
		seen := make(chan lifeguard.Priority, 1)
		b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{Priority: test.priority})
		addAll(t, b, items(10))
		dsnLock, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = dsnLock.Close()
		mustExec(t, db, "drop trigger if exists slow on item")
		mustExec(t, db, "create or replace function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.2); return null; end $$")
		mustExec(t, db, "create trigger slow before insert on item for each statement execute function slow()")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Flush(t.Context())
		}()
		eventually(t, "the chunk is being sent", func() bool {
			for _, slot := range connector.Slots() {
				if slot.State == lifeguard.SlotExecuting {
					seen <- slot.Priority
					return true
				}
			}
			return false
		})
		<-done
		if got := <-seen; got != test.want {
			t.Errorf("%v, not %v", got, test.want)
		}
		closed(t, b)
	}
}

func TestAddingARowDoesNotAllocate(t *testing.T) {
	type row struct {
		I    int64
		S    string
		F    float64
		B    bool
		Raw  []byte
		At   time.Time
		ID   [16]byte
		N    string
		P    *int32
		None *string
	}
	db := open(t)
	mustExec(t, db, "create table item (i int8, s text, f float8, b bool, raw bytea, at timestamptz, id uuid, n numeric, p int4, none text)")
	b := newInserter[row](t, db, "item", lifeguard.BatchConfig{FlushInterval: -1, MaxRows: 5_000})
	r := row{1, "text", 2.5, true, []byte{1}, time.Now(), [16]byte{1}, "12.50", new(int32(4)), nil}
	ctx := context.Background()
	for range 4_999 { // a chunk whose buffers are grown, and another like it
		if err := b.Add(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	addAll(t, b, []row{r})
	if n := testing.AllocsPerRun(4_000, func() { _ = b.Add(ctx, r) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
	closed(t, b)
}

func TestTheHeapStaysFlatOverManyRows(t *testing.T) {
	n := 200_000
	if s := os.Getenv("LIFEGUARD_BATCH_ROWS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	db := open(t)
	mustExec(t, db, "create unlogged table item (id bigint, name text)")
	const most = 4 << 20
	b := newInserter[batchItem](t, db, "item", lifeguard.BatchConfig{Workers: 2, MaxPendingBytes: most})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, worst := heap(), uint64(0)
	for i := range n {
		addAll(t, b, []batchItem{{int64(i), "a name of some length"}})
		if i%(n/20) == n/40 {
			worst = max(worst, heap())
		}
	}
	closed(t, b)
	t.Logf("%d rows: heap %d KiB before, %d KiB at most", n, before>>10, worst>>10)
	if worst > before+4*most {
		t.Errorf("the heap grew from %d to %d bytes", before, worst)
	}
}
