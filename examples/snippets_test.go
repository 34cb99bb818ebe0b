package examples

import _ "github.com/lifeguard-go/lifeguard/crud" // a snippet needs it

// surroundings are what stands around a snippet of a page: what it imports, what is declared
// beside it, what stands before and after it.
type surroundings struct{ imports, beside, before, after string }

// snippets are those that are marked with their names: <!-- run: name -->. Errors of a snippet
// are looked at where it leaves them; all of them find the pets of setUp.
func snippets() map[string]surroundings {
	const rows = `
		if err != nil { return err }
		if fmt.Sprint(names) != "[Rex Polly]" { return fmt.Errorf("the pets are %v", names) }
		return nil`
	return map[string]surroundings{
		"open": {after: `if err != nil { return err }; return db.Close()`},
		"pgx": {
			imports: `"github.com/jackc/pgx/v5"`,
			before:  `config, err := pgx.ParseConfig(dsn); if err != nil { return err }`,
			after:   `if err != nil { return err }; return errors.Join(db.PingContext(ctx), other.PingContext(ctx), db.Close(), other.Close())`,
		},
		"pgxpool": {
			imports: `"github.com/jackc/pgx/v5"`,
			before:  `var used *pgx.Conn; use := func(c *pgx.Conn) { used = c }`,
			after: `if err != nil { return err }
				if used == nil || !rows.Next() { return errors.New("no connection, or no row") }
				return errors.Join(rows.Close(), conn.Close(), db.Close())`,
		},
		"pq": {
			imports: `"github.com/jackc/pgx/v5/pgconn"`,
			before: `type pet struct { ID int; Name string }
				pets := func(yield func(pet) bool) { yield(pet{7, "Max"}) }`,
			after: `if err != nil { return err }
				if !taken || n.Written != 1 { return fmt.Errorf("taken %v, written %d", taken, n.Written) }
				return db.Close()`,
		},
		"sqlx": {imports: `"github.com/jmoiron/sqlx"; _ "github.com/lifeguard-go/lifeguard/lifeguardsqlx"`, after: rows},
		"gorm": {imports: `"gorm.io/gorm"; "github.com/lifeguard-go/lifeguard/lifeguardgorm"`, after: rows},
		"bun":  {imports: `"github.com/uptrace/bun"; "github.com/uptrace/bun/dialect/pgdialect"`, after: rows},
		"libraries": {
			imports: `"testing/fstest"; "entgo.io/ent/dialect"; entsql "entgo.io/ent/dialect/sql"; "github.com/jmoiron/sqlx"
				pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"; "github.com/pressly/goose/v3"
				"github.com/uptrace/bun"; "github.com/uptrace/bun/dialect/pgdialect"; "gorm.io/driver/postgres"; "gorm.io/gorm"
				"github.com/lifeguard-go/lifeguard/lifeguardgorm"`,
			// What ent generates has these two.
			beside: `var ent = struct { NewClient func(dialect.Driver) dialect.Driver; Driver func(dialect.Driver) dialect.Driver }{
				func(d dialect.Driver) dialect.Driver { return d }, func(d dialect.Driver) dialect.Driver { return d },
			}`,
			before: `db, err := sql.Open("lifeguard", dsn)
				if err != nil { return err }
				migrations := fstest.MapFS{"1_toys.sql": {Data: []byte("-- +goose Up\ncreate table toys (id int);")}}`,
			after: `if err != nil { return err }
				if _, err := provider.Up(ctx); err != nil { return err }
				var toys int
				if err := xdb.Get(&toys, xdb.Rebind("select count(*) from toys where id > ?"), 0); err != nil { return err }
				if err := gdb.Exec("insert into toys values (?)", 1).Error; err != nil { return err }
				if err := client.Exec(ctx, "insert into toys values (2)", []any{}, nil); err != nil { return err }
				if n, err := bdb.NewSelect().Table("toys").Count(ctx); n != 2 || err != nil { return fmt.Errorf("%d toys: %w", n, err) }
				return target.Close()`,
		},
		"labels": {
			imports: `"gorm.io/gorm"; "github.com/lifeguard-go/lifeguard/lifeguardgorm"`,
			after:   `if err != nil { return err }; return db.Exec("select 1").Error`,
		},
		"names": {
			imports: `"github.com/jmoiron/sqlx"`,
			before:  `pool, err := sql.Open("lifeguard", dsn); if err != nil { return err }`,
			after: `other, err := sqlx.Open("lifeguard", dsn)
				if err != nil { return err }
				if a, b := db.Rebind("?"), other.Rebind("?"); a != "$1" || b != "$1" { return fmt.Errorf("placeholders %s and %s", a, b) }
				return errors.Join(pool.Close(), other.Close())`,
		},
		"batch": {
			imports: `"time"`,
			before: `db, err := sql.Open("lifeguard", dsn)
				if err != nil { return err }
				if _, err := db.Exec("create schema shop; create table shop.event (id serial, name text, cents bigint, happened_at timestamptz)"); err != nil { return err }
				`,
			after: `if err != nil || stats.Written != 2 { return fmt.Errorf("%d rows: %w", stats.Written, err) }
				return db.Close()`,
		},
		"txn": {
			before: `db, err := sql.Open("lifeguard", dsn)
				if err != nil { return err }
				audit := func(ctx context.Context, db *sql.DB) error {
					return lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(ctx context.Context, tx *sql.Tx) error {
						_, err := tx.ExecContext(ctx, "insert into pets values (9, 'audited', 0)")
						return err
					})
				}`,
			after: `if err != nil { return err }
				var legs, audited int
				err = db.QueryRow("select (select legs from pets where id = 1), count(*) from pets where name = 'audited'").Scan(&legs, &audited)
				if legs != 3 || audited != 1 { return fmt.Errorf("%d legs, audited %d: %w", legs, audited, err) }
				return db.Close()`,
		},
		"future": {
			beside: `type Pet struct { ID int; Name string }`,
			before: `db, err := sql.Open("lifeguard", dsn); if err != nil { return err }`,
			after:  `if err != nil || len(all) != 2 { return fmt.Errorf("%v: %w", all, err) }; return db.Close()`,
		},
		"crud": {
			imports: `"time"; "github.com/lifeguard-go/lifeguard/crud"; "github.com/uptrace/bun"`,
			beside: `type Pet struct {
					bun.BaseModel ` + "`bun:\"table:animals\"`" + `
					ID int64; Name string; OwnerID int64; Born time.Time
				}`,
			before: `db, err := sql.Open("lifeguard", dsn)
				if err != nil { return err }
				if _, err := db.Exec("create table animals (id bigint primary key, name text, owner_id bigint, born timestamptz); insert into animals values (1, 'Rex', 7, now())"); err != nil { return err }
				tx, err := db.Begin()
				if err != nil { return err }
				day := time.Now().Add(time.Hour)
				`,
			after: `if err != nil || len(pets) != 1 || n != 1 { return fmt.Errorf("%v, %d: %w", pets, n, err) }
				return errors.Join(tx.Commit(), db.Close())`,
		},
		"transfer":  {imports: "testing"},
		"templated": {imports: "testing"},
	}
}
