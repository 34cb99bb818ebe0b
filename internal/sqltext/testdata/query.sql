SELECT 1
%%
SELECT now(), version()
%%
SELECT * FROM orders WHERE id = 42
%%
SELECT * FROM orders WHERE id = $1
%%
SELECT * FROM public.orders o, "My Schema"."Order Lines" l WHERE o.id = l.order_id
%%
SELECT * FROM orders o JOIN customers c ON c.id = o.customer_id LEFT JOIN orders p ON p.id = o.parent_id
%%
SELECT * FROM orders NATURAL JOIN customers CROSS JOIN regions
%%
SELECT * FROM (a JOIN b ON a.x = b.x) JOIN (c CROSS JOIN d) ON true, e
%%
SELECT * FROM ((a LEFT JOIN b USING (id)) JOIN c USING (id))
%%
SELECT * FROM (SELECT * FROM inner_table) AS sub, LATERAL (SELECT * FROM side WHERE side.id = sub.id) l
%%
SELECT * FROM generate_series(1, 10) AS g(n), unnest(ARRAY[1,2]) WITH ORDINALITY u, t
%%
SELECT * FROM ROWS FROM (f(1), g(2)) AS x, t
%%
SELECT * FROM json_to_recordset('[{"a":1}]') AS x(a int, b text)
%%
SELECT * FROM XMLTABLE('/root' PASSING data COLUMNS id int PATH '@id') x, t
%%
SELECT * FROM ONLY parent, ONLY (child)
%%
SELECT * FROM t TABLESAMPLE SYSTEM (10) REPEATABLE (42), u
%%
SELECT a FROM x UNION ALL SELECT b FROM y EXCEPT (SELECT c FROM z) ORDER BY 1
%%
(SELECT a FROM x ORDER BY a LIMIT 1) UNION (SELECT a FROM y) LIMIT 10
%%
TABLE films
%%
TABLE a UNION TABLE b
%%
(TABLE only_one)
%%
VALUES (1), (2)
%%
SELECT * FROM (VALUES (1, 'one'), (2, 'two')) AS t (num, letter)
%%
WITH t AS (SELECT random() AS x FROM generate_series(1, 3)) SELECT * FROM t UNION ALL SELECT * FROM t
%%
WITH orders AS (SELECT * FROM orders WHERE deleted_at IS NULL) SELECT * FROM orders
%%
WITH RECURSIVE included_parts(sub_part, part) AS (SELECT sub_part, part FROM parts WHERE part = 'our_product' UNION ALL SELECT p.sub_part, p.part FROM included_parts pr, parts p WHERE p.part = pr.sub_part) SELECT sub_part FROM included_parts GROUP BY sub_part
%%
WITH RECURSIVE search_tree(id, link) AS (SELECT t.id, t.link FROM tree t UNION ALL SELECT t.id, t.link FROM tree t, search_tree st WHERE t.id = st.link) SEARCH DEPTH FIRST BY id, link SET ordercol CYCLE id SET is_cycle USING path SELECT * FROM search_tree ORDER BY ordercol
%%
WITH a AS MATERIALIZED (SELECT 1), b (x, y) AS NOT MATERIALIZED (SELECT * FROM a, real_b) SELECT * FROM b JOIN s.a ON true
%%
WITH upd AS (UPDATE employees SET n = n + 1 WHERE id = (SELECT sales_person FROM accounts WHERE name = 'Acme') RETURNING *) INSERT INTO employees_log SELECT *, current_timestamp FROM upd
%%
WITH moved_rows AS (DELETE FROM products WHERE "date" >= '2010-10-01' RETURNING *) INSERT INTO products_log SELECT * FROM moved_rows
%%
WITH t AS (DELETE FROM foo RETURNING id) DELETE FROM bar WHERE foo_id IN (SELECT id FROM t)
%%
WITH ins AS (INSERT INTO a VALUES (1) RETURNING id) SELECT id FROM ins
%%
WITH update AS (SELECT 1), insert AS (SELECT 2) SELECT * FROM update, insert
%%
WITH "Quoted" AS (SELECT 1) SELECT * FROM "Quoted", quoted
%%
WITH x AS (WITH y AS (SELECT * FROM deep) SELECT * FROM y) SELECT * FROM x
%%
(WITH x AS (SELECT * FROM a) SELECT * FROM x)
%%
WITH x AS (SELECT 1) (SELECT * FROM x) UNION SELECT * FROM b
%%
WITH x AS (SELECT * FROM src) MERGE INTO dst USING x ON dst.id = x.id WHEN MATCHED THEN DELETE
%%
WITH x AS (SELECT 1) VALUES (1), (2)
%%
WITH x AS (SELECT 1) TABLE x
%%
SELECT (WITH q AS (SELECT 1) SELECT * FROM q), (SELECT max(id) FROM other) FROM main
%%
SELECT a INTO newtab FROM oldtab
%%
SELECT a INTO TEMP TABLE newtab FROM oldtab
%%
SELECT * FROM t FOR UPDATE
%%
SELECT * FROM t WHERE id = 1 FOR NO KEY UPDATE OF t NOWAIT
%%
SELECT * FROM t FOR SHARE SKIP LOCKED
%%
SELECT * FROM t FOR KEY SHARE
%%
SELECT * FROM a WHERE id IN (SELECT id FROM b FOR UPDATE)
%%
SELECT DISTINCT ON (location) location, time FROM weather_reports ORDER BY location, time DESC
%%
SELECT x IS DISTINCT FROM y, x IS NOT DISTINCT FROM 1 FROM t
%%
SELECT array_agg(a ORDER BY b DESC) FILTER (WHERE c > 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY d) FROM t
%%
SELECT depname, avg(salary) OVER (PARTITION BY depname ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), sum(s) OVER w FROM empsalary WINDOW w AS (PARTITION BY depname)
%%
SELECT a, sum(b) FROM t GROUP BY GROUPING SETS ((a), (b), ()) HAVING sum(b) > 10
%%
SELECT * FROM t ORDER BY a NULLS LAST, b USING > LIMIT ALL OFFSET 5
%%
SELECT * FROM t FETCH FIRST 5 ROWS WITH TIES
%%
SELECT CASE a WHEN 1 THEN 'one' ELSE 'other' END, CASE WHEN b < -1 THEN NULL END FROM t
%%
SELECT update, delete, insert FROM t WHERE f(update) AND (delete > 1)
%%
SELECT max(update) FROM log
%%
SELECT ARRAY(SELECT id FROM a), EXISTS (SELECT FROM b), (SELECT 1) FROM c
%%
SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active'
%%
SELECT * FROM f(1, 2)
%%
SELECT * FROM s.f('x') AS y JOIN t ON true
%%
SELECT * FROM a, b WHERE a.x BETWEEN 1 AND 10 AND b.y NOT BETWEEN -5 AND -1
%%
SELECT * FROM a WHERE x LIKE 'a%' ESCAPE '\' AND y SIMILAR TO 'b' AND z ~* '^c'
%%
SELECT * FROM t1 a JOIN t2 b ON a.i = b.i, t3 c WHERE true
%%
INSERT INTO distributors (did, dname) VALUES (5, 'Gizmo'), (6, 'Associated') ON CONFLICT (did) DO UPDATE SET dname = EXCLUDED.dname || ' (formerly ' || d.dname || ')' WHERE d.zipcode <> '21201'
%%
INSERT INTO distributors AS d (did, dname) VALUES (8, 'Anvil') ON CONFLICT ON CONSTRAINT distributors_pkey DO NOTHING
%%
INSERT INTO films SELECT * FROM tmp_films WHERE date_prod < '2004-05-07'
%%
INSERT INTO films (a, b) (SELECT 1, 2 FROM x) ON CONFLICT DO NOTHING
%%
INSERT INTO a TABLE b
%%
INSERT INTO a WITH q AS (SELECT * FROM src) SELECT * FROM q
%%
INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1, 2)
%%
INSERT INTO tictactoe (game, board[1:3][1:3]) VALUES (1, '{{" "," "," "}}')
%%
UPDATE ONLY weather AS w SET (temp_lo, temp_hi, prcp) = (temp_lo+1, temp_lo+15, DEFAULT) WHERE city = 'San Francisco' RETURNING temp_lo
%%
UPDATE employees SET sales_count = sales_count + 1 FROM accounts a, regions JOIN r2 USING (id) WHERE accounts.name = 'Acme'
%%
UPDATE t SET (a, b) = (SELECT x, y FROM u WHERE u.id = t.id)
%%
UPDATE films SET kind = 'Dramatic' WHERE CURRENT OF c_films
%%
DELETE FROM films USING producers, ONLY people p WHERE producer_id = producers.id
%%
DELETE FROM ONLY s.films *
%%
DELETE FROM a USING b JOIN c USING (id), d WHERE a.x = b.x
%%
MERGE INTO customer_account ca USING recent_transactions t ON t.customer_id = ca.customer_id WHEN MATCHED THEN UPDATE SET balance = balance + transaction_value WHEN NOT MATCHED THEN INSERT (customer_id, balance) VALUES (t.customer_id, t.transaction_value)
%%
MERGE INTO wines w USING (SELECT * FROM wine_stock_changes) s ON s.winename = w.winename WHEN NOT MATCHED AND s.stock_delta > 0 THEN INSERT VALUES (s.winename, s.stock_delta) WHEN MATCHED THEN DELETE RETURNING merge_action()
%%
SELECT * FROM a LEFT JOIN LATERAL (SELECT * FROM b WHERE b.a_id = a.id ORDER BY ts DESC LIMIT 1) last ON true
%%
SELECT c.oid,
  n.nspname,
  c.relname
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^(orders)$' COLLATE pg_catalog.default
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 2, 3;
%%
SELECT a.attname,
  pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)
   FROM pg_catalog.pg_attrdef d
   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull,
  (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
   WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
  a.attidentity,
  a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '16385' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
%%
SELECT c2.relname, i.indisprimary, i.indisunique, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true)
FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
WHERE c.oid = '16385' AND c.oid = i.indrelid AND i.indexrelid = c2.oid
ORDER BY i.indisprimary DESC, c2.relname;
%%
SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','v','m','S','f','')
      AND n.nspname !~ '^pg_toast'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2;
%%
SELECT conname, pg_catalog.pg_get_constraintdef(r.oid, true) as condef FROM pg_catalog.pg_constraint r WHERE r.conrelid = '16385' AND r.contype = 'f' UNION ALL SELECT 'a', 'b' ORDER BY 1
%%
select t.oid, case when nsp.nspname in ('pg_catalog', 'public') then t.typname else nsp.nspname||'.'||t.typname end from pg_type t left join pg_type base_type on t.typelem=base_type.oid left join pg_namespace nsp on t.typnamespace = nsp.oid where ( t.typtype in('b', 'p', 'r', 'e') and (base_type.oid is null or base_type.typtype in('b', 'p', 'r')) )
%%
SELECT * FROM a_table_with_a_long_name_000000000000000000000000000001 JOIN a_table_with_a_long_name_000000000000000000000000000002 USING (id) JOIN a_table_with_a_long_name_000000000000000000000000000003 USING (id) JOIN a_table_with_a_long_name_000000000000000000000000000004 USING (id) JOIN a_table_with_a_long_name_000000000000000000000000000005 USING (id)
