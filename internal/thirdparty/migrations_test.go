package thirdparty

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// steps are migrations that only one of several migrators may make: with several
// statements in one file, a function, and one outside a transaction.
var steps = []struct{ name, up, down, extra string }{
	{"pets", "create table pets (id int primary key, name text);\ninsert into pets values (1, 'Rex');", "drop table pets;", ""},
	{"legs", "create function legs() returns int language plpgsql as $$\nbegin\n  perform pg_sleep(0.01);\n  return 4;\nend $$;", "drop function legs();", ""},
	{"index", "create index concurrently pets_name on pets (name);", "drop index pets_name;", "-- +goose no transaction\n"},
}

const migrators = 4

// together runs f several times at once and returns what the runs had to say.
func together(t *testing.T, f func() error) {
	t.Helper()
	results := make(chan error, migrators)
	for range migrators {
		go func() { results <- f() }()
	}
	for range migrators {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// noteMigrated notes what the migrations have left.
func noteMigrated(t *testing.T, w *world) {
	t.Helper()
	var pets, legs, indexes int
	must(t, w.db.QueryRowContext(t.Context(), `select (select count(*) from pets), legs(),
		(select count(*) from pg_indexes where indexname = 'pets_name')`).Scan(&pets, &legs, &indexes))
	w.note("migrated", pets, legs, indexes)
	var locks int
	must(t, w.db.QueryRowContext(t.Context(), `select count(*) from pg_locks where locktype = 'advisory'
		and database = (select oid from pg_database where datname = current_database())`).Scan(&locks))
	w.note("locks left", locks)
}

func TestGooseMigratesUnderItsLock(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for i, s := range steps {
		text := s.extra + "-- +goose Up\n-- +goose StatementBegin\n" + s.up + "\n-- +goose StatementEnd\n-- +goose Down\n" + s.down + "\n"
		files[fmt.Sprintf("%05d_%s.sql", i+1, s.name)] = &fstest.MapFile{Data: []byte(text)}
	}
	compare(t, 2, func(t *testing.T, w *world) {
		w.keepsNothing = "sessions that hold locks are leased"
		provider := func() *goose.Provider {
			locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
			must(t, err)
			p, err := goose.NewProvider(goose.DialectPostgres, w.db, fs.FS(files), goose.WithSessionLocker(locker))
			must(t, err)
			return p
		}
		first := provider()
		results, err := first.Up(t.Context())
		must(t, err)
		w.note("up", len(results))
		noteMigrated(t, w)
		results, err = first.DownTo(t.Context(), 0)
		must(t, err)
		w.note("down", len(results))
		version, err := first.GetDBVersion(t.Context())
		must(t, err)
		w.note("version", version)
	})
}

func TestGoosesSeveralMigratorsTakeTurns(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"00001_slow.sql": {Data: []byte("-- +goose Up\ncreate table pets (id int);\nselect pg_sleep(0.05);\n-- +goose Down\ndrop table pets;\n")}}
	compare(t, 2*migrators, func(t *testing.T, w *world) {
		together(t, func() error {
			locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
			if err != nil {
				return err
			}
			p, err := goose.NewProvider(goose.DialectPostgres, w.db, fs.FS(files), goose.WithSessionLocker(locker))
			if err != nil {
				return err
			}
			_, err = p.Up(t.Context())
			return err
		})
		var n int
		must(t, w.db.QueryRowContext(t.Context(), "select count(*) from goose_db_version where version_id > 0").Scan(&n))
		w.note("migrations", n)
	})
}

func TestGolangMigrateMigratesUnderItsLock(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for i, s := range steps {
		files[fmt.Sprintf("%d_%s.up.sql", i+1, s.name)] = &fstest.MapFile{Data: []byte(s.up)}
		files[fmt.Sprintf("%d_%s.down.sql", i+1, s.name)] = &fstest.MapFile{Data: []byte(s.down)}
	}
	// A concurrent index waits for all who wait for the lock, which is a statement of theirs.
	files["3_index.up.sql"] = &fstest.MapFile{Data: []byte("create index pets_name on pets (name);")}
	compare(t, 1, func(t *testing.T, w *world) {
		w.keepsNothing = "each question is asked once, or of a session that holds a lock"
		// Each migrator keeps a connection until its Close, which closes the database too.
		open := func(db *sql.DB) (*migrate.Migrate, error) {
			source, err := iofs.New(files, ".")
			if err != nil {
				return nil, err
			}
			target, err := pgxmigrate.WithInstance(db, &pgxmigrate.Config{})
			if err != nil {
				return nil, err
			}
			return migrate.NewWithInstance("iofs", source, "pgx5", target)
		}
		together(t, func() error {
			db, err := sql.Open(w.driver, w.dsn)
			if err != nil {
				return err
			}
			m, err := open(db)
			if err != nil {
				return errors.Join(err, db.Close())
			}
			if err = m.Up(); errors.Is(err, migrate.ErrNoChange) {
				err = nil
			}
			sourceErr, dbErr := m.Close()
			return errors.Join(err, sourceErr, dbErr)
		})
		noteMigrated(t, w)

		own := openDB(t, w.driver, w.dsn)
		m, err := open(own)
		must(t, err)
		w.note("no change", errors.Is(m.Up(), migrate.ErrNoChange))
		must(t, m.Down())
		_, _, err = m.Version()
		w.note("down", errors.Is(err, migrate.ErrNilVersion))
		sourceErr, dbErr := m.Close()
		must(t, sourceErr, dbErr)
		w.note("closed", own.PingContext(t.Context()))
	})
}
