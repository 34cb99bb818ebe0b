package oteltest

import (
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// receiver is an OTLP collector in this process.
type receiver struct {
	server *httptest.Server
	mu     sync.Mutex // guards all below
	spans  []*otlp.Span
	logs   []*logs.LogRecord
	body   []byte // everything that came in
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = r.take(req.URL.Path, body)
		}
		if err != nil {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty message: all is well
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) take(path string, body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.body = append(r.body, body...)
	var traces collector.ExportTraceServiceRequest
	var records collectlogs.ExportLogsServiceRequest
	var err error
	switch path {
	case "/v1/traces":
		err = proto.Unmarshal(body, &traces)
	case "/v1/logs":
		err = proto.Unmarshal(body, &records)
	default:
		err = errors.New("there is no such page")
	}
	for _, resource := range traces.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	for _, resource := range records.GetResourceLogs() {
		for _, scope := range resource.GetScopeLogs() {
			r.logs = append(r.logs, scope.GetLogRecords()...)
		}
	}
	return err
}

// provider sends to the receiver through the real exporter.
func (r *receiver) provider(t *testing.T, options ...sdk.TracerProviderOption) *sdk.TracerProvider {
	t.Helper()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(r.server.URL+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	return sdk.NewTracerProvider(append(options, sdk.WithBatcher(exporter))...)
}

// named returns the spans of that name, after everything has been sent.
func (r *receiver) named(t *testing.T, provider *sdk.TracerProvider, name string) []*otlp.Span {
	t.Helper()
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*otlp.Span
	for _, s := range r.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

func (r *receiver) one(t *testing.T, provider *sdk.TracerProvider, name string) *otlp.Span {
	t.Helper()
	found := r.named(t, provider, name)
	if len(found) != 1 {
		t.Fatalf("%d spans are named %q, not 1", len(found), name)
	}
	return found[0]
}

// values flattens attributes.
func values(attrs []*common.KeyValue) map[string]any {
	flat := make(map[string]any)
	for _, a := range attrs {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			flat[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			flat[a.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			flat[a.GetKey()] = v.DoubleValue
		}
	}
	return flat
}

func config(t testing.TB, dsn string, change func(*lifeguard.Config)) lifeguard.Config {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name = "shop"
	cfg.Registerer = prometheus.NewRegistry()
	change(&cfg)
	return cfg
}

func open(t testing.TB, cfg lifeguard.Config) *sql.DB {
	t.Helper()
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// drain reads a query to its end.
func drain(t testing.TB, rows *sql.Rows, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		continue
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
}
