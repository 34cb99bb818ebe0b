package thirdparty

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard"
)

// Owner, Pet, Toy and Chip are GORM models with every kind of association.
type Owner struct {
	ID        uint
	Name      string `gorm:"uniqueIndex;not null"`
	Age       int    `gorm:"check:age >= 0"`
	Pets      []Pet
	CreatedAt time.Time
}

type Pet struct {
	ID      uint
	OwnerID uint
	Owner   *Owner
	Name    string
	Chip    *Chip
	Toys    []Toy `gorm:"many2many:pet_toys"`

	DeletedAt gorm.DeletedAt
}

type Chip struct {
	ID    uint
	PetID uint
	Code  string
}

type Toy struct {
	ID   uint
	Name string
}

// AfterCreate refuses a name, in the transaction of the insert, after a statement in it.
func (o *Owner) AfterCreate(tx *gorm.DB) error {
	var n int64
	if err := tx.Model(&Owner{}).Where("name = ?", o.Name).Count(&n).Error; err != nil {
		return err
	}
	if o.Name == "Mallory" {
		return fmt.Errorf("%d Mallory is one too many", n)
	}
	return nil
}

// openGORM opens GORM on the world's database and makes its tables.
func openGORM(t *testing.T, w *world, options ...func(*gorm.Config)) *gorm.DB {
	t.Helper()
	cfg := &gorm.Config{TranslateError: true, Logger: logger.Discard}
	for _, option := range options {
		option(cfg)
	}
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: w.db}), cfg)
	must(t, err)
	must(t, db.AutoMigrate(&Owner{}, &Toy{}, &Pet{}, &Chip{}))
	return db.WithContext(t.Context())
}

func preparing(cfg *gorm.Config) { cfg.PrepareStmt = true }

func TestGORMMigratesTwice(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		db := openGORM(t, w)
		for range 2 {
			must(t, db.AutoMigrate(&Owner{}, &Toy{}, &Pet{}, &Chip{}))
			must(t, db.Exec("alter table toys add column size int").Error)
			must(t, db.AutoMigrate(&Toy{}), db.Migrator().DropColumn("toys", "size"))
		}
		for _, model := range []any{&Owner{}, &Pet{}, &Chip{}, &Toy{}} {
			columns, err := db.Migrator().ColumnTypes(model)
			must(t, err)
			for _, c := range columns {
				nullable, _ := c.Nullable()
				initial, _ := c.DefaultValue()
				w.note("column", c.Name(), c.DatabaseTypeName(), c.ScanType(), nullable, initial)
			}
			indexes, err := db.Migrator().GetIndexes(model)
			must(t, err)
			for _, index := range indexes {
				w.note("index", index.Name(), index.Columns())
			}
		}
		tables, err := db.Migrator().GetTables()
		must(t, err)
		slices.Sort(tables)
		w.note("tables", tables)
	})
}

func TestGORMAssociates(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*gorm.Config){"plain": nil, "PrepareStmt": {preparing}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, 1, func(t *testing.T, w *world) { associate(t, w, openGORM(t, w, options...)) })
		})
	}
}

func associate(t *testing.T, w *world, db *gorm.DB) {
	t.Helper()
	owner := Owner{Name: "Ann", Pets: []Pet{
		{Name: "Rex", Chip: &Chip{Code: "c1"}, Toys: []Toy{{Name: "ball"}, {Name: "bone"}}},
		{Name: "Tom"},
	}}
	must(t, db.Create(&owner).Error)
	must(t, db.Create(&[]Owner{{Name: "Bob"}, {Name: "Cid", Pets: []Pet{{Name: "Zoe"}}}}).Error)

	var owners []Owner
	must(t, db.Preload("Pets.Toys").Preload("Pets.Chip").Order("name").Find(&owners).Error)
	for _, o := range owners {
		w.note("owner", o.ID, o.Name)
		for _, p := range o.Pets {
			w.note("pet", p.Name, p.Chip != nil, len(p.Toys))
		}
	}
	var pets []Pet
	must(t, db.Joins("Owner").Joins("Chip").Order(`"pets".name`).Find(&pets).Error)
	for _, p := range pets {
		w.note("joined", p.Name, p.Owner.Name, p.Chip != nil)
	}

	toysOfRex := func() *gorm.Association { return db.Model(&owner.Pets[0]).Association("Toys") }
	must(t, toysOfRex().Append(&Toy{Name: "stick"}))
	w.note("toys", toysOfRex().Count())
	must(t, toysOfRex().Replace(&Toy{Name: "rope"}))
	var toys []Toy
	must(t, toysOfRex().Find(&toys))
	w.note("replaced", len(toys), toys[0].Name)
	must(t, toysOfRex().Clear())
	w.note("cleared", toysOfRex().Count())

	must(t, db.Delete(&owner.Pets[1]).Error)
	var all, alive int64
	must(t, db.Model(&Pet{}).Count(&alive).Error, db.Unscoped().Model(&Pet{}).Count(&all).Error)
	w.note("deleted softly", alive, all)
}

func TestGORMHooksAndErrors(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		db := openGORM(t, w)
		must(t, db.Create(&Owner{Name: "Ann"}).Error)
		for _, c := range []struct {
			what string
			err  error
		}{
			{"duplicate", db.Create(&Owner{Name: "Ann"}).Error},
			{"foreign", db.Create(&Pet{Name: "stray", OwnerID: 99}).Error},
			{"check", db.Create(&Owner{Name: "Ned", Age: -1}).Error},
			{"hook", db.Create(&Owner{Name: "Mallory"}).Error},
			{"missing", db.First(&Owner{}, "name = ?", "Eve").Error},
			{"column", db.Where("nonsense = 1").Find(&[]Owner{}).Error},
		} {
			if c.err == nil {
				t.Fatalf("%s: no error", c.what)
			}
			err := c.err
			w.note(c.what, errors.Is(err, gorm.ErrDuplicatedKey), errors.Is(err, gorm.ErrForeignKeyViolated),
				errors.Is(err, gorm.ErrCheckConstraintViolated), errors.Is(err, gorm.ErrRecordNotFound),
				errors.Is(err, gorm.ErrInvalidField), err.Error())
		}
		var names []string
		must(t, db.Model(&Owner{}).Pluck("name", &names).Error)
		w.note("owners", names)
	})
}

func TestGORMNestsTransactions(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*gorm.Config){"plain": nil, "PrepareStmt": {preparing}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, 1, func(t *testing.T, w *world) { nest(t, w, openGORM(t, w, options...)) })
		})
	}
}

func nest(t *testing.T, w *world, db *gorm.DB) {
	t.Helper()
	failed := errors.New("no more")
	add := func(tx *gorm.DB, name string) error { return tx.Create(&Owner{Name: name}).Error }
	err := db.Transaction(func(tx *gorm.DB) error {
		must(t, add(tx, "outer"))
		must(t, tx.Transaction(func(tx *gorm.DB) error { return add(tx, "inner, kept") }))
		inner := tx.Transaction(func(tx *gorm.DB) error {
			return errors.Join(add(tx, "inner, undone"), add(tx, "inner, undone"), failed)
		})
		w.note("inner", errors.Is(inner, failed), errors.Is(inner, gorm.ErrDuplicatedKey))
		must(t, tx.SavePoint("here").Error, add(tx, "undone"), tx.RollbackTo("here").Error)
		return add(tx, "after")
	}, &sql.TxOptions{Isolation: sql.LevelSerializable})
	must(t, err)

	err = db.Transaction(func(tx *gorm.DB) error { return errors.Join(add(tx, "all undone"), failed) })
	w.note("outer", errors.Is(err, failed))
	func() {
		defer func() { w.note("panic", recover()) }()
		_ = db.Transaction(func(tx *gorm.DB) error {
			must(t, add(tx, "panicked"))
			panic("!")
		})
	}()
	tx := db.Begin()
	must(t, tx.Error, add(tx, "by hand"), tx.Rollback().Error)
	w.note("twice", errors.Is(tx.Commit().Error, sql.ErrTxDone), tx.Error)

	var names []string
	must(t, db.Model(&Owner{}).Order("id").Pluck("name", &names).Error)
	w.note("owners", names)
}

// values is a statement whose columns are of every usual type.
const values = `select true as bool, 1::int2 as int2, 2::int4 as int4, 3::int8 as int8, 1.5::float4 as float4,
	2.5::float8 as float8, 12.340::numeric as numeric, 'text' as text, 'vc'::varchar(9) as varchar, '\x0102'::bytea as bytea,
	date '2024-05-06' as date, timestamp '2024-05-06 07:08:09.123456' as timestamp, timestamptz '2024-05-06 07:08:09Z' as timestamptz,
	interval '1 day 2 hours' as interval, '{"a": [1, null]}'::jsonb as jsonb, '{"a":1}'::json as json,
	'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid as uuid, array[1, 2] as int4s, array['a', null] as texts, '10.0.0.1'::inet as inet,
	'[1,5)'::int4range as range, null::int as none, point '(1,2)' as point, 'x'::"char" as char, time '01:02:03' as time, 7::oid as oid`

func TestGORMScansIntoMapsWithTheSameTypes(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		db := openGORM(t, w)
		got := map[string]any{}
		must(t, db.Raw(values).Scan(&got).Error)
		w.note("raw", got)
		must(t, db.Create(&Owner{Name: "Ann", CreatedAt: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)}).Error)
		var several []map[string]any
		must(t, db.Model(&Owner{}).Find(&several).Error)
		delete(several[0], "created_at") // the local time zone
		w.note("model", several[0])

		rows, err := db.Raw(values).Rows()
		must(t, err)
		defer rows.Close()
		types, err := rows.ColumnTypes()
		must(t, err)
		for _, c := range types {
			length, hasLength := c.Length()
			precision, scale, hasScale := c.DecimalSize()
			nullable, known := c.Nullable()
			w.note("type", c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, hasScale, nullable, known)
		}
		must(t, rows.Err())
	})
}

type mood string

// Fancy has columns of PostgreSQL's own types.
type Fancy struct {
	ID    uint
	Tags  pq.StringArray `gorm:"type:text[]"`
	Sizes pq.Int64Array  `gorm:"type:bigint[]"`
	Extra map[string]any `gorm:"type:jsonb;serializer:json"`
	Mood  mood           `gorm:"type:mood"`
	Seen  *time.Time
}

func TestGORMKnowsArraysJSONAndEnums(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		w.exec(t, "create type mood as enum ('happy', 'sad')")
		db := openGORM(t, w)
		must(t, db.AutoMigrate(&Fancy{}))
		seen := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
		must(t, db.Create(&Fancy{Tags: pq.StringArray{"a", `b"c`}, Sizes: pq.Int64Array{1, 2}, Extra: map[string]any{"legs": 4.0}, Mood: "happy", Seen: &seen}).Error)
		must(t, db.Create(&Fancy{Mood: "sad"}).Error)

		var all []Fancy
		must(t, db.Where("tags @> ? or mood = ? or extra->>'legs' = ?", pq.StringArray{"a"}, mood("sad"), "4").Order("id").Find(&all).Error)
		for _, f := range all {
			w.note("fancy", f.Tags, f.Sizes, f.Extra, f.Mood, f.Seen != nil)
		}
		w.note("no such mood", db.Create(&Fancy{Mood: "so-so"}).Error)
		var n int64
		must(t, db.Model(&Fancy{}).Where("id in ? and mood in ?", []int{1, 2, 3}, []mood{"sad", "happy"}).Count(&n).Error)
		w.note("in", n)
	})
}

func TestGORMWorksInBulk(t *testing.T) {
	t.Parallel()
	compare(t, 2, func(t *testing.T, w *world) {
		db := openGORM(t, w)
		owners := make([]Owner, 250)
		for i := range owners {
			owners[i] = Owner{Name: fmt.Sprint("owner ", i), Age: i}
		}
		must(t, db.CreateInBatches(&owners, 100).Error)
		upsert := db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"age"})})
		must(t, upsert.Create(&[]Owner{{Name: "owner 1", Age: 1000}, {Name: "new", Age: 2000}}).Error)

		sum, batches := 0, 0
		var some []Owner
		must(t, db.FindInBatches(&some, 60, func(*gorm.DB, int) error {
			batches++
			for _, o := range some {
				sum += o.Age
			}
			return nil
		}).Error)
		w.note("in batches", batches, sum)

		// A statement inside a loop over rows is a second connection.
		rows, err := db.Model(&Owner{}).Where("age < 20").Order("id").Rows()
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			var o Owner
			must(t, db.ScanRows(rows, &o), db.Model(&Owner{}).Where("id = ?", o.ID).Update("age", gorm.Expr("age + 1")).Error)
		}
		must(t, rows.Err())

		var locked []Owner
		must(t, db.Transaction(func(tx *gorm.DB) error {
			return tx.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).Where("age < 5").Order("id").Find(&locked).Error
		}))
		w.note("locked", len(locked))
		var returned []Owner
		gone := db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "name"}}}).Where("age > 240").Delete(&returned)
		must(t, gone.Error)
		w.note("deleted", gone.RowsAffected, len(returned), strings.HasPrefix(returned[0].Name, "owner"))
	})
}

func TestGORMSharesFewConnections(t *testing.T) {
	t.Parallel()
	compare(t, 2, func(t *testing.T, w *world) {
		db := openGORM(t, w)
		const each = 10
		failures := make(chan error, 32)
		for g := range cap(failures) {
			go func() {
				var err error
				for i := range each {
					name := fmt.Sprint(g, "/", i)
					err = errors.Join(err, db.Transaction(func(tx *gorm.DB) error {
						return errors.Join(tx.Create(&Owner{Name: name}).Error, tx.Take(&Owner{}, "name = ?", name).Error)
					}), db.Take(&Owner{}, "name = ?", name).Error)
				}
				failures <- err
			}()
		}
		for range cap(failures) {
			if err := <-failures; err != nil {
				t.Error(err)
			}
		}
		var n int64
		must(t, db.Model(&Owner{}).Count(&n).Error)
		w.note("owners", n)
		checkQueued(t, w)
	})
}

// TestGORMsPrepareStmtWaitsForItself shows a pitfall that any bounded pool has: one
// goroutine prepares a statement and waits for a connection, another one holds it in a
// transaction and waits, without a deadline, for the first to have prepared.
func TestGORMsPrepareStmtWaitsForItself(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		w.keepsNothing = "pg_sleep is volatile"
		db := openGORM(t, w, preparing)
		w.db.SetMaxOpenConns(1)
		if w.guarded() {
			w.db.SetMaxOpenConns(0) // pool_max_conns it is
			connector, err := lifeguard.FromDB(w.db)
			must(t, err, connector.SetLimit(1))
		}
		tx := db.Begin()
		must(t, tx.Error)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		outside := make(chan error, 1)
		go func() { outside <- db.WithContext(ctx).Take(&Owner{}, "name = ?", "Ann").Error }()
		eventually(t, "the statement outside waits", func() bool { return waiting(t, w) == 1 })
		inside := tx.Take(&Owner{}, "name = ?", "Ann").Error
		w.note("deadlock", errors.Is(<-outside, context.DeadlineExceeded), errors.Is(inside, gorm.ErrRecordNotFound))
		must(t, tx.Rollback().Error)
	})
}
