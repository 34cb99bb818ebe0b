package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collecttraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// record is a span or a log record, by what the test looks at.
type record struct {
	name          string // of the span, or the text of the record
	trace, parent string
}

// receiver is an OTLP collector in this process.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex        // guards all below
	spans    map[string]record // by span id
	logs     map[string]record // by span id
	services map[string]bool
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{spans: map[string]record{}, logs: map[string]record{}, services: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = r.take(req.URL.Path, body)
		}
		if err != nil {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty message says that all is well
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(path string, body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var traces collecttraces.ExportTraceServiceRequest
	var logs collectlogs.ExportLogsServiceRequest
	switch path {
	case "/v1/traces":
		if err := proto.Unmarshal(body, &traces); err != nil {
			return err
		}
	case "/v1/logs":
		if err := proto.Unmarshal(body, &logs); err != nil {
			return err
		}
	}
	for _, resource := range traces.GetResourceSpans() {
		r.serve(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans[hex.EncodeToString(s.GetSpanId())] = record{s.GetName(), hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetParentSpanId())}
			}
		}
	}
	for _, resource := range logs.GetResourceLogs() {
		r.serve(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeLogs() {
			for _, l := range scope.GetLogRecords() {
				r.logs[hex.EncodeToString(l.GetSpanId())] = record{name: l.GetBody().GetStringValue(), trace: hex.EncodeToString(l.GetTraceId())}
			}
		}
	}
	return nil
}

func (r *receiver) serve(attrs []*common.KeyValue) {
	for _, a := range attrs {
		if a.GetKey() == "service.name" {
			r.services[a.GetValue().GetStringValue()] = true
		}
	}
}

// start runs a command line until stop, and returns the address of its metrics.
func start(t *testing.T, args ...string) (metrics string, stop func() (code int, stderr string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"-addr", "127.0.0.1:0", "-dsn", pgtest.DSN(t)}, args...), writer, &stderr)
		_ = writer.Close()
		ended <- code
	}()
	once := sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { once() })
	line := make([]byte, 200)
	n, err := reader.Read(line)
	if err != nil {
		t.Fatalf("exit code %d, errors %s", once(), stderr.String())
	}
	return strings.TrimSpace(string(line[:n])), func() (int, string) { return once(), stderr.String() }
}

// exemplars returns the trace ids that a scrape finds.
func exemplars(t *testing.T, url string) (ids []string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`lifeguard_query_duration_seconds_bucket.*# \{trace_id="([0-9a-f]{32})"\}`).FindAllSubmatch(text, -1) {
		ids = append(ids, string(found[1]))
	}
	return ids
}

//nolint:paralleltest // the handler of OpenTelemetry's errors is the process's
func TestTracesLogsAndExemplarsLeadToEachOther(t *testing.T) {
	collector := newReceiver(t)
	metrics, stop := start(t, "-otlp", collector.URL, "-rate", "1000", "-goroutines", "4")
	deadline := time.Now().Add(time.Minute)
	for problem := "nothing"; problem != ""; problem = collector.problem() {
		if time.Now().After(deadline) {
			t.Fatal(problem)
		}
		wait := time.NewTimer(100 * time.Millisecond)
		<-wait.C
	}
	ids := exemplars(t, metrics)
	code, stderr := stop() // sends what is left
	if code != 0 || strings.Contains(stderr, "could not be sent") {
		t.Errorf("exit code %d, errors %s", code, stderr)
	}

	collector.mu.Lock()
	defer collector.mu.Unlock()
	traces := map[string]bool{}
	for _, s := range collector.spans {
		traces[s.trace] = true
	}
	for _, id := range ids {
		if !traces[id] {
			t.Errorf("an exemplar leads to trace %s, which has not come in", id)
		}
	}
	if len(ids) == 0 {
		t.Error("there is no exemplar")
	}
	if len(collector.services) != 1 || !collector.services["lifeguard-demo"] {
		t.Errorf("the services are %v", collector.services)
	}
}

// problem says what has not come in yet.
func (r *receiver) problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	below := false
	for _, s := range r.spans {
		parent, known := r.spans[s.parent]
		below = below || known && s.name == "INSERT orders" && parent.name == "POST /orders" && parent.trace == s.trace
	}
	if !below {
		return "no statement's span is below its request's"
	}
	for id, l := range r.logs {
		if s, known := r.spans[id]; known && l.name == "lifeguard: slow statement" && l.trace == s.trace {
			return ""
		}
	}
	return "no slow statement's log record has the trace of a span"
}

//nolint:paralleltest // the handler of OpenTelemetry's errors is the process's
func TestACollectorThatIsAwayDoesNoHarm(t *testing.T) {
	collector := httptest.NewServer(http.NotFoundHandler())
	defer collector.Close()
	metrics, stop := start(t, "-otlp", strings.Replace(collector.URL, "http://", "http://u:geheim@", 1), "-rate", "200")
	for len(exemplars(t, metrics)) == 0 {
		wait := time.NewTimer(50 * time.Millisecond)
		<-wait.C
	}
	code, stderr := stop()
	if code != 0 || !strings.Contains(stderr, "could not be sent to the collector") || strings.Contains(stderr, "geheim") {
		t.Errorf("exit code %d, errors %s", code, stderr)
	}
}

func TestACommandLineThatCannotBeUnderstoodIsExplained(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"-otlp localhost:4318":               "-otlp must be a URL",
		"-otlp http://u:geheim@host:port/":   "-otlp must be a URL",
		"-sample 2":                          "-sample must be from 0 to 1, not 2",
		"-rate -1":                           "-rate must be from 0 to",
		"now":                                `unexpected argument "now"`,
		"-nonsense":                          "flag provided but not defined: -nonsense",
		"-dsn postgres://u:geheim@host:port": "Run 'lifeguard-otlp -h'",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"-addr", "127.0.0.1:0"}, strings.Fields(args)...), &stdout, &stderr)
		if strings.HasPrefix(args, "-dsn") {
			says = "lifeguard-otlp: "
			code++ // it is understood, but does not work
		}
		if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), says) || strings.Contains(stderr.String(), "geheim") {
			t.Errorf("%s: exit code %d, output %q, errors %q", args, code, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 ||
		!strings.Contains(stdout.String(), "Usage: lifeguard-otlp [flags]") || !strings.Contains(stdout.String(), "-sample") {
		t.Errorf("-h: exit code %d, output %q, errors %q", code, stdout.String(), stderr.String())
	}
}
