package cdc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// stream is one life of the slot: two connections, and two goroutines. One reads the log;
// the other, on a plain connection, beats, settles what became visible, and looks at the
// catalog. Who is told is in [Streams].
type stream struct {
	key         string // in Streams
	publication string
	now         func() time.Duration
	control     *pgconn.PgConn
	version     int
	relay       *relay // nil without

	// Of Streams.
	members   atomic.Pointer[[]*Consumer] // replaced, never changed, under Streams.mu
	founder   *Consumer                   // whose way to the server it takes
	connected atomic.Bool                 // the way is not needed any more
	limits    atomic.Pointer[limits]      // the strictest of the members'
	cancel    context.CancelFunc
	done      chan struct{} // closed when it has ended
	err       error         // why; to be read after done

	// For whoever asks.
	confirmed        atomic.Int64 // on now: everything that was visible then was told; never
	tables           atomic.Pointer[tables]
	unsettled        unsettled
	lag              atomic.Int64
	leads, announced atomic.Bool
	asked, idle      atomic.Bool   // see serves
	kick             chan struct{} // wakes the control loop; holds one
	traffic          atomic.Uint64 // commits that were told, beats left out

	// Of the relay; see relay.go.
	follows, relays      atomic.Bool
	publisher            atomic.Pointer[publisher] // nil unless it leads
	relayed, relayErrors atomic.Uint64             // entries written or heard; commands that failed
	heard                atomic.Int64              // on now: the latest entry

	// The reader's alone.
	log      *pgconn.HijackedConn
	pace     pace
	xid      uint32                // of the open transaction
	changed  map[Relation]struct{} // by it, leaves
	schema   bool                  // it changed the schema
	shapes   map[Relation]string   // latest description of each table
	answered time.Duration         // when the server was last told the position
	out      []byte
	epoch    epoch  // that is followed
	seq      uint64 // of the latest entry of it

	relaySaid bool // that it cannot be written; of who leads alone

	// The control loop's alone.
	fingerprint string        // of the catalog
	republished time.Duration // when the publication was seen to be another than the base; 0: not
	trafficSeen uint64        // at the latest beat
	askedAt     time.Duration // when somebody was last seen to ask

	base entries // what the publication named when the slot was made

	mu       sync.Mutex // guards what follows; never held while blocking
	state    State
	position uint64   // of the log: all before has been told to the cache
	beats    []beat   // waiting for the position, oldest first
	pending  []uint64 // transactions that changed the schema, and were not looked at yet
	upTo     uint64   // all up to this one must be visible first; 0 if that is over
	changes  uint64   // of the schema, so far
}

// beat is one look at the end of the log: what was visible at the time is before that.
type beat struct {
	at       time.Duration
	position uint64
}

const (
	connectLimit = 10 * time.Second
	queryLimit   = 15 * time.Second
	silenceLimit = 40 * time.Second // below the server's default wal_sender_timeout
	answerEvery  = 500 * time.Millisecond
	closeLimit   = 3 * time.Second
)

// live lives one life and returns why it ended. The plain connection is open.
func (s *stream) live(ctx context.Context, server string) error {
	defer closeConn(ctx, s.control)
	if s.relay != nil {
		defer s.relay.close()
		if may, err := s.takeSlot(ctx); err != nil {
			return err
		} else if !may {
			return s.liveFollowing(ctx)
		}
	}
	replication, err := s.connectLog(ctx, server)
	if err != nil {
		return err
	}
	s.connected.Store(true)
	hijacked := false
	defer func() {
		if !hijacked {
			closeConn(ctx, replication)
		}
	}()
	if err := s.prepare(ctx, replication); err != nil {
		return err
	}
	if s.log, err = replication.Hijack(); err != nil {
		return err
	}
	hijacked = true
	s.setState(Settling)
	return s.run(ctx)
}

// connectControl opens the plain connection, and looks whether the server will do.
func (s *stream) connectControl(ctx context.Context) (server string, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if s.control, err = s.founder.cfg.Connect(ctx, false); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			closeConn(ctx, s.control)
		}
	}()
	s.version = serverVersion(s.control)
	if s.version < 140000 {
		return "", errVersion
	}
	// A beat has to reach the disk here, for the walsender sends no more, and must not
	// wait for a standby.
	_, err = s.control.Exec(ctx, `SET synchronous_commit = 'local'; SET idle_session_timeout = 0;
		SET statement_timeout = 0; SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed';
		SET commit_delay = 0`).ReadAll()
	if isRefused(err) { // commit_delay is a superuser's
		_, err = s.control.Exec(ctx, `SET synchronous_commit = 'local'; SET idle_session_timeout = 0;
			SET statement_timeout = 0; SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'`).ReadAll()
	}
	if err != nil {
		return "", err
	}
	rows, err := query(ctx, s.control, `SELECT `+ServerSQL+`, pg_catalog.pg_is_in_recovery()::pg_catalog.text,
		pg_catalog.current_setting('wal_level'), pg_catalog.pg_backend_pid()::pg_catalog.text,
		pg_catalog.current_setting('synchronous_standby_names')`)
	switch {
	case err != nil:
		return "", err
	case len(rows) != 1:
		return "", &protocolError{"no facts"}
	case rows[0][1] == "true":
		return "", errRecovery
	case rows[0][2] != "logical":
		return "", errWALLevel
	case rows[0][3] != strconv.FormatUint(uint64(s.control.PID()), 10):
		return "", errProxied
	case s.countsAsStandby(rows[0][4]):
		return "", errStandby
	}
	return rows[0][0], nil
}

// connectLog opens the connection for replication, to the same server.
func (s *stream) connectLog(ctx context.Context, server string) (conn *pgconn.PgConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if conn, err = s.founder.cfg.Connect(ctx, true); err != nil {
		return nil, err
	}
	results, err := conn.Exec(ctx, "SELECT "+ServerSQL).ReadAll()
	if err == nil && (len(results) != 1 || len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != server) {
		err = errProxied
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// prepare makes the slot and starts the stream. The slot waits for every transaction that
// writes, for as long as that takes.
func (s *stream) prepare(ctx context.Context, conn *pgconn.PgConn) error {
	if err := s.publish(ctx); err != nil {
		return err
	}
	slot := "lifeguard_" + randomName()
	// pgconn has the server cancel this when ctx ends: it would not notice a closed socket.
	if _, err := conn.Exec(ctx, "CREATE_REPLICATION_SLOT "+slot+" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT").ReadAll(); err != nil {
		return err
	}
	if err := s.beginSettling(ctx); err != nil {
		return err
	}
	conn.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION SLOT " + slot + " LOGICAL 0/0 " +
		"(proto_version '1', publication_names " + quoteLiteral(quoteIdentifier(s.publication)) + ", messages 'true')"})
	if err := conn.Frontend().Flush(); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	for {
		m, err := conn.ReceiveMessage(starting)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			return &protocolError{fmt.Sprintf("%T in place of the stream", m)}
		}
	}
}

// publish sees to it that there is a publication, and notes what it names.
func (s *stream) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	if err := EnsurePublication(ctx, s.control, s.publication); err != nil {
		return err
	}
	p, err := s.published(ctx)
	if err != nil {
		return err
	}
	s.base = *p
	return nil
}

// published is what the publication names.
func (s *stream) published(ctx context.Context) (*entries, error) {
	p, err := loadPublication(ctx, s.control, s.publication, s.version)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, errNoPublication
	case !p.usable:
		return nil, errUnusable
	}
	return &p.published, nil
}

// beginSettling has everything wait for the transactions that run now. The number of a new
// one tells which they are.
func (s *stream) beginSettling(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	rows, err := query(ctx, s.control, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text")
	if err != nil {
		return err
	}
	s.upTo, err = strconv.ParseUint(rows[0][0], 10, 64)
	if err != nil {
		return &protocolError{"no number of a transaction"}
	}
	s.unsettled.reset(&Snapshot{xmin: s.upTo, xmax: s.upTo})
	return nil
}

// run reads and beats until either ends.
func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	if s.follows.Load() {
		wg.Go(func() { cancel(s.readRelay(ctx)) })
	} else {
		wg.Go(func() { cancel(s.read()) })
		if s.relay != nil {
			wg.Go(func() { s.lead(ctx) })
		}
	}
	err := s.beat(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the reader's error came first
	}
	cancel(err)
	s.hangUp()
	wg.Wait()
	return err
}

// hangUp ends the replication connection, and with it the slot. The server sees to the rest
// when the socket is closed, but what it is about to send may block it: so it is closed
// with what lies unread, which resets it.
func (s *stream) hangUp() {
	if s.log != nil { // a follower's read ends by itself, soon
		_ = s.log.Conn.Close()
	}
}

// closeConn ends a connection, and waits for what pgconn does behind one that was given up.
func closeConn(ctx context.Context, conn *pgconn.PgConn) {
	if conn.IsClosed() {
		<-conn.CleanupDone()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	_ = conn.Close(ctx)
}

func isRefused(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused)
}

// serverVersion is 150018 for 15.18, and 140000 for 14beta1; 0 if it is not said.
func serverVersion(conn *pgconn.PgConn) int {
	text := conn.ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	major, err := strconv.Atoi(text[:end])
	if err != nil {
		return 0
	}
	return major * 10000
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteLiteral(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }
