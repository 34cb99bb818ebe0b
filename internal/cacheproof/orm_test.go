package cacheproof

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

const ormSchema = `
	create table owners (id bigserial primary key, name text unique not null, age int not null default 0, created_at timestamptz not null default '2024-01-01 00:00+00', deleted_at timestamptz);
	create table pets (id bigserial primary key, owner_id bigint references owners on delete cascade, name text not null, tags text[], extra jsonb, born date, weight numeric(6,2));
	insert into owners (name, age) select 'owner ' || i, 20 + i from generate_series(1, 12) i;
	insert into pets (owner_id, name, tags, extra, born, weight) select 1 + i % 12, 'pet ' || i, array['a', 'b' || i], jsonb_build_object('n', i), date '2020-01-01' + i, i * 1.25 from generate_series(1, 40) i;`

// capture keeps the queries that go through a pgx connection, with their arguments.
type capture struct {
	mu   sync.Mutex
	list []statement // guarded by mu
}

func (c *capture) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	args := slices.DeleteFunc(slices.Clone(data.Args), func(arg any) bool {
		_, formats := arg.(pgx.QueryResultFormatsByOID)
		return formats
	})
	c.list = append(c.list, statement{data.SQL, args})
	return ctx
}

func (c *capture) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestWhatLibrariesSendIsTheSame has libraries write their queries to a database, and then
// compares what they were.
func TestWhatLibrariesSendIsTheSame(t *testing.T) {
	dsn := pgtest.DSN(t)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	tracer := &capture{}
	cfg.Tracer = tracer
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), ormSchema); err != nil {
		t.Fatal(err)
	}
	tracer.list = nil
	for _, library := range []struct {
		name string
		use  func(t *testing.T, db *sql.DB)
	}{{"GORM", useGORM}, {"Bun", useBun}, {"ent", useEnt}, {"sqlx", useSqlx}} {
		before := len(tracer.list)
		library.use(t, db)
		if len(tracer.list)-before < 7 {
			t.Errorf("%s has sent only %d statements", library.name, len(tracer.list)-before)
		}
	}
	var reads []statement
	for _, s := range tracer.list {
		first, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(s.text)), " ")
		if first == "SELECT" || first == "WITH" {
			reads = append(reads, s)
		}
	}
	d := newDiffer(t, dsn, []string{
		"update owners set age = age + 1 where id < 5", "update pets set weight = weight + 1, tags = array_append(tags, 'w')", "delete from pets where id = (select max(id) from pets)",
		"insert into owners (name) select 'new ' || max(id) from owners", "update owners set deleted_at = '2024-02-02 00:00+00' where id = 3", "delete from owners where id = (select max(id) from owners)",
	})
	for range 3 { // later rounds find what the earlier ones have made known
		d.compare(t, reads)
	}
	d.served(t, len(reads), 45)
}

type gormOwner struct {
	ID        uint
	Name      string
	Age       int
	CreatedAt time.Time
	DeletedAt gorm.DeletedAt
	Pets      []gormPet `gorm:"foreignKey:OwnerID"`
}

func (gormOwner) TableName() string { return "owners" }

type gormPet struct {
	ID      uint
	OwnerID uint
	Owner   *gormOwner
	Name    string
	Born    time.Time
	Weight  float64
}

func (gormPet) TableName() string { return "pets" }

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func useGORM(t *testing.T, db *sql.DB) {
	t.Helper()
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{Logger: logger.Discard})
	must(t, err)
	g = g.WithContext(t.Context())
	var owners []gormOwner
	var owner gormOwner
	var pets []gormPet
	var n int64
	var names []string
	must(t, g.Preload("Pets").Order("name").Find(&owners).Error, g.First(&owner, 2).Error,
		g.Where(&gormOwner{Name: "owner 3"}).Take(&gormOwner{}).Error,
		g.Where("age > ? AND name LIKE ?", 22, "owner%").Order("id").Limit(3).Offset(1).Find(&owners).Error,
		g.Where("id IN ?", []int{1, 2, 3}).Order("id").Find(&owners).Error, g.Model(&gormPet{}).Where("weight > ?", 3.5).Count(&n).Error,
		g.Joins("Owner").Order("pets.id").Limit(5).Find(&pets).Error, g.Model(&gormOwner{}).Order("id").Pluck("name", &names).Error,
		g.Unscoped().Order("id").Last(&gormOwner{}).Error, g.Model(&gormPet{}).Select("owner_id, sum(weight) as weight").Group("owner_id").Having("count(*) > ?", 1).Order("owner_id").Scan(&pets).Error,
		g.Raw("SELECT name FROM owners WHERE id = @id", map[string]any{"id": 4}).Scan(&names).Error,
		g.Where("EXISTS (?)", g.Model(&gormPet{}).Select("1").Where("pets.owner_id = owners.id")).Order("id").Find(&owners).Error,
		g.Transaction(func(tx *gorm.DB) error {
			return tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&gormOwner{}, 1).Error
		}),
	)
}

type bunOwner struct {
	bun.BaseModel `bun:"table:owners,alias:o"`
	ID            int64 `bun:",pk,autoincrement"`
	Name          string
	Age           int
	Pets          []*bunPet `bun:"rel:has-many,join:id=owner_id"`
}

type bunPet struct {
	bun.BaseModel `bun:"table:pets,alias:p"`
	ID            int64 `bun:",pk,autoincrement"`
	OwnerID       int64
	Owner         *bunOwner `bun:"rel:belongs-to,join:owner_id=id"`
	Name          string
	Tags          []string       `bun:",array"`
	Extra         map[string]any `bun:"type:jsonb"`
}

func useBun(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, b := t.Context(), bun.NewDB(db, pgdialect.New())
	var owners []bunOwner
	var pets []bunPet
	must(t, b.NewSelect().Model(&owners).Relation("Pets").Order("o.id").Scan(ctx),
		b.NewSelect().Model(&pets).Relation("Owner").Where("p.id < ?", 9).Order("p.id").Scan(ctx),
		b.NewSelect().Model(&pets).Where("p.tags @> ?", pgdialect.Array([]string{"a"})).Where("p.id < 5").Scan(ctx),
		b.NewSelect().Model(&pets).Where("p.tags && ARRAY['b3', 'b4']").Where("p.extra->>'n' = ?", "3").Scan(ctx),
		b.NewSelect().Model(&bunOwner{ID: 3}).WherePK().Scan(ctx),
		b.NewSelect().Model(&owners).Where("o.id IN (?)", bun.List([]int64{1, 2, 4})).OrderBy("o.id", bun.OrderDesc).Limit(2).Scan(ctx),
		b.NewSelect().TableExpr("owners AS o").ColumnExpr("count(*) AS n, max(o.age)").Where("o.name <> ?", "it's").Scan(ctx, new(int), new(int)),
	)
	n, err := b.NewSelect().Model(&owners).Where("o.age BETWEEN ? AND ?", 21, 28).Limit(3).ScanAndCount(ctx)
	must(t, err)
	exists, err := b.NewSelect().Model((*bunPet)(nil)).Where("owner_id = ?", 5).Exists(ctx)
	must(t, err)
	if n == 0 || !exists {
		t.Error("Bun has found nothing")
	}
	with := b.NewSelect().Model((*bunPet)(nil)).ColumnExpr("owner_id, count(*) AS n").GroupExpr("owner_id")
	must(t, b.NewSelect().With("c", with).TableExpr("c").ColumnExpr("sum(c.n)").Scan(ctx, new(int)))
}

func useEnt(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, drv := t.Context(), entsql.OpenDB(dialect.Postgres, db)
	b := entsql.Dialect(dialect.Postgres)
	owners, pets := b.Table("owners").As("o"), b.Table("pets").As("p")
	for _, s := range []*entsql.Selector{
		b.Select(entsql.Count("*")).From(b.Table("owners")).Where(entsql.HasPrefix("name", "owner")),
		b.Select("id", "name").From(b.Table("owners")).Where(entsql.And(entsql.GT("age", 22), entsql.NotNull("name"))).OrderBy("id").Limit(4),
		b.Select(owners.C("name"), entsql.As(entsql.Count(pets.C("id")), "pets")).From(owners).LeftJoin(pets).On(owners.C("id"), pets.C("owner_id")).GroupBy(owners.C("name")).OrderBy(owners.C("name")),
		b.Select("*").From(b.Table("pets")).Where(entsql.In("id", 1, 2, 3)).OrderBy(entsql.Desc("id")),
		b.Select("name").From(b.Table("owners")).Where(entsql.In("id", b.Select("owner_id").From(b.Table("pets")).Where(entsql.EQ("name", "pet 3")))),
		b.Select("name").Distinct().From(b.Table("pets")).Where(entsql.ContainsFold("name", "PET 1")).OrderBy("name"),
		b.Select("name").From(b.Table("owners")).Where(entsql.EQ("id", 1)).ForUpdate(),
	} {
		query, args := s.Query()
		var rows entsql.Rows
		must(t, drv.Query(ctx, query, args, &rows))
		must(t, rows.Close())
	}
	// What a generated client's Query().All does.
	spec := sqlgraph.NewQuerySpec("owners", []string{"id", "name", "age"}, sqlgraph.NewFieldSpec("id", field.TypeInt64))
	spec.Predicate = func(s *entsql.Selector) { s.Where(entsql.LT("age", 25)) }
	spec.ScanValues = func([]string) ([]any, error) { return []any{new(int64), new(string), new(int)}, nil }
	spec.Assign = func([]string, []any) error { return nil }
	must(t, sqlgraph.QueryNodes(ctx, drv, spec))
}

func useSqlx(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, x := t.Context(), sqlx.NewDb(db, "pgx")
	type owner struct {
		ID   int64
		Name string
		Age  int
	}
	var list []owner
	var one owner
	must(t, x.SelectContext(ctx, &list, "SELECT id, name, age FROM owners WHERE age > $1 ORDER BY id", 24),
		x.GetContext(ctx, &one, "SELECT id, name, age FROM owners WHERE id = $1", 2), x.GetContext(ctx, &one, "SELECT id, name, age FROM owners WHERE name = $1 LIMIT 1", "owner 2"))
	query, args, err := sqlx.In("SELECT id, name FROM owners WHERE id IN (?) AND name <> ? ORDER BY id", []int64{1, 3, 5}, "x")
	must(t, err, x.SelectContext(ctx, &list, x.Rebind(query), args...))
	rows, err := x.NamedQueryContext(ctx, "SELECT name FROM pets WHERE owner_id = :id AND weight < :weight ORDER BY id", map[string]any{"id": 4, "weight": 40.5})
	must(t, err, rows.Close()) //nolint:sqlclosecheck // at once
	prepared, err := x.PrepareNamedContext(ctx, "SELECT count(*) FROM pets WHERE born > :born")
	must(t, err, prepared.GetContext(ctx, new(int), map[string]any{"born": time.Date(2020, 1, 10, 0, 0, 0, 0, time.UTC)}), prepared.Close()) //nolint:sqlclosecheck // at once
	found, err := x.QueryxContext(ctx, "SELECT * FROM pets ORDER BY id LIMIT 2")
	must(t, err, found.Close()) //nolint:sqlclosecheck // at once
}
