package lifeguard_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Every benchmark here runs plain pgx/stdlib, Lifeguard, and Lifeguard with
// lifeguard_group=on in one process, named …/driver=pgx, …/driver=lifeguard and
// …/driver=group, so that benchstat -col /driver compares them. `make bench` interleaves
// repetitions: this is about ratios, never about times.

// contestants opens the same server through both drivers.
func contestants(b *testing.B, cfg *pgx.ConnConfig, conns int, run func(b *testing.B, db *sql.DB)) {
	b.Helper()
	b.Run("driver=pgx", func(b *testing.B) {
		db := stdlib.OpenDB(*cfg)
		defer db.Close()
		if conns > 0 {
			db.SetMaxOpenConns(conns)
			db.SetMaxIdleConns(conns)
		}
		run(b, db)
	})
	for _, of := range []struct {
		name  string
		group lifeguard.GroupMode
	}{{"lifeguard", lifeguard.GroupOff}, {"group", lifeguard.GroupOn}} {
		b.Run("driver="+of.name, func(b *testing.B) {
			connector, err := lifeguard.NewConnector(lifeguard.Config{ConnConfig: cfg, MaxConns: conns, Group: of.group})
			if err != nil {
				b.Fatal(err)
			}
			db := sql.OpenDB(connector)
			defer db.Close()
			if conns > 0 {
				db.SetMaxIdleConns(1024) // as lifeguard.Open does; they are virtual
			}
			run(b, db)
		})
	}
}

func pointSelect(b *testing.B, db *sql.DB) {
	b.Helper()
	b.ReportAllocs()
	ctx := context.Background()
	var n int64
	if err := db.QueryRowContext(ctx, "select n from t where id = $1", int64(7)).Scan(&n); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := db.QueryRowContext(ctx, "select n from t where id = $1", int64(7)).Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
}

// parallelSelect has 64 goroutines ask for points.
func parallelSelect(b *testing.B, db *sql.DB) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(32) // times GOMAXPROCS, two on the reference machine
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		var n int64
		for pb.Next() {
			if err := db.QueryRowContext(ctx, "select n from t where id = $1", int64(7)).Scan(&n); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkStubQuery is the driver's own cost: there is no server.
func BenchmarkStubQuery(b *testing.B) {
	contestants(b, stubConfig(b), 8, pointSelect)
}

func BenchmarkStubPrepared(b *testing.B) {
	contestants(b, stubConfig(b), 8, func(b *testing.B, db *sql.DB) {
		b.Helper()
		b.ReportAllocs()
		st, err := db.Prepare("select n from t where id = $1")
		if err != nil {
			b.Fatal(err)
		}
		defer st.Close()
		var n int64
		for b.Loop() {
			if err := st.QueryRow(int64(7)).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStubTx(b *testing.B) {
	contestants(b, stubConfig(b), 8, func(b *testing.B, db *sql.DB) {
		b.Helper()
		b.ReportAllocs()
		var n int64
		for b.Loop() {
			tx, err := db.Begin()
			if err != nil {
				b.Fatal(err)
			}
			if err := tx.QueryRow("select n from t where id = $1", int64(7)).Scan(&n); err != nil {
				b.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStubParallel(b *testing.B) {
	contestants(b, stubConfig(b), 8, parallelSelect)
}

func serverConfig(b *testing.B) *pgx.ConnConfig {
	b.Helper()
	cfg, err := pgx.ParseConfig(pgtest.DSN(b))
	if err != nil {
		b.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if _, err := db.Exec("create table t (id int8 primary key, n int8); insert into t select i, i from generate_series(1, 1000) i; analyze t"); err != nil {
		b.Fatal(err)
	}
	return cfg
}

// BenchmarkServerPoint: one goroutine, one row by primary key.
func BenchmarkServerPoint(b *testing.B) {
	contestants(b, serverConfig(b), 8, pointSelect)
}

// BenchmarkServerParallel: 64 goroutines over 8 connections, plain pgx tuned to that.
func BenchmarkServerParallel(b *testing.B) {
	contestants(b, serverConfig(b), 8, parallelSelect)
}

// BenchmarkServerSingle: 64 goroutines over one connection.
func BenchmarkServerSingle(b *testing.B) {
	contestants(b, serverConfig(b), 1, parallelSelect)
}

// BenchmarkServerHandlers: 64 goroutines as a service has them, each of which asks and
// then does something else for a millisecond. Nobody has tuned anything: plain pgx keeps
// two idle connections and closes the others as soon as they come back.
func BenchmarkServerHandlers(b *testing.B) {
	contestants(b, serverConfig(b), 0, func(b *testing.B, db *sql.DB) {
		b.Helper()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			ctx := context.Background()
			pause := time.NewTimer(0)
			defer pause.Stop()
			var n int64
			for pb.Next() {
				<-pause.C
				if err := db.QueryRowContext(ctx, "select n from t where id = $1", int64(7)).Scan(&n); err != nil {
					b.Error(err)
					return
				}
				pause.Reset(time.Millisecond)
			}
		})
	})
}
