package lifeguard

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/trace"
)

// journal writes what an operator should read to Config.Logger. What can come in
// bursts is bounded: each kind of line, and each reason of a refusal, has so many
// lines a second; the next line that gets through says how many did not. No line has
// a value: statements appear without literals and arguments, errors by their SQLSTATE.
//
// Levels: Error when no connection can be had; Warn for a statement or a connection
// that somebody should look at; Info for good news.
type journal struct {
	logger *slog.Logger
	name   string // of the pool
	now    func() time.Duration
	limit  int // pool_max_conns

	slowLines, lostLines, connectLines ration
	refusalLines                       map[string]*ration // by reason; never changed

	pool atomic.Pointer[pool] // for the line on churn; nil while it is being made, or pools elsewhere

	mu          sync.Mutex // guards all below; never held while blocking
	failures    int        // to connect, since the last success
	failedSince time.Duration
	window      time.Duration // when it began
	opened      int           // connections, in this window
	closedThen  [endReasons]int64
	churning    bool // and reported
}

const (
	slowPerSecond    = 10
	lostPerSecond    = 5
	refusedPerSecond = 1 // for each reason
	connectPerSecond = 1
)

func newJournal(cfg *Config, now func() time.Duration) *journal {
	j := &journal{logger: cfg.Logger, name: cfg.Name, now: now, limit: cfg.MaxConns, refusalLines: make(map[string]*ration)}
	for _, reason := range overloadReasons {
		j.refusalLines[string(reason)] = &ration{}
	}
	j.refusalLines[reasonNested] = &ration{}
	return j
}

// ration lets so many lines pass in a second.
type ration struct {
	mu         sync.Mutex // guards all below; never held while blocking
	until      time.Duration
	passed     int
	suppressed uint64
}

// take reports whether a line may be written, and how many were not since the last.
func (r *ration) take(now time.Duration, perSecond int) (suppressed uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now >= r.until {
		r.until, r.passed = now+time.Second, 0
	}
	if r.passed >= perSecond {
		r.suppressed++
		return 0, false
	}
	r.passed++
	suppressed, r.suppressed = r.suppressed, 0
	return suppressed, true
}

// slow reports a statement that took longer than lifeguard_slow from the call to the
// end of its rows.
func (j *journal) slow(ctx context.Context, e *event) {
	suppressed, ok := j.slowLines.take(j.now(), slowPerSecond)
	if !ok {
		return
	}
	attrs := append(j.statement(ctx, e),
		slog.String("sql", e.st.Normalized),
		slog.Float64("first_row_ms", millis(e.first)),
		slog.Float64("connect_ms", millis(e.open)),
	)
	if e.verb == verbPrepare {
		attrs = append(attrs, slog.Bool("prepare", true))
	}
	if e.cache.outcome != "" {
		attrs = append(attrs, slog.String("cache", e.cache.outcome))
	}
	if e.cache.reason != "" {
		attrs = append(attrs, slog.String("cache_reason", e.cache.reason))
	}
	j.write(ctx, slog.LevelWarn, "lifeguard: slow statement", suppressed, withFault(attrs, e))
}

// refused reports a statement that the limiter did not admit.
func (j *journal) refused(ctx context.Context, e *event) {
	reason := refusalReason(e.err)
	suppressed, ok := j.refusalLines[reason].take(j.now(), refusedPerSecond)
	if !ok {
		return
	}
	attrs := append(j.statement(ctx, e), slog.String("reason", reason))
	if overload, ok := errors.AsType[*OverloadError](e.err); ok {
		attrs = append(attrs,
			slog.Int("limit", overload.Limit),
			slog.Int("queued", overload.Queued),
			slog.Float64("retry_after_ms", millis(overload.RetryAfter)),
		)
	}
	j.write(ctx, slog.LevelWarn, "lifeguard: statement refused", suppressed, withFault(attrs, e))
}

// lost reports a connection that died under a statement.
func (j *journal) lost(ctx context.Context, e *event) {
	suppressed, ok := j.lostLines.take(j.now(), lostPerSecond)
	if !ok {
		return
	}
	j.write(ctx, slog.LevelWarn, "lifeguard: connection lost during a statement", suppressed, withFault(j.statement(ctx, e), e))
}

// leaked reports a lease that was taken long ago, with the statement that it is at, or was
// at last. ctx is that of the operation that took it.
func (j *journal) leaked(ctx context.Context, held, wait time.Duration, s *slot, takenAt string) {
	state, summary, fingerprint := s.doing()
	attrs := append(j.about(ctx, summary, fingerprint),
		slog.Float64("held_ms", millis(held)),
		slog.Float64("wait_ms", millis(wait)),
		slog.String("state", state.String()),
		slog.String("taken_at", takenAt),
	)
	j.write(ctx, slog.LevelWarn, "lifeguard: a connection has been held for long; is a Rows, Tx or Conn not closed?", 0, attrs)
}

// statement begins a line about a statement.
func (j *journal) statement(ctx context.Context, e *event) []slog.Attr {
	return append(j.about(ctx, e.st.Summary, e.st.Fingerprint),
		slog.Float64("duration_ms", millis(e.took)),
		slog.Float64("wait_ms", millis(e.wait)),
		slog.Int64("rows", e.rows),
	)
}

func (j *journal) about(ctx context.Context, summary string, fingerprint uint64) []slog.Attr {
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("pool", j.name), slog.String("summary", summary), slog.String("fingerprint", fmt.Sprintf("%016x", fingerprint)))
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		attrs = append(attrs, slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return attrs
}

func withFault(attrs []slog.Attr, e *event) []slog.Attr {
	if e.err == nil {
		return attrs
	}
	_, kind := fault(e.err, e.lost)
	return append(attrs, slog.String("error", kind))
}

func (j *journal) write(ctx context.Context, level slog.Level, text string, suppressed uint64, attrs []slog.Attr) {
	if suppressed > 0 {
		attrs = append(attrs, slog.Uint64("suppressed", suppressed))
	}
	j.logger.LogAttrs(ctx, level, text, attrs...)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// watching opens connections through connect and keeps an eye on it: on failures, on
// the first success after them, and on churn.
func (j *journal) watching(connect func(context.Context) (driver.Conn, error)) func(context.Context) (driver.Conn, error) {
	return func(ctx context.Context) (driver.Conn, error) {
		conn, err := connect(ctx)
		switch {
		case err == nil:
			j.connected(ctx)
		case !errors.Is(err, context.Canceled): // the connector is being closed
			j.connectFailed(ctx, err)
		}
		return conn, err
	}
}

func (j *journal) connectFailed(ctx context.Context, err error) {
	now := j.now()
	j.mu.Lock()
	if j.failures == 0 {
		j.failedSince = now
	}
	j.failures++
	failures, since := j.failures, j.failedSince
	j.mu.Unlock()

	suppressed, ok := j.connectLines.take(now, connectPerSecond)
	if !ok {
		return
	}
	sqlstate, kind := fault(err, false)
	attrs := []slog.Attr{
		slog.String("pool", j.name), slog.String("error", kind), slog.Int("failures", failures), slog.Float64("failing_ms", millis(now-since)),
	}
	if refused, ok := errors.AsType[*pgconn.ConnectError](err); ok && sqlstate == "" {
		attrs = append(attrs, slog.String("detail", refused.Error())) // which address, and why; no password
	}
	j.write(ctx, slog.LevelError, "lifeguard: could not open a connection", suppressed, attrs)
}

// churnWindow is how long connections are counted for the line on churn: when twice
// as many were opened in it as can be open, and not because the application closed
// others, something keeps closing them. A few are no churn, however few can be open.
const (
	churnWindow = 10 * time.Second
	churnLeast  = 10
)

func (j *journal) connected(ctx context.Context) {
	now := j.now()
	closed := j.closedNow()
	j.mu.Lock()
	failures, since := j.failures, j.failedSince
	j.failures = 0
	if j.opened == 0 || now-j.window > churnWindow {
		j.window, j.opened, j.closedThen, j.churning = now, 0, closed, false
	}
	j.opened++
	opened, window, then := j.opened, now-j.window, j.closedThen
	replaced := opened - int(closed[endClosed]-then[endClosed])
	churning := !j.churning && replaced >= max(2*j.limit, churnLeast) && j.pool.Load() != nil
	j.churning = j.churning || churning
	j.mu.Unlock()

	if failures > 0 {
		j.write(ctx, slog.LevelInfo, "lifeguard: connected again", 0, []slog.Attr{
			slog.String("pool", j.name), slog.Int("failures", failures), slog.Float64("failing_ms", millis(now-since)),
		})
	}
	if churning {
		attrs := []slog.Attr{slog.String("pool", j.name), slog.Int("opened", opened), slog.Float64("window_ms", millis(window))}
		for r := range endReasons {
			if n := closed[r] - then[r]; n > 0 {
				attrs = append(attrs, slog.Int64("closed_"+r.String(), n))
			}
		}
		j.write(ctx, slog.LevelWarn, "lifeguard: connections do not last", 0, attrs)
	}
}

// watchPool makes the pool known whose connections are watched. One that takes its
// connections from a pgxpool opens one for each lease; that is no churn.
func (j *journal) watchPool(p *pool) {
	if !p.keepsNo {
		j.pool.Store(p)
	}
}

func (j *journal) closedNow() (n [endReasons]int64) {
	p := j.pool.Load()
	if p == nil {
		return n
	}
	for r := range n {
		n[r] = p.ended[r].Load()
	}
	return n
}
