package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const query = "select id, n, filler from item where id = $1"

func start(ctx context.Context, o *options) (b *bench, err error) {
	b = &bench{}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.pg, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return b, err
	}
	if b.redis, err = pgtest.StartRedis(ctx, pgtest.RedisOptions{Settings: map[string]string{"appendonly": "no"}}); err != nil {
		return b, err
	}
	if b.dsn, _, err = b.pg.CreateDatabase(ctx); err != nil {
		return b, err
	}
	conn, err := pgx.Connect(ctx, b.dsn)
	if err != nil {
		return b, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, fmt.Sprintf(`create table item (id int primary key, n bigint not null, filler text not null);
		insert into item select i, 7 * i, repeat('x', 100) from generate_series(1, %d) i; analyze item`, o.rows)); err != nil {
		return b, err
	}
	return b, conn.QueryRow(ctx, "select current_setting('server_version')").Scan(&b.version)
}

// open has this process share results, too.
func (b *bench) open(ctx context.Context) (*sql.DB, error) {
	db, err := sql.Open("lifeguard", sharing(b.dsn, b.redis.URL()))
	if err != nil {
		return nil, err
	}
	var n int
	if err := db.QueryRowContext(ctx, "select n from item where id = 1").Scan(&n); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// sharing is a DSN with a cache; without a Redis each process has its own.
func sharing(dsn, redis string) string {
	dsn += "&lifeguard_cache=local&pool_max_conns=4"
	if redis != "" {
		dsn += "&lifeguard_redis=" + redis
	}
	return dsn
}

func median(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// jobEnv holds what a process has to do.
const jobEnv = "LIFEGUARD_BENCH_REDIS"

type job struct {
	DSN   string
	Redis string // empty: each for itself
	Warm  bool   // wait until results are shared
	Each  int    // read so many rows, one after the other
	Twice bool   // and then again
	Bare  bool   // with a bare round trip to Redis after each
	Rows  int    // else of so many
	Reads int    // by Zipf
	Seed  int64
	Begun time.Time
}

// outcome is what it has seen.
type outcome struct {
	InRedis, InMemory, InDatabase time.Duration // medians
	Bare                          time.Duration // of a GET between two of them
	Took                          time.Duration // since Begun, until all was read once
	Reads, FromDatabase           int
}

// run has one process do a job.
func (b *bench) run(ctx context.Context, j *job) (out outcome, err error) {
	j.DSN, j.Redis = b.dsn, b.redis.URL()
	return start1(ctx, j)
}

func start1(ctx context.Context, j *job) (out outcome, err error) {
	j.Begun = time.Now()
	text, err := json.Marshal(j)
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(ctx, os.Args[0]) //nolint:gosec // this program
	cmd.Env, cmd.Stderr = append(os.Environ(), jobEnv+"="+string(text)), os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(answer, &out)
}

// mix has three processes read at once, and tells what part PostgreSQL was spared.
func (b *bench) mix(ctx context.Context, o *options, with bool) (share float64, asked int, err error) {
	var all sync.WaitGroup
	outs, errs := make([]outcome, 3), make([]error, 3)
	for i := range outs {
		j := &job{DSN: b.dsn, Rows: o.rows, Reads: o.reads, Seed: int64(i), Warm: with}
		if with {
			j.Redis = b.redis.URL()
		}
		all.Go(func() { outs[i], errs[i] = start1(ctx, j) })
	}
	all.Wait()
	reads := 0
	for i := range outs {
		if errs[i] != nil {
			return 0, 0, errs[i]
		}
		reads, asked = reads+outs[i].Reads, asked+outs[i].FromDatabase
	}
	return 1 - float64(asked)/float64(reads), asked, nil
}

// work is the main function of a process.
func work(text string) int {
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.do(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (j *job) do(ctx context.Context) error {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	db, err := sql.Open("lifeguard", sharing(j.DSN, j.Redis))
	if err != nil {
		return err
	}
	defer db.Close()
	of, err := lifeguard.FromDB(db)
	if err != nil {
		return err
	}
	r := &reader{db: db, of: of}
	if j.Bare {
		opts, err := redis.ParseURL(j.Redis)
		if err != nil {
			return err
		}
		r.client = redis.NewClient(opts)
		defer r.client.Close()
		if err := r.client.Set(ctx, "bare", strings.Repeat("x", 350), 0).Err(); err != nil {
			return err
		}
	}
	for warm := time.Now(); j.Warm && of.Stats().Cache.Redis.Lookups["same"] == 0; {
		if _, err := r.read(ctx, 1); err != nil {
			return err
		}
		if time.Since(warm) > time.Minute {
			return fmt.Errorf("nothing is shared after a minute: %+v", of.Stats().Cache.Redis)
		}
	}
	r.outcome = outcome{}
	var ids []int
	for i := range j.Each {
		ids = append(ids, i+2)
	}
	if j.Reads > 0 {
		zipf := rand.NewZipf(rand.New(rand.NewSource(j.Seed)), 1.1, 1, uint64(j.Rows-2)) //nolint:gosec // a benchmark
		for range j.Reads {
			ids = append(ids, int(zipf.Uint64())+2) //nolint:gosec // small
		}
	}
	if err := r.all(ctx, ids); err != nil {
		return err
	}
	r.outcome.Took = time.Since(j.Begun)
	if j.Twice {
		reads, asked := r.outcome.Reads, r.outcome.FromDatabase
		if err := r.all(ctx, ids); err != nil {
			return err
		}
		r.outcome.Reads, r.outcome.FromDatabase = reads, asked
	}
	r.outcome.InRedis, r.outcome.InMemory, r.outcome.InDatabase = median(r.redis), median(r.memory), median(r.database)
	r.outcome.Bare = median(r.bare)
	return json.NewEncoder(os.Stdout).Encode(r.outcome)
}

// reader takes the time of reads.
type reader struct {
	db                      *sql.DB
	of                      *lifeguard.Connector
	client                  *redis.Client // nil without bare round trips
	redis, memory, database []time.Duration
	bare                    []time.Duration
	outcome                 outcome
}

func (r *reader) all(ctx context.Context, ids []int) error {
	before := r.of.Stats().Cache
	for _, id := range ids {
		took, err := r.read(ctx, id)
		if err != nil {
			return err
		}
		after := r.of.Stats().Cache
		r.outcome.Reads++
		switch {
		case after.Redis != nil && after.Redis.Hits > before.Redis.Hits:
			r.redis = append(r.redis, took)
		case after.Hits > before.Hits:
			r.memory = append(r.memory, took)
		default:
			r.database = append(r.database, took)
			r.outcome.FromDatabase++
		}
		before = after
		if r.client == nil {
			continue
		}
		begin := time.Now()
		if err := r.client.Get(ctx, "bare").Err(); err != nil {
			return err
		}
		r.bare = append(r.bare, time.Since(begin))
	}
	return nil
}

func (r *reader) read(ctx context.Context, id int) (time.Duration, error) {
	var n int64
	var filler string
	begin := time.Now()
	err := r.db.QueryRowContext(ctx, query, id).Scan(&id, &n, &filler)
	return time.Since(begin), err
}
