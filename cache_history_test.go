package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A history is a random sequence of steps that is done in lockstep on two databases of
// the same content, one through plain pgx and one through the cache. Whatever a step or
// a read gives, values, Go types, columns and errors, must be the same on both.
type history struct {
	t      *testing.T
	r      *rand.Rand
	shape  historyShape
	plain  *side
	cached *side
	next   int      // an ID that no table has
	log    []string // what was done, for who has to find out
	reads  int      // that could have been hits
}

// historyShape says what kind of history it is.
type historyShape struct {
	name     string
	mode     string
	single   bool // one session, whose settings the steps change
	volatile bool // there are functions that a query could write through
}

var historyShapes = []historyShape{
	{"a pool", "checkout", false, false},
	{"a pool, and functions that write", "checkout", false, true},
	{"one session", "checkout", true, false},
	{"one session, and functions that write", "checkout", true, true},
	{"session mode", "session", true, true},
}

// side is one of the two databases, in the state that the history has brought about.
type side struct {
	db   *sql.DB
	tx   *sql.Tx
	conn *sql.Conn
	hand bool // a transaction is open on conn that was begun by a text
	stmt map[string]*sql.Stmt
}

// session is what a statement can be sent through.
type session interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// through is how a statement is sent.
type through uint8

const (
	throughPool through = iota
	throughTx
	throughConn
)

func (s *side) session(by through) session {
	switch by {
	case throughTx:
		return s.tx
	case throughConn:
		return s.conn
	default:
		return s.db
	}
}

func historySteps() int {
	if n, err := strconv.Atoi(os.Getenv("LIFEGUARD_TEST_HISTORY")); err == nil {
		return n
	}
	return 120
}

func TestAHistoryIsTheSameWithAndWithoutTheCache(t *testing.T) {
	for _, shape := range historyShapes {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(shape.name, "/", seed), func(t *testing.T) {
				h := newHistory(t, shape, seed)
				for range historySteps() {
					h.step()
					h.compareReads()
					if t.Failed() {
						t.Fatalf("the last steps:\n%s", strings.Join(h.log[max(0, len(h.log)-40):], "\n"))
					}
				}
				h.finish()
				st := h.stats()
				t.Logf("%d reads, %d hits, %d misses", h.reads, st.Hits, st.Misses)
				if int(st.Hits)*4 < h.reads {
					t.Errorf("only %d hits in %d reads: %v", st.Hits, h.reads, st.Bypasses)
				}
			})
		}
	}
}

func newHistory(t *testing.T, shape historyShape, seed uint64) *history {
	t.Helper()
	h := &history{t: t, r: rand.New(rand.NewPCG(seed, 7)), shape: shape, next: 1000}
	schema := historySchema
	if shape.volatile {
		schema += historyVolatile
	}
	// Who waits for a lock waits for this history's own transaction.
	const noWaiting = "options=-c%20lock_timeout%3D40ms"
	open := func(driver string, settings ...string) *side {
		dsn := withSettings(pgtest.Shared(t).DSN(historyDatabase(t)), append(settings, noWaiting)...)
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		mustExec(t, db, schema)
		if shape.single {
			db.SetMaxOpenConns(1)
		} else {
			db.SetMaxOpenConns(4)
		}
		return &side{db: db, stmt: make(map[string]*sql.Stmt)}
	}
	h.plain = open("pgx")
	h.cached = open(lifeguard.DriverName, "lifeguard_cache=local", "lifeguard_mode="+shape.mode, "pool_max_conns=4")
	t.Cleanup(h.finish)
	return h
}

// historyDatabase makes another database for the test and returns its name.
func historyDatabase(t *testing.T) string {
	t.Helper()
	dsn, drop, err := pgtest.Shared(t).CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = drop(context.Background()) })
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

func (h *history) stats() *lifeguard.CacheStats {
	connector, err := lifeguard.FromDB(h.cached.db)
	if err != nil {
		h.t.Fatal(err)
	}
	return connector.Stats().Cache
}

// both does something on both sides and compares what it gives.
func (h *history) both(what string, do func(s *side) string) {
	h.t.Helper()
	h.log = append(h.log, what)
	if h.t.Failed() {
		return
	}
	want, got := do(h.plain), do(h.cached)
	if got != want && strings.Contains(want+got, "error 0A000") {
		h.finish() // a plan of only one of the two was too old, and its transaction is lost
		return
	}
	if got != want {
		h.t.Errorf("%s\nplain  %s\ncached %s", what, want, got)
	}
}

// compareReads reads on both sides, repeatedly, so that memory answers.
func (h *history) compareReads() {
	by := h.anywhere()
	for range 5 {
		q := historyReads[h.r.IntN(len(historyReads))]
		args := q.arguments(h.r)
		prepared := h.r.IntN(6) == 0
		for range 3 {
			if h.gone(by) {
				return
			}
			if by == throughPool {
				h.reads++
			}
			h.both(fmt.Sprintf("  read by %d: %s %v", by, q.text, args), func(s *side) string {
				return s.read(by, prepared, q.text, args)
			})
		}
	}
}

// gone reports whether what statements went through was ended on the way.
func (h *history) gone(by through) bool {
	return by == throughTx && h.plain.tx == nil || by == throughConn && h.plain.conn == nil
}

// anywhere says through what a statement may go now.
func (h *history) anywhere() through {
	open := []through{throughPool, throughPool, throughPool}
	if h.shape.single && (h.plain.tx != nil || h.plain.conn != nil) {
		open = nil // the only connection is taken
	}
	if h.plain.tx != nil {
		open = append(open, throughTx)
	}
	if h.plain.conn != nil {
		open = append(open, throughConn)
	}
	return open[h.r.IntN(len(open))]
}

// read returns the columns and rows of a query as a text, or its error.
func (s *side) read(by through, prepared bool, query string, args []any) string {
	got, err := s.readOnce(by, prepared, query, args)
	if s.again(err, by) {
		got, err = s.readOnce(by, prepared, query, args)
	}
	if err != nil {
		return got + failure(err)
	}
	return got
}

// again reports whether plain pgx makes a new plan at the next call.
func (s *side) again(err error, by through) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "0A000" && (by == throughPool || by == throughConn && !s.hand)
}

// failure is an error as far as two databases can have the same.
func failure(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return "error " + pgErr.Code + " " + pgErr.Message
	}
	return "error " + err.Error()
}

func (s *side) readOnce(by through, prepared bool, query string, args []any) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var rows *sql.Rows
	var err error
	if prepared {
		st, perr := s.session(by).PrepareContext(ctx, query)
		if perr != nil {
			return "", perr
		}
		defer st.Close()
		rows, err = st.QueryContext(ctx, args...)
	} else {
		rows, err = s.session(by).QueryContext(ctx, query, args...)
	}
	if err != nil {
		return "", err
	}
	defer rows.Close()
	return described(rows)
}

// described reads rows to their end.
func described(rows *sql.Rows) (string, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, c := range types {
		name := c.DatabaseTypeName()
		if _, err := strconv.Atoi(name); err == nil {
			name = "OID" // of a type of the database's own
		}
		length, hasLength := c.Length()
		precision, scale, isDecimal := c.DecimalSize()
		nullable, known := c.Nullable()
		fmt.Fprintf(&b, "[%s %s %v %v %v %v %v %v %v %v]", c.Name(), name, c.ScanType(), length, hasLength, precision, scale, isDecimal, nullable, known)
	}
	b.WriteByte('\n')
	for rows.Next() {
		values := make([]any, len(types))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return b.String(), err
		}
		for _, v := range values {
			v := *v.(*any) //nolint:errcheck,forcetypeassert // made above
			fmt.Fprintf(&b, "%T:%v|", v, v)
		}
		b.WriteByte('\n')
	}
	return b.String(), rows.Err()
}

// exec returns the number of rows, or the error.
func (s *side) exec(by through, prepared bool, query string, args []any) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var result sql.Result
	var err error
	if prepared {
		st, perr := s.session(by).PrepareContext(ctx, query)
		if perr != nil {
			return failure(perr)
		}
		defer st.Close()
		result, err = st.ExecContext(ctx, args...)
	} else {
		result, err = s.session(by).ExecContext(ctx, query, args...)
		if s.again(err, by) {
			result, err = s.session(by).ExecContext(ctx, query, args...)
		}
	}
	if err != nil {
		return failure(err)
	}
	n, err := result.RowsAffected()
	return fmt.Sprint(n, err)
}

// finish ends what is open.
func (h *history) finish() {
	for _, s := range []*side{h.plain, h.cached} {
		if s == nil {
			continue
		}
		if s.tx != nil {
			_ = s.tx.Rollback()
		}
		if s.conn != nil {
			if s.hand {
				_, _ = s.conn.ExecContext(context.Background(), "rollback")
			}
			_ = s.conn.Close()
		}
		s.tx, s.conn, s.hand = nil, nil, false
	}
}
