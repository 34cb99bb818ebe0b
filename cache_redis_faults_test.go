package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/internal/cable"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// redisFault is something that happens to a Redis, and its end.
type redisFault struct {
	begin, end []any // commands
	settings   map[string]string
	stops      bool // writes cannot be announced meanwhile
	kind       string
}

func redisFaults() map[string]redisFault {
	return map[string]redisFault{
		"hangs":                {begin: []any{"CLIENT", "PAUSE", "7000", "ALL"}, stops: true, kind: "timeout"},
		"is full":              {begin: []any{"CONFIG", "SET", "maxmemory", "1"}, end: []any{"CONFIG", "SET", "maxmemory", "0"}, stops: true, kind: "full"},
		"wants a password":     {begin: []any{"CONFIG", "SET", "requirepass", "sesame"}, end: []any{"CONFIG", "SET", "requirepass", ""}, stops: true, kind: "auth"},
		"is read-only":         {begin: []any{"REPLICAOF", "127.0.0.1", "1"}, end: []any{"REPLICAOF", "NO", "ONE"}, stops: true, kind: "readonly"},
		"has lost everything":  {begin: []any{"FLUSHALL"}},
		"evicts as it pleases": {begin: []any{"CONFIG", "SET", "maxmemory", "2mb"}, end: []any{"CONFIG", "SET", "maxmemory", "0"}, settings: map[string]string{"maxmemory-policy": "allkeys-random"}},
	}
}

func TestARedisThatFailsCostsResultsAndNothingElse(t *testing.T) {
	for name, f := range redisFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.happens(t)
		})
	}
}

func (f *redisFault) happens(t *testing.T) {
	t.Helper()
	settings := map[string]string{"appendonly": "no"}
	for key, value := range f.settings {
		settings[key] = value
	}
	server := pgtest.NewRedis(t, pgtest.RedisOptions{Settings: settings}).URL()
	o, err := redis.ParseURL(server)
	if err != nil {
		t.Fatal(err)
	}
	raw := redis.NewClient(o)
	defer raw.Close()
	logged := new(logs)
	dsn, plain := sharedDB(t, petSchema)
	db, c := openSharedLogging(t, dsn, server, logged)
	const query = "select n from pet where id = $1"
	until(t, db, c, "a hit", hits, query, 1)

	if err := raw.Do(t.Context(), f.begin...).Err(); err != nil {
		t.Fatal(err)
	}
	if f.kind == "auth" { // connections that there are stay what they are
		if err := raw.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is noticed", func() bool {
		writeAndLook(t, db, plain, query)
		st := c.Stats().Cache.Redis
		return f.kind == "" || st.Errors[f.kind] > 0 && st.Unannounced > 0 && st.Outs > 0
	})
	for range 5 {
		writeAndLook(t, db, plain, query)
	}
	if f.end != nil {
		if err := raw.Do(t.Context(), f.end...).Err(); err != nil && f.kind != "auth" {
			t.Fatal(err)
		}
		if f.kind == "auth" {
			o.Password = "sesame"
			knows := redis.NewClient(o)
			defer knows.Close()
			if err := knows.Do(t.Context(), f.end...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, db, c, "a hit again", hits, query, 1)
	writeAndLook(t, db, plain, query)
	text := logged.String()
	if strings.Contains(text, "sesame") {
		t.Error("the password is in the log:", text)
	}
	if n := strings.Count(text, "level=WARN"); f.stops && n == 0 || n > 8 {
		t.Errorf("%d warnings:\n%s", n, text)
	}
}

// writeAndLook writes, and looks at once whether that is seen.
func writeAndLook(t *testing.T, db, plain *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "update pet set n = n + 1 where id = 1"); err != nil {
		t.Fatal("a write fails:", err)
	}
	if got, want := number(t, db, query, 1), number(t, plain, query, 1); got != want {
		t.Fatalf("%d, and PostgreSQL has %d", got, want)
	}
}

func openSharedLogging(t *testing.T, dsn, redis string, log *logs) (*sql.DB, *lifeguard.Connector) {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(withSettings(dsn, "lifeguard_cache=local", "lifeguard_redis="+redis, "lifeguard_slow=0"))
	if err != nil {
		t.Fatal(err)
	}
	lifeguard.ShareBriefly(&cfg, sharedLinger)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	c, err := lifeguard.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db, c
}

func TestAWriteIsRefusedIfNobodyCanBeTold(t *testing.T) {
	for _, mode := range []string{"checkout", "session"} {
		t.Run(mode, func(t *testing.T) { writeIsRefused(t, mode) })
	}
}

func writeIsRefused(t *testing.T, mode string) {
	t.Helper()
	t.Parallel()
	dsn, plain := sharedDB(t, petSchema)
	wire, through := newCable(t, sharedURL(t))
	db, c := openShared(t, dsn, through, "pool_max_conns=1", "lifeguard_mode="+mode)
	until(t, db, c, "a hit", hits, "select n from pet where id = $1", 1)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "update pet set n = 7"); err != nil {
		t.Fatal(err)
	}
	wire.Set(cable.Severed)
	// Nobody can connect any more, nor the keeper.
	name := ""
	if err := plain.QueryRowContext(t.Context(), "select current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	other := openDSN(t, pgtest.DSN(t))
	mustExec(t, other, fmt.Sprintf("alter database %q allow_connections false", name))
	mustExec(t, plain, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'lifeguard cache'")
	begun := time.Now()
	err = tx.Commit()
	if err == nil || !strings.Contains(err.Error(), "neither Redis nor a connection to PostgreSQL") {
		t.Fatalf("after %v: %v", time.Since(begun), err)
	}
	if n := number(t, plain, "select n from pet where id = 1"); n != 0 {
		t.Errorf("it was written: %d", n)
	}
	if n := number(t, plain, "select count(*) from pg_locks where relation = 'pet'::regclass and mode = 'RowExclusiveLock'"); n != 0 {
		t.Error("its locks are still held")
	}
	mustExec(t, other, fmt.Sprintf("alter database %q allow_connections true", name))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "update pet set n = 8"); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	eventually(t, "writes go on by the lock alone", func() bool {
		_, err := db.ExecContext(t.Context(), "update pet set n = 9")
		return err == nil
	})
	wire.Set(cable.Intact)
	until(t, db, c, "a hit again", hits, "select n from pet where id = $1", 1)
}

func TestNoErrorShowsThePasswordOfRedis(t *testing.T) {
	for _, bad := range []string{"redis://:sesame@a/b/c", "http://sesame", "redis+sentinel://:sesame@a:1"} {
		_, err := lifeguard.ParseConfig("postgres://a@b/c?lifeguard_cache=local&lifeguard_redis=" + url.QueryEscape(bad))
		if err == nil || strings.Contains(err.Error(), "sesame") || !strings.Contains(err.Error(), "lifeguard_redis") {
			t.Error(err)
		}
	}
	t.Setenv("LIFEGUARD_REDIS", "redis://:sesame@localhost")
	if _, err := lifeguard.ParseConfig("postgres://a@b/c"); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
	cfg, err := lifeguard.ParseConfig("postgres://a@b/c?lifeguard_cache=local")
	if err != nil || cfg.Redis != "redis://:sesame@localhost" {
		t.Error(cfg.Redis, err)
	}
}
