package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A program is a list of operations that is made by chance, once and for all, and then done
// in lockstep on two databases of one content, with the cache and without it. Unlike a
// history it does not depend on what happens while it runs: an operation that has no place
// where it stands is left out. So a program that tells the two apart can be made smaller,
// by leaving out operations as long as it still does.
type program []operation

// operation is one statement, or the begin or end of what statements go through.
type operation struct {
	through place
	do      action
	text    string
	args    []any
}

func (o operation) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s: %s %v", o.through, o.do, o.text, o.args))
}

// place is what a statement goes through.
type place uint8

const (
	inPool place = iota
	inTheTx
	inAConn
	inOther // a second sql.Conn
	places
)

func (p place) String() string { return []string{"pool", "Tx", "Conn", "other Conn"}[p] }

type action uint8

const (
	doExec action = iota
	doRead        // and several times, for memory to answer
	doPrepared
	doBegin // or take a Conn
	doCommit
	doRollback // or give the Conn back
	doCopy
)

func (a action) String() string {
	return []string{"exec", "read", "read, prepared", "begin", "commit", "rollback", "copy"}[a]
}

// repeats is how often a read is done: it is noticed, analysed, filled, and then a hit.
const repeats = 4

func programs() int {
	if n, err := strconv.Atoi(os.Getenv("LIFEGUARD_PROOF_PROGRAMS")); err == nil {
		return n
	}
	return 6
}

func programSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("LIFEGUARD_PROOF_SEED"), 10, 64); err == nil {
		return n
	}
	return 1
}

// TestAProgramDoesTheSameWithAndWithoutTheCache runs as many programs as
// LIFEGUARD_PROOF_PROGRAMS says, from the seed LIFEGUARD_PROOF_SEED.
func TestAProgramDoesTheSameWithAndWithoutTheCache(t *testing.T) {
	programRoles(t)
	hits, reads := uint64(0), 0
	for seed := programSeed(); seed < programSeed()+uint64(programs()); seed++ {
		mode := []string{"checkout", "checkout", "session"}[seed%3]
		p := newProgram(rand.New(rand.NewPCG(seed, 11)), 150)
		run := runProgram(t, p, mode)
		hits, reads = hits+run.hits, reads+run.reads
		if run.difference == "" {
			continue
		}
		smaller, difference := shrink(t, p[:run.at+1], mode, run.difference, 90*time.Second)
		t.Fatalf("a program of seed %d, in mode %s, of %d operations\n%s\n%s", seed, mode, len(smaller), smaller, difference)
	}
	t.Logf("%d reads through the pool, %d hits", reads, hits)
	if int(hits)*6 < reads {
		t.Errorf("only %d of %d reads were hits", hits, reads)
	}
}

func (p program) String() string {
	var b strings.Builder
	for _, o := range p {
		fmt.Fprintf(&b, "  %s\n", o)
	}
	return b.String()
}

// shrink leaves out more and more, as long as the two still differ.
func shrink(t *testing.T, p program, mode, difference string, limit time.Duration) (program, string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for size := len(p) / 2; size > 0; size /= 2 {
		for at := 0; at < len(p) && time.Now().Before(deadline); {
			less := slices.Concat(p[:at], p[min(at+size, len(p)):])
			if run := runProgram(t, less, mode); run.difference != "" {
				p, difference = less[:run.at+1], run.difference
				continue
			}
			at += size
		}
	}
	return p, difference
}

// programRun is what came of a program.
type programRun struct {
	at         int    // the last operation
	difference string // empty if there was none
	hits       uint64
	reads      int // through the pool
}

func runProgram(t *testing.T, p program, mode string) (run programRun) {
	t.Helper()
	plain := newActor(t, "pgx")
	defer plain.close()
	cached := newActor(t, lifeguard.DriverName, "lifeguard_cache=local", "lifeguard_mode="+mode, "pool_max_conns=8")
	defer cached.close()
	for i, o := range p {
		run.at = i
		if !plain.fits(o) {
			continue
		}
		times := 1
		if o.do == doRead || o.do == doPrepared {
			times = repeats
		}
		for n := range times {
			if o.through == inPool && times > 1 {
				run.reads++
			}
			want, got := plain.perform(o), cached.perform(o)
			if o.do != doExec && o.through == inPool && strings.Contains(want, "error 55P03") {
				continue // memory does not wait for who is about to change the table
			}
			if strings.Contains(want+got, "error 0A000") {
				// The plan of only one of the two was too old; its transaction is lost.
				plain.leave()
				cached.leave()
				break
			}
			if want != got {
				run.difference = fmt.Sprintf("time %d of the last:\nwithout the cache %s\nwith the cache    %s", n+1, want, got)
				return run
			}
		}
	}
	connector, err := lifeguard.FromDB(cached.db)
	if err != nil {
		t.Fatal(err)
	}
	run.hits = connector.Stats().Cache.Hits
	return run
}

// actor does what a program says on one database.
type actor struct {
	db    *sql.DB
	name  string // of the database
	tx    *sql.Tx
	conns [places]*sql.Conn
}

func newActor(t *testing.T, driver string, settings ...string) *actor {
	t.Helper()
	name := historyDatabase(t)
	// Who waits for a lock waits for this program.
	dsn := withSettings(pgtest.Shared(t).DSN(name), append(settings, "options=-c%20lock_timeout%3D40ms")...)
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(6)
	mustExec(t, db, historySchema+historyVolatile+programSchema)
	return &actor{db: db, name: name}
}

func (a *actor) close() {
	a.leave()
	_ = a.db.Close()
}

// leave ends what is open, and leaves the sessions as they were.
func (a *actor) leave() {
	ctx := context.Background()
	if a.tx != nil {
		_ = a.tx.Rollback()
		a.tx = nil
	}
	for _, p := range []place{inAConn, inOther} {
		_ = a.giveBack(ctx, p)
	}
	_, _ = a.db.ExecContext(ctx, "rollback prepared '"+a.name+"'")
}

func (a *actor) giveBack(ctx context.Context, p place) error {
	conn := a.conns[p]
	if conn == nil {
		return nil
	}
	a.conns[p] = nil
	for _, text := range []string{"rollback", "reset session authorization", "reset role", "reset all", "deallocate all", "close all", "discard temp", "unlisten *"} {
		if text == "deallocate all" {
			continue // pgx has its own there
		}
		_, _ = conn.ExecContext(ctx, text)
	}
	return conn.Close()
}

// fits reports whether an operation has a place in the present state.
func (a *actor) fits(o operation) bool {
	switch {
	case o.do == doBegin && o.through == inTheTx:
		return a.tx == nil
	case o.do == doBegin:
		return a.conns[o.through] == nil
	case o.through == inTheTx:
		return a.tx != nil
	case o.through == inPool:
		return true
	default:
		return a.conns[o.through] != nil
	}
}

// perform does an operation, and says what came of it.
func (a *actor) perform(o operation) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o.text = strings.ReplaceAll(o.text, "{database}", a.name)
	switch o.do {
	case doBegin:
		return a.begin(o.through)
	case doCommit, doRollback:
		return a.end(ctx, o)
	case doCopy:
		return failureOrNil(a.copy(ctx, o))
	case doExec, doRead, doPrepared:
	}
	once := a.execute
	if o.do != doExec {
		once = a.query
	}
	got, err := once(ctx, o)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "0A000" && o.through == inPool {
		got, err = once(ctx, o) // pgx makes another plan
	}
	if err != nil {
		return got + strings.ReplaceAll(failure(err), a.name, "{database}")
	}
	return got
}

func (a *actor) begin(p place) string {
	var err error
	if p == inTheTx {
		a.tx, err = a.db.BeginTx(context.Background(), nil)
	} else {
		a.conns[p], err = a.db.Conn(context.Background())
	}
	return failureOrNil(err)
}

func (a *actor) end(ctx context.Context, o operation) string {
	tx := a.tx
	switch {
	case o.through == inPool:
		return ""
	case o.through != inTheTx && o.do == doCommit:
		_, err := a.conns[o.through].ExecContext(ctx, "commit")
		return failureOrNil(err)
	case o.through != inTheTx:
		return failureOrNil(a.giveBack(ctx, o.through))
	case o.do == doCommit:
		a.tx = nil
		return failureOrNil(tx.Commit())
	}
	a.tx = nil
	return failureOrNil(tx.Rollback())
}

func (a *actor) session(p place) session {
	switch p {
	case inTheTx:
		return a.tx
	case inAConn, inOther:
		return a.conns[p]
	default:
		return a.db
	}
}

func (a *actor) query(ctx context.Context, o operation) (string, error) {
	query := a.session(o.through).QueryContext
	if o.do == doPrepared {
		st, err := a.session(o.through).PrepareContext(ctx, o.text)
		if err != nil {
			return "", err
		}
		defer st.Close()
		query = func(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
			return st.QueryContext(ctx, args...)
		}
	}
	rows, err := query(ctx, o.text, o.args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	return described(rows)
}

func (a *actor) execute(ctx context.Context, o operation) (string, error) {
	result, err := a.session(o.through).ExecContext(ctx, o.text, o.args...)
	if err != nil {
		return "", err
	}
	n, err := result.RowsAffected()
	return fmt.Sprint(n), err
}

// copy brings a row into base, past database/sql.
func (a *actor) copy(ctx context.Context, o operation) error {
	conn := a.conns[o.through]
	if conn == nil {
		_, err := a.session(o.through).ExecContext(ctx, "insert into base values ($1, $2)", o.args...)
		return err
	}
	return conn.Raw(func(driverConn any) error {
		pg := driverConn.(interface{ Conn() *pgx.Conn }).Conn() //nolint:errcheck,forcetypeassert // a test may panic
		_, err := pg.CopyFrom(ctx, pgx.Identifier{"base"}, []string{"id", "v"}, pgx.CopyFromRows([][]any{o.args}))
		return err
	})
}
