package thirdparty

import (
	"database/sql/driver"
	"errors"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"
)

// entTables returns what ent generates of a schema with a User that has Cars.
func entTables() []*schema.Table {
	users := schema.NewTable("users").
		AddPrimary(&schema.Column{Name: "id", Type: field.TypeInt64, Increment: true}).
		AddColumn(&schema.Column{Name: "name", Type: field.TypeString, Unique: true}).
		AddColumn(&schema.Column{Name: "extra", Type: field.TypeJSON, Nullable: true})
	owner := &schema.Column{Name: "user_cars", Type: field.TypeInt64, Nullable: true}
	cars := schema.NewTable("cars").
		AddPrimary(&schema.Column{Name: "id", Type: field.TypeInt64, Increment: true}).
		AddColumn(&schema.Column{Name: "model", Type: field.TypeString}).
		AddColumn(owner).
		AddForeignKey(&schema.ForeignKey{
			Symbol: "cars_users_cars", Columns: []*schema.Column{owner},
			RefTable: users, RefColumns: users.PrimaryKey, OnDelete: schema.SetNull,
		})
	return []*schema.Table{users, cars}
}

func TestEntMigratesAndKeepsAGraph(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		ctx, drv := t.Context(), entsql.OpenDB(dialect.Postgres, w.db)
		for range 2 {
			migrate, err := schema.NewMigrate(drv)
			must(t, err, migrate.Create(ctx, entTables()...))
		}

		// What the generated builders do.
		create := func(name string) (*sqlgraph.CreateSpec, error) {
			spec := sqlgraph.NewCreateSpec("users", sqlgraph.NewFieldSpec("id", field.TypeInt64))
			spec.SetField("name", field.TypeString, name)
			spec.SetField("extra", field.TypeJSON, map[string]int{"age": 40})
			return spec, sqlgraph.CreateNode(ctx, drv, spec)
		}
		ann, err := create("Ann")
		must(t, err)
		_, err = create("Ann")
		w.note("again", sqlgraph.IsUniqueConstraintError(err))
		cars := &sqlgraph.BatchCreateSpec{}
		for _, model := range []string{"Beetle", "Duck"} {
			car := sqlgraph.NewCreateSpec("cars", sqlgraph.NewFieldSpec("id", field.TypeInt64))
			car.SetField("model", field.TypeString, model)
			car.Edges = []*sqlgraph.EdgeSpec{{
				Rel: sqlgraph.M2O, Inverse: true, Table: "cars", Columns: []string{"user_cars"},
				Target: &sqlgraph.EdgeTarget{Nodes: []driver.Value{ann.ID.Value}, IDSpec: sqlgraph.NewFieldSpec("id", field.TypeInt64)},
			}}
			cars.Nodes = append(cars.Nodes, car)
		}
		must(t, sqlgraph.BatchCreate(ctx, drv, cars))
		w.note("ids", ann.ID.Value, cars.Nodes[0].ID.Value, cars.Nodes[1].ID.Value)
		entQueries(t, w, drv)
	})
}

func entQueries(t *testing.T, w *world, drv *entsql.Driver) {
	t.Helper()
	ctx, b := t.Context(), entsql.Dialect(dialect.Postgres)
	users, cars := b.Table("users").As("u"), b.Table("cars").As("c")
	query, args := b.Select(users.C("name"), entsql.As(entsql.Count(cars.C("id")), "cars")).From(users).
		LeftJoin(cars).On(users.C("id"), cars.C("user_cars")).
		Where(entsql.And(entsql.EQ(users.C("name"), "Ann"), entsql.In(cars.C("model"), "Beetle", "Duck"))).
		GroupBy(users.C("name")).Query()
	rows := &entsql.Rows{}
	must(t, drv.Query(ctx, query, args, rows))
	var counted []struct {
		Name string
		Cars int
	}
	must(t, entsql.ScanSlice(rows, &counted), rows.Close())
	w.note("counted", counted)

	tx, err := drv.Tx(ctx)
	must(t, err)
	query, args = b.Update("users").Set("name", "Bea").Where(entsql.EQ("name", "Ann")).Query()
	var result entsql.Result
	must(t, tx.Exec(ctx, query, args, &result))
	n, err := result.RowsAffected()
	must(t, err, tx.Rollback())
	query, args = b.Select("name").From(b.Table("users")).ForUpdate(entsql.WithLockAction(entsql.SkipLocked)).Query()
	must(t, drv.Query(ctx, query, args, rows))
	name, err := entsql.ScanString(rows)
	must(t, err, rows.Close())
	w.note("rolled back", n, name)
	query, args = b.Select("nonsense").From(b.Table("users")).Query()
	err = drv.Query(ctx, query, args, &entsql.Rows{})
	w.note("error", err, errors.Unwrap(err) == nil)
}
