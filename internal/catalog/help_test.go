package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// connect opens a connection to a database of the test's own.
func connect(t testing.TB, dsn string) *pgconn.PgConn {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn.Close(ctx)
	})
	return conn
}

func database(t testing.TB, schema string) (*pgconn.PgConn, string) {
	t.Helper()
	dsn := pgtest.DSN(t)
	conn := connect(t, dsn)
	execute(t, conn, schema)
	return conn, dsn
}

// execute runs one or more statements.
func execute(t testing.TB, conn *pgconn.PgConn, sql string) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql).Close(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func analyze(t testing.TB, c *Catalog, conn *pgconn.PgConn, sql string) Analysis {
	t.Helper()
	a, err := c.Analyze(t.Context(), conn, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if conn.TxStatus() != 'I' {
		t.Fatalf("%s: the connection is in state %c", sql, conn.TxStatus())
	}
	return a
}

// relationNames returns the names of relations in order, by OID.
type relationNames map[Relation]string

func namesOf(t testing.TB, conn *pgconn.PgConn) relationNames {
	t.Helper()
	all := relationNames{}
	result := conn.ExecParams(t.Context(), `SELECT c.oid, CASE WHEN nspname IN ('public', 'pg_catalog') THEN relname
		ELSE nspname || '.' || relname END FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace`, nil, nil, nil, nil)
	for result.NextRow() {
		n, err := strconv.ParseUint(string(result.Values()[0]), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		all[Relation(n)] = string(result.Values()[1])
	}
	if _, err := result.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func (names relationNames) list(oids []Relation) string {
	var list []string
	for _, oid := range oids {
		if isUserOID(oid) { // what is below the server's own views differs with its version
			list = append(list, names[oid])
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// describe is an analysis in one line: the form that the tables of tests use.
func (names relationNames) describe(a Analysis) string {
	b := "cacheable"
	if !a.Cacheable {
		b = string(a.Reason)
	}
	if a.Culprit != "" {
		b += " (" + a.Culprit + ")"
	}
	if list := names.list(a.Reads); list != "" {
		b += " reads " + list
	}
	if list := names.list(a.Writes); list != "" {
		b += " writes " + list
	}
	if a.Everything {
		b += fmt.Sprintf(" everything by %s", a.Cause)
		if a.Held {
			b += " held"
		}
		if a.DDL {
			b += " ddl"
		}
		if a.Foreign {
			b += " foreign"
		}
	}
	return b
}
