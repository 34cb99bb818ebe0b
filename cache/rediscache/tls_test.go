//go:build unix && !darwin

package rediscache_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// authority is the certificate that the tests' own program trusts, and its servers have. It has
// to be known before anything is verified: Go reads SSL_CERT_FILE once.
var authority tls.Certificate

func init() { //nolint:gochecknoinits // before TestMain
	if os.Getenv(workerEnv) != "" {
		return
	}
	known := httptest.NewTLSServer(nil) // for its certificate, which is for 127.0.0.1
	known.Close()
	authority = known.TLS.Certificates[0]
	dir, err := os.MkdirTemp("", "lifeguard-authority")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate[0]})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file)
	atEnd = func() { _ = os.RemoveAll(dir) }
}

// encrypted is the URL of a Redis that is reached by TLS alone, until the test ends. To the
// server it is stunnel.
func encrypted(t *testing.T, url string) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{authority}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards open
	var open []net.Conn
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", rediscache.Where(url)) //nolint:noctx // ends with the test
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			running.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			running.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "rediss://" + listener.Addr().String()
}

func TestARedisBehindTLSIsATier(t *testing.T) {
	plain := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}}).URL()
	url := encrypted(t, plain)
	_, a := openSpace(t, url, rediscache.Options{Budget: patient}, 50*time.Millisecond)
	_, b := openSpace(t, plain, rediscache.Options{Budget: patient}, 50*time.Millisecond) // it is the same one
	keepWatching(t, a)
	q := question("pets", 1)
	fill(t, a, q, until(t, a, q, rediscache.Miss), "Rex")
	found := until(t, b, q, rediscache.Found)
	bump(t, place(t, b, rediscache.Writes{Relations: []uint32{1}, Catalog: found.Catalog}))
	until(t, a, q, rediscache.Miss)
}

// A certificate for another name is not accepted, nor a server that does not speak TLS.
func TestARedisThatIsNotWhoItShouldBeIsNoTier(t *testing.T) {
	plain := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}}).URL()
	other := strings.Replace(encrypted(t, plain), "127.0.0.1", "localhost", 1)
	for url, kind := range map[string]string{
		other: "network",
		strings.Replace(plain, "redis:", "rediss:", 1): "timeout", // it waits for the rest of what it takes for a command
	} {
		tier, s := openSpace(t, url, rediscache.Options{Budget: patient}, 50*time.Millisecond)
		if _, err := s.Place(t.Context(), rediscache.Writes{Relations: []uint32{1}}); err == nil || rediscache.Kind(err) != kind {
			t.Errorf("an intent: %v", err)
		}
		counted(t, tier, kind)
	}
}
