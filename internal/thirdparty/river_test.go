package thirdparty

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"
)

type feeding struct {
	Pet  int  `json:"pet"`
	Fail bool `json:"fail"`
}

func (feeding) Kind() string { return "feeding" }

// feeder writes what it has fed, in the transaction in which it completes the job.
type feeder struct {
	river.WorkerDefaults[feeding]

	db *sql.DB
}

func (f *feeder) Work(ctx context.Context, job *river.Job[feeding]) error {
	if job.Args.Fail && job.Attempt == 1 {
		return errors.New("not hungry")
	}
	tx, err := f.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "insert into fed values ($1)", job.Args.Pet); err != nil {
		return err
	}
	if _, err := river.JobCompleteTx[*riverdatabasesql.Driver](ctx, tx, job); err != nil {
		return err
	}
	return tx.Commit()
}

func (*feeder) NextRetry(*river.Job[feeding]) time.Time { return time.Now() }

func TestRiverWorksThroughItsJobs(t *testing.T) {
	t.Parallel()
	compare(t, 4, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		driver := riverdatabasesql.New(w.db)
		migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		must(t, err)
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		must(t, err)
		w.exec(t, "create table fed (pet int primary key)") // a job that is done twice fails

		workers := river.NewWorkers()
		river.AddWorker(workers, &feeder{db: w.db})
		client, err := river.NewClient(driver, &river.Config{
			Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 16}},
			Workers:           workers,
			FetchCooldown:     10 * time.Millisecond,
			FetchPollInterval: 20 * time.Millisecond,
			Logger:            slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		must(t, err)
		const jobs = 120
		insert(ctx, t, w, client, jobs)
		must(t, client.Start(ctx))
		eventually(t, "every job is completed", func() bool {
			var n int
			must(t, w.db.QueryRowContext(ctx, "select count(*) from river_job where state = 'completed'").Scan(&n))
			return n == jobs
		})
		must(t, client.Stop(ctx))
		var fed, retried int
		must(t, w.db.QueryRowContext(ctx, "select (select count(*) from fed), (select count(*) from river_job where attempt = 2)").Scan(&fed, &retried))
		w.note("fed and retried", fed, retried)
	})
}

// insert adds jobs in each way that there is: one by one and at once, in a transaction that
// is kept and in one that is not.
func insert(ctx context.Context, t *testing.T, w *world, client *river.Client[*sql.Tx], jobs int) {
	t.Helper()
	var many []river.InsertManyParams
	for pet := range jobs - 2 {
		many = append(many, river.InsertManyParams{Args: feeding{Pet: pet, Fail: pet%10 == 0}})
	}
	var all sync.WaitGroup
	for part := range slices.Chunk(many, 30) {
		all.Go(func() {
			if _, err := client.InsertMany(ctx, part); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, err := client.Insert(ctx, feeding{Pet: jobs}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
	must(t, err)
	again, err := client.Insert(ctx, feeding{Pet: jobs}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
	must(t, err)
	w.note("inserted before", again.UniqueSkippedAsDuplicate)
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
		tx, err := w.db.BeginTx(ctx, nil)
		must(t, err)
		_, err = client.InsertTx(ctx, tx, feeding{Pet: jobs + 1}, nil)
		must(t, err, end(tx))
	}
}
