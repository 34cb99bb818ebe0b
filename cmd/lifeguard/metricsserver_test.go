package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// serving is a metrics server at work.
type serving struct {
	t    *testing.T
	url  string // of the root, with a slash at the end
	log  *log   // what it has said to stderr until now
	stop func() (code int, stdout, stderr string)
}

// log is text that may be read while it is written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startMetricsServer returns when the address is known. The server is stopped at the
// end of the test, at the latest.
func startMetricsServer(t *testing.T, args ...string) serving {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	var stdout bytes.Buffer
	stderr := &log{}
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"metrics-server", "-addr", "127.0.0.1:0"}, args...),
			output{Writer: io.MultiWriter(&stdout, writer), errors: stderr})
		_ = writer.Close()
		ended <- code
	}()
	stop := sync.OnceValues(func() (int, struct{}) {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		return <-ended, struct{}{}
	})
	t.Cleanup(func() { stop() })

	line := make([]byte, 200)
	n, err := reader.Read(line)
	if err != nil {
		code, _ := stop()
		t.Fatalf("exit code %d, errors %s", code, stderr.String())
	}
	url, found := strings.CutSuffix(string(line[:n]), "metrics\n")
	if !found || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("the first line is %q", line[:n])
	}
	return serving{t, url, stderr, func() (int, string, string) {
		code, _ := stop()
		return code, stdout.String(), stderr.String()
	}}
}

// get asks for a page; the status is 0 if nobody answers.
func (s serving) get(path string, header ...string) (status int, contentType, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Error(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
}

// eventually polls until all is well, which has a minute's time.
func eventually(t *testing.T, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		said := problem()
		if said == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(said)
		}
		<-tick.C
	}
}

// sample finds a series by its name and labels, as they are written.
func sample(metrics, series string) float64 {
	for line := range strings.Lines(metrics) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return v
		}
	}
	return -1
}

func TestTheMetricsServerDoesSomeOfEverything(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t)
	s := startMetricsServer(t, "-rate", "2000", "-goroutines", "4", "-conns", "3")
	eventually(t, func() string {
		_, _, metrics := s.get("metrics")
		for _, series := range []string{
			`lifeguard_queries_total{op="select",outcome="ok",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="insert",outcome="ok",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="update",outcome="ok",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="delete",outcome="ok",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="tx",outcome="ok",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="select",outcome="timeout",pool="shop",source="db"}`,
			`lifeguard_queries_total{op="select",outcome="canceled",pool="shop",source="db"}`,
			`lifeguard_errors_total{class="22",pool="shop"}`,
			`lifeguard_errors_total{class="23",pool="shop"}`,
			`lifeguard_errors_total{class="40",pool="shop"}`,
			`lifeguard_errors_total{class="42",pool="shop"}`,
			`lifeguard_admissions_total{pool="shop",priority="bulk"}`,
			"go_goroutines",
		} {
			if sample(metrics, series) <= 0 {
				return series + " is not above 0 in:\n" + metrics
			}
		}
		if said := s.log.String(); !strings.Contains(said, "slow statement") {
			return "no slow statement in:\n" + said
		}
		return ""
	})

	status, contentType, metrics := s.get("metrics")
	if status != http.StatusOK || !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("/metrics: %d, %s", status, contentType)
	}
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	status, contentType, metrics = s.get("metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if status != http.StatusOK || !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(metrics, "# EOF\n") {
		t.Errorf("/metrics as OpenMetrics: %d, %s", status, contentType)
	}
	if status, _, body := s.get("healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d, %q", status, body)
	}
	status, contentType, body := s.get("")
	if status != http.StatusOK || !strings.HasPrefix(contentType, "text/html") {
		t.Errorf("/: %d, %s", status, contentType)
	}
	mustContain(t, body, `href="metrics"`, `href="healthz"`, "2000 a second, by 4 goroutines", "<td>shop</td>")
	if status, _, _ := s.get("nowhere"); status != http.StatusNotFound {
		t.Errorf("/nowhere: %d", status)
	}

	code, stdout, stderr := s.stop()
	if code != exitOK || strings.Count(stdout, "\n") != 1 || strings.Contains(stderr, "level=ERROR") {
		t.Errorf("exit code %d, output %q, errors %s", code, stdout, stderr)
	}
	mustContain(t, stderr, "metrics server stopped")
}

func TestTheMetricsServerKeepsToItsSchemaAndMayRunTwice(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	conn := connectTo(t, dsn)
	query := func(text string) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), text).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := startMetricsServer(t, "-dsn", dsn+separatorIn(dsn)+"lifeguard_name=mine&pool_max_conns=2", "-rate", "300")
	second := startMetricsServer(t, "-dsn", dsn, "-rate", "300", "-limit", "auto", "-conns", "4")
	for _, s := range []serving{first, second} {
		eventually(t, func() string {
			_, _, metrics := s.get("metrics")
			for _, pool := range []string{"mine", "shop"} {
				if sample(metrics, `lifeguard_queries_total{op="update",outcome="ok",pool="`+pool+`",source="db"}`) > 10 {
					return ""
				}
			}
			return metrics
		})
	}
	_, _, metrics := first.get("metrics")
	if limit := sample(metrics, `lifeguard_pool_max_connections{pool="mine"}`); limit != 2 {
		t.Errorf("the DSN's pool_max_conns became %v", limit)
	}
	for _, s := range []serving{first, second} {
		if code, _, stderr := s.stop(); code != exitOK || strings.Contains(stderr, "level=ERROR") {
			t.Errorf("exit code %d, errors %s", code, stderr)
		}
	}
	if n := query(`select count(*) from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public', 'lifeguard_metrics')`); n != 0 {
		t.Errorf("%d other schemas", n)
	}
	if n := query("select count(*) from pg_class where relnamespace = 'public'::regnamespace"); n != 0 {
		t.Errorf("%d relations in the user's schema", n)
	}
	if n := query("select count(*) from lifeguard_metrics.customers"); n != 1000 {
		t.Errorf("%d customers", n)
	}
	if n := query("select count(*) from lifeguard_metrics.events"); n == 0 {
		t.Error("nothing was loaded in bulk")
	}
	eventually(t, func() string {
		if query("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'lifeguard-metrics-server'") > 0 {
			return "sessions are left"
		}
		return ""
	})
}

func TestTheHealthFollowsPostgreSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{})
	if !server.Managed() {
		t.Skip("the server is not ours to kill")
	}
	dsn := server.DSN("postgres")
	s := startMetricsServer(t, "-dsn", dsn+separatorIn(dsn)+"password=geheim", "-rate", "100")
	if status, _, body := s.get("healthz"); status != http.StatusOK {
		t.Fatalf("%d, %s", status, body)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		status, _, body := s.get("healthz")
		if status == http.StatusServiceUnavailable && strings.HasPrefix(body, "unavailable: ") && !strings.Contains(body, "geheim") {
			return ""
		}
		return body
	})
	status, _, metrics := s.get("metrics")
	if status != http.StatusOK {
		t.Errorf("/metrics: %d", status)
	}

	if err := server.Restart(t.Context(), pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	const reads = `lifeguard_queries_total{op="select",outcome="ok",pool="shop",source="db"}`
	before := sample(metrics, reads)
	eventually(t, func() string {
		status, _, body := s.get("healthz")
		_, _, metrics := s.get("metrics")
		if status != http.StatusOK || sample(metrics, reads) < before+10 {
			return "it does not go on: " + body + metrics
		}
		return ""
	})
	code, _, stderr := s.stop()
	if code != exitOK || strings.Contains(stderr, "geheim") {
		t.Errorf("exit code %d, errors %s", code, stderr)
	}
	mustContain(t, stderr, "operation failed")
}

func TestHoldingSlotsMakesTheMetricsServersQueueStand(t *testing.T) {
	t.Parallel()
	s := startMetricsServer(t, "-dsn", pgtest.DSN(t), "-hold", "50ms", "-goroutines", "80", "-rate", "0", "-conns", "1")
	eventually(t, func() string {
		_, _, metrics := s.get("metrics")
		if sample(metrics, `lifeguard_pool_queue_depth{pool="shop"}`) <= 50 {
			return "nothing queues:\n" + metrics
		}
		if sample(metrics, `lifeguard_refusals_total{pool="shop",reason="deadline"}`) <= 0 {
			return "nobody in a hurry is refused:\n" + metrics
		}
		return ""
	})
	if status, _, body := s.get("healthz"); status != http.StatusOK {
		t.Errorf("a long queue is no ill health, but: %d, %s", status, body)
	}
	if code, _, stderr := s.stop(); code != exitOK {
		t.Errorf("exit code %d, errors %s", code, stderr)
	}
}
