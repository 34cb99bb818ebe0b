package thirdparty

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// tokens are functions over pgcrypto that sign and verify JSON Web Tokens, of the same kind as
// those of the extension pgjwt and written for this test: SQL functions that are declared
// immutable, one of which reads the clock all the same.
const tokens = `
create extension pgcrypto;
create function base64url(data bytea) returns text language sql immutable as
	$$ select translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
create function base64url_decoded(data text) returns bytea language sql immutable as
	$$ select decode(translate(data, '-_', '+/') || repeat('=', (4 - length(data) % 4) % 4), 'base64') $$;
create function token_signature(signed text, secret text) returns text language sql immutable as
	$$ select base64url(hmac(signed, secret, 'sha256')) $$;
create function sign_token(payload json, secret text) returns text language sql immutable as $$
	with body as (select base64url(convert_to('{"alg":"HS256","typ":"JWT"}', 'utf8')) || '.' || base64url(convert_to(payload::text, 'utf8')) as signed)
	select signed || '.' || token_signature(signed, secret) from body $$;
create function verified_token(token text, secret text, out payload json, out valid boolean) language sql immutable as $$
	select p, split_part(token, '.', 3) = token_signature(split_part(token, '.', 1) || '.' || split_part(token, '.', 2), secret)
		and clock_timestamp() < coalesce(to_timestamp((p->>'exp')::float8), 'infinity')
	from (select convert_from(base64url_decoded(split_part(token, '.', 2)), 'utf8')::json as p) s $$;
create table accounts (id int primary key, token text);`

// TestTokensOfSQLFunctionsPassThrough signs and verifies with pgcrypto, over pgx and over
// Lifeguard, and by Go's own means.
func TestTokensOfSQLFunctionsPassThrough(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		w.keepsNothing = "the bodies of the functions are not known to read nothing"
		w.exec(t, tokens)
		const payload = `{"sub":"1234567890","name":"Ann ünd Bob"}`
		var token string
		must(t, w.db.QueryRowContext(t.Context(), "select sign_token($1::text::json, $2)", payload, "secret").Scan(&token))

		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		mac := hmac.New(sha256.New, []byte("secret"))
		_, _ = mac.Write([]byte(signed))
		if want := signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); token != want {
			t.Errorf("the token is %s, want %s", token, want)
		}
		for _, secret := range []string{"secret", "wrong"} {
			var back string
			var valid bool
			must(t, w.db.QueryRowContext(t.Context(), "select payload::text, valid from verified_token($1, $2)", token, secret).Scan(&back, &valid))
			w.note("verified", back, valid, valid == (secret == "secret"))
		}
	})
}

// TestATokenThatExpiresIsNotKeptByTheCache is about a function that is declared immutable and
// is not: from memory a token would be valid for ever.
func TestATokenThatExpiresIsNotKeptByTheCache(t *testing.T) {
	t.Parallel()
	connector, db := cached(t)
	w := &world{db: db}
	w.exec(t, tokens)
	_, err := db.ExecContext(t.Context(), `insert into accounts select 1, sign_token(json_build_object('exp', extract(epoch from clock_timestamp()) + 1), 's')`)
	must(t, err)
	const query = "select valid from accounts, verified_token(accounts.token, 's') where id = $1"
	valid := func() (valid bool) {
		must(t, db.QueryRowContext(t.Context(), query, 1).Scan(&valid))
		return valid
	}
	for range 5 {
		valid()
	}
	x, err := connector.ExplainCache(t.Context(), query)
	must(t, err)
	if x.Cacheable || !strings.HasPrefix(x.Reason, "function") || connector.Stats().Cache.Hits != 0 {
		t.Errorf("the cache would keep it: %+v, %d hits", x, connector.Stats().Cache.Hits)
	}
	eventually(t, "the token has expired", func() bool { return !valid() })

	// A function that only computes may be kept.
	x, err = connector.ExplainCache(t.Context(), "select token_signature(token, 's') from accounts where id = $1")
	must(t, err)
	t.Logf("a signature: %+v", x)
}

// TestThePgjwtThatIsInstalled does the same with the extension itself, where a server has it, or
// where LIFEGUARD_TEST_PGJWT names its SQL file.
func TestThePgjwtThatIsInstalled(t *testing.T) {
	t.Parallel()
	connector, db := cached(t)
	w := &world{db: db}
	var there bool
	must(t, db.QueryRowContext(t.Context(), "select exists (select from pg_available_extensions where name = 'pgjwt')").Scan(&there))
	file := os.Getenv("LIFEGUARD_TEST_PGJWT")
	switch {
	case there:
		w.exec(t, "create extension pgjwt cascade")
	case file != "":
		text, err := os.ReadFile(file)
		must(t, err)
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(string(text), "@extschema@", "public")) {
			if !strings.HasPrefix(line, `\`) { // psql's
				lines = append(lines, line)
			}
		}
		w.exec(t, "create extension pgcrypto", strings.Join(lines, ""))
	default:
		t.Skip("this PostgreSQL comes without pgjwt, which neither PostgreSQL's contrib nor Debian has; LIFEGUARD_TEST_PGJWT may name its SQL file")
	}
	var token string
	exp := time.Now().Add(2 * time.Second).Unix()
	must(t, db.QueryRowContext(t.Context(), "select sign(json_build_object('exp', $1::bigint), 'secret')", exp).Scan(&token))
	const query = "select valid from verify($1, 'secret')"
	valid := func() (valid bool) {
		must(t, db.QueryRowContext(t.Context(), query, token).Scan(&valid))
		return valid
	}
	eventually(t, "the token has expired", func() bool { return !valid() })
	x, err := connector.ExplainCache(t.Context(), query)
	must(t, err)
	if x.Cacheable || connector.Stats().Cache.Hits != 0 {
		t.Errorf("the cache would keep it: %+v", x)
	}
}

// cached is a database with the cache on, and what is behind it.
func cached(t *testing.T) (*lifeguard.Connector, *sql.DB) {
	t.Helper()
	cfg, err := lifeguard.ParseConfig(pgtest.DSN(t) + "&lifeguard_cache=local")
	must(t, err)
	connector, err := lifeguard.NewConnector(cfg)
	must(t, err)
	return connector, openConnector(t, connector)
}
