package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

func rowOfText(sql, column string) string {
	c, _ := Gate(sql)
	e, ok := c.row.of(column)
	switch {
	case !ok:
		return ""
	case e.param > 0:
		return fmt.Sprintf("$%d", e.param)
	default:
		return fmt.Sprint(e.number)
	}
}

// What libraries send, and people write.
func TestATextThatIsAboutOneRowIsRead(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"select * from users where id = $1":                                            "$1",
		"SELECT a, b FROM ONLY s.users AS u WHERE u.id = $2 AND u.a = $1":              "$2",
		"select count(*) from users u where (u.id = $1) group by a order by 1 limit 1": "$1",
		"select 1 from users where a = 1 and (b > 2 and (id = $3))":                    "$3",
		"select 1 from users where id = 42;":                                           "42",
		"select 1 from users where (a = 1 or b = 2) and id = $1":                       "$1",
		"select 1 from users where id/**/=--x\n$1":                                     "$1",
		`select 1 from users where "id" = $1 offset 0 fetch first row only`:            "$1",
		"select extract(year from at) from users where id = $1":                        "$1",
		"select 1 from users where a is distinct from b and id = $1":                   "",
		// GORM
		`SELECT * FROM "users" WHERE "users"."id" = $1 AND "users"."deleted_at" IS NULL ORDER BY "users"."id" LIMIT $2`: "$1",
		`SELECT * FROM "users" WHERE "users"."id" = 10 ORDER BY "users"."id" LIMIT 1`:                                   "10",
		`UPDATE "users" SET "name"=$1,"updated_at"=$2 WHERE "users"."deleted_at" IS NULL AND "id" = $3`:                 "$3",
		`UPDATE "users" SET "created_at"=$1,"name"=$2,"age"=age + $3 WHERE "id" = $4`:                                   "$4",
		`UPDATE "users" SET "deleted_at"=$1 WHERE "users"."id" = $2 AND "users"."deleted_at" IS NULL`:                   "$2",
		`DELETE FROM "users" WHERE "users"."id" = $1`:                                                                   "$1",
		`INSERT INTO "users" ("name","id") VALUES ($1,$2) RETURNING "id"`:                                               "$2",
		`INSERT INTO "users" ("name","age") VALUES ($1,$2) RETURNING "id"`:                                              "",
		// Bun
		`SELECT "user"."id", "user"."name" FROM "users" AS "user" WHERE ("user"."id" = 5)`:                                         "5",
		`SELECT "u"."id" FROM "users" AS "u" WHERE ("u"."id" = 5) AND "u"."deleted_at" IS NULL LIMIT 1`:                            "5",
		`UPDATE "users" AS "user" SET "name" = 'x, "id" = 1', "at" = '2024-01-01' WHERE ("user"."id" = 5)`:                         "5",
		`DELETE FROM "users" AS "user" WHERE ("user"."id" = 5)`:                                                                    "5",
		`INSERT INTO "users" ("id", "name") VALUES (5, 'x')`:                                                                       "5",
		`INSERT INTO "users" ("id", "name") VALUES (DEFAULT, 'x') RETURNING "id"`:                                                  "",
		`UPDATE "users" AS "user" SET "name" = _data."name" FROM (VALUES (5, 'x')) AS _data (id, name) WHERE "user".id = _data.id`: "",
		// ent
		`SELECT "users"."id", "users"."name" FROM "users" WHERE "users"."id" = $1 LIMIT 2`: "$1",
		`UPDATE "users" SET "name" = $1 WHERE "id" = $2`:                                   "$2",
		`INSERT INTO "users" ("name", "id") VALUES ($1, $2)`:                               "$2",
		// sqlx and sqlc
		"UPDATE users SET (name, age) = ($2, $3) WHERE id = $1 RETURNING id, name":               "$1",
		"-- name: GetUser :one\nSELECT id, name FROM users\nWHERE id = $1 LIMIT 1":               "$1",
		"update users set name = coalesce($2, name), tags = tags || array[$3, $4] where id = $1": "$1",
		"delete from only users u where u.id = $1 and version = $2 returning *":                  "$1",
		"insert into users as u (id, name) values ($1, (lower($2))) returning u.id":              "$1",
	} {
		if got := rowOfText(sql, "id"); got != want {
			t.Errorf("%s\nis about %q, want %q", sql, got, want)
		}
	}
}

// Each of these may touch other rows than that of $1, or is not sure not to.
func TestATextThatMayBeAboutOtherRowsIsAboutTheTable(t *testing.T) {
	t.Parallel()
	for _, where := range []string{
		"id = $1 or true", "a = 1 or id = $1 and b = 2", "id = $1 and a = 1 or b = 2", "(id = $1) or a", "(id = $1 or a)", "((a and id = $1) or b)",
		"not id = $1", "not (id = $1)", "a and not id = $1", "not (not id = $1)", "id <> $1", "id > $1", "id >= $1", "id = - $1", "id = -1", "id = +1", "- id = $1",
		"id = $1::int8", "id::int8 = $1", "id = ($1)", "(id) = $1", "id = $1 + 0", "id + 0 = $1", "id = any ($1)", "id = all ($1)", "id = some ($1)", "id in ($1)",
		"id operator(pg_catalog.=) $1", "id operator(public.=) $1", "id == $1", "id =* $1", "id =- $1", "id !== $1", "id = $1 is true", "id = $1 is not true", "id = $1 isnull",
		"(id = $1) is false", "(id = $1) = false", "(id = $1) <> (a = 1)", "id = $1 = false", "false = id = $1", "id = $1 is distinct from true", "id = $1 collate \"C\"", "id = $1[1]", "id = $1.f", "id = $1 at time zone 'x'",
		"a between b and id = $1", "a between b and c and id = $1 and d", "a not between symmetric b and id = $1", "(a between 1 and id = $1)",
		"case when a and id = $1 and b then true else true end", "case a when b and id = $1 and c then true end",
		"f(id = $1)", "f(a, id = $1)", "row(id) = row($1)", "(id, a) = ($1, 2)", "(a, id = $1)", "array[id = $1] = array[true]", "exists (select 1 from u where id = $1)",
		"(select id = $1)", "a in (select 1 from u where id = $1)", "a = (values ($1))", "a.id = $1", "s.users.id = $1", "users.id.x = $1", "id = 1.0", "id = 1e0", "id = 0x1", "id = 1_0",
		"id = 1234567890123456789", "id = '1'", "id = $0", "id = $70000", "id is not distinct from $1", "U&\"id\" = $1", "\"ID\" = $1", "id = $1 and t.limit > 1 or a",
		"id = $1 or t.order", "a.order = 1 or id = $1", "t.for or id = $1", "true", "$1", "current of c", "", "id", "id =", "= $1", "$1 = id = a",
	} {
		for _, form := range []string{
			"select * from users where %s", "select * from users where %s order by a", "select * from users where (%s)", "select * from users where a = 1 and (%s) and b = 2",
			"delete from users where %s", "update users set a = 1 where %s", "update users set a = 1 where b and (%s) returning *",
		} {
			sql := fmt.Sprintf(form, where)
			if got := rowOfText(sql, "id"); got != "" {
				t.Errorf("%s\nis about %s", sql, got)
			}
		}
	}
	for _, sql := range []string{
		"select * from users, u where id = $1", "select * from users join u on true where id = $1", "select * from users u (a, id) where id = $1", "select * from users as u (a, id) where id = $1",
		"select * from users left join u using (id) where id = $1", "select * from users natural join u where id = $1", "select * from f(users) where id = $1", "select * from (users) where id = $1",
		"select * from only (users) where id = $1", "select * from users * where id = $1", "select * from users tablesample system (1) where id = $1", "select * from a.b.users where id = $1",
		"select * from (select * from users where id = $1) x", "select * from (select * from users) u where id = $1", "with x as (select 1) select * from users where id = $1",
		"select * from users where id = $1 union select * from users", "select * from users where id = $1 union all table users", "select * from users where id = $1 union values (1)",
		"select * from users where id = $1 intersect select 1", "table users", "values ($1)", "select (select max(a) from users) from users where id = $1", "select array(select a from users) from users where id = $1",
		"(select * from users where id = $1)", "select * from users where a = 1 group by id having id = $1", "select * from users where true order by id = $1", "select * from users limit $1",
		"select a filter (where id = $1) from users", "select * from users where U&\"id\" = $1", "select a is distinct from b from users where id = $1",
		"update users set id = $2 where id = $1", "update users set a = 1, id = 2 where id = $1", "update users set (a, id) = (1, 2) where id = $1", "update users set \"id\" = 2 where id = $1",
		"update users set ID = 2 where id = $1", "update users set a.b = 2 where id = $1", "update users set a[1] = 2 where id = $1", "update users set a = 1 from u where users.id = $1", "update users set a = 1",
		"update users set a = (select 1) where id = $1", "update users set (a, id) = (select 1, 2) where id = $1", "update users * set a = 1 where id = $1", "update users set a = 1 where a in (table u) and id = $1",
		"with x as (delete from users) update users set a = 1 where id = $1", "delete from users using u where users.id = $1", "delete from users", "delete from users where id = $1 returning (select 1)",
		"insert into users values ($1)", "insert into users (id) values ($1), ($2)", "insert into users (a, id) values ($1, $2 + 1)", "insert into users (id) values ($1::int)", "insert into users (id) values (($1))",
		"insert into users (id) values ($1) on conflict do nothing", "insert into users (id) values ($1) on conflict (id) do update set a = 1", "insert into users (id) select $1", "insert into users (id) table u",
		"insert into users (id) overriding user value values ($1)", "insert into users default values", "insert into users (id.a) values ($1)", "insert into users (id[1]) values ($1)", "insert into users (a) values ($1)",
		"insert into users (id) values (default)", "insert into users (id) values ('1')", "insert into users (id) values (-1)", "insert into users (a, id) values ($1)", "insert into users (id) values ($1, $2), ($3, $4)",
		"insert into users (id, a) values ($1, (select 1))", "merge into users using u on users.id = $1 when matched then delete", "select 1; delete from users where id = $1", "truncate users",
		"explain select * from users where id = $1", "prepare x as select * from users where id = $1", "copy (select * from users where id = $1) to stdout", "declare c cursor for select * from users where id = $1",
		"select * from users where id = $1 and \x00", "select * from users where id = $1 and (a", "select * from users where id = $1)", "select * from users where (id = $1", "select * from users where a] and id = $1",
	} {
		if got := rowOfText(sql, "id"); got != "" {
			t.Errorf("%s\nis about %s", sql, got)
		}
	}
	for _, word := range []string{"user", "current_user", "session_user", "current_schema", "current_date", "null", "true", "localtime"} {
		if got := rowOfText("delete from users where "+word+" = $1", word); got != "" {
			t.Errorf("%s without quotes is taken for a column", word)
		}
		if got := rowOfText(`delete from users where "`+word+`" = $1`, word); got != "$1" {
			t.Errorf("%s in quotes is about %q", word, got)
		}
	}
}

func FuzzRow(f *testing.F) {
	for _, sql := range slices.Concat(statements(f), seeds(f)) {
		f.Add(sql)
	}
	f.Add("select a from only s.users as u where (u.id = $1 and (a or b)) and c order by 1")
	f.Add("update users u set (a, b) = (1, 2), c = d where u.id = $1 returning *")
	f.Add("insert into users as u (a, id) values ($1, $2) returning *")
	f.Fuzz(checkRow)
}

// checkRow holds what is taken against rules that are written down here once more.
func checkRow(t *testing.T, sql string) {
	t.Helper()
	c, _ := Gate(sql)
	if c.row.kind == noRow {
		return
	}
	if again, _ := Gate(respaced(sql)); fmt.Sprint(again.row) != fmt.Sprint(c.row) {
		t.Fatalf("%q: %v, with other blanks %v", sql, c.row, again.row)
	}
	queries, lex := 0, sqltext.NewLexer(sql)
	before := ""
	for tok := lex.Next(); tok.Kind != sqltext.EOF; tok = lex.Next() {
		text := strings.ToLower(lex.Text(tok))
		switch {
		case tok.Kind == sqltext.Invalid:
			t.Fatalf("%q has %q", sql, text)
		case tok.Kind == sqltext.Word && before != "." && slices.Contains([]string{"select", "values", "table", "insert", "update", "delete", "merge", "union", "with"}, text):
			queries++
		}
		before = text
	}
	if most := map[rowKind]int{readsRow: 1, updatesRow: 1, deletesRow: 1, insertsRow: 2}[c.row.kind]; queries > most {
		t.Fatalf("%q: %v with %d queries", sql, c.row, queries)
	}
	for _, e := range c.row.equal {
		if e.column == "" || e.param < 0 || e.number < 0 || e.param > 0 && e.number > 0 {
			t.Fatalf("%q: %+v", sql, e)
		}
	}
}

// Conditions that are made by chance are asked of a real server: whenever the text is taken, no row
// passes for which the comparison is not true.
func TestNoOtherRowPassesAConditionThatIsTaken(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, "CREATE TABLE users (id int PRIMARY KEY, a int, b bool); INSERT INTO users SELECT i, i % 3, i % 2 = 0 FROM generate_series(1, 12) i")
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
	pieces := []string{
		"id = 5", "users.id = 5", "id = 5", "b", "a = 1", "true", "false", "not", "and", "and", "and", "or", "(", ")", "between", "id", "5", "=", "is", "null", "isnull",
		"case when", "then", "else", "end", "::text", "in (1, 2)", ", 3", "coalesce(", "<>", "true", "a between 0 and", "-",
	}
	taken, ran := 0, 0
	for i := 0; i < 60_000 && ran < 400; i++ {
		words := make([]string, 1+r.IntN(9))
		for j := range words {
			words[j] = pieces[r.IntN(len(pieces))]
		}
		sql := "SELECT id FROM users WHERE " + strings.Join(words, " ")
		if rowOfText(sql, "id") != "5" {
			continue
		}
		taken++
		result := conn.ExecParams(t.Context(), sql, nil, nil, nil, nil)
		for result.NextRow() {
			if id := string(result.Values()[0]); id != "5" {
				t.Errorf("seed %d: %s yields row %s", seed, sql, id)
			}
		}
		if _, err := result.Close(); err == nil {
			ran++
		}
	}
	if ran < 50 {
		t.Errorf("only %d of %d texts that were taken are understood by the server", ran, taken)
	}
}
