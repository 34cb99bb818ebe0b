package lifeguard

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// copySender writes a part by COPY, exactly once. One transaction is two round trips:
//
//	begin; select pg_current_xact_id()   ──►
//	                                     ◄── the transaction's id
//	copy …; commit                       ──►
//	the rows                             ──►
//	                                     ◄── committed
//
// The transaction can only commit once it has all rows. So if the connection breaks
// before the last of them was handed over, nothing was committed; if it breaks later, or
// while the answer is awaited, the server is asked on another connection what has become
// of the transaction: pg_xact_status(id).
//
//	committed    done; the answer was lost, the rows were not
//	aborted      it may be sent again
//	in progress  the old backend has not noticed yet: it is ended, and asked about again
//	too old      ErrBatchUncertain
//
// An id is only as good as the server's memory. A crash forgets the ids of transactions
// that never reached the disk, and gives them out again; "committed" may then be somebody
// else's. Such a crash resets the server's statistics, and a promoted standby begins a
// new timeline; either makes "committed" uncertain. (A clean restart does neither.)
//
// A ledger table would decide the same, but the user would have to create and clean it.
type copySender struct {
	db       *sql.DB
	plan     *rowPlan
	conflict *upsert            // nil without OnConflict
	st       *sqltext.Statement // what observers see
	writes   string             // a text that writes as a chunk does, for the query cache
	begin    string
	status   string // of a transaction
}

func newCopySender(db *sql.DB, plan *rowPlan, conflict *upsert, pg *pgconn.PgConn) *copySender {
	s := &copySender{
		db: db, plan: plan, conflict: conflict,
		begin:  "begin; select pg_current_xact_id()::text",
		status: "select pg_xact_status($1::text::xid8)",
	}
	if majorVersion(pg) < 13 {
		s.begin = "begin; select txid_current()::text"
		s.status = "select txid_status($1::text::bigint)"
	}
	s.writes = plan.copySQL(plan.table.name.String())
	s.st = sqltext.Analyze(s.writes)
	if conflict != nil {
		s.st, s.writes = sqltext.Analyze(conflict.text), conflict.writes
	}
	return s
}

func majorVersion(pg *pgconn.PgConn) int {
	digits := pg.ParameterStatus("server_version")
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	version, _ := strconv.Atoi(digits)
	return version
}

// attempt is one transaction and what is known of it.
type attempt struct {
	xid     string
	pid     uint32
	server  string      // see incarnation
	reached bool        // COMMIT may have been reached
	unique  bool        // an upsert that has resolved equal keys
	lost    *lostCommit // if no answer came
}

func (s *copySender) send(ctx context.Context, ch *chunk, p part) (recovered bool, err error) {
	var a attempt
	recovered, err = s.once(ctx, ch, p, &a)
	ch.watch.sent(p.rows(), err)
	if s.conflict.shouldDeduplicate(err, &a) {
		return s.send(ctx, ch, p)
	}
	return recovered, err
}

// once makes one attempt, and finds out what has become of it.
func (s *copySender) once(ctx context.Context, ch *chunk, p part, a *attempt) (recovered bool, err error) {
	var w *writing
	err = withPgx(ctx, s.db, s.st, verbExecute, func(l *pgxLease) (err error) {
		ch.watch.begin(ctx, l, p.rows())
		defer ch.watch.rested(l)
		pg := l.conn.PgConn()
		if l.own != nil {
			if w, err = l.own.guardBatch(ctx, s.writes); err != nil {
				return err
			}
		}
		defer func() { a.lost = w.answered(pg, err) }()
		err = s.transact(ctx, pg, ch, p, a)
		if err == nil || pg.IsClosed() {
			return err
		}
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) {
			_ = pg.Close(ctx) // in the middle of something
			return err
		}
		a.reached = false // the server answered: it did not commit
		if pg.TxStatus() != 'I' {
			if failure := pg.Exec(ctx, "rollback").Close(); failure != nil {
				_ = pg.Close(ctx)
			}
		}
		return err
	})
	if err == nil || !a.reached {
		w.settled(a.lost, false, nil)
		return false, err
	}
	committed, unknown := s.decide(ctx, a)
	w.settled(a.lost, committed, unknown)
	switch {
	case unknown != nil:
		return false, fmt.Errorf("%w: %w (the connection was lost: %w)", ErrBatchUncertain, unknown, err)
	case committed:
		return true, nil
	}
	return false, err
}

// transact runs one attempt on a connection.
func (s *copySender) transact(ctx context.Context, pg *pgconn.PgConn, ch *chunk, p part, a *attempt) error {
	a.pid, a.server = pg.PID(), incarnation(ctx, pg)
	results, err := pg.Exec(ctx, s.begin).ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 2 || len(results[1].Rows) != 1 {
		return &stopError{errors.New("lifeguard: the server does not tell the transaction's id")}
	}
	a.xid = string(results[1].Rows[0][0])
	if s.conflict != nil {
		return s.conflict.apply(ctx, pg, ch, p, a)
	}
	return copyAndCommit(ctx, pg, s.plan, ch, p, s.plan.copySQL(s.plan.table.name.String())+"; commit", a)
}

// copyAndCommit feeds a part to a query text that contains one COPY and ends with commit.
func copyAndCommit(ctx context.Context, pg *pgconn.PgConn, plan *rowPlan, ch *chunk, p part, text string, a *attempt) error {
	r := newChunkReader(ch, p, plan.header(), plan.trailer())
	tag, err := pg.CopyFrom(ctx, r, text)
	a.reached = r.end()
	return committedTag(tag, err)
}

// committedTag makes sure that a COMMIT without an error was not a ROLLBACK.
func committedTag(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.String() != "COMMIT" {
		return &stopError{fmt.Errorf("lifeguard: the server answers COMMIT with %s", tag)}
	}
	return err
}

const (
	// decideLimit bounds how long a lost COMMIT is asked about after the batch was
	// cancelled; before, it is asked about until there is an answer, or decidePatience.
	decideLimit    = 5 * time.Second
	decidePatience = 2 * time.Minute
	decideBackoff  = time.Second
)

var (
	errXactTooOld  = errors.New("the server does not remember the transaction")
	errXactForgot  = errors.New("the server has crashed or was replaced meanwhile")
	errXactUnknown = errors.New("the server could not be asked in time")
)

//nolint:gochecknoglobals // a constant
var askOutcome = &sqltext.Statement{Summary: "pg_xact_status"}

// decide finds out whether the attempt was committed.
func (s *copySender) decide(ctx context.Context, a *attempt) (committed bool, err error) {
	ctx, cancel := graceful(WithPriority(ctx, High), decidePatience, decideLimit)
	defer cancel()
	last := error(nil)
	for wait := time.Millisecond; ; wait = min(2*wait, decideBackoff) {
		var status *string
		var server string
		err := withPgx(ctx, s.db, askOutcome, verbPing, func(l *pgxLease) error {
			if server = incarnation(ctx, l.conn.PgConn()); server == "" && a.server != "" {
				return errXactUnknown // a standby, say: it does not know yet
			}
			if err := l.conn.QueryRow(ctx, s.status, a.xid).Scan(&status); err != nil {
				return err
			}
			if status != nil && *status == "in progress" {
				_, _ = l.conn.Exec(ctx, terminateSQL, int64(a.pid), a.xid)
			}
			return nil
		})
		var pgErr *pgconn.PgError
		switch {
		case err != nil && errors.As(err, &pgErr) && pgErr.Code == "22023":
			return false, nil // an id of the future: a crash has forgotten it
		case pgErr != nil && strings.HasPrefix(pgErr.Code, "42"):
			return false, err // no such function, or no right to call it: asking again is no use
		case err != nil:
			last = err
		case status == nil:
			return false, errXactTooOld
		case *status == "aborted":
			return false, nil
		case *status == "committed" && server != a.server:
			return false, errXactForgot
		case *status == "committed":
			return true, nil
		}
		if pause(ctx, wait) != nil {
			return false, errors.Join(errXactUnknown, last)
		}
	}
}

// terminateSQL ends a backend if it is still the one with that transaction.
const terminateSQL = `select pg_terminate_backend(pid) from pg_stat_activity
	where pid = $1::bigint and backend_xid::text::bigint = $2::text::bigint % 4294967296`

// graceful returns a context that lasts for patience, and after the end of ctx for grace.
func graceful(ctx context.Context, patience, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// incarnationKey finds it in pgconn's CustomData: asked for once per connection, which
// ends when the server does.
const incarnationKey = "lifeguard.batch.incarnation"

const incarnationSQL = `select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ' ' ||
	extract(epoch from stats_reset) from pg_stat_bgwriter`

// incarnation tells one life of the server from the next after a crash or a promotion. It
// is empty if the server does not let this user ask.
func incarnation(ctx context.Context, pg *pgconn.PgConn) string {
	if known, ok := pg.CustomData()[incarnationKey].(string); ok {
		return known
	}
	results, err := pg.Exec(ctx, incarnationSQL).ReadAll()
	if err != nil || len(results) != 1 {
		return ""
	}
	return noteIncarnation(pg, results[0])
}

// noteIncarnation is incarnation for a connection that has answered incarnationSQL.
func noteIncarnation(pg *pgconn.PgConn, answer *pgconn.Result) string {
	if answer.Err != nil || len(answer.Rows) != 1 {
		return ""
	}
	known := string(answer.Rows[0][0])
	pg.CustomData()[incarnationKey] = known
	return known
}

// errNoPgx says that a *sql.DB is another driver's.
var errNoPgx = errors.New("lifeguard: no pgx connection")

// pgxLease is a pgx connection for as long as withPgx calls its f.
type pgxLease struct {
	conn  *pgx.Conn
	own   *Conn // Lifeguard's, if it is
	event event // begun when the connection was ready; of own
}

// withPgx calls f with a connection of db, which is given back afterwards, and dropped if
// f broke it. f's own error is returned as it is. st says what for; do is verbExecute if a
// refusal by the admission queue is a statement's: then f guards what it writes.
func withPgx(ctx context.Context, db *sql.DB, st *sqltext.Statement, do verb, f func(*pgxLease) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var failure error
	called := false
	err = conn.Raw(func(driverConn any) error {
		called = true
		var l *pgxLease
		if l, failure = leasedPgx(ctx, driverConn, st, do); failure != nil {
			if errors.Is(failure, driver.ErrBadConn) {
				return driver.ErrBadConn
			}
			return nil
		}
		failure = f(l)
		if l.own != nil {
			l.own.rest()
		}
		if l.conn.IsClosed() {
			return driver.ErrBadConn
		}
		return nil
	})
	if failure != nil {
		return failure
	}
	if called && errors.Is(err, driver.ErrBadConn) {
		return nil // f succeeded, and broke the connection all the same
	}
	return err
}

// leasedPgx finds the pgx connection under what sql.Conn.Raw hands over. Lifeguard's is
// admitted with the priority of ctx.
func leasedPgx(ctx context.Context, driverConn any, st *sqltext.Statement, do verb) (*pgxLease, error) {
	if c, ok := driverConn.(*Conn); ok {
		if err := c.lease(ctx, st, false); err != nil {
			return nil, c.turnedAway(ctx, st, do, err)
		}
		_, e := c.sending(ctx, st, verbPing) // without a span
		return &pgxLease{conn: c.ph.pgxConn(), own: c, event: e}, nil
	}
	if wrapped, ok := driverConn.(interface{ Raw() driver.Conn }); ok {
		return leasedPgx(ctx, wrapped.Raw(), st, do)
	}
	conn, err := PgxConn(driverConn) //nolint:contextcheck // what it needs one for was handled above
	if err != nil {
		return nil, errors.Join(errNoPgx, err)
	}
	return &pgxLease{conn: conn}, nil
}
