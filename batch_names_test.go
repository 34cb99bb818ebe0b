package lifeguard_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestATableIsNamedWithOrWithoutItsSchema(t *testing.T) {
	db := open(t)
	for name, ok := range map[string]bool{
		"item": true, "public.item": true, `"item"`: true, `"public"."it""em.x"`: true, "Select; drop": true,
		"": false, ".": false, "a.": false, ".a": false, "a.b.c": false, `"a`: false, `a"b`: false, `"a"b`: false, "a\x00b": false, `""`: false,
	} {
		if _, err := lifeguard.NewBatchInserter[batchItem](db, name, lifeguard.BatchConfig{}); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzNames makes a table of any name and column, beside one that must survive.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"item", `a"b`, `x"; drop table bystander; --`, "a.b", "$1", "ü\\", "' or 1=1", "pg_class"} {
		f.Add(name, "id")
		f.Add("item", name)
	}
	dsn := pgtest.DSN(f)
	db := openDSN(f, withSettings(dsn, "pool_max_conns=4"))
	mustExec(f, db, "create table bystander (n int)")
	mustExec(f, db, "insert into bystander values (1)")
	f.Fuzz(func(t *testing.T, table, column string) {
		if len(table) > 63 || len(column) > 63 || strings.ContainsRune(table+column, 0) || !utf8.ValidString(table) || !utf8.ValidString(column) ||
			table == "" || column == "" || table == "bystander" || column == "other" {
			t.Skip("PostgreSQL has no such names, or the test has them already")
		}
		quoted := pgx.Identifier{"public", table}.Sanitize()
		mustExec(t, db, "create table "+quoted+" ("+pgx.Identifier{column}.Sanitize()+" bigint primary key, other text)")
		defer mustExec(t, db, "drop table "+quoted)
		for _, c := range []lifeguard.Conflict{{}, {Action: lifeguard.ConflictUpdate, Keys: []string{column}}} {
			b := newInserter[[]any](t, db, quoted, lifeguard.BatchConfig{Columns: []string{column, "other"}, OnConflict: c})
			addAll(t, b, [][]any{{len(c.Keys), "x"}})
			closed(t, b)
		}
		if n := one[int](t, db, "select count(*) from "+quoted); n != 2 {
			t.Errorf("%d rows", n)
		}
		if n := one[int](t, db, "select count(*) from bystander"); n != 1 {
			t.Error("injected")
		}
	})
}
