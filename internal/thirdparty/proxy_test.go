package thirdparty

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// A server that speaks PostgreSQL's protocol and lacks some of its catalog is played by a proxy
// that answers such statements as a server without these views and functions does.

// choosy starts a proxy in front of dsn for which the words are not there, and returns the DSN
// of it. It ends with the test.
func choosy(t *testing.T, dsn string, words ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex // guards open and ended
	open, ended := map[net.Conn]bool{}, false
	keep := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			_ = c.Close()
		}
		open[c] = true
		return !ended
	}
	server := u.Host
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", server)
			if err != nil || !keep(client) || !keep(backend) {
				_ = client.Close()
				continue
			}
			running.Go(func() { _, _ = io.Copy(client, backend); _ = client.Close() })
			running.Go(func() { forward(backend, client, words); _ = backend.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		ended = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// forward passes a client's messages on. A statement that has one of the words becomes one that
// reads a relation which is not there.
func forward(server io.Writer, client io.Reader, words []string) {
	var head [5]byte
	for started := false; ; started = true {
		first := head[:]
		if !started { // has no type
			first = head[1:]
		}
		if _, err := io.ReadFull(client, first); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if started && (head[0] == 'Q' || head[0] == 'P') {
			body = refuse(head[0], body, words)
			binary.BigEndian.PutUint32(head[1:], uint32(len(body)+4))
		}
		if _, err := server.Write(append(bytes.Clone(first), body...)); err != nil {
			return
		}
	}
}

func refuse(kind byte, body []byte, words []string) []byte {
	var name []byte
	text := body
	if kind == 'P' {
		end := bytes.IndexByte(body, 0) + 1
		name, text = body[:end], body[end:]
	}
	sql, rest, _ := bytes.Cut(text, []byte{0})
	for _, word := range words {
		if bytes.Contains(bytes.ToLower(sql), []byte(word)) {
			missing := "select * from missing." + strings.Trim(word, ".")
			return bytes.Join([][]byte{name, []byte(missing + "\x00"), rest}, nil)
		}
	}
	return body
}

// lacking are servers, by what they do not have.
func lacking() map[string][]string {
	return map[string][]string{
		"locks and activity":        {"pg_locks", "pg_stat_activity"},
		"dependencies and rules":    {"pg_depend", "pg_rewrite", "pg_trigger"},
		"any look at its catalog":   {"pg_catalog."},
		"transaction ids":           {"pg_current_xact_id", "pg_xact_status", "txid_current"},
		"settings and their origin": {"pg_settings"},
	}
}

// TestAServerThatLacksItsCatalogOnlyMakesTheCacheIdle runs reads and writes with the cache on over
// servers that refuse what the cache wants to know. Each answer must be what the server has, none
// an error, and the reason must be told.
func TestAServerThatLacksItsCatalogOnlyMakesTheCacheIdle(t *testing.T) {
	t.Parallel()
	for name, words := range lacking() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			cfg, err := lifeguard.ParseConfig(choosy(t, dsn, words...) + "&lifeguard_cache=local&pool_max_conns=3")
			must(t, err)
			book := &logbook{}
			cfg.Logger = slog.New(slog.NewTextHandler(book, nil))
			connector, err := lifeguard.NewConnector(cfg)
			must(t, err)
			db := openConnector(t, connector)
			w := &world{db: db}
			w.exec(t, "create table pets (id int primary key, name text)", "insert into pets values (1, 'Rex')", "create view named as select name from pets")

			// Another connection, past the cache, says what is true.
			truth, err := pgxpool.New(t.Context(), dsn)
			must(t, err)
			defer truth.Close()
			checkAgainst(t, w, truth, 20)
			st := connector.Stats().Cache
			var reasons []string
			for reason, n := range st.Bypasses {
				if n > 0 {
					reasons = append(reasons, fmt.Sprint(reason, ": ", n))
				}
			}
			t.Logf("%d hits, %d misses, bypasses %v", st.Hits, st.Misses, reasons)
			if name == "transaction ids" { // which only batches ask for
				if st.Hits == 0 {
					t.Error("nothing came from memory")
				}
			} else if st.Hits+st.Misses > 0 || st.Bypasses["server_refuses"] == 0 {
				t.Errorf("%d hits and %d misses without knowledge of the server; the reasons told are %v", st.Hits, st.Misses, reasons)
			}
			explain(t, connector)
		})
	}
}

// checkAgainst writes, and reads what another connection, past the cache, says is true.
func checkAgainst(t *testing.T, w *world, truth *pgxpool.Pool, rounds int) {
	t.Helper()
	for i := range rounds {
		want := fmt.Sprint("Rex", i)
		if i%2 == 0 {
			w.exec(t, "update pets set name = '"+want+"' where id = 1")
		} else {
			tx, err := w.db.BeginTx(t.Context(), nil)
			must(t, err)
			_, err = tx.ExecContext(t.Context(), "update pets set name = $1 where id = 1", want)
			must(t, err, tx.Commit())
		}
		for _, query := range []string{"select name from pets where id = $1", "select name from named where $1 = 1", "select max(name) from pets where id = $1"} {
			for range 3 {
				var have, should string
				must(t, w.db.QueryRowContext(t.Context(), query, 1).Scan(&have))
				must(t, truth.QueryRow(t.Context(), query, 1).Scan(&should))
				if have != should || have != want {
					t.Fatalf("%s gives %s, the server has %s", query, have, should)
				}
			}
		}
	}
}

// TestAServerWithoutALogToReadOnlyMakesTheCacheIdle is the same for lifeguard_cache=cdc.
func TestAServerWithoutALogToReadOnlyMakesTheCacheIdle(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical", "max_replication_slots": "20", "max_wal_senders": "20"}})
	for name, c := range map[string]struct {
		words          []string
		reason, bypass string
	}{
		"slots":             {[]string{"create_replication_slot"}, "unsupported", "unconfirmed"},
		"streams":           {[]string{"start_replication"}, "unsupported", "unconfirmed"},
		"publications":      {[]string{"pg_publication"}, "unsupported", "unconfirmed"},
		"to make one":       {[]string{"create publication"}, "no_publication", "unconfirmed"},
		"messages":          {[]string{"pg_logical_emit_message"}, "unsupported", "unconfirmed"},
		"places in the log": {[]string{"pg_current_wal"}, "unsupported", "unconfirmed"},
		"snapshots":         {[]string{"pg_current_snapshot"}, "unsupported", "unconfirmed"},
		"a catalog":         {[]string{"pg_catalog."}, "unsupported", "server_refuses"},
		"locks":             {[]string{"pg_locks", "pg_stat_activity"}, "", "server_refuses"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, drop, err := server.CreateDatabase(t.Context())
			must(t, err)
			t.Cleanup(func() { // the server lets go of a slot some time after its connection
				eventually(t, "the database is dropped", func() bool { return drop(context.WithoutCancel(t.Context())) == nil })
			})
			w := &world{db: openDB(t, lifeguard.DriverName, choosy(t, dsn, c.words...)+"&lifeguard_cache=cdc&pool_max_conns=3")}
			connector, err := lifeguard.FromDB(w.db)
			must(t, err)
			w.exec(t, "create table pets (id int primary key, name text)", "insert into pets values (1, 'Rex')", "create view named as select name from pets")
			truth, err := pgxpool.New(t.Context(), dsn)
			must(t, err)
			defer truth.Close()
			eventually(t, "the stream has got as far as it gets", func() bool {
				st := connector.Stats().Cache.CDC
				return st.Reason == c.reason && (c.reason != "" || st.State == "streaming")
			})
			checkAgainst(t, w, truth, 10)
			st := connector.Stats().Cache
			if st.Hits > 0 || st.Bypasses[c.bypass] == 0 {
				t.Errorf("%d hits; bypassed for %v, want %s", st.Hits, reasonsOf(st.Bypasses), c.bypass)
			}
		})
	}
}

func explain(t *testing.T, connector *lifeguard.Connector) {
	t.Helper()
	x, err := connector.ExplainCache(t.Context(), "select name from pets where id = $1")
	t.Logf("explained: %+v, error %v", x, err)
	if err == nil && !x.Cacheable && x.Reason == "" {
		t.Error("it is not cacheable, and no reason is told")
	}
	if err != nil && !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("the server's reason is not in %v", err)
	}
}
