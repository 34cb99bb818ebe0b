//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
	"github.com/lifeguard-go/lifeguard/internal/cdc"
)

// The contestants of writes: the cache off, lifeguard_cache=cdc, and the cache off while
// PostgreSQL's own pg_recvlogical reads the same log and throws it away. The last shows what
// any reader costs the server.
const (
	withOff = iota
	withCDC
	withReader
	writeModes
)

// writes compares a service that writes.
func (b *bench) writes(ctx context.Context, o *options, r *results) error {
	for _, conns := range []int{1, writers, 4 * writers} {
		w := written{conns: conns}
		for rep := range o.reps {
			for i := range writeModes {
				which := (i + rep) % writeModes
				rate, busy, err := b.writeWith(ctx, o, which, conns)
				if err != nil {
					return err
				}
				w.rates[which] = append(w.rates[which], rate)
				w.busy[which] = append(w.busy[which], busy)
			}
		}
		r.written = append(r.written, w)
	}
	return nil
}

func (b *bench) writeWith(ctx context.Context, o *options, which, conns int) (rate, busy float64, err error) {
	mode := lifeguard.CacheOff
	switch which {
	case withCDC:
		mode = lifeguard.CacheCDC
	case withReader:
		stop, err := b.read(ctx)
		if err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	before, began := proc.Busy(), time.Now()
	rate, err = b.writeRate(ctx, o, mode, conns)
	took := time.Since(began).Seconds()
	return rate, (proc.Busy() - before).Seconds() / took / float64(runtime.NumCPU()), err
}

// read starts pg_recvlogical, with the options that a stream of this project has, and returns
// when it reads.
func (b *bench) read(ctx context.Context) (stop func() error, err error) {
	var folder string
	err = b.with(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "select pg_create_logical_replication_slot('reader', 'pgoutput')")
		if err != nil {
			return err
		}
		return conn.QueryRow(ctx, "select setting from pg_config where name = 'BINDIR'").Scan(&folder)
	})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(
		context.WithoutCancel(ctx), filepath.Join(folder, "pg_recvlogical"), "-d", b.dsn, "--slot=reader", "--start", "--no-loop", "-f", "/dev/null",
		"--fsync-interval=0", "-o", "proto_version=1", "-o", "publication_names=lifeguard", "-o", "messages=true",
	)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return b.until(context.WithoutCancel(ctx), "the slot is free", "select count(*) from pg_replication_slots where slot_name = 'reader' and not active",
			"select pg_drop_replication_slot('reader')")
	}
	if err := b.until(ctx, "pg_recvlogical reads", "select count(*) from pg_stat_replication where application_name = 'pg_recvlogical' and state = 'streaming'", ""); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// until waits until a count is one, and then executes a statement.
func (b *bench) until(ctx context.Context, what, count, then string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return b.with(ctx, func(conn *pgx.Conn) error {
		for n := 0; n != 1; {
			if err := conn.QueryRow(ctx, count).Scan(&n); err != nil {
				return fmt.Errorf("waiting until %s: %w", what, err)
			}
			if n != 1 {
				<-time.After(5 * time.Millisecond)
			}
		}
		_, err := conn.Exec(ctx, then)
		return err
	})
}

func (b *bench) writeRate(ctx context.Context, o *options, mode lifeguard.CacheMode, writers int) (float64, error) {
	cfg, err := lifeguard.ParseConfig(b.dsn)
	if err != nil {
		return 0, err
	}
	cfg.MaxConns, cfg.Cache = writers, mode
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return 0, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(writers)
	defer db.Close()
	if mode == lifeguard.CacheCDC {
		limit := time.Now().Add(time.Minute)
		for connector.Stats().Cache.CDC.State != string(cdc.Streaming) {
			if time.Now().After(limit) {
				return 0, errors.New("the stream is not there")
			}
			<-time.After(time.Millisecond)
		}
	}
	var count atomic.Int64
	var done sync.WaitGroup
	errs := make(chan error, writers)
	end := time.Now().Add(o.span)
	began := time.Now()
	for w := range writers {
		done.Go(func() {
			for i := w; time.Now().Before(end); i += writers {
				if _, err := db.ExecContext(ctx, "update item set n = n + 1 where id = $1", i%10000+1); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		})
	}
	done.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(count.Load()) / time.Since(began).Seconds(), nil
	}
}
