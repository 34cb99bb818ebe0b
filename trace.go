package lifeguard

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// instrumentation is the scope's name of spans and OpenTelemetry metrics.
const instrumentation = "github.com/lifeguard-go/lifeguard"

// tracing makes one client span for each statement that is sent to the server, BEGIN,
// COMMIT, ROLLBACK and the first preparation on a connection included, and records
// db.client.operation.duration. A nil *tracing is off, which costs a statement 2 ns at
// most (BenchmarkObserveSpansOff).
//
// A span begins when the statement is about to be sent and ends when its rows are
// closed; lifeguard.first_row says after how many seconds the first row was there. The
// wait for admission comes before the span and is an attribute of it. All that is
// known at the start is given at the start, so that samplers see it.
//
// Pings and what database/sql does between checkouts make no span, nor does what the query
// cache answers, from memory, from Redis or by another one's query. Neither does a
// statement that was not sent: a span says that the database did something, and rates
// and latencies are made from spans. What turned it away is an event of the caller's
// span, lifeguard.turned_away, where who reads the trace of the failed request looks, and
// so is what Redis was asked, lifeguard.redis: that takes the caller's time.
//
// It stands directly on the OpenTelemetry API. otelsql was measured and left out: if
// nothing is sampled it takes 2.6 µs of a query, where this takes 1.1; if everything is,
// both take between 5 and 6, nearly all of it in the SDK (make bench-observed). For that
// it makes two spans of a query, names neither by the statement, and sets attributes only
// when samplers have decided. Around Lifeguard it works.
type tracing struct {
	tracer   trace.Tracer            // nil without spans
	duration metric.Float64Histogram // nil without OpenTelemetry metrics
	pool     string

	server atomic.Pointer[server] // set by the first connection
	series sync.Map               // summary → *series
	kept   atomic.Int64           // in series
}

// series is what observations of statements of one summary have in common.
type series struct {
	attrs   []attribute.KeyValue
	options []metric.RecordOption
}

// server is what spans and metrics say about where statements go.
type server struct {
	attrs []attribute.KeyValue
	many  bool // the DSN has several hosts: only the connection knows which it is
}

// summaries bounds the values of db.query.summary in the metrics. A statement beyond
// them has none there.
const summaries = 500

// newTracing returns nil if cfg asks for nothing.
func newTracing(cfg *Config, pool string) (*tracing, error) {
	t := &tracing{pool: pool}
	if cfg.TracerProvider != nil {
		t.tracer = cfg.TracerProvider.Tracer(instrumentation, trace.WithSchemaURL(semconv.SchemaURL))
	}
	var err error
	if cfg.MeterProvider != nil {
		meter := cfg.MeterProvider.Meter(instrumentation, metric.WithSchemaURL(semconv.SchemaURL))
		t.duration, err = meter.Float64Histogram("db.client.operation.duration",
			metric.WithUnit("s"),
			metric.WithDescription("Duration of database client operations."),
			metric.WithExplicitBucketBoundaries(.001, .005, .01, .05, .1, .5, 1, 5, 10))
	}
	if t.tracer == nil && t.duration == nil {
		return nil, err
	}
	return t, err
}

// start begins the span of an event that is about to be sent over ph; the span is nil
// without a tracer. It takes no pointer: whoever has one taken of its event can no longer
// make it where its caller wants it, and pays for a copy without spans too.
func (t *tracing) start(ctx context.Context, e event, ph *physical, more ...attribute.KeyValue) (context.Context, trace.Span) {
	srv := t.serverOf(ph)
	if t.tracer == nil {
		return ctx, nil
	}
	name, attrs := t.describe(e, ph, srv)
	attrs = append(attrs, more...)
	return t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

// startAt is start for an event that was sent already.
func (t *tracing) startAt(ctx context.Context, e event, ph *physical, sent time.Time) (context.Context, trace.Span) {
	srv := t.serverOf(ph)
	if t.tracer == nil {
		return ctx, nil
	}
	name, attrs := t.describe(e, ph, srv)
	return t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...), trace.WithTimestamp(sent))
}

func (*tracing) describe(e event, ph *physical, srv *server) (string, []attribute.KeyValue) {
	name := cmp.Or(e.st.Summary, e.st.Kind.String())
	attrs := make([]attribute.KeyValue, 0, len(srv.attrs)+6) // enough for most
	attrs = append(attrs, srv.attrs...)
	if srv.many {
		attrs = appendAddress(attrs, ph)
	}
	if e.verb == verbPrepare {
		name = prepareName(name)
		attrs = append(attrs, semconv.DBOperationName("PREPARE"))
	}
	attrs = append(attrs,
		semconv.DBQuerySummary(name),
		semconv.DBQueryText(e.st.Normalized),
		attribute.String("lifeguard.source", "db"),
		attribute.Float64("lifeguard.queue.wait", e.wait.Seconds()))
	if e.cache.outcome != "" {
		attrs = append(attrs, attribute.String("lifeguard.cache.outcome", e.cache.outcome))
	}
	if e.cache.reason != "" {
		attrs = append(attrs, attribute.String("lifeguard.cache.reason", e.cache.reason))
	}
	return name, attrs
}

// prepareName keeps within the 255 bytes of a summary, and cuts no name in two.
func prepareName(summary string) string {
	if name := "PREPARE " + summary; len(name) <= 255 {
		return name
	}
	return "PREPARE"
}

// end ends the span of an event.
func (t *tracing) end(e *event) {
	defer e.span.End()
	if !e.span.IsRecording() {
		return
	}
	if e.result {
		e.span.SetAttributes(attribute.Float64("lifeguard.first_row", e.first.Seconds()), semconv.DBResponseReturnedRows(int(e.rows)))
	}
	if e.err == nil {
		return
	}
	sqlstate, kind := fault(e.err, e.lost)
	if sqlstate != "" {
		e.span.SetAttributes(semconv.DBResponseStatusCode(sqlstate))
	}
	e.span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	e.span.SetStatus(codes.Error, kind)
}

// turnedAway tells the caller's span why there is none of the statement.
func (t *tracing) turnedAway(ctx context.Context, e *event, outcome queryOutcome) {
	if t.tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	_, reason := fault(e.err, false)
	if outcome == outcomeRejected {
		reason = refusalReason(e.err)
	}
	span.AddEvent("lifeguard.turned_away", trace.WithAttributes(
		semconv.DBClientConnectionPoolName(t.pool),
		semconv.DBQuerySummary(e.st.Summary),
		attribute.String("lifeguard.reason", reason),
		attribute.Float64("lifeguard.queue.wait", e.wait.Seconds())))
}

// lookedUp tells the caller's span what a look-up in Redis has come to, and how long it took.
func (t *tracing) lookedUp(ctx context.Context, st *sqltext.Statement, result string, took time.Duration) {
	if t.tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.AddEvent("lifeguard.redis", trace.WithAttributes(
		semconv.DBClientConnectionPoolName(t.pool),
		semconv.DBQuerySummary(st.Summary),
		attribute.String("lifeguard.redis.result", result),
		attribute.Float64("lifeguard.redis.seconds", took.Seconds())))
}

// record adds the event to db.client.operation.duration, with the duration of its span.
func (t *tracing) record(ctx context.Context, e *event) {
	if t.duration == nil || !t.duration.Enabled(ctx) {
		return
	}
	of := t.seriesOf(e.st.Summary)
	if e.err == nil {
		t.duration.Record(ctx, e.took.Seconds(), of.options...)
		return
	}
	sqlstate, kind := fault(e.err, e.lost)
	attrs := append(slices.Clip(of.attrs), semconv.ErrorTypeKey.String(kind))
	if sqlstate != "" {
		attrs = append(attrs, semconv.DBResponseStatusCode(sqlstate))
	}
	t.duration.Record(ctx, e.took.Seconds(), metric.WithAttributes(attrs...))
}

// seriesOf keeps what it makes: an attribute set costs more than the observation.
// Summaries beyond the bound share the series without one.
func (t *tracing) seriesOf(summary string) *series {
	if found, ok := t.series.Load(summary); ok {
		return found.(*series) //nolint:errcheck // there is nothing else in it
	}
	if summary != "" && t.kept.Load() >= summaries {
		return t.seriesOf("")
	}
	made := &series{attrs: slices.Clone(t.server.Load().attrs)} // there since the statement was sent
	if summary != "" {
		made.attrs = append(made.attrs, semconv.DBQuerySummary(summary))
	}
	made.options = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(made.attrs...))}
	if _, raced := t.series.LoadOrStore(summary, made); !raced {
		t.kept.Add(1)
	}
	return made
}

// serverOf finds out, once, what is the same for every statement. It asks a
// connection, because a connector that wraps another one has no configuration.
func (t *tracing) serverOf(ph *physical) *server {
	if srv := t.server.Load(); srv != nil {
		return srv
	}
	srv := describeServer(ph.pgxConn().Config(), t.pool)
	if !t.server.CompareAndSwap(nil, srv) {
		return t.server.Load()
	}
	return srv
}

func describeServer(cfg *pgx.ConnConfig, pool string) *server {
	srv := &server{attrs: []attribute.KeyValue{
		semconv.DBSystemNamePostgreSQL,
		// The schema, which the conventions would put behind it, is the first of the
		// search path that exists: only the server knows.
		semconv.DBNamespace(cmp.Or(cfg.Database, cfg.User)),
		semconv.DBClientConnectionPoolName(pool),
	}}
	for _, f := range cfg.Fallbacks {
		srv.many = srv.many || f.Host != cfg.Host || f.Port != cfg.Port
	}
	if srv.many {
		return srv
	}
	srv.attrs = append(srv.attrs, semconv.ServerAddress(cfg.Host))
	if !strings.HasPrefix(cfg.Host, "/") { // a socket has no port
		srv.attrs = append(srv.attrs, semconv.ServerPort(int(cfg.Port)))
	}
	return srv
}

// appendAddress adds the address that the connection really has.
func appendAddress(attrs []attribute.KeyValue, ph *physical) []attribute.KeyValue {
	remote := ph.pg.Conn().RemoteAddr().String()
	host, port, err := net.SplitHostPort(remote)
	if err != nil {
		return append(attrs, semconv.ServerAddress(remote))
	}
	n, _ := strconv.Atoi(port)
	return append(attrs, semconv.ServerAddress(host), semconv.ServerPort(n))
}

// sampled reports whether the event's trace is kept.
func (e *event) sampled() bool { return e.span != nil && e.span.SpanContext().IsSampled() }

// exemplar returns the labels that lead from an observation to its trace.
func (e *event) exemplar() map[string]string {
	return map[string]string{"trace_id": e.span.SpanContext().TraceID().String()}
}
