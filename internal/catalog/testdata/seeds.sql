# Statements for the fuzzers and the oracles, one a line: shapes that a gate which reads
# tokens could misread. Most of them are refused.
SELECT ('tod' || 'ay')::date
SELECT CAST('tod' || 'ay' AS date)
SELECT concat('to', 'day')::date
SELECT date(concat('to', 'day'))
SELECT date 'today'
SELECT date '2024-01-01' + 1
SELECT (name)::date FROM users
SELECT u.name::date FROM users u
SELECT (u).name::date FROM users u
SELECT (SELECT name FROM users LIMIT 1)::date
SELECT tags::date[] FROM users
SELECT tags[1]::date FROM users
SELECT (tags)[1]::date FROM users
SELECT ARRAY[name]::date[] FROM users
SELECT CAST(ARRAY[name] AS date[]) FROM users
SELECT (data->>'a')::date FROM users
SELECT data->>'a'::date FROM users
SELECT (data->'a')::text::date FROM users
SELECT ('[' || name || ',)')::daterange FROM users
SELECT format('[%s,)', name)::tstzrange FROM users
SELECT coalesce(name, 'x')::timestamp FROM users
SELECT CASE WHEN true THEN name END::date FROM users
SELECT min(name)::date FROM users
SELECT string_agg(name, '')::date FROM users
SELECT lower(name)::timestamptz FROM users
SELECT name::varchar::date FROM users
SELECT name::text::timestamp::date FROM users
SELECT born::text::date FROM users
SELECT born::date FROM users
SELECT created_at::date::text FROM users
SELECT to_date(name, 'YYYY') FROM users
SELECT x::date FROM (SELECT name AS x FROM users) s
SELECT born::date FROM (SELECT name AS born FROM users) s
SELECT born::date FROM (SELECT name FROM users) s (born)
SELECT born::date FROM users u JOIN (SELECT 'to' || 'day' AS born) s ON true
WITH s (born) AS (SELECT name FROM users) SELECT born::date FROM s
WITH users AS (SELECT name AS born FROM items) SELECT born::date FROM users
SELECT d::date FROM unnest(ARRAY['x']) AS d
SELECT born::date FROM unnest(ARRAY['x']) AS born
SELECT d::date FROM period
SELECT "end"::date FROM period
SELECT (period).d::date FROM period
SELECT period.d::date FROM period
SELECT d::date FROM period, generate_series(1, 2) AS g
SELECT jsonb_populate_record(NULL::pair, data) FROM users
SELECT * FROM jsonb_to_recordset('[{"d": "2024-01-01"}]') AS x (d date)
SELECT ROW(1, name)::pair FROM users
SELECT (1, 'x')::pair
SELECT extract(epoch FROM name::timestamptz) FROM users
SELECT extract(year FROM date 'tomorrow')
SELECT E'\x74oday'::date
SELECT U&'\0074oday'::date
SELECT $$today$$::date
SELECT $a$2024-01-01$a$::date
SELECT 'to' 'day'::date
SELECT timestamp with time zone 'now'
SELECT timestamptz(name) FROM users
SELECT pg_catalog.timestamptz('2024-01-01 00:00+00')
SELECT pg_catalog.date(name) FROM users
SELECT u.age FROM users u
SELECT (u).now FROM users u
SELECT now FROM (SELECT 1 AS now) s
SELECT u.to_json FROM users u
SELECT u.lower FROM users u
SELECT u.lower FROM honest(1) u
SELECT "now"() FROM users
SELECT pg_catalog . now ( )
SELECT "current_date" FROM (SELECT 1 AS "current_date") s
SELECT current_date
SELECT CURRENT_TIMESTAMP(3)
SELECT LOCALTIME
SELECT current_user = 'x'
SELECT * FROM current_date
SELECT * FROM now()
SELECT * FROM random() r
SELECT id FROM users ORDER BY random()
SELECT id FROM users LIMIT (SELECT 1)
SELECT id FROM users WHERE created_at > 'now'
SELECT id FROM users WHERE created_at BETWEEN '2024-01-01' AND 'tomorrow'
SELECT id FROM users WHERE created_at > ALL (ARRAY['today'])
SELECT id FROM users WHERE created_at = ANY ('{today}')
SELECT id FROM users WHERE (id, created_at) > (1, 'yesterday')
SELECT id FROM users WHERE born IN (VALUES ('today'))
SELECT greatest(born, '2024-01-01') FROM users
SELECT nullif(born, 'today') FROM users
SELECT overlaps(born, born, born, born) FROM users
SELECT (born, interval '1 day') OVERLAPS (born, interval '2 days') FROM users
SELECT created_at AT TIME ZONE name FROM users
SELECT date_trunc('day', created_at, 'UTC') FROM users
SELECT isfinite(born), justify_days(interval '40 days'), make_date(2024, 1, 1) FROM users
SELECT date_bin('1 day', created_at, '2024-01-01') FROM users
SELECT to_timestamp(0), to_timestamp('2024', 'YYYY')
SELECT generate_series(timestamptz '2024-01-01', '2024-01-03', '1 day')
SELECT string_to_array(name, ',')::timestamp[] FROM users
SELECT xpath('/a/text()', '<a>x</a>')
SELECT query_to_xml('select now()', true, true, '')
SELECT current_setting('TimeZone')
SELECT pg_typeof(id) FROM users
SELECT has_table_privilege('users', 'select')
SELECT txid_current(), pg_current_xact_id()
SELECT nextval('seq'), currval('seq'), lastval()
SELECT last_value FROM seq
SELECT lo_get(1)
SELECT pg_read_file('x')
SELECT inet_client_addr(), version(), pg_backend_pid()
SELECT id FROM users TABLESAMPLE bernoulli (50) REPEATABLE (1)
SELECT u FROM users u
SELECT users FROM users
SELECT users.* FROM users
SELECT count(users) FROM users
SELECT hashtext(name), md5(name), sha256(name::bytea) FROM users
SELECT array_agg(u ORDER BY id) FROM users u
SELECT mode() WITHIN GROUP (ORDER BY id), percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM users
SELECT id FROM users UNION SELECT id FROM items EXCEPT SELECT id FROM notes ORDER BY 1
SELECT DISTINCT ON (state) id, state FROM users ORDER BY state, id
SELECT id FROM users GROUP BY GROUPING SETS ((id), ())
SELECT id FROM users FETCH FIRST 1 ROW WITH TIES
SELECT id FROM users ORDER BY id FETCH FIRST 2 ROWS WITH TIES
WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SEARCH DEPTH FIRST BY n SET o SELECT n FROM t
WITH a AS MATERIALIZED (SELECT * FROM users), b AS NOT MATERIALIZED (SELECT * FROM items) SELECT a.id FROM a, b
SELECT * FROM users u, LATERAL (SELECT * FROM orders o WHERE o.user_id = u.id) s WHERE false
SELECT * FROM part WHERE day = '2031-01-01'
SELECT * FROM ONLY part
SELECT * FROM mother UNION ALL SELECT * FROM ONLY mother
SELECT * FROM v_nested WHERE false
SELECT (SELECT count(*) FROM v_day), EXISTS (SELECT 1 FROM v_barrier)
SELECT * FROM v_secured
SELECT * FROM secured
SELECT * FROM users WHERE id = (SELECT max(user_id) FROM orders WHERE total > (SELECT avg(total) FROM orders))
TABLE v_nested
VALUES ((SELECT count(*) FROM users))
SELECT (name).date FROM users
SELECT s.date FROM concat('to', 'day') s
SELECT (name || created_at::time)::timestamp FROM users
SELECT timestamptz(name || '10:00'::time) FROM users
