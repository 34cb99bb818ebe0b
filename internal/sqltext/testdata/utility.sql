BEGIN
%%
begin isolation level repeatable read read only
%%
BEGIN TRANSACTION READ WRITE, DEFERRABLE
%%
START TRANSACTION ISOLATION LEVEL SERIALIZABLE
%%
COMMIT
%%
COMMIT AND CHAIN
%%
END WORK
%%
ROLLBACK
%%
ABORT
%%
rollback transaction to savepoint my_savepoint
%%
ROLLBACK TO x
%%
RELEASE x
%%
PREPARE TRANSACTION 'foobar'
%%
COMMIT PREPARED 'foobar'
%%
ROLLBACK PREPARED 'foobar'
%%
SET search_path TO tenant_42, public
%%
SET LOCAL statement_timeout = '5s'
%%
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
%%
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
%%
SET TIME ZONE 'Europe/Berlin'
%%
SET my.tenant = 'secret'
%%
SET ROLE app
%%
RESET ALL
%%
RESET work_mem
%%
DISCARD ALL
%%
SHOW server_version
%%
SHOW ALL
%%
SHOW TRANSACTION ISOLATION LEVEL
%%
LISTEN jobs_17
%%
UNLISTEN *
%%
NOTIFY jobs, 'payload 42'
%%
PREPARE fooplan (int, text, bool, numeric) AS INSERT INTO foo VALUES($1, $2, $3, $4)
%%
EXECUTE fooplan(1, 'Hunter Valley', 't', 200.00)
%%
DEALLOCATE ALL
%%
DECLARE c SCROLL CURSOR FOR SELECT * FROM films
%%
FETCH FORWARD 5 FROM c
%%
MOVE PRIOR FROM c
%%
CLOSE c
%%
EXPLAIN SELECT * FROM foo WHERE i = 4
%%
EXPLAIN ANALYZE VERBOSE UPDATE foo SET a = 1
%%
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM a JOIN b USING (id)
%%
EXPLAIN (SELECT 1 FROM a)
%%
EXPLAIN (COSTS OFF) WITH w AS (SELECT * FROM big) DELETE FROM t USING w WHERE t.id = w.id
%%
EXPLAIN EXECUTE fooplan(1)
%%
EXPLAIN ANALYZE CREATE TABLE x AS SELECT * FROM y
%%
VACUUM
%%
VACUUM (VERBOSE, ANALYZE) onek, public.tenk
%%
VACUUM FULL FREEZE t (a, b), u
%%
ANALYZE
%%
ANALYSE VERBOSE s.t
%%
CLUSTER employees USING employees_ind
%%
REINDEX TABLE CONCURRENTLY my_broken_table
%%
REINDEX (VERBOSE) INDEX my_index
%%
CHECKPOINT
%%
LOCK TABLE films, ONLY actors IN SHARE ROW EXCLUSIVE MODE
%%
LOCK films
%%
TRUNCATE TABLE ONLY bigtable, fattable RESTART IDENTITY CASCADE
%%
TRUNCATE a
%%
REFRESH MATERIALIZED VIEW CONCURRENTLY sales.monthly WITH NO DATA
%%
CALL schema.do_db_maintenance(1, 'x')
%%
CALL p()
%%
DO $$BEGIN RAISE NOTICE 'hello; world'; END$$
%%
DO LANGUAGE plpgsql $do$ DECLARE r record; BEGIN FOR r IN SELECT 1 LOOP EXECUTE 'GRANT ALL ON ' || quote_ident(r.x); END LOOP; END $do$;
%%
COPY country FROM STDIN
%%
COPY public.country (id, "Name") FROM STDIN WITH (FORMAT csv, DELIMITER '|', HEADER)
%%
COPY (SELECT * FROM country WHERE country_name LIKE 'A%') TO '/usr1/proj/bray/sql/a_list_countries.copy'
%%
COPY (DELETE FROM queue RETURNING *) TO STDOUT
%%
COPY country TO STDOUT (DELIMITER '|')
%%
copy "events" ( "id", "name" ) from stdin binary;
%%
LOAD 'auto_explain'
%%
CREATE TABLE t (a int DEFAULT 5, b text DEFAULT 'x', c numeric(10, 2), CHECK (a > 0))
%%
CREATE UNLOGGED TABLE IF NOT EXISTS s.t (LIKE u INCLUDING ALL)
%%
CREATE TEMP TABLE x ON COMMIT DROP AS SELECT * FROM y
%%
CREATE TABLE measurement_y2006m02 PARTITION OF measurement FOR VALUES FROM ('2006-02-01') TO ('2006-03-01')
%%
CREATE TABLE part PARTITION OF p FOR VALUES IN (1, 2, 3)
%%
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS title_idx ON films (title) INCLUDE (director) WHERE rating > 3
%%
CREATE INDEX ON films ((lower(title)))
%%
CREATE OR REPLACE VIEW v AS SELECT * FROM a
%%
CREATE MATERIALIZED VIEW IF NOT EXISTS mv AS SELECT 1
%%
CREATE OR REPLACE FUNCTION add(integer, integer) RETURNS integer AS 'select $1 + $2;' LANGUAGE SQL IMMUTABLE
%%
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN NEW.x := $$inner; text$$; RETURN NEW; END; $body$;
%%
CREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END
%%
CREATE PROCEDURE insert_data(a integer) BEGIN ATOMIC INSERT INTO tbl VALUES (a); END; CALL insert_data(1)
%%
CREATE FUNCTION f(int) RETURNS int RETURN $1 + 1
%%
CREATE TRIGGER check_update BEFORE UPDATE OF balance OR INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION check_account_update()
%%
CREATE CONSTRAINT TRIGGER ct AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE PROCEDURE p()
%%
CREATE EVENT TRIGGER abort_ddl ON ddl_command_start EXECUTE FUNCTION abort_any_command()
%%
CREATE RULE notify_me AS ON UPDATE TO mytable DO ALSO (NOTIFY mytable; INSERT INTO log VALUES (1))
%%
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public
%%
CREATE ROLE miriam WITH LOGIN PASSWORD 'jw8s0F4' VALID UNTIL '2005-01-01'
%%
ALTER ROLE app PASSWORD 'hunter2'
%%
ALTER USER MAPPING FOR bob SERVER foo OPTIONS (SET password 'public')
%%
CREATE USER MAPPING FOR bob SERVER foo OPTIONS (user 'bob', password 'secret')
%%
CREATE FOREIGN TABLE films (code char(5)) SERVER film_server
%%
CREATE FOREIGN DATA WRAPPER mywrapper OPTIONS (debug 'true')
%%
CREATE TEXT SEARCH CONFIGURATION pg (COPY = english)
%%
CREATE OPERATOR === (LEFTARG = box, FUNCTION = area_equal_function)
%%
CREATE OPERATOR CLASS gist__int_ops DEFAULT FOR TYPE _int4 USING gist AS OPERATOR 3 &&
%%
CREATE CAST (bigint AS int4) WITH FUNCTION int4(bigint) AS ASSIGNMENT
%%
CREATE AGGREGATE sum (complex) (sfunc = complex_add, stype = complex, initcond = '(0,0)')
%%
CREATE SCHEMA hollywood CREATE TABLE films (title text) CREATE VIEW winners AS SELECT title FROM films
%%
CREATE SUBSCRIPTION mysub CONNECTION 'host=192.168.1.50 password=secret' PUBLICATION mypub
%%
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')
%%
CREATE SEQUENCE serial START 101
%%
CREATE POLICY p ON t FOR SELECT USING (owner = current_user)
%%
CREATE ACCESS METHOD heptree TYPE INDEX HANDLER heptree_handler
%%
ALTER TABLE IF EXISTS ONLY public.distributors ADD COLUMN address varchar(30), DROP COLUMN x
%%
ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES u (id) ON DELETE CASCADE ON UPDATE SET NULL
%%
ALTER TYPE colors ADD VALUE 'orange' AFTER 'red'
%%
ALTER DEFAULT PRIVILEGES IN SCHEMA myschema GRANT SELECT ON TABLES TO PUBLIC
%%
ALTER SYSTEM SET wal_level = replica
%%
ALTER DATABASE test SET enable_indexscan TO off
%%
DROP TABLE IF EXISTS films, distributors CASCADE
%%
DROP FUNCTION sqrt(integer), foo(text)
%%
DROP INDEX CONCURRENTLY title_idx
%%
DROP MATERIALIZED VIEW order_summary
%%
DROP TRIGGER if_dist_exists ON films
%%
DROP OWNED BY bob
%%
GRANT SELECT, UPDATE (a) ON mytable TO PUBLIC
%%
REVOKE ALL PRIVILEGES ON kinds FROM manuel
%%
COMMENT ON TABLE mytable IS 'This is my table.'
%%
SECURITY LABEL FOR selinux ON TABLE mytable IS 'system_u:object_r:sepgsql_table_t:s0'
%%
IMPORT FOREIGN SCHEMA foreign_films FROM SERVER film_server INTO films
%%
REASSIGN OWNED BY a TO b
%%
BEGIN; SELECT 1; COMMIT
%%
;;  ; SELECT 1;;
%%
SELECT 1; SELECT 2 FROM t
%%
CREATE TABLE a (x int); CREATE INDEX ON a (x);
%%
insert into a values (1); insert into a values (2); insert into a values (3);
%%
SET search_path = x; SELECT * FROM t; RESET search_path
%%

%%
-- nothing
/* at all */ ;
%%
selct * from hunter2
%%
"select" 1
%%
'secret'
%%
$1
