// Package live_test gives what package spec makes to the programs that it is made for: a
// real Prometheus and Alertmanager, beside the metrics server at work on a real
// PostgreSQL.
//
// Prometheus' and Alertmanager's programs are looked for in LIFEGUARD_PROMETHEUS_DIR and
// then on PATH, also under the names that Debian gives them. Without them these tests are
// skipped, or fail when CI is set.
package live_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/needs"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

// program finds one of the programs.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if dir := os.Getenv("LIFEGUARD_PROMETHEUS_DIR"); dir != "" {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path
			}
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	needs.Lacking(t, "there is no %s; Debian has it in prometheus and prometheus-alertmanager", strings.Join(names, " or "))
	return ""
}

func prometheusProgram(t *testing.T) string { t.Helper(); return program(t, "prometheus") }
func promtoolProgram(t *testing.T) string   { t.Helper(); return program(t, "promtool") }
func alertmanagerProgram(t *testing.T) string {
	t.Helper()
	return program(t, "alertmanager", "prometheus-alertmanager")
}
func amtoolProgram(t *testing.T) string { t.Helper(); return program(t, "amtool") }

// check runs a program to its end, which must be a good one.
func check(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is a program that runs until the test ends.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	output *tail
	stop   sync.Once
}

// start runs a program. What it prints is shown if the test fails.
func start(t *testing.T, stdout io.Writer, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), exited: make(chan struct{}), output: &tail{}}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in what it has printed
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("%s printed, at last:\n%s", filepath.Base(path), p.output)
		}
	})
	return p
}

// end asks the program to stop, and makes it if it does not.
func (p *process) end() {
	p.stop.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		select {
		case <-p.exited:
		case <-time.After(20 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	})
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// tail remembers the end of what is written to it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, b...)
	if extra := len(w.text) - 10_000; extra > 0 {
		w.text = w.text[extra:]
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// listening starts a server that has to be told its port, and waits until it is ready.
// Between the choice of a port and its use somebody else may take it: then again.
func listening(t *testing.T, ready, path string, args func(address string) []string) (base string) {
	t.Helper()
	for range 5 {
		address := freeAddress(t)
		p := start(t, nil, path, args(address)...)
		base = "http://" + address
		deadline := time.Now().Add(time.Minute)
		for p.running() && time.Now().Before(deadline) {
			if _, err := get(t, base+ready); err == nil {
				return base
			}
			pause(t, 50*time.Millisecond)
		}
		if p.running() || !strings.Contains(p.output.String(), "address already in use") {
			t.Fatalf("%s does not get ready:\n%s", filepath.Base(path), p.output)
		}
	}
	t.Fatalf("%s found no port", filepath.Base(path))
	return ""
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// get returns the body of an answer with status 200.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return string(body), err
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test has ended")
	}
}

// eventually waits until ok returns "", and fails with what it said last.
func eventually(t *testing.T, within time.Duration, ok func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		problem := ok()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still so after %v: %s", within, problem)
		}
		pause(t, 200*time.Millisecond)
	}
}

// buildMetricsServer returns the command that the stack runs.
func buildMetricsServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lifeguard-otlp")
	check(t, "go", "build", "-C", "../../cmd/lifeguard-otlp", "-o", path, ".")
	return path
}

// serveMetrics runs a metrics server on a database of its own, under a pool name and with
// more settings of the DSN, and returns the address that Prometheus scrapes.
func serveMetrics(t *testing.T, command, collector, dsn, pool, settings string, flags ...string) (address string, p *process) {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = reader.Close() })
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	args := append([]string{
		"-addr", "127.0.0.1:0", "-otlp", collector, "-dsn", dsn + separator + "lifeguard_name=" + pool + settings,
	}, flags...)
	p = start(t, writer, command, args...)
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			select {
			case first <- lines.Text():
			default:
			}
		}
	}()
	select {
	case line := <-first:
		m := regexp.MustCompile(`^http://(\S+)/metrics$`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("the first line of the metrics server is %q", line)
		}
		return m[1], p
	case <-p.exited:
		t.Fatalf("the metrics server ended:\n%s", p.output)
	case <-time.After(2 * time.Minute):
		t.Fatal("the metrics server says nothing")
	}
	return "", nil
}
