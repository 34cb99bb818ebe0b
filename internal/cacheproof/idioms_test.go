package cacheproof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// The idioms are those of PostgreSQL's regression tests: tables of one type each, tables
// with inheritance, and the ways in which those tests ask them. The statements are made of
// templates, each with each.

// idiomColumns are tables and columns, with two values of the column's type.
var idiomColumns = []struct{ table, column, a, b string }{
	{"onek", "unique1", "7", "50"},
	{"onek", "two", "0", "1"},
	{"onek", "hundred", "3", "9"},
	{"onek", "stringu1", "'AAAAAA'", "'CAAAAA'"},
	{"int2_tbl", "f1", "0::int2", "1234::int2"},
	{"int4_tbl", "f1", "0", "-123456"},
	{"int8_tbl", "q1", "123", "4567890123456789"},
	{"int8_tbl", "q2", "456", "-4567890123456789"},
	{"float4_tbl", "f1", "0.0::float4", "1004.3::float4"},
	{"float8_tbl", "f1", "0.0::float8", "1e-20::float8"},
	{"num_tbl", "n", "0.5::numeric", "'NaN'::numeric"},
	{"bool_tbl", "f1", "true", "false"},
	{"text_tbl", "f1", "'doh!'", "'hi de ho neighbor'"},
	{"varchar_tbl", "f1", "'a'", "'abcd'"},
	{"char_tbl", "f1", "'a'::char(4)", "'ab'::char(4)"},
	{"date_tbl", "f1", "'1957-04-09'::date", "'2000-04-01'::date"},
	{"time_tbl", "f1", "'01:00'::time", "'23:59:59.99'::time"},
	{"timestamp_tbl", "f1", "'1997-02-10 17:32:01'::timestamp", "'2001-09-22 18:19:20'::timestamp"},
	{"timestamptz_tbl", "f1", "'1997-02-10 17:32:01-08'::timestamptz", "'2001-09-22 18:19:20+00'::timestamptz"},
	{"interval_tbl", "f1", "'1 day'::interval", "'5 years 3 months'::interval"},
	{"uuid_tbl", "f1", "'11111111-1111-1111-1111-111111111111'::uuid", "'{22222222-2222-2222-2222-222222222222}'::uuid"},
	{"bytea_tbl", "f1", "'\\x00ff'::bytea", "''::bytea"},
	{"bit_tbl", "f1", "B'1010'", "B'0000'"},
	{"inet_tbl", "f1", "'192.168.1.0/24'::inet", "'::1'::inet"},
	{"money_tbl", "f1", "'12.34'::money", "'-1'::money"},
	{"json_tbl", "f1", "'{}'::jsonb", "'{\"a\": [1, null]}'::jsonb"},
	{"enum_tbl", "f1", "'red'::rainbow", "'blue'::rainbow"},
	{"domain_tbl", "f1", "1::posint", "9::posint"},
	{"range_tbl", "f1", "'[1,5)'::int4range", "'empty'::int4range"},
	{"arr_tbl", "f1", "'{1,2}'::int[]", "'{}'::int[]"},
	{"person", "age", "18", "40"},
	{"person", "name", "'sharon'", "'bob'"},
	{"emp", "salary", "600", "1000"},
	{"only person", "age", "18", "40"},
	{"part_tbl", "a", "5", "150"},
	{"v_onek", "unique1", "7", "50"},
	{"mv_onek", "n", "10", "100"},
}

// idiomTemplates ask for the column {c} of {t}, with values {a} and {b}.
var idiomTemplates = strings.Split(strings.TrimSpace(`
select {c} from {t} order by 1
select * from {t} order by {c}
select {c}::text from {t} order by 1
select x.* from {t} x order by x.{c}
select '' as one, x.{c} from {t} x where x.{c} = {a} order by 2
select {c} from {t} where {c} <> {a} order by 1
select {c} from {t} where {c} > {a} order by 1 desc
select {c} from {t} where {c} between {a} and {b} order by 1
select {c} from {t} where {c} is not null and {c} in ({a}, {b}) order by 1
select {c} from {t} where {c} is distinct from {a} order by 1
select count(*), count({c}), count(distinct {c}) from {t}
select min({c}), max({c}) from {t}
select {c}, count(*) from {t} group by {c} order by 1
select {c}, count(*) from {t} group by {c} having count(*) > 1 order by 1
select distinct {c} from {t} order by 1 limit 5 offset 1
select distinct on ({c}) {c} from {t} order by {c}
select {c}, rank() over (order by {c}), row_number() over (order by {c}) from {t} order by 1, 3
select lag({c}) over w, {c}, first_value({c}) over w from {t} window w as (order by {c}) order by 2
select coalesce({c}, {a}), nullif({c}, {a}) from {t} order by 1
select case when {c} = {a} then 'a' when {c} is null then 'null' else 'other' end, count(*) from {t} group by 1 order by 1
select array_agg({c} order by {c}) from {t}
select json_agg({c} order by {c}) from {t}
select to_jsonb(x) from {t} x order by x.{c}
select row({c}, 1) from {t} order by {c}
select {c} from {t} where exists (select 1 from int4_tbl where f1 = 0) order by 1
select {c} from {t} where {c} in (select {c} from {t} where {c} > {a}) order by 1
select {c} from {t} where {c} = (select max({c}) from {t})
select {c} from {t} where {c} >= all (select {c} from {t} where {c} is not null) order by 1
select a.{c}, b.f1 from {t} a cross join int2_tbl b order by 1, 2 limit 20
select count(*) from {t} a join {t} b on a.{c} = b.{c}
select count(*) from {t} a left join {t} b on a.{c} = b.{c} and b.{c} > {a} where b.{c} is null
select l.* from {t} a, lateral (select a.{c} as y) l order by 1 limit 5
(select {c} from {t}) union (select {c} from {t} where {c} = {a}) order by 1
(select {c} from {t}) except all (select {c} from {t} where {c} < {b}) order by 1
(select {c} from {t}) intersect (select {c} from {t} where {c} >= {a}) order by 1
with w as (select {c} as y from {t}), unused as (select * from int8_tbl) select y from w where y is not null order by 1
with w as materialized (select {c} as y from {t}) select count(*) from w a, w b where a.y < b.y
values ({a}), ({b}), (null)
select {a}, {b}, null::text, {a} = {b}
select greatest({a}, {b}), least({c}, {a}) from {t} order by 2
select {c} from {t} where false
select {c} from {t} limit 0
select string_agg({c}::text, ',' order by {c}) filter (where {c} <> {a}) from {t}
select grouping({c}), {c}, count(*) from {t} group by rollup ({c}) order by 2 nulls last, 1
select 1 / (count(*) - count(*)) from {t} where {c} = {a}
select {c} from {t} where nonsense = {a}
select {c} + 'x' from {t}
select {c}, now() from {t} limit 1 offset 1000
select {c} from {t} where random() < 0 order by 1
select {c} from {t} order by 1 for share
select pg_typeof({c}) from {t} limit 1
select {c} as "Ünïcode ""q""" from {t} order by 1 nulls first limit 3`), "\n")

// idiomExpressions need no table, or one of the constants' own.
var idiomExpressions = texts(strings.Split(strings.TrimSpace(`
select 1 as one, 'x'::text, null, true, 1.5, 1e10, -0.0::float8, 'infinity'::float8, 'NaN'::float4
select 'a' || 1 || true, 'abc' like 'a%', 'abc' similar to '(a|b)%', 'abc' ~* 'B'
select substring('abcdef' from 2 for 3), position('c' in 'abc'), overlay('abcdef' placing 'x' from 2), trim(both 'x' from 'xax')
select extract(epoch from interval '1 day'), extract(dow from date '2000-01-01'), date_part('year', timestamp '2001-02-03')
select date '2000-01-31' + interval '1 month', timestamp '2000-01-01' - timestamp '1999-01-01', age(timestamp '2001-01-01', timestamp '2000-05-05')
select to_char(12345.678, '999G999D99'), to_char(date '2000-01-01', 'Day DD Month YYYY'), to_date('2000 Jan', 'YYYY Mon'), to_number('1,234', '9,999')
select '{1,2,3}'::int[] @> array[1], array[1,2] || 3, array_dims(array[[1,2],[3,4]]), unnest(array['a','b'])
select '[1,5)'::int4range && '[4,9)'::int4range, lower('[1,5]'::int4range), int4range(1, 5) * int4range(3, 9)
select '{"a": {"b": [1, 2]}}'::jsonb #> '{a,b}', '{"a": 1}'::jsonb || '{"b": 2}', jsonb_path_query('[1,2,3]', '$[*] ? (@ > 1)')
select '192.168.1.5'::inet << '192.168.1.0/24', host('10.0.0.1'), network('10.1.2.3/8'), macaddr '08:00:2b:01:02:03'
select point(1, 2) <-> point(4, 6), box '((0,0),(1,1))' && box '((1,1),(2,2))', area(circle '((0,0),1)'), polygon '((0,0),(1,1),(2,0))'
select to_tsvector('english', 'The quick brown foxes') @@ to_tsquery('english', 'fox & quick'), ts_rank(to_tsvector('a b'), to_tsquery('a'))
select b'101' & b'110', b'1' || b'0', 5 # 3, ~1, 1 << 4, @ -5, |/ 25.0, 5 !~~ 5
select b'101' & b'110', b'1' || b'0', 5 # 3, ~1, 1 << 4, @ -5, |/ 25.0
select md5('x'), sha256('x'), encode('\x0102', 'base64'), decode('AQI=', 'base64'), hashtext('x'), crc
select md5('x'), sha256('x'), encode('\x0102', 'base64'), decode('AQI=', 'base64'), hashtext('x')
select row(1, 'a') < row(1, 'b'), row(1, null) is null, (1, 2) = (1, 2), (row(1, 2)).f1
select generate_series(1, 3), generate_series(1, 2)
select * from generate_series(timestamp '2000-01-01', '2000-01-02', '6 hours') with ordinality as t (a, n)
select * from unnest(array[1,2], array['a','b','c']) as u (x, y)
select * from json_to_recordset('[{"a":1,"b":"x"}]') as t (a int, b text)
select * from jsonb_each('{"a": 1, "b": null}')
select * from (values (1, 'one'), (2, 'two')) as t (n, s) order by n
select 1 / 0
select 'abc'::int
select 99999999999999999999::int8
select 1 + 'x'
select * from nowhere
select nofunction(1)
select 1; select 2
select distinct from int4_tbl
select current_date = current_date, current_user is not null
select timestamptz '2000-01-01 00:00+00' at time zone 'America/New_York', timezone('UTC', timestamptz '2000-01-01 00:00+00')
select pg_sleep(0), txid_current() > 0
select xmlelement(name a, 'b'), xmlparse(content '<a/>'), xpath('/a/text()', '<a>b</a>')
with recursive t (n) as (values (1) union all select n + 1 from t where n < 10) select sum(n), count(*) from t
with recursive t (a, b) as (values (0, 1) union all select b, a + b from t where b < 50) select a from t order by 1
select (select (select count(*) from onek o where o.two = i.f1)) from int4_tbl i order by i.f1
select p.name, e.salary from person p left join emp e using (name) order by 1, 2
select * from person p natural full join student s order by name, age
select * from emp e, stud_emp s where e.name = s.name or e.salary > s.percent order by 1, 2, 3, 4, 5, 6
select t1.f1, t2.q1 from int4_tbl t1 join (int8_tbl t2 join int2_tbl t3 on t2.q1 > t3.f1) on t1.f1 < t2.q1 order by 1, 2 limit 10
select a, b from part_tbl where a between 50 and 120 order by a
select tableoid::regclass, a from part_tbl order by a limit 1
select * from part_tbl p join onek o on o.unique1 = p.a where p.a = 5
select sum(unique1) over (partition by two order by unique1 rows between 1 preceding and 1 following) from onek where unique1 < 20 order by 1
select two, ten, sum(hundred) from onek group by cube (two, ten) order by 1, 2
select percentile_cont(0.5) within group (order by unique1), mode() within group (order by two) from onek
select ntile(4) over (order by unique1), unique1 from onek where hundred = 5 order by 2`), "\n")...)

// idiomWrites change most of the tables.
var idiomWrites = []string{
	"update onek set hundred = 99 - hundred where two = 0", "insert into int4_tbl values (7)", "update int8_tbl set q2 = q2 + 1", "delete from int4_tbl where f1 = 7",
	"insert into text_tbl values ('doh!'), (null)", "update float8_tbl set f1 = f1 / 2; update num_tbl set n = n + 1", "insert into part_tbl values (5, 'again'), (150, 'again')",
	"update person set age = age + 1", "insert into emp values ('new', 1, '(1,1)', 500, 'x')", "refresh materialized view mv_onek",
	"update timestamptz_tbl set f1 = f1 + interval '1 hour'; update date_tbl set f1 = f1 + 1", "delete from text_tbl where f1 is null",
	"update json_tbl set f1 = f1 || '{\"z\": 1}' where f1 <> '[]'; update enum_tbl set f1 = 'green'", "truncate varchar_tbl; insert into varchar_tbl values ('x'), ('y')",
	"update interval_tbl set f1 = f1 * 2", "update bool_tbl set f1 = not f1", "insert into bytea_tbl values ('new')", "update char_tbl set f1 = upper(f1)",
}

func idiomStatements() (list []statement) {
	for _, c := range idiomColumns {
		for _, template := range idiomTemplates {
			text := strings.NewReplacer("{t}", c.table, "{c}", c.column, "{a}", c.a, "{b}", c.b).Replace(template)
			list = append(list, statement{text: text})
		}
		for _, arg := range []any{nil, "7", int64(7), "x", []byte("7"), 1.5, true} {
			list = append(list, statement{fmt.Sprintf("select count(*) from %s where %s::text = $1::text", c.table, c.column), []any{arg}})
		}
	}
	return append(list, idiomExpressions...)
}

// TestTheIdiomsOfTheRegressionTestsAreTheSame takes a sample of the statements; all of them
// if LIFEGUARD_PROOF_STATEMENTS is large enough.
func TestTheIdiomsOfTheRegressionTestsAreTheSame(t *testing.T) {
	dsn := pgtest.DSN(t)
	d := newDiffer(t, dsn, idiomWrites)
	schema, err := os.ReadFile("testdata/idioms.schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.plain.ExecContext(t.Context(), string(schema)); err != nil {
		t.Fatal(err)
	}
	list := idiomStatements()
	total := len(list)
	r := rand.New(rand.NewPCG(uint64(soak("LIFEGUARD_PROOF_SEED", 1)), 3))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = list[:min(len(list), soak("LIFEGUARD_PROOF_STATEMENTS", 350))]
	d.compare(t, list)
	t.Logf("%d of %d statements", len(list), total)
	d.served(t, len(list), 20)
}
