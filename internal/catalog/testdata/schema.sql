CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE pair AS (a int, b date);

CREATE TABLE users (
  id int PRIMARY KEY, name text, email text, born date, created_at timestamptz DEFAULT now(),
  state mood, data jsonb, tags text[], token uuid DEFAULT gen_random_uuid());
CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE,
  total numeric, status text, placed timestamptz);
CREATE TABLE items (id int PRIMARY KEY, order_id bigint REFERENCES orders ON DELETE SET NULL ON UPDATE CASCADE, name text);
CREATE TABLE notes (id int PRIMARY KEY, item_id int REFERENCES items ON UPDATE CASCADE);
CREATE TABLE plain_child (id int PRIMARY KEY, user_id int REFERENCES users);
CREATE TABLE self (id int PRIMARY KEY, parent int REFERENCES self ON DELETE CASCADE);

CREATE TABLE part (id int, day date, v text, PRIMARY KEY (id, day, v)) PARTITION BY RANGE (day);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (v);
CREATE TABLE part_2a PARTITION OF part_2 FOR VALUES IN ('a');
CREATE TABLE part_ref (id int, part_id int, part_day date, part_v text,
  FOREIGN KEY (part_id, part_day, part_v) REFERENCES part ON DELETE CASCADE);

CREATE TABLE mother (a int);
CREATE TABLE father (b int);
CREATE TABLE kid (c int) INHERITS (mother, father);

CREATE TABLE log (at timestamptz, what text);
CREATE TABLE audited (id int PRIMARY KEY, v text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (now(), TG_OP); RETURN NEW; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE audited_child (id int REFERENCES audited ON DELETE CASCADE);
CREATE TABLE above_audited (id int PRIMARY KEY);
CREATE TABLE audited_below (id int REFERENCES above_audited ON DELETE CASCADE, v text);
CREATE TRIGGER audit AFTER DELETE ON audited_below FOR EACH ROW EXECUTE FUNCTION audit();

CREATE TABLE touched (id int PRIMARY KEY, v text, updated_at timestamptz);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF NEW.v IS DISTINCT FROM OLD.v THEN NEW.updated_at := now(); END IF; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();

CREATE TABLE late (id int PRIMARY KEY);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION audit();

CREATE TABLE ruled (id int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES (now(), 'ruled');

CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM users $$;
CREATE FUNCTION writes(int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (now(), 'f'); RETURN $1; END $$;
CREATE FUNCTION honest(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 * 2 $$;
CREATE FUNCTION honest_too(a int, b int DEFAULT honest(3)) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ DECLARE x int; BEGIN x := honest(a) + b; RETURN greatest(x, 0); END $$;
CREATE FUNCTION liar(int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT count(*) + $1 FROM users $$;
CREATE FUNCTION clock_liar() RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN now(); END $$;
CREATE FUNCTION date_liar() RETURNS date LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'today'::date; END $$;
CREATE FUNCTION nested_liar(a int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT liar(a) $$;
CREATE FUNCTION dynamic_liar() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ DECLARE x int; BEGIN EXECUTE 'select 1' INTO x; RETURN x; END $$;
CREATE FUNCTION default_liar(a int DEFAULT (random() * 10)::int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT a $$;
CREATE FUNCTION recursive(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF n <= 1 THEN RETURN 1; END IF; RETURN n * recursive(n - 1); END $$;
CREATE FUNCTION secret(u users) RETURNS double precision LANGUAGE sql VOLATILE AS $$ SELECT random() $$;
CREATE FUNCTION full_name(u users) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT u.name || '!' $$;
CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT $1 $$;
CREATE FUNCTION step(bigint, int) RETURNS bigint LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN RETURN $1 + (random() * $2)::int; END $$;
CREATE AGGREGATE wild_sum(int) (SFUNC = step, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION tame_step(bigint, int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + $2 $$;
CREATE AGGREGATE tame_sum(int) (SFUNC = tame_step, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION vol_op(mood, mood) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < 0.5 $$;
CREATE OPERATOR ~~~ (LEFTARG = mood, RIGHTARG = mood, FUNCTION = vol_op);
CREATE FUNCTION good_op(mood, mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 < $2 $$;
CREATE OPERATOR <<< (LEFTARG = mood, RIGHTARG = mood, FUNCTION = good_op);
CREATE PROCEDURE proc() LANGUAGE sql AS $$ INSERT INTO log VALUES (now(), 'p') $$;

CREATE VIEW v_users AS SELECT id, name, born, created_at FROM users WHERE state = 'ok';
CREATE VIEW v_nested AS SELECT v.id, v.name, count(o.id) AS n FROM v_users v LEFT JOIN orders o ON o.user_id = v.id GROUP BY v.id, v.name;
CREATE VIEW v_clock AS SELECT id FROM users WHERE created_at > now() - interval '1 day';
CREATE VIEW v_current AS SELECT id FROM users WHERE born = CURRENT_DATE;
CREATE VIEW v_over_clock AS SELECT * FROM v_clock;
CREATE VIEW v_today AS SELECT id FROM users WHERE born = ('today'::text)::date;
CREATE VIEW v_cast AS SELECT id, name::date AS d FROM users;
CREATE VIEW v_liar AS SELECT id, liar(id) FROM users;
CREATE VIEW v_writes AS SELECT id, writes(id) FROM users;
CREATE VIEW v_day AS SELECT created_at::date AS day, count(*) AS n FROM users GROUP BY 1;
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT id FROM users WHERE name <> '';
CREATE VIEW v_catalog AS SELECT relname FROM pg_class;
CREATE VIEW v_insteadof AS SELECT id, v FROM audited;
CREATE TRIGGER instead INSTEAD OF INSERT ON v_insteadof FOR EACH ROW EXECUTE FUNCTION audit();
CREATE MATERIALIZED VIEW m_users AS SELECT state, count(*) AS n FROM users GROUP BY 1;

CREATE TABLE secured (id int, owner text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (owner = CURRENT_USER AND id IN (SELECT id FROM users));
CREATE VIEW v_secured AS SELECT id FROM secured;
CREATE UNLOGGED TABLE unlogged (id int);
CREATE TABLE zoned (id int, t time with time zone);
CREATE SEQUENCE seq;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far (id int) SERVER nowhere;
CREATE TABLE half_far (id int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE half_far_1 PARTITION OF half_far FOR VALUES FROM (1) TO (10) SERVER nowhere;
CREATE TABLE defaulted (id int DEFAULT writes(1), v text);
CREATE TABLE checked (id int CHECK (writes(id) > 0));
CREATE TABLE serials (id serial, at timestamptz DEFAULT clock_timestamp(), u uuid DEFAULT gen_random_uuid());
CREATE SCHEMA other;
CREATE TABLE other.users (id int, name text);
CREATE FUNCTION other.hidden() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;
CREATE FUNCTION other.abs(int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT $1 $$;
CREATE TABLE "Odd ""Name" ("Key" int, "now" int, "ctid2" int);
CREATE TABLE period (id int, "end" date, d text);
CREATE TABLE fa (id int PRIMARY KEY);
CREATE TABLE fc (id int PRIMARY KEY, a int REFERENCES fa ON DELETE CASCADE);
CREATE TABLE fb (id int PRIMARY KEY, a int REFERENCES fa ON DELETE SET NULL, c int REFERENCES fc ON DELETE CASCADE);
CREATE TABLE fd (b int REFERENCES fb ON DELETE CASCADE);
CREATE TABLE opening (id int, t time);
CREATE VIEW opening_in_utc AS SELECT (t AT TIME ZONE 'UTC')::text AS t FROM opening;
CREATE FUNCTION in_utc(t time) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT (t AT TIME ZONE 'UTC')::text $$;
CREATE FUNCTION changes_settings() RETURNS int LANGUAGE plpgsql AS $$ BEGIN UPDATE pg_settings SET setting = 'UTC' WHERE name = 'TimeZone'; RETURN 1; END $$;
