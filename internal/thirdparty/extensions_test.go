package thirdparty

import (
	"fmt"
	"os"
	"testing"
)

// TestExtensionsPassThrough uses types and functions that PostgreSQL does not have by itself.
func TestExtensionsPassThrough(t *testing.T) {
	t.Parallel()
	compare(t, 1, func(t *testing.T, w *world) {
		ctx := t.Context()
		for _, extension := range []struct{ name, query, argument string }{
			{"pgcrypto", "select encode(digest($1::text, 'sha256'), 'hex'), crypt($1, '$1$lifeguard') = crypt($1, '$1$lifeguard')", "secret"},
			{"pg_trgm", "select similarity($1::text, 'Polly'), $1::text % 'Polly', show_trgm($1::text)", "Poly"},
			{"hstore", "select $1::hstore -> 'legs', $1::hstore, hstore_to_jsonb($1::hstore)", `legs=>4, name=>"Rex"`},
			{"citext", "select $1::citext = 'REX'::citext, $1::citext, array[$1::citext]", "rex"},
			{"uuid-ossp", "select uuid_generate_v5(uuid_ns_dns(), $1::text), uuid_nil()", "example.org"},
		} {
			if !install(t, w, extension.name) {
				continue
			}
			rows, err := w.db.QueryContext(ctx, extension.query, extension.argument)
			must(t, err)
			defer rows.Close()
			types, err := rows.ColumnTypes()
			must(t, err)
			values, targets := make([]any, len(types)), make([]any, len(types))
			for i := range values {
				targets[i] = &values[i]
			}
			if !rows.Next() {
				t.Fatalf("%s: no row, error %v", extension.name, rows.Err())
			}
			must(t, rows.Scan(targets...), rows.Close(), rows.Err())
			w.note(extension.name, values)
			for _, c := range types {
				if name := c.DatabaseTypeName(); name[0] < '0' || name[0] > '9' { // else the OID, which differs
					w.note("type", name, c.ScanType())
				}
			}
		}
		w.note("done")
	})
}

// install creates an extension, if the server has it. Where CI is set, it must.
func install(t *testing.T, w *world, extension string) bool {
	t.Helper()
	var there bool
	must(t, w.db.QueryRowContext(t.Context(), "select exists (select from pg_available_extensions where name = $1)", extension).Scan(&there))
	switch {
	case there:
		w.exec(t, fmt.Sprintf("create extension %q", extension))
	case os.Getenv("CI") != "":
		t.Errorf("this PostgreSQL comes without %s; Debian has it in the server's package or in postgresql-contrib", extension)
	default:
		t.Logf("this PostgreSQL comes without %s", extension)
	}
	return there
}

// The cache goes by what extensions declare of their functions, operators and casts: a result
// that calls one is kept if it is immutable, and nothing else is.
func TestTheCacheGoesByTheVolatilityThatExtensionsDeclare(t *testing.T) {
	t.Parallel()
	connector, db := cached(t)
	w := &world{db: db}
	w.exec(t, "create table words (id int primary key, word text)")
	kinds := map[string]bool{}
	for _, c := range []struct{ extension, function, expression string }{
		{"pgcrypto", "hmac", "hmac(word, 'key', 'sha256')"},
		{"pgcrypto", "crypt", "crypt(word, '$1$lifeguard')"},
		{"pgcrypto", "gen_salt", "gen_salt('md5')"},
		{"pgcrypto", "gen_random_bytes", "gen_random_bytes(id)"},
		{"pg_trgm", "similarity", "similarity(word, 'Polly')"},
		{"pg_trgm", "similarity_op", "word % 'Polly'"}, // by a threshold of the session
		{"pg_trgm", "show_limit", "show_limit()"},
		{"pg_trgm", "set_limit", "set_limit(0.3)"},
		{"hstore", "akeys", "akeys(hstore(word, 'x'))"},
		{"hstore", "fetchval", "hstore(word, 'x') -> word"},
		{"citext", "citext_eq", "word::citext = 'REX'::citext"},
		{"uuid-ossp", "uuid_generate_v5", "uuid_generate_v5(uuid_ns_dns(), word)"},
		{"uuid-ossp", "uuid_generate_v4", "uuid_generate_v4()"},
		{"uuid-ossp", "uuid_generate_v1", "uuid_generate_v1()"},
	} {
		var there bool
		must(t, db.QueryRowContext(t.Context(), "select exists (select from pg_extension where extname = $1)", c.extension).Scan(&there))
		if !there && !install(t, w, c.extension) {
			continue
		}
		var declared string
		must(t, db.QueryRowContext(t.Context(), "select max(provolatile::text) from pg_proc where proname = $1", c.function).Scan(&declared))
		kinds[declared] = true
		x, err := connector.ExplainCache(t.Context(), "select "+c.expression+" from words where id = $1")
		must(t, err)
		if x.Cacheable != (declared == "i") {
			t.Errorf("%s of %s is declared %q, and of %s the cache says %+v", c.function, c.extension, declared, c.expression, x)
		}
	}
	if len(kinds) != 0 && len(kinds) != 3 {
		t.Errorf("only %v were tried: this tests too little", kinds)
	}
}
