SELECT * FROM "users" WHERE "users"."id" = $1 AND "users"."deleted_at" IS NULL ORDER BY "users"."id" LIMIT $2
%%
SELECT * FROM "users" WHERE name IN ($1,$2,$3) AND age >= $4 AND "users"."deleted_at" IS NULL
%%
SELECT count(*) FROM "orders" WHERE "orders"."deleted_at" IS NULL
%%
INSERT INTO "users" ("created_at","updated_at","deleted_at","name","age") VALUES ($1,$2,$3,$4,$5) RETURNING "id"
%%
INSERT INTO "users" ("created_at","updated_at","deleted_at","name","age") VALUES ($1,$2,$3,$4,$5),($6,$7,$8,$9,$10),($11,$12,$13,$14,$15) ON CONFLICT ("id") DO UPDATE SET "name"="excluded"."name" RETURNING "id"
%%
INSERT INTO "languages" ("code","name") VALUES ($1,$2) ON CONFLICT DO NOTHING
%%
UPDATE "users" SET "deleted_at"=$1 WHERE "users"."id" = $2 AND "users"."deleted_at" IS NULL
%%
UPDATE "users" SET "age"=age + 1,"updated_at"=$1 WHERE id = $2
%%
DELETE FROM "emails" WHERE "emails"."id" IN ($1,$2)
%%
SELECT "users"."id","users"."name","Company"."id" AS "Company__id","Company"."name" AS "Company__name" FROM "users" LEFT JOIN "companies" "Company" ON "users"."company_id" = "Company"."id" WHERE "users"."id" = $1
%%
SELECT * FROM "user_languages" WHERE "user_languages"."user_id" IN ($1,$2,$3)
%%
CREATE TABLE "users" ("id" bigserial,"created_at" timestamptz,"name" text,PRIMARY KEY ("id"))
%%
CREATE INDEX IF NOT EXISTS "idx_users_deleted_at" ON "users" ("deleted_at")
%%
SELECT count(*) FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA() AND table_name = $1 AND table_type = $2
%%
SELECT c.column_name, c.is_nullable = 'YES', c.udt_name, c.character_maximum_length, pd.description FROM information_schema.columns AS c JOIN pg_type AS pgt ON c.udt_name = pgt.typname LEFT JOIN pg_catalog.pg_description as pd ON pd.objsubid = c.ordinal_position AND pd.objoid = (SELECT oid FROM pg_catalog.pg_class WHERE relname = c.table_name AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = c.table_schema)) where table_catalog = $1 AND table_schema = $2 AND table_name = $3
%%
SAVEPOINT sp0xc0000b4008
%%
ROLLBACK TO SAVEPOINT sp0xc0000b4008
%%
SELECT "u"."id", "u"."name", "u"."emails" FROM "users" AS "u" WHERE ("u"."id" = 42) LIMIT 1
%%
INSERT INTO "users" ("id", "name", "emails") VALUES (DEFAULT, 'admin', '["a@example.com"]'), (DEFAULT, 'root', NULL) RETURNING "id"
%%
WITH "_data" ("id", "title") AS (VALUES (1::BIGINT, 'a'::VARCHAR), (2::BIGINT, 'b'::VARCHAR)) UPDATE "books" AS "book" SET "title" = "_data"."title" FROM _data WHERE ("book"."id" = "_data"."id")
%%
WITH "_data" ("id") AS (VALUES (1::BIGINT), (2::BIGINT)) DELETE FROM "books" AS "book" USING _data WHERE ("book"."id" = "_data"."id")
%%
SELECT "story"."id", "author"."id" AS "author__id" FROM "stories" AS "story" LEFT JOIN "users" AS "author" ON ("author"."id" = "story"."author_id") WHERE ("story"."tags" @> '{"go"}') ORDER BY story.id DESC
%%
UPDATE "users" AS "u" SET "name" = 'x', "balance" = -10.5 WHERE ("u"."id" = 7)
%%
CREATE TABLE IF NOT EXISTS "bun_migrations" ("id" BIGSERIAL NOT NULL, "name" VARCHAR, "group_id" BIGINT, "migrated_at" TIMESTAMPTZ NOT NULL DEFAULT current_timestamp, PRIMARY KEY ("id"))
%%
SELECT DISTINCT "users"."id", "users"."age" FROM "users" JOIN "group_users" AS "t1" ON "users"."id" = "t1"."user_id" WHERE "t1"."group_id" = $1 AND "users"."age" > $2 LIMIT 1
%%
SELECT "users"."id" FROM "users" WHERE EXISTS (SELECT "pets"."owner_id" FROM "pets" WHERE "users"."id" = "pets"."owner_id" AND "pets"."name" LIKE $1)
%%
INSERT INTO "cars" ("model", "registered_at") VALUES ($1, $2), ($3, $4) ON CONFLICT ("id") DO UPDATE SET "model" = "excluded"."model" RETURNING "id"
%%
UPDATE "cars" SET "user_cars" = NULL WHERE "id" IN ($1, $2) AND "user_cars" = $3
%%
-- name: GetAuthor :one
SELECT id, name, bio FROM authors
WHERE id = $1 LIMIT 1
%%
-- name: ListAuthors :many
SELECT id, name, bio FROM authors
ORDER BY name
%%
-- name: CreateAuthor :one
INSERT INTO authors (
  name, bio
) VALUES (
  $1, $2
)
RETURNING id, name, bio
%%
-- name: UpdateAuthor :exec
UPDATE authors
  set name = coalesce($1, name),
  bio = $2
WHERE id = $3
%%
-- name: DeleteAuthor :exec
DELETE FROM authors
WHERE id = $1
%%
-- name: SearchBooks :many
SELECT b.id, b.title, a.name FROM books b JOIN authors a ON a.id = b.author_id
WHERE b.id = ANY($1::bigint[]) AND ($2::text IS NULL OR b.title ILIKE '%' || $2 || '%')
%%
INSERT INTO person (first_name, last_name, email) VALUES ($1, $2, $3), ($4, $5, $6)
%%
SELECT * FROM place WHERE telcode=$1 AND city IN ($2, $3, $4, $5) ORDER BY telcode ASC
%%
WITH locked_jobs AS (
    SELECT
        *
    FROM
        /* TEMPLATE: schema */river_job
    WHERE
        state = 'available'
        AND queue = $2::text
        AND scheduled_at <= coalesce($1::timestamptz, now())
    ORDER BY
        priority ASC,
        scheduled_at ASC,
        id ASC
    LIMIT $3::integer
    FOR UPDATE
    SKIP LOCKED
)
UPDATE
    river_job
SET
    state = 'running',
    attempt = river_job.attempt + 1,
    attempted_at = coalesce($1::timestamptz, now()),
    attempted_by = array_append(river_job.attempted_by, $4::text)
FROM
    locked_jobs
WHERE
    river_job.id = locked_jobs.id
RETURNING
    river_job.*
%%
INSERT INTO river_job(args, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags)
SELECT
    unnest($1::jsonb[]), unnest($2::text[]), unnest($3::smallint[]), unnest($4::jsonb[]), unnest($5::smallint[]), unnest($6::text[]), unnest($7::timestamptz[]), unnest($8::river_job_state[]), string_to_array(unnest($9::text[]), ',')
%%
WITH deleted_jobs AS (
    DELETE FROM river_job WHERE id IN (
        SELECT id FROM river_job WHERE (state = 'cancelled' AND finalized_at < $1::timestamptz) ORDER BY id LIMIT $2::bigint
    ) RETURNING *
)
SELECT count(*) FROM deleted_jobs
%%
WITH attempted AS (INSERT INTO river_leader(leader_id, elected_at, expires_at) VALUES ($1, now(), now() + $2::interval) ON CONFLICT (name) DO NOTHING RETURNING *) SELECT * FROM attempted UNION SELECT * FROM river_leader
%%
SELECT pg_notify('river_insert', json_build_object('queue', 'default')::text)
%%
SELECT pg_advisory_lock($1)
%%
SELECT version_id, is_applied FROM goose_db_version ORDER BY id DESC
%%
INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)
%%
CREATE TABLE goose_db_version (
		id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
		version_id bigint NOT NULL,
		is_applied boolean NOT NULL,
		tstamp timestamp NOT NULL DEFAULT now()
	)
%%
SELECT EXISTS ( SELECT 1 FROM pg_tables WHERE (current_schema() IS NULL OR schemaname = current_schema()) AND tablename = 'goose_db_version' )
%%
CREATE TABLE IF NOT EXISTS "public"."schema_migrations" (version bigint not null primary key, dirty boolean not null)
%%
SELECT version, dirty FROM "public"."schema_migrations" LIMIT 1
%%
TRUNCATE "public"."schema_migrations"
%%
SELECT COUNT(1) FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2 LIMIT 1
%%
SELECT "django_session"."session_key", "django_session"."session_data" FROM "django_session" WHERE ("django_session"."expire_date" > '2024-05-01T10:00:00+00:00'::timestamptz AND "django_session"."session_key" = 'abc123') LIMIT 21
%%
UPDATE "auth_user" SET "last_login" = '2024-05-01T10:00:00+00:00'::timestamptz WHERE "auth_user"."id" = 1
%%
SELECT (1) AS "a" FROM "shop_order" WHERE ("shop_order"."state" = 'open' AND NOT ("shop_order"."id" IN (SELECT U0."order_id" FROM "shop_line" U0 WHERE U0."qty" < 0))) LIMIT 1
%%
INSERT INTO "shop_tag" ("name") VALUES ('a'), ('b'), ('c') RETURNING "shop_tag"."id"
%%
SELECT "polls_choice"."id", COUNT("polls_vote"."id") AS "n" FROM "polls_choice" LEFT OUTER JOIN "polls_vote" ON ("polls_choice"."id" = "polls_vote"."choice_id") GROUP BY "polls_choice"."id" HAVING COUNT("polls_vote"."id") > 3 ORDER BY 2 DESC
%%
SAVEPOINT "s140735624082176_x1"
%%
RELEASE SAVEPOINT "s140735624082176_x1"
%%
DECLARE "_django_curs_140_sync_1" NO SCROLL CURSOR WITH HOLD FOR SELECT "a"."id" FROM "a"
%%
SELECT "posts".* FROM "posts" WHERE "posts"."published" = TRUE AND "posts"."user_id" IN (1, 2, 3, 4) ORDER BY "posts"."created_at" DESC LIMIT 10 /*application:Blog,controller:posts,action:index*/
%%
SELECT "users".* FROM "users" WHERE "users"."email" = 'o''brien@example.com' LIMIT 1
%%
SELECT 1 AS one FROM "users" WHERE "users"."email" = $1 LIMIT $2
%%
INSERT INTO "posts" ("title", "body", "created_at") VALUES ($1, $2, $3) RETURNING "id" /*controller='posts',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/
%%
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid WHERE a.attrelid = '"posts"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
%%
SET SESSION timezone TO 'UTC'
%%
SET client_min_messages TO 'warning'
%%
SET standard_conforming_strings = on
%%
SELECT pg_try_advisory_lock(2059263834581203435)
%%
select o1_0.id,o1_0.customer_id,l1_0.order_id,l1_0.id,l1_0.qty from orders o1_0 left join order_line l1_0 on o1_0.id=l1_0.order_id where o1_0.id=$1
%%
insert into customer (email,name,id) values ($1,$2,$3)
%%
update customer set email=$1,name=$2 where id=$3 and version=$4
%%
select nextval('customer_seq')
%%
select e1_0.id from employee e1_0 where e1_0.salary>(select avg(e2_0.salary) from employee e2_0) offset $1 rows fetch first $2 rows only
%%
select p1_0.id from product p1_0 where p1_0.id=$1 for no key update
%%
SELECT `a` FROM `b` WHERE `c` = 'mysql'
%%
SELECT "t0"."id" FROM "public"."User" AS "t0" WHERE ("t0"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3
%%
SELECT "public"."User"."id", "public"."User"."email" FROM "public"."User" WHERE ("public"."User"."email" = $1 AND 1=1) LIMIT $2 OFFSET $3 /* traceparent='00-00' */
%%
SELECT users.id AS users_id, users.name AS users_name FROM users WHERE users.name IN ('a', 'b') AND users.id != 5
%%
SELECT anon_1.id FROM (SELECT users.id AS id FROM users LIMIT 10) AS anon_1 LEFT OUTER JOIN addresses AS addresses_1 ON anon_1.id = addresses_1.user_id
%%
INSERT INTO users (name) SELECT p0::VARCHAR FROM (VALUES ($1::VARCHAR, 0), ($2::VARCHAR, 1)) AS imp_sen(p0, sen_counter) ORDER BY sen_counter RETURNING users.id
%%
SELECT u0."id", u0."name" FROM "users" AS u0 WHERE (u0."id" = ANY($1)) ORDER BY u0."id"
