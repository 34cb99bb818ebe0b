SELECT 'first line'
' - next line'
	' - third line' AS "Three lines to one"
%%
SELECT 'first line' -- a comment may stand between
' - next line'
%%
SELECT 'first line' /* but not this one */
' - next line'
%%
SELECT 'not' 'joined'
%%
SELECT U&'d\0061t\+000061' AS U&"d\0061t\+000061"
%%
SELECT U&'d!0061t\+000061' UESCAPE '!' AS U&"d*0061t\+000061" UESCAPE '*'
%%
SELECT E'\\xDEADBEEF', E'it\'s', e'a\\', 'back\slash', E'two' 
  '\' lines'
%%
SELECT B'1001', X'1FF', b'0' '1', x''
%%
SELECT N'national', n 'no'
%%
SELECT $$dollar 'quoted' $1 text$$, $a$ with $$ and $b$ inside $a$, $_1$x$_1$
%%
SELECT foo$bar$baz, a$1, b$ FROM t$x
%%
SELECT $1$2, $10 + $2, $1abc
%%
SELECT 1, 1.5, .5, 5., 1e10, 1.5e-3, 1E+5, 0x1F, 0o17, 0b11, 1_000_000, 0xdead_beef, 1_0.5_0e1_0
%%
SELECT 123abc, 1__0, 0x, 0b2, 1e, 1e+, 1.e, 1_
%%
SELECT arr[1..10]
%%
SELECT a.b.c, a . b . "c", "a"."b".*, t.*, (t).f, (f(x)).y
%%
SELECT -1, - 1, +1, - -1, -(-1), - x, a-1, a - -1, (a)-1, a[1]-1, 2-1, 'x'-1, case when -1 then -2 else -3 end - 4
%%
SELECT 2*-1, 2 * - 1, a=-1, a= -1, a<-1, a@-1, a@ -1, !!-1, |/ 25, @ -5, -5 ^ 2
%%
SELECT a<=b, a>=b, a<>b, a!=b, a=>b, a:=b, a::int, a:: int[], (a)::numeric(10,2)::text, '{1,2}'::int[], $1::text
%%
SELECT 1+--comment
2, 3*/*c*/4, 5-/* nested /* deep */ still */6
%%
SELECT a+-+-b, a++b, a+ -b, a=+b, a~-b, a*-b, a|-b
%%
SELECT f(a => 1, b := 2)
%%
SELECT "a""b", "with space", "Ünïcode", "select", ""
%%
SELECT größe, 名前, naïve FROM Größen WHERE名前 = 1
%%
SELECT TRUE, false, NULL, DEFAULT, (null), (TRUE), x IS NULL, x IS NOT TRUE, x IN (NULL, 1, true)
%%
SELECT data->'a', data->>'b', data#>'{a,b}', data#>>'{a}', data @> '{"a":1}', data <@ '{}', data ? 'k', data ?| array['a','b'], data ?& array['a'], data @? '$.a', data @@ '$.a > 1', data - 'k', data #- '{a}', data || '{}' FROM docs
%%
SELECT a ? 1, a ?-1, ? + ?, (?, ?), f(?, ?)
%%
SELECT a AS "select", b AS from_date, t.select, t.from FROM t
%%
SELECT date '2001-09-28', interval '1' year, interval(3) '1.5 s', time with time zone '10:00', timestamp(6) '2001-01-01'
%%
SELECT ARRAY[1,2,3], ARRAY[[1,2],[3,4]], ARRAY[]::int[], a[1], a[1:2], a[:2], a[1:], a[i][j], f(x)[1], '{}'::int[1][2]
%%
SELECT ROW(1,2,3), (1,2), ROW(a, 1), (a, 1, 1), (1, a, 1), ((1, 2), (3, 4)), ((1, a), (2, a), (3, b))
%%
SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4), (5, 6))
%%
SELECT * FROM t WHERE a IN (1) AND b NOT IN ('x', 'y', $3) AND c = ANY ('{1,2}') AND d = ANY (ARRAY[1, 2, 3])
%%
SELECT * FROM t WHERE a IN (1::int, 2::int, $3::int) OR b IN (lower('A'), lower('B'), c)
%%
VALUES (1, 'one'), (2, 'two'), (3, NULL)
%%
VALUES (1, now()), (2, now()), (3, now() - interval '1 day'), (4, now())
%%
VALUES (a), (b), (1), (now()), (now())
%%
INSERT INTO t DEFAULT VALUES
%%
INSERT INTO t VALUES (1, (SELECT 2)), (3, (SELECT 4)) RETURNING *
%%
INSERT INTO t (values, key) VALUES (1, 2)
%%
SELECT substr(a, 1, 2), coalesce(x, 1, 2), round(1.5, 2), left('abc', 2), "Fn"(1, 2), s.f(1, 2)
%%
SELECT extract(epoch FROM ts), substring(x FROM 1 FOR 3), trim(both 'x' FROM y), overlay(a placing b from 1), position('a' in b), cast('1' as int), x COLLATE "C" FROM t
%%
SELECT 'unterminated
%%
SELECT "unterminated secret
%%
SELECT $x$unterminated secret
%%
SELECT E'unterminated secret\'
%%
SELECT 1 /* unterminated secret
%%
SELECT \d, {a}, a$ b, 5 $ 6
%%
SELECT (((1, 2), [3), 4]
%%
) SELECT 1; SELECT 2
%%
(((((SELECT 1)))))
%%
SELECT x /*+ SeqScan(t) */ FROM t -- trailing
%%
/* leading */ -- comments
SELECT/**/1/**/FROM/**/t
%%
SELECT 1 FROM t WHERE a = $1AND b = 'x'OR c=1
%%
select count ( * ) , max( a ) from t where a in( 1 ,2 ) and exists( select 1 )
%%
SELECT	*
FROM t
WHERE a = 1
%%
SELECT a.1, a. 1, 1.a, 1 .a, x.. y, a : b, a :: b, : x, :name
%%
SELECT U & "x", u&'a', u& 'b', e "x", x "y"
%%
SELECT 1;
%%
SELECT a operator(pg_catalog.+) 1, a OPERATOR ( + ) -1
