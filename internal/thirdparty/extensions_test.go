package thirdparty

import (
	"fmt"
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
			var there bool
			must(t, w.db.QueryRowContext(ctx, "select exists (select from pg_available_extensions where name = $1)", extension.name).Scan(&there))
			if !there {
				t.Logf("this PostgreSQL comes without %s", extension.name)
				continue
			}
			w.exec(t, fmt.Sprintf("create extension %q", extension.name))
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
