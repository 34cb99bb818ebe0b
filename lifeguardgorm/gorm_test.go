package lifeguardgorm_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m, pgtest.Options{})
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Owner and Pet are the models.
type Owner struct {
	ID   uint
	Name string `gorm:"uniqueIndex"`
	Pets []Pet
}

// Pet belongs to an Owner.
type Pet struct {
	ID      uint
	OwnerID uint
	Name    string
}

// open opens a database with a dialector and closes it at the end of the test.
func open(t *testing.T, dialector gorm.Dialector) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(dialector, &gorm.Config{TranslateError: true, Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, db) })
	return db
}

func closePool(t *testing.T, db *gorm.DB) {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// with returns a DSN with one more key.
func with(dsn, key, value string) string {
	return dsn + "&" + key + "=" + url.QueryEscape(value)
}

// keywords writes a DSN of pgtest as keyword=value.
func keywords(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database)
}

// TestTheTimeZoneOfTheDSNIsThatOfTimestamps compares with GORM's own postgres.Open.
func TestTheTimeZoneOfTheDSNIsThatOfTimestamps(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for name, dsn := range map[string]string{
		"none":                dsn,
		"URL, TimeZone":       dsn + "&TimeZone=Asia/Shanghai",
		"URL, timezone":       dsn + "&timezone=Asia/Shanghai",
		"keywords, TimeZone":  keywords(t, dsn) + " TimeZone=America/Caracas",
		"keywords, in middle": "TimeZone=Asia/Shanghai " + keywords(t, dsn),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := times(t, open(t, lifeguardgorm.Open(dsn))), times(t, open(t, postgres.Open(dsn)))
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q, as with postgres.Open", got, want)
			}
		})
	}

	// What postgres.Open does not understand.
	for name, dsn := range map[string]string{
		"escaped":   with(dsn, "TimeZone", "Asia/Shanghai"),
		"quoted":    keywords(t, dsn) + " TimeZone='Asia/Shanghai'",
		"time_zone": dsn + "&time_zone=Asia/Shanghai",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := times(t, open(t, lifeguardgorm.Open(dsn)))
			if want := "2024-05-06 07:08:09 +0800 CST"; got[0] != want || got[2] != "Asia/Shanghai" {
				t.Errorf("got %q, want %s and Asia/Shanghai", got, want)
			}
		})
	}
}

// times returns a timestamp without time zone, one with, and the session's time zone.
func times(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	var plain, zoned time.Time
	var zone string
	err := db.Raw("select timestamp '2024-05-06 07:08:09', timestamptz '2024-05-06 07:08:09Z', current_setting('TimeZone')").Row().Scan(&plain, &zoned, &zone)
	if err != nil {
		t.Fatal(err)
	}
	return []string{plain.String(), zoned.UTC().String(), zone}
}

// TestATimestampTZComesInTheLocationThatIsAskedFor reads one in each way that GORM does: into a
// field and into a map; with the cache too, which must not lose it.
func TestATimestampTZComesInTheLocationThatIsAskedFor(t *testing.T) {
	t.Parallel()
	type meeting struct {
		ID int
		At time.Time `gorm:"type:timestamptz"`
		On time.Time `gorm:"type:timestamp"`
	}
	caracas, err := time.LoadLocation("America/Caracas")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for keys, on := range map[string]string{"": "UTC", "&TimeZone=Asia/Shanghai": "Asia/Shanghai", "&lifeguard_cache=local": "UTC", "&default_query_exec_mode=simple_protocol": "UTC"} {
		for _, location := range []*time.Location{nil, time.UTC, caracas} {
			want := location
			if location == nil {
				want = time.Local // as with postgres.Open
			}
			db := open(t, lifeguardgorm.New(lifeguardgorm.Config{DSN: pgtest.DSN(t) + keys, TimestampTZ: location}))
			if err := errors.Join(db.AutoMigrate(&meeting{}), db.Create(&meeting{1, at, at}).Error); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				var m meeting
				values := map[string]any{}
				err := errors.Join(
					db.First(&m, 1).Error,
					db.Model(&meeting{}).Where("id = ?", 1).Take(values).Error,
				)
				if err != nil {
					t.Fatal(err)
				}
				read, _ := values["at"].(time.Time)
				for _, have := range []time.Time{m.At, read} {
					if !have.Equal(at) || have.Format(time.RFC3339) != at.In(want).Format(time.RFC3339) {
						t.Errorf("%q, %v: a timestamptz is %s, want %s", keys, location, have, at.In(want))
					}
				}
				if m.On.Location().String() != on {
					t.Errorf("%q, %v: a timestamp is in %s, want %s", keys, location, m.On.Location(), on)
				}
			}
		}
	}
}

func TestAHookIsCalledBesideTheTimeZone(t *testing.T) {
	t.Parallel()
	called := 0
	db := open(t, lifeguardgorm.New(lifeguardgorm.Config{
		DSN: pgtest.DSN(t) + "&TimeZone=Asia/Shanghai&pool_max_conns=1",
		Configure: func(cfg *lifeguard.Config) error {
			cfg.AfterConnect = func(context.Context, *pgx.Conn) error { called++; return nil }
			return nil
		},
	}))
	if got := times(t, db); !strings.HasSuffix(got[0], "+0800 CST") || called != 1 {
		t.Errorf("the hook was called %d times, and a timestamp is %s; want 1 and +0800", called, got[0])
	}
}

func TestPreferSimpleProtocolPreparesNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t) + "&pool_max_conns=1"
	for _, simple := range []bool{false, true} {
		db := open(t, lifeguardgorm.New(lifeguardgorm.Config{DSN: dsn, PreferSimpleProtocol: simple}))
		var n int
		if err := db.Raw("select 1 where 1 = ?", 1).Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Raw("select count(*) from pg_prepared_statements where statement like '%where 1 =%'").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		if prepared := n > 0; prepared == simple {
			t.Errorf("PreferSimpleProtocol %v: %d statements prepared", simple, n)
		}
	}
}

func TestWithoutReturningIsGORMs(t *testing.T) {
	t.Parallel()
	for _, without := range []bool{false, true} {
		db := open(t, lifeguardgorm.New(lifeguardgorm.Config{DSN: pgtest.DSN(t), WithoutReturning: without}))
		st := db.Session(&gorm.Session{DryRun: true}).Create(&Owner{Name: "Ann"}).Statement
		if has := strings.Contains(st.SQL.String(), "RETURNING"); has == without {
			t.Errorf("WithoutReturning %v: %s", without, st.SQL.String())
		}
	}
}

// TestEveryWayToOpenMigratesAndWorks goes through what depends on how GORM was opened: the
// migrator's way to read a table that has just been changed, the translation of errors,
// and nested transactions, with one connection.
func TestEveryWayToOpenMigratesAndWorks(t *testing.T) {
	t.Parallel()
	for name, dialector := range map[string]func(t *testing.T, dsn string) gorm.Dialector{
		"Open": func(_ *testing.T, dsn string) gorm.Dialector { return lifeguardgorm.Open(dsn) },
		"DriverName: lifeguard": func(_ *testing.T, dsn string) gorm.Dialector {
			return postgres.New(postgres.Config{DriverName: lifeguard.DriverName, DSN: dsn})
		},
		"Conn": func(t *testing.T, dsn string) gorm.Dialector {
			t.Helper()
			pool, err := lifeguard.Open(dsn)
			if err != nil {
				t.Fatal(err)
			}
			return postgres.New(postgres.Config{Conn: pool})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, dialector(t, pgtest.DSN(t)+"&pool_max_conns=1"))
			migrateTwice(t, db)

			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lifeguard.FromDB(pool); err != nil {
				t.Error(err)
			}
			if err := db.Create(&Owner{Name: "Ann", Pets: []Pet{{Name: "Rex"}}}).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Create(&Owner{Name: "Ann"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Errorf("a second Ann: %v, want ErrDuplicatedKey", err)
			}
			failed := errors.New("no more")
			err = db.Transaction(func(tx *gorm.DB) error {
				inner := tx.Transaction(func(tx *gorm.DB) error {
					return errors.Join(tx.Create(&Owner{Name: "Bob"}).Error, failed)
				})
				if !errors.Is(inner, failed) {
					return inner
				}
				return tx.Create(&Owner{Name: "Cid"}).Error
			})
			var names []string
			if err := errors.Join(err, db.Model(&Owner{}).Order("name").Pluck("name", &names).Error); err != nil {
				t.Fatal(err)
			}
			if want := []string{"Ann", "Cid"}; !slices.Equal(names, want) {
				t.Errorf("owners are %q, want %q", names, want)
			}
		})
	}
}

// migrateTwice changes a table between two migrations, and again.
func migrateTwice(t *testing.T, db *gorm.DB) {
	t.Helper()
	for range 2 {
		if err := db.AutoMigrate(&Owner{}, &Pet{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Exec("alter table pets add column extra text").Error; err != nil {
			t.Fatal(err)
		}
		if err := db.AutoMigrate(&Owner{}, &Pet{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrator().DropColumn(&Pet{}, "extra"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADialectorMayBeOpenedTwice(t *testing.T) {
	t.Parallel()
	dialector := lifeguardgorm.Open(pgtest.DSN(t))
	first, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, dialector)
	closePool(t, first)
	var n int
	if err := second.Raw("select 1").Scan(&n).Error; err != nil {
		t.Errorf("the second database, after the first was closed: %v", err)
	}
}

func TestWhatCannotBeOpenedSaysWhy(t *testing.T) {
	t.Parallel()
	refusal := errors.New("not today")
	registered := stdlib.RegisterConnConfig(&pgx.ConnConfig{})
	defer stdlib.UnregisterConnConfig(registered)
	for name, c := range map[string]struct {
		config lifeguardgorm.Config
		want   string
	}{
		"no URL":       {lifeguardgorm.Config{DSN: "postgres://u:secret@h:port/d"}, "port"},
		"unknown key":  {lifeguardgorm.Config{DSN: "postgres://u:secret@h/d?lifeguard_nonsense=1"}, "lifeguard_nonsense"},
		"unknown zone": {lifeguardgorm.Config{DSN: "postgres://u:secret@h/d?TimeZone=Mars/Olympus"}, "Europe/Berlin"},
		"Configure":    {lifeguardgorm.Config{DSN: "postgres://u:secret@h/d", Configure: func(*lifeguard.Config) error { return refusal }}, "not today"},
		"no limit":     {lifeguardgorm.Config{DSN: "postgres://u:secret@h/d", Configure: func(c *lifeguard.Config) error { c.MaxConns = -7; return nil }}, "pool_max_conns"},
		"registered":   {lifeguardgorm.Config{DSN: registered}, "postgres.Config{Conn: db}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gorm.Open(lifeguardgorm.New(c.config), &gorm.Config{Logger: logger.Discard})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want an error with %q and without the password", err, c.want)
			}
		})
	}
}
