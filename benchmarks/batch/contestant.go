//go:build linux

package main

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard"
)

// chunk is how many rows everybody commits at once, if nothing else is said.
const chunk = 10_000

// Names of contestants, as tables and plots show them.
const (
	nameCopy    = "pgx.CopyFrom"
	nameCopyAll = "pgx.CopyFrom, all rows at once"
	namePsql    = "psql \\copy, all rows at once"
	nameUnnest  = "unnest 5,000"
	nameValues  = "VALUES 500"
	nameGORM    = "GORM CreateInBatches(500)"
	nameBun     = "Bun bulk 500"
	nameGuard   = "Lifeguard"
	nameGuard2  = "Lifeguard, 2 workers"
)

// contestant loads all rows of a shape.
type contestant struct {
	name string
	load func(ctx context.Context) (childCPU time.Duration, err error)
}

func within(load func(ctx context.Context) error) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) { return 0, load(ctx) }
}

// drivers are the ways to the one database.
type drivers struct {
	dsn   string
	pgx   *pgx.Conn
	plain *sql.DB // pgx/stdlib
	guard *sql.DB
	gorm  *gorm.DB
	bun   *bun.DB
}

func openDrivers(ctx context.Context, dsn string) (d *drivers, err error) {
	d = &drivers{dsn: dsn}
	if d.pgx, err = pgx.Connect(ctx, dsn); err != nil {
		return nil, err
	}
	if d.plain, err = sql.Open("pgx", dsn); err != nil {
		return nil, err
	}
	d.plain.SetMaxIdleConns(2)
	if d.guard, err = lifeguard.Open(dsn); err != nil {
		return nil, err
	}
	if d.gorm, err = gorm.Open(postgres.New(postgres.Config{Conn: d.plain}), &gorm.Config{Logger: logger.Discard}); err != nil {
		return nil, err
	}
	d.bun = bun.NewDB(d.plain, pgdialect.New())
	return d, nil
}

func (d *drivers) close(ctx context.Context) {
	_ = d.pgx.Close(ctx)
	_ = d.plain.Close()
	_ = d.guard.Close()
}

var _ = stdlib.GetDefaultDriver // registers "pgx"

// contestants are those that load a shape.
func contestants[T any](d *drivers, s *shape[T], csv string) []contestant {
	all := []contestant{
		{nameCopy, within(func(ctx context.Context) error { return byCopy(ctx, d, s, chunk) })},
		{nameGuard, within(func(ctx context.Context) error { return byGuard(ctx, d, s, lifeguard.BatchConfig{FlushInterval: -1}) })},
		{nameGuard2, within(func(ctx context.Context) error {
			return byGuard(ctx, d, s, lifeguard.BatchConfig{FlushInterval: -1, Workers: 2})
		})},
		{nameCopyAll, within(func(ctx context.Context) error { return byCopy(ctx, d, s, len(s.rows)) })},
		{namePsql, func(ctx context.Context) (time.Duration, error) {
			return psql(ctx, d.dsn, `\copy event from '`+csv+`' with (format csv)`)
		}},
		{nameUnnest, within(func(ctx context.Context) error { return byUnnest(ctx, d, s, 5000) })},
		{nameValues, within(func(ctx context.Context) error { return byValues(ctx, d, s, 500, "") })},
		{nameGORM, within(func(ctx context.Context) error { return byGORM(ctx, d, s, 500) })},
		{nameBun, within(func(ctx context.Context) error { return byBun(ctx, d, s, 500) })},
	}
	if csv == "" {
		all = slices.DeleteFunc(all, func(c contestant) bool { return c.name == namePsql })
	}
	return all
}

func byCopy[T any](ctx context.Context, d *drivers, s *shape[T], size int) error {
	for part := range slices.Chunk(s.rows, size) {
		source := pgx.CopyFromSlice(len(part), func(i int) ([]any, error) {
			values := make([]any, len(s.columns))
			for j := range s.columns {
				values[j] = s.columns[j].value(&part[i])
			}
			return values, nil
		})
		if _, err := d.pgx.CopyFrom(ctx, pgx.Identifier{"event"}, s.names(), source); err != nil {
			return err
		}
	}
	return nil
}

func byGuard[T any](ctx context.Context, d *drivers, s *shape[T], cfg lifeguard.BatchConfig) error {
	b, err := lifeguard.NewBatchInserter[T](d.guard, "event", cfg)
	if err != nil {
		return err
	}
	for i := range s.rows {
		if err := b.Add(ctx, s.rows[i]); err != nil {
			break // Close knows why
		}
	}
	_, err = b.Close(ctx)
	return err
}

func psql(ctx context.Context, dsn, command string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", command)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("psql: %w: %s", err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// inTx commits each chunk.
func inTx[T any](ctx context.Context, db *sql.DB, s *shape[T], size int, insert func(tx *sql.Tx, part []T) error) error {
	for rows := range slices.Chunk(s.rows, chunk) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(rows, size) {
			if err := insert(tx, part); err != nil {
				return fmt.Errorf("%w, %w", err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func byUnnest[T any](ctx context.Context, d *drivers, s *shape[T], size int) error {
	params := make([]string, len(s.columns))
	for i, c := range s.columns {
		params[i] = fmt.Sprintf("$%d::%s[]", i+1, c.typ)
	}
	query := "insert into event (" + strings.Join(s.names(), ", ") + ") select * from unnest(" + strings.Join(params, ", ") + ")"
	return inTx(ctx, d.plain, s, size, func(tx *sql.Tx, part []T) error {
		args := make([]any, len(s.columns))
		for i, c := range s.columns {
			args[i] = c.values(part)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func byValues[T any](ctx context.Context, d *drivers, s *shape[T], size int, clause string) error {
	queries := make(map[int]string)
	args := make([]any, 0, size*len(s.columns))
	return inTx(ctx, d.plain, s, size, func(tx *sql.Tx, part []T) error {
		query, known := queries[len(part)]
		if !known {
			query = valuesSQL(s.names(), len(part)) + clause
			queries[len(part)] = query
		}
		args = args[:0]
		for i := range part {
			for j := range s.columns {
				args = append(args, s.columns[j].value(&part[i]))
			}
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func valuesSQL(names []string, rows int) string {
	var b strings.Builder
	b.WriteString("insert into event (" + strings.Join(names, ", ") + ") values ")
	for i := range rows * len(names) {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(names) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(")")
	return b.String()
}

// byGORM lets GORM make its own transaction of each chunk.
func byGORM[T any](ctx context.Context, d *drivers, s *shape[T], size int) error {
	for part := range slices.Chunk(s.rows, chunk) {
		if err := d.gorm.WithContext(ctx).CreateInBatches(part, size).Error; err != nil {
			return err
		}
	}
	return nil
}

func byBun[T any](ctx context.Context, d *drivers, s *shape[T], size int) error {
	for rows := range slices.Chunk(s.rows, chunk) {
		err := d.bun.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			for part := range slices.Chunk(rows, size) {
				if _, err := tx.NewInsert().Model(&part).ModelTableExpr("event").Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
