package lifeguard_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestConnectSaysAtOnceWhatIsWrong(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, err := lifeguard.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n, err := lifeguard.Query[int](t.Context(), db, "select 1"); err != nil || len(n) != 1 {
		t.Errorf("%v, error %v", n, err)
	}
	for _, bad := range []string{dsn + "_not", withSettings(dsn, "lifeguard_limit=x")} {
		if db, err := lifeguard.Connect(t.Context(), bad); err == nil || db != nil {
			t.Errorf("connected: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lifeguard.Connect(ctx, dsn); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestExecuteCountsRows(t *testing.T) {
	db := open(t)
	n, err := lifeguard.Execute(t.Context(), db, "create table note (text text); insert into note values ('a'), ('b')")
	if err != nil || n != 2 {
		t.Errorf("%d rows, error %v", n, err)
	}
	if n, err = lifeguard.Execute(t.Context(), db, "delete from note where text = $1", "a"); err != nil || n != 1 {
		t.Errorf("%d rows, error %v", n, err)
	}
	if _, err = lifeguard.Execute(t.Context(), db, "delete from nothing"); err == nil {
		t.Error("no error")
	}
}

type base struct {
	ID   int64 `db:"id,default"`
	Born time.Time
}

type animal struct {
	base
	Name    string
	Weight  *float64
	Chip    sql.NullString
	Tags    []string
	Raw     []byte
	Extra   json.RawMessage
	Ignored chan int `db:"-"`
}

func TestQueryFillsStructsByColumnName(t *testing.T) {
	db := open(t)
	ctx := t.Context()
	got, err := lifeguard.Query[animal](ctx, db, `select * from (values
		(1, 'Rex', 3.5, 'x', array['a','b'], '\x01'::bytea, '{"a": 1}'::jsonb, '2020-01-02T03:04:05Z'::timestamptz),
		(2, 'Mia', null, null::text, null::text[], null::bytea, null::jsonb, '2021-01-02')) v (id, name, weight, chip, tags, raw, extra, born) where id < $1`, 5)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d rows, error %v", len(got), err)
	}
	rex, mia := got[0], got[1]
	if rex.ID != 1 || rex.Name != "Rex" || *rex.Weight != 3.5 || rex.Chip.String != "x" || !slices.Equal(rex.Tags, []string{"a", "b"}) ||
		string(rex.Raw) != "\x01" || string(rex.Extra) != `{"a": 1}` || !rex.Born.Equal(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v", rex)
	}
	if mia.Weight != nil || mia.Chip.Valid || mia.Tags != nil || mia.Raw != nil || mia.Extra != nil {
		t.Errorf("%+v", mia)
	}
	some, err := lifeguard.Query[animal](ctx, db, "select 'Tom' as name")
	if err != nil || some[0].Name != "Tom" {
		t.Errorf("%v, error %v", some, err)
	}
}

func TestQueryFillsValues(t *testing.T) {
	db := open(t)
	ctx := t.Context()
	if got, err := lifeguard.Query[time.Time](ctx, db, "select '2020-01-02T00:00:00Z'::timestamptz"); err != nil || got[0].Year() != 2020 {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := lifeguard.Query[sql.NullInt64](ctx, db, "select null::int union all select 3"); err != nil || got[0].Valid || got[1].Int64 != 3 {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := lifeguard.Query[*string](ctx, db, "values ('a'), (null), ('b')"); err != nil || *got[0] != "a" || got[1] != nil || *got[2] != "b" {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := lifeguard.Query[[]int64](ctx, db, "values (array[1,2]), (array[3])"); err != nil || fmt.Sprint(got) != "[[1 2] [3]]" {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := lifeguard.Query[int](ctx, db, "select 1 where false"); err != nil || len(got) != 0 {
		t.Errorf("%v, error %v", got, err)
	}
}

func TestQuerySaysWhatDoesNotFit(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	ctx := t.Context()
	var errs []error
	_, err := lifeguard.Query[animal](ctx, db, "select 1 as id, 'grey' as colour")
	errs = append(errs, err)
	_, err = lifeguard.Query[animal](ctx, db, "select 1 as id, 2 as id")
	errs = append(errs, err)
	_, err = lifeguard.Query[int](ctx, db, "select 1 as a, 2 as b")
	errs = append(errs, err)
	_, err = lifeguard.Query[string](ctx, db, "select null::text")
	errs = append(errs, err)
	_, err = lifeguard.Query[int](ctx, db, "select 1 / (n - 5) from generate_series(1, 10) n")
	errs = append(errs, err)
	for i, want := range []string{`no field for column "colour"; it has id, born, name`, `two columns "id"`, "takes one column, and the query has 2: a, b", "NULL", "22012"} {
		if errs[i] == nil || !strings.Contains(errs[i].Error(), want) {
			t.Errorf("%v; want %q", errs[i], want)
		}
	}
	mustHoldNoSlot(t, db)
}

func TestGoReturnsWhatTheWorkReturns(t *testing.T) {
	db := open(t)
	ctx := t.Context()
	first := lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) ([]int, error) {
		return lifeguard.Query[int](ctx, q, "select generate_series(1, 3)")
	})
	failed := lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) (int64, error) {
		return lifeguard.Execute(ctx, q, "delete from nothing")
	})
	for range 2 {
		if got, err := first.Wait(ctx); err != nil || len(got) != 3 {
			t.Errorf("%v, error %v", got, err)
		}
	}
	<-failed.Done()
	if _, err := failed.Wait(ctx); err == nil {
		t.Error("no error")
	}
}

func TestAPanicInGoIsAnErrorWithItsStack(t *testing.T) {
	db := open(t)
	cause := errors.New("broken")
	_, err := lifeguard.Go(t.Context(), db, func(context.Context, lifeguard.Querier) (int, error) { return explode(cause) }).Wait(t.Context())
	var panicked *lifeguard.PanicError
	if !errors.As(err, &panicked) || !errors.Is(err, cause) || !strings.Contains(string(panicked.Stack), "explode") {
		t.Errorf("got %v", err)
	}
	_, err = lifeguard.Go(t.Context(), db, func(context.Context, lifeguard.Querier) (int, error) { panic(5) }).Wait(t.Context())
	if !errors.As(err, &panicked) || panicked.Value != 5 {
		t.Errorf("got %v", err)
	}
	_, err = lifeguard.Go(t.Context(), db, func(context.Context, lifeguard.Querier) (int, error) {
		runtime.Goexit()
		return 1, nil
	}).Wait(t.Context())
	if err == nil || errors.As(err, &panicked) && panicked.Value != 5 {
		t.Errorf("Goexit: %v", err)
	}
}

func explode(err error) (int, error) { panic(err) }

func TestWaitAndGoHeedTheirOwnContexts(t *testing.T) {
	db := open(t)
	release := make(chan struct{})
	f := lifeguard.Go(t.Context(), db, func(context.Context, lifeguard.Querier) (int, error) {
		<-release
		return 7, nil
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Wait(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	close(release)
	if n, err := f.Wait(t.Context()); err != nil || n != 7 {
		t.Errorf("%d, error %v", n, err)
	}
	if n, err := f.Wait(gone); err != nil || n != 7 {
		t.Errorf("the result is there: %d, error %v", n, err)
	}
	started := false
	if _, err := lifeguard.Go(gone, db, func(context.Context, lifeguard.Querier) (int, error) {
		started = true
		return 0, nil
	}).Wait(t.Context()); !errors.Is(err, context.Canceled) || started {
		t.Errorf("started %t, error %v", started, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f = lifeguard.Go(ctx, db, func(ctx context.Context, q lifeguard.Querier) (int, error) {
		_, err := q.ExecContext(ctx, "select pg_sleep(60)")
		return 0, err
	})
	cancel()
	if _, err := f.Wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("at work: %v", err)
	}
}

func TestGosAreBoundedByAdmission(t *testing.T) {
	dsn := pgtest.DSN(t)
	db := openDSN(t, withSettings(dsn, "pool_max_conns=2", "lifeguard_queue=20"))
	before := runtime.NumGoroutine()
	holder, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback()
	if _, err := holder.ExecContext(t.Context(), "select pg_advisory_xact_lock(1)"); err != nil {
		t.Fatal(err)
	}
	var futures []*lifeguard.Future[int64]
	for range 500 {
		futures = append(futures, lifeguard.Go(t.Context(), db, func(ctx context.Context, q lifeguard.Querier) (int64, error) {
			return lifeguard.Execute(ctx, q, "select pg_advisory_xact_lock_shared($1)", 1)
		}))
	}
	// One connection is left for them, and all but that and the queue are refused at once.
	count := func(refused bool) (n int) {
		for _, f := range futures {
			select {
			case <-f.Done():
				if _, err := f.Wait(t.Context()); errors.Is(err, lifeguard.ErrOverloaded) == refused {
					n++
				}
			default:
			}
		}
		return n
	}
	eventually(t, "479 are refused", func() bool { return count(true) == 479 })
	if n := backends(t, observer(t, dsn)); n > 2 {
		t.Errorf("%d connections", n)
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "21 have come through", func() bool { return count(false) == 21 })
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+20 })
}

func TestRowsThatAGoForgotAreClosed(t *testing.T) {
	db := open(t, "pool_max_conns=1")
	for range 3 {
		_, err := lifeguard.Go(t.Context(), db, func(ctx context.Context, q lifeguard.Querier) (int, error) {
			rows, err := q.QueryContext(ctx, "select generate_series(1, 1000000)") //nolint:rowserrcheck,sqlclosecheck // on purpose
			if err != nil {
				return 0, err
			}
			rows.Next()
			return 0, nil
		}).Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	mustHoldNoSlot(t, db)
}

func TestAGoDoesNotJoinTheTransactionAroundIt(t *testing.T) {
	db := notes(t)
	failure := errors.New("no")
	err := lifeguard.Txn(t.Context(), db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
		if err := write(ctx, tx, "undone"); err != nil {
			return err
		}
		_, err := lifeguard.Go(ctx, db, func(ctx context.Context, _ lifeguard.Querier) (int, error) {
			return 0, lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, own *sql.Tx) error {
				if own == tx {
					t.Error("joined")
				}
				return write(ctx, own, "stays")
			})
		}).Wait(ctx)
		return errors.Join(err, failure)
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	mustHave(t, db, "stays")
}

// wordSet adds to what it holds, as a Scanner of a map may.
type wordSet map[string]bool

func (s *wordSet) Scan(src any) error {
	if *s == nil {
		*s = wordSet{}
	}
	(*s)[fmt.Sprint(src)] = true
	return nil
}

func TestRowsOfAQueryShareNothing(t *testing.T) {
	db := open(t)
	got, err := lifeguard.Query[wordSet](t.Context(), db, "values ('a'), ('b')")
	if err != nil || len(got) != 2 || len(got[0]) != 1 || len(got[1]) != 1 {
		t.Errorf("%v, error %v", got, err)
	}
}
