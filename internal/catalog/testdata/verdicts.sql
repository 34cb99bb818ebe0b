# plain reads
SELECT 1
SELECT * FROM users WHERE id = $1
SELECT id, name FROM users u WHERE u.id IN ($1, $2) ORDER BY name DESC LIMIT 10 OFFSET 5
select count(*), min(id), max(name), avg(id), string_agg(name, ',') from users where state = 'ok'
SELECT u.id, o.total FROM users u JOIN orders o ON o.user_id = u.id
SELECT u.id, o.total FROM users u LEFT JOIN LATERAL (SELECT sum(total) AS total FROM orders WHERE user_id = u.id) o ON true
SELECT * FROM users, orders, items
SELECT * FROM users NATURAL JOIN plain_child
(SELECT id FROM users) UNION ALL (SELECT id::int FROM orders)
SELECT id FROM users EXCEPT SELECT user_id FROM orders INTERSECT SELECT id FROM items
WITH o AS (SELECT user_id, sum(total) AS t FROM orders GROUP BY 1) SELECT * FROM users JOIN o ON o.user_id = users.id
WITH RECURSIVE up AS (SELECT id, parent FROM self WHERE id = $1 UNION ALL SELECT s.id, s.parent FROM self s JOIN up ON up.parent = s.id) SELECT * FROM up
WITH RECURSIVE n (i, j) AS (VALUES (1, 2) UNION ALL SELECT i + 1, j FROM n WHERE i < 10) SELECT * FROM n
WITH unused AS (SELECT * FROM items) SELECT * FROM users
VALUES (1, 'a'), (2, 'b')
TABLE users
SELECT EXISTS (SELECT 1 FROM orders WHERE false)
SELECT * FROM users WHERE false AND id IN (SELECT user_id FROM orders)
SELECT id FROM users WHERE name LIKE 'a%' OR name ILIKE $1 OR name SIMILAR TO 'x' OR name ~ '^y'
SELECT id FROM users WHERE id BETWEEN 1 AND 10 AND name IS NOT NULL AND state IS DISTINCT FROM 'sad'
SELECT CASE WHEN id > 1 THEN 'a' ELSE name END FROM users
SELECT coalesce(name, ''), nullif(id, 0), greatest(id, 1) FROM users
SELECT rank() OVER (PARTITION BY state ORDER BY id), lag(id) OVER w FROM users WINDOW w AS (ORDER BY id)
SELECT state, count(*) FILTER (WHERE id > 3) FROM users GROUP BY ROLLUP (state) HAVING count(*) > 1
SELECT data->>'a', data#>'{b,c}', data @> '{"x":1}', data ? 'y' FROM users
SELECT json_agg(u) FROM users u
SELECT jsonb_build_object('id', id, 'tags', to_jsonb(tags)) FROM users
SELECT to_char(created_at, 'YYYY-MM'), date_trunc('month', created_at), extract(year FROM created_at) FROM users
SELECT array_agg(id ORDER BY id), unnest(ARRAY[1, 2]) FROM users GROUP BY name
SELECT * FROM generate_series(1, 10) AS g (i)
SELECT * FROM unnest($1::int[]) AS x
SELECT id::text, name::varchar(10), '5'::int, CAST(id AS bigint), CAST(id + 1 AS numeric(10, 2)) FROM users
SELECT state::text, 'ok'::mood, $1::mood, name::mood FROM users
SELECT 'a@b'::email
SELECT '2024-01-01'::date, date '2024-01-01', timestamptz '2024-01-01 00:00+00', CAST('2024-01-01' AS timestamp), interval '1 day'
SELECT created_at::date, count(*) FROM users GROUP BY 1
SELECT u.created_at::date FROM users u WHERE u.created_at::timestamp(0) > $1::timestamptz
SELECT date(created_at), (created_at)::date, CAST(u.created_at AS date) FROM users u
SELECT date_trunc('day', created_at)::date FROM users
SELECT created_at::timestamp::date FROM users
SELECT created_at AT TIME ZONE 'UTC' FROM users
SELECT tstzrange(placed, placed + interval '1 h') FROM orders
SELECT (placed, total) OVERLAPS (placed, interval '1 day') FROM orders
SELECT (placed, interval '1 day') OVERLAPS ($1::timestamptz, interval '1 day') FROM orders
SELECT name || 'x' || id, upper(name), length(name), trim(name), substring(name FROM 2 FOR 3), position('a' IN name), md5(name) FROM users
SELECT to_tsvector('english', name) @@ plainto_tsquery('english', $1) FROM users
SELECT /* now() */ id -- current_date
SELECT id /* FOR UPDATE */ FROM users -- ; DELETE FROM users
SELECT $$a$$, $x$b$x$, E'c', U&"d" FROM (SELECT 1 AS d) s
SELECT 'know', 'nowhere', 'todays', 'snow' FROM users
SELECT "Key" FROM "Odd ""Name"
SELECT "now" FROM "Odd ""Name"
SELECT public.users.id FROM public.users
SELECT id FROM other.users
SELECT users.id, o.id FROM users, other.users o
SELECT * FROM ONLY mother
SELECT array_to_string(tags, ','), cardinality(tags), tags[1] FROM users
SELECT DISTINCT ON (user_id) user_id, total FROM orders ORDER BY user_id, placed DESC
SELECT id FROM users FETCH FIRST 5 ROWS WITH TIES
SELECT id FROM users ORDER BY id FETCH FIRST 5 ROWS WITH TIES
SELECT id FROM users u WHERE (u.id, u.name) = ANY (SELECT id, name FROM items)
SELECT x.* FROM users u CROSS JOIN LATERAL unnest(u.tags) WITH ORDINALITY AS x (tag, n)
SELECT id FROM users;
SELECT count(*) FROM users AS users (a, b)

# functions of the users'
SELECT honest(id) FROM users
SELECT honest_too(id) FROM users
SELECT public.honest(1)
SELECT other.hidden()
SELECT recursive(5)
SELECT tame_sum(id) FROM users
SELECT full_name(u) FROM users u
SELECT u.full_name FROM users u
SELECT state <<< 'ok' FROM users
SELECT abs(-1)
SELECT counts()
SELECT writes(1)
SELECT liar(1)
SELECT clock_liar()
SELECT date_liar()
SELECT nested_liar(1)
SELECT dynamic_liar()
SELECT default_liar()
SELECT wild_sum(id) FROM users
SELECT secret(u) FROM users u
SELECT u.secret FROM users u
SELECT (u).secret FROM users u
SELECT u . "secret" FROM users u
SELECT state ~~~ 'ok' FROM users
SELECT lower('A')
SELECT "lower"('A')
SELECT pg_catalog.lower('A')
SELECT public.lower(1)
SELECT other.abs(1)
SELECT * FROM writes(1)
SELECT * FROM ROWS FROM (writes(1), generate_series(1, 2)) AS r
SELECT id FROM users WHERE writes(id) > 1
SELECT id FROM users ORDER BY writes(id)
SELECT DISTINCT ON (id) writes(id) FROM users
SELECT nosuch(1)

# built-in functions that are not settled
SELECT now()
SELECT now ( )
SELECT "now"()
SELECT pg_catalog . now()
SELECT pg_catalog."now" /* x */ ()
SELECT clock_timestamp(), statement_timestamp(), transaction_timestamp(), timeofday()
SELECT age(born) FROM users
SELECT random()
SELECT gen_random_uuid()
SELECT nextval('seq')
SELECT currval('seq')
SELECT pg_sleep(0)
SELECT pg_backend_pid()
SELECT txid_current()
SELECT current_setting('TimeZone')
SELECT set_config('x.y', 'z', false)
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_xact_lock(1)
SELECT pg_notify('c', 'x')
SELECT version()
SELECT pg_typeof(1)
SELECT lo_get(1)
SELECT has_table_privilege('users', 'select')
SELECT query_to_xml('delete from users returning 1', true, true, '')
SELECT table_to_xml('users', true, true, '')
SELECT * FROM jsonb_to_recordset('[]') AS x (d date)
SELECT * FROM json_populate_record(NULL::pair, '{"b":"now"}')
SELECT pg_relation_size('users')
SELECT * FROM pg_show_all_settings()

# values of the session and the clock, without brackets
SELECT CURRENT_DATE
SELECT current_timestamp(3)
SELECT current_time
SELECT localtimestamp
SELECT LOCALTIME
SELECT current_user
SELECT session_user
SELECT user
SELECT current_role
SELECT current_catalog
SELECT current_schema
SELECT id FROM users WHERE born = current_date

# literals and casts that read the clock
SELECT 'now'::timestamptz
SELECT 'today'::date
SELECT date 'today'
SELECT CAST('tomorrow' AS date)
SELECT ' Yesterday '::date
SELECT 'TODAY 10:00'::timestamp
SELECT '{now}'::timestamptz[]
SELECT '[now,infinity)'::tstzrange
SELECT '(1,today)'::pair
SELECT E'to\x64ay'::date
SELECT E'n\ow'::date
SELECT U&'\0074oday'::date
SELECT U&'!0074oday' UESCAPE '!'
SELECT N'now'
SELECT $$now$$::timestamptz
SELECT $t$today$t$::date
SELECT 'to' 'day'
SELECT ('to' || 'day')::date
SELECT name::date FROM users
SELECT CAST(name AS timestamptz) FROM users
SELECT CAST(name || '' AS date) FROM users
SELECT date(name) FROM users
SELECT pg_catalog.date(name) FROM users
SELECT name::pg_catalog.date FROM users
SELECT name::text::date FROM users
SELECT (SELECT name FROM users LIMIT 1)::date
SELECT lower(name)::timestamptz FROM users
SELECT tags::date[] FROM users
SELECT name::daterange FROM users
SELECT name::pair FROM users
SELECT name::email FROM users
SELECT email(name) FROM users
SELECT ROW(1, name)::pair FROM users
SELECT CASE WHEN true THEN d END::date FROM period
SELECT "end"::date FROM period
SELECT s.born::date FROM (SELECT name AS born FROM users) s
SELECT born::date FROM (SELECT name FROM users) s (born)
SELECT born::date FROM unnest($1::text[]) AS born
SELECT unnest::date FROM unnest($1::text[])
SELECT unknown::date FROM users
WITH w AS (SELECT name AS born FROM users) SELECT born::date FROM w
SELECT timetz '10:00'
SELECT '10:00'::time with time zone
SELECT '10:00'::time(3) with time zone
SELECT extract(hour FROM '10:00'::time with time zone)
SELECT extract(hour FROM CAST(name AS time(3) with time zone)) FROM users
SELECT s.born::date FROM users u, unnest($1::text[]) AS s (born)
SELECT s.born::date FROM users u, unnest($1::text[]) s (born)
SELECT u.created_at::date, max(upper(u.name)) FROM users u JOIN orders o ON o.user_id = u.id GROUP BY 1 ORDER BY min(o.id)
SELECT * FROM zoned
SELECT max(t) FROM zoned
SELECT $1 = t FROM zoned

# names of the catalog
SELECT 'users'::regclass
SELECT regtype 'int'
SELECT id::regclass FROM users
SELECT to_regclass('users')

# locking, writing, sampling, system columns
SELECT * FROM users FOR UPDATE
SELECT * FROM users FOR NO KEY UPDATE
SELECT * FROM users FOR SHARE OF users SKIP LOCKED
SELECT * FROM users FOR KEY SHARE
SELECT * FROM (SELECT * FROM users FOR UPDATE) s
SELECT * INTO copied FROM users
WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d
WITH i AS (INSERT INTO log VALUES (NULL, 'x') RETURNING what) SELECT * FROM i, users
WITH u AS (UPDATE items SET name = 'x' RETURNING *) TABLE u
SELECT * FROM users TABLESAMPLE SYSTEM (10)
SELECT * FROM users TABLESAMPLE bernoulli (10) REPEATABLE (1)
SELECT ctid FROM users
SELECT "ctid", xmin, users.xmax, tableoid FROM users
SELECT * FROM XMLTABLE('/a' PASSING '<a/>' COLUMNS d date PATH '.')
SELECT 1; SELECT 2
SELECT 1; DELETE FROM users
SELECT ';'
SELECT 'unterminated
SELECT "unterminated
SELECT 1 /* no end

# relations
SELECT * FROM v_users
SELECT * FROM v_nested
SELECT * FROM v_day
SELECT * FROM v_barrier
SELECT * FROM m_users
SELECT * FROM v_clock
SELECT * FROM v_current
SELECT * FROM v_over_clock
SELECT * FROM v_today
SELECT * FROM v_cast
SELECT * FROM v_liar
SELECT * FROM v_writes
SELECT * FROM v_catalog
SELECT * FROM v_secured
SELECT * FROM secured
SELECT * FROM unlogged
SELECT * FROM temporary
SELECT * FROM far
SELECT * FROM half_far
SELECT last_value FROM seq
SELECT * FROM pg_class
SELECT * FROM pg_stat_activity
SELECT * FROM pg_locks
SELECT * FROM information_schema.tables
SELECT * FROM part
SELECT * FROM part WHERE day = '1999-01-01'
SELECT * FROM part_1
SELECT * FROM part_2a
SELECT * FROM part_2
SELECT * FROM mother
SELECT * FROM father
SELECT * FROM kid
SELECT * FROM nosuch
SELECT nosuch FROM users
SELECT $1

# writes
INSERT INTO users (id) VALUES ($1)
INSERT INTO users (id) VALUES (1) RETURNING *
INSERT INTO users (id) SELECT id FROM items ON CONFLICT DO NOTHING
INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'
INSERT INTO orders (id) OVERRIDING SYSTEM VALUE VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 1
UPDATE users SET name = upper(name) WHERE id = $1
UPDATE orders SET total = 1
UPDATE items SET name = u.name FROM users u WHERE u.id = items.id
DELETE FROM users WHERE id = $1
DELETE FROM orders
DELETE FROM items USING orders o WHERE o.id = items.order_id
DELETE FROM self
DELETE FROM fa
DELETE FROM notes
MERGE INTO items i USING users u ON u.id = i.id WHEN MATCHED THEN DELETE
TRUNCATE notes
TRUNCATE TABLE ONLY users CASCADE
TRUNCATE items, notes RESTART IDENTITY
TRUNCATE nosuch
COPY users FROM STDIN
COPY public.users (id, name) FROM STDIN (FORMAT binary)
COPY "Odd ""Name" FROM STDIN
COPY users TO STDOUT
COPY (SELECT * FROM users) TO STDOUT
COPY (DELETE FROM users RETURNING *) TO STDOUT
INSERT INTO part VALUES (1, '2024-05-05', 'x')
UPDATE part SET v = 'y'
DELETE FROM part_1
INSERT INTO part_2a VALUES (1, '2025-05-05', 'a')
UPDATE kid SET c = 1
UPDATE mother SET a = 1
UPDATE v_users SET name = 'x'
DELETE FROM v_barrier
INSERT INTO v_insteadof VALUES (1, 'x')
INSERT INTO audited VALUES (1)
DELETE FROM above_audited
INSERT INTO above_audited VALUES (1)
DELETE FROM audited_child
UPDATE touched SET v = 'x'
INSERT INTO late VALUES (1)
INSERT INTO ruled VALUES (1)
INSERT INTO defaulted (v) VALUES ('x')
INSERT INTO checked VALUES (1)
INSERT INTO serials DEFAULT VALUES
INSERT INTO log SELECT now(), writes(1)::text
INSERT INTO log SELECT now(), id::text FROM v_writes
INSERT INTO secured VALUES (1)
INSERT INTO far VALUES (1)
INSERT INTO half_far VALUES (1)
UPDATE pg_class SET relname = 'x'
WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO log SELECT now(), 'x' FROM gone
EXPLAIN SELECT * FROM users
EXPLAIN ANALYZE DELETE FROM users
EXPLAIN (ANALYZE) SELECT 1

# everything else
CALL proc()
DO $$ BEGIN DELETE FROM users; END $$
CREATE TABLE x (a int)
CREATE TEMP TABLE users (a int)
ALTER TABLE users ADD COLUMN x int
DROP TABLE users
GRANT SELECT ON users TO PUBLIC
REFRESH MATERIALIZED VIEW m_users
BEGIN
COMMIT
ROLLBACK
SAVEPOINT a
ROLLBACK TO a
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
SET search_path TO other
SET LOCAL ROLE x
RESET ALL
DISCARD ALL
SHOW TimeZone
LISTEN c
NOTIFY c, 'x'
PREPARE p AS DELETE FROM users
EXECUTE p
DEALLOCATE p
DECLARE c CURSOR FOR SELECT writes(1)
FETCH ALL FROM c
VACUUM users
LOCK TABLE users
VACUUM (FULL) users
ANALYZE
CLUSTER users
DO $$ BEGIN EXECUTE 'create table x ()'; END $$
DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$
DO $$ DECLARE n int; BEGIN SELECT count(*) INTO n FROM orders; UPDATE users SET name = 'x'; COMMIT; SET search_path = x; END $$
DO LANGUAGE plpython3u $$ x $$
DO 'begin null; end'
CREATE TEMP TABLE t AS SELECT writes(1)
CREATE OR REPLACE TEMPORARY VIEW t AS SELECT 1
CREATE TEMP TABLE t () INHERITS (users)
CREATE TABLE temp (a int)
SELECT 1 INTO TEMP t
SELECT 1 INTO t
EXPLAIN ANALYZE SELECT 1 INTO t
EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
EXPLAIN ANALYZE INSERT INTO log SELECT now(), 'x'
DECLARE c CURSOR WITH HOLD FOR SELECT 1
SET LOCAL app.tenant = 'x'
SET app.tenant = 'x'
SET SESSION app.tenant = 'x'
SET LOCAL search_path = x
SET SESSION AUTHORIZATION x
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET CONSTRAINTS ALL DEFERRED
SET LOCAL synchronous_commit = off
SELECT set_config('app.tenant', $1, true)
SELECT set_config('app.tenant', $1, false)
SELECT set_config($1, $2, true)
SELECT set_config('app.tenant', 'x', true), set_config('role', 'x', true)
SELECT set_config(setting_name => 'app.tenant', new_value => 'x', is_local => true)
SELECT set_config('app.tenant', 'x', true), writes(1)
SELECT pg_reload_conf()
REFRESH MATERIALIZED VIEW CONCURRENTLY m_users WITH NO DATA
FROBNICATE users

-- only a comment

# names behind a dot that call functions of one argument
SELECT (u.created_at).age FROM users u
SELECT (id).writes FROM users
SELECT (id).lower FROM users
SELECT tags[1].lower FROM users
SELECT g.age FROM generate_series('2024-01-01'::timestamp, '2024-01-02', '1 day') g
SELECT u.writes FROM users t, unnest(ARRAY[1]) u
SELECT u.writes FROM (SELECT 1 WHERE true) t, unnest(ARRAY[1]) u
SELECT u.upper FROM upper('x') u
SELECT $1.writes
SELECT (name).date FROM users
SELECT ('[' || name || ',)').daterange FROM users
SELECT (tags)._date FROM users
SELECT s.timestamptz FROM concat('to', 'day') s
SELECT s.text, (id).text, (name).mood FROM lower(1) s, users
SELECT (name).email FROM users
# a cast at the end of an expression is not of all of it
SELECT (name || created_at::time)::timestamp FROM users
SELECT timestamptz(name || created_at::time) FROM users
SELECT (created_at::date::timestamp)::date FROM users
SELECT (u.created_at::date::timestamp)::date, ((created_at)::date)::timestamp FROM users u
SELECT (lower(name)::date)::timestamp FROM users
# a time with a time zone depends on the day
SELECT (t AT TIME ZONE 'UTC')::text FROM opening
SELECT timezone('UTC', t)::text FROM opening
SELECT (time '10:00' AT TIME ZONE 'UTC')::text
SELECT (make_time(10, 0, 0) AT TIME ZONE 'UTC')::text
SELECT * FROM opening_in_utc
SELECT in_utc('10:00')
SELECT placed AT TIME ZONE 'UTC' FROM orders
# settings
UPDATE pg_settings SET setting = 'UTC' WHERE name = 'TimeZone'
SELECT name FROM pg_settings
DO $$ BEGIN PERFORM set_config('TimeZone', 'UTC', true); END $$
EXPLAIN ANALYZE EXECUTE p
EXPLAIN ("analyze") DELETE FROM users
EXPLAIN (VERBOSE, "analyse" ON) DELETE FROM users
SELECT changes_settings()
