package lifeguardsqlx_test

import (
	"os"
	"testing"

	"github.com/jmoiron/sqlx"

	_ "github.com/lifeguard-go/lifeguard/lifeguardsqlx"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{})) }

type pet struct {
	ID   int
	Name string
	Legs int
}

// TestSqlxOpensLifeguardByItsNameAlone does with sqlx.Open and sqlx.Connect whatever has
// placeholders that sqlx writes.
func TestSqlxOpensLifeguardByItsNameAlone(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(driver, dsn string) (*sqlx.DB, error){"Open": sqlx.Open, "Connect": sqlx.Connect} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := open("lifeguard", pgtest.DSN(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			use(t, db)
		})
	}
}

func use(t *testing.T, db *sqlx.DB) {
	t.Helper()
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, "create table pets (id int primary key, name text, legs int)"); err != nil {
		t.Fatal(err)
	}
	pets := []pet{{1, "Rex", 4}, {2, "Polly", 2}}
	if _, err := db.NamedExecContext(ctx, "insert into pets (id, name, legs) values (:id, :name, :legs)", pets); err != nil {
		t.Fatal(err)
	}
	query, args, err := sqlx.In("select * from pets where id in (?) and legs > ? order by id", []int{1, 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var found []pet
	if err := db.SelectContext(ctx, &found, db.Rebind(query), args...); err != nil || len(found) != 2 || found[1] != pets[1] {
		t.Errorf("In and Rebind find %v, error %v", found, err)
	}
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	named, err := tx.PrepareNamedContext(ctx, "select * from pets where name = :name")
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	var one pet
	if err := named.GetContext(ctx, &one, pet{Name: "Rex"}); err != nil || one != pets[0] {
		t.Errorf("a prepared statement with names finds %v, error %v", one, err)
	}
}
