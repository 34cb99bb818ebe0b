package doctest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve starts a command that serves metrics, asks it for what the pages promise and for the
// series of want, and stops it. Where it says COLLECTOR, traces and logs have to arrive.
func (w *workplace) serve(t *testing.T, command string, tr trial) {
	t.Helper()
	var mu sync.Mutex
	heard := map[string]bool{} // guarded by mu
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		heard[r.URL.Path] = true
	}))
	t.Cleanup(collector.Close)
	collected := strings.Contains(command, "COLLECTOR")
	words := strings.Fields(strings.ReplaceAll(command, "COLLECTOR", collector.URL))

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, words[0]), words[1:]...)
	cmd.Env = w.env
	for name, value := range tr.env {
		cmd.Env = append(slices.Clone(cmd.Env), name+"="+value)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("%v: it prints no address: %v\n%s", words, err, &stderr)
	}
	base := strings.TrimSuffix(strings.TrimSpace(address), "/metrics")
	until(ctx, t, "/healthz says ok", func() bool { return fetch(ctx, t, base+"/healthz") == "ok\n" })
	if page := fetch(ctx, t, base+"/"); !strings.Contains(page, "/metrics") {
		t.Errorf("/ says\n%s", page)
	}
	for _, series := range append([]string{`lifeguard_queries_total{`}, tr.want...) {
		until(ctx, t, series+" is above 0", func() bool {
			for line := range strings.Lines(fetch(ctx, t, base+"/metrics")) {
				if strings.HasPrefix(line, series) && !strings.HasSuffix(line, " 0\n") {
					return true
				}
			}
			return false
		})
	}
	for _, path := range []string{"/v1/traces", "/v1/logs"} {
		if collected {
			until(ctx, t, path+" arrives", func() bool { mu.Lock(); defer mu.Unlock(); return heard[path] })
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v\n%s", err, &stderr)
	}
}

// until polls, for as long as ctx lasts.
func until(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not come about that %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func fetch(ctx context.Context, t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
