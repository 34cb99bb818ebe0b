package lifeguard

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/pgstub"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

func groupConn(t *testing.T, cfg Config) *Conn {
	t.Helper()
	cfg.ConnConfig, cfg.Group = pgstub.Config(t), GroupOn
	connector, err := NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connector.Close() })
	conn, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*Conn) //nolint:errcheck // there is nothing else
}

func named(values ...driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// A cache in the process switches groups off, so this does not run in parallel with others.
func TestOnlySmallPlainQueriesAskForCompany(t *testing.T) {
	c := groupConn(t, Config{})
	many := make([]driver.Value, maxGroupArguments/16+1)
	for i := range many {
		many[i] = int64(i)
	}
	asks := func(query string, args ...driver.Value) bool {
		return c.asking(&call{st: sqltext.Analyze(query), query: query, args: named(args...)}) != nil
	}
	if !asks("select n from t where id = $1", int64(1)) || !asks("select 1", many[1:]...) {
		t.Error("a plain query does not ask")
	}
	for name, asked := range map[string]bool{
		"a long text":           asks("select '" + strings.Repeat("x", maxGroupText) + "'"),
		"long arguments":        asks("select $1", strings.Repeat("x", maxGroupArguments)),
		"many arguments":        asks("select 1", many...),
		"an argument by itself": asks("select $1", []byte("x")),
		"an option of pgx":      asks("select 1", pgx.QueryExecModeExec),
		"a write":               asks("delete from t returning n"),
		"a lock":                asks("select n from t for update"),
		"two statements":        asks("select 1; select 2"),
	} {
		if asked {
			t.Errorf("%s asks", name)
		}
	}
	if _, err := c.QueryContext(t.Context(), "select 1", named(int64(1))); err != nil {
		t.Fatal(err)
	}
	if asks("select 1") {
		t.Error("a connection that is leased asks")
	}
	c.ph.plans.altered.Store(true)
	c.endLease()
	if !asks("select 1") || c.riding.mayRide() {
		t.Error("who was last in a session that was changed rides")
	}
}

// Nor this.
func TestThePanicOfAConnectHookLeavesNoQuestionBehind(t *testing.T) {
	panics := true
	c := groupConn(t, Config{BeforeConnect: func(context.Context, *pgx.ConnConfig) error {
		if panics {
			panic("a hook")
		}
		return nil
	}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = c.QueryContext(t.Context(), "select n from t where id = $1", named(int64(1)))
	}()
	if c.riding.query != "" || c.riding.args != nil {
		t.Errorf("%+v", c.riding)
	}
	panics = false
	if _, err := c.QueryContext(t.Context(), "select n from t where id = $1", named(int64(1))); err != nil {
		t.Error(err)
	}
	c.endLease()
}

func TestPlansDoNotDriveEachOtherOut(t *testing.T) {
	t.Parallel()
	ph := new(physical)
	ph.plans.byText = make(map[string]*groupPlan)
	for i := range maxGroupPrepared {
		if !ph.roomForPlan(0) {
			t.Fatalf("no room for %d", i)
		}
		ph.plans.byText[strconv.Itoa(i)] = &groupPlan{sd: &pgconn.StatementDescription{Name: strconv.Itoa(i)}, used: time.Duration(i)}
	}
	if ph.roomForPlan(groupUnused) {
		t.Error("a plan that is in use makes room")
	}
	if !ph.roomForPlan(groupUnused+1) || len(ph.plans.byText) != maxGroupPrepared-1 || len(ph.plans.dropped) != 1 || ph.plans.dropped[0] != "0" {
		t.Errorf("%d plans, dropped %q", len(ph.plans.byText), ph.plans.dropped)
	}
}

func TestAConnectionWithUnreadAnswersIsNotClean(t *testing.T) {
	t.Parallel()
	connector, err := NewConnector(Config{ConnConfig: pgstub.Config(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close()
	conn, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*Conn) //nolint:errcheck // there is nothing else
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	ph := c.ph
	ph.unread = true
	if err := c.Ping(t.Context()); err != driver.ErrBadConn { //nolint:errorlint // as database/sql compares it
		t.Errorf("within the lease: %v", err)
	}
	c.endLease()
	if err := c.Ping(t.Context()); err != nil || c.ph == ph {
		t.Errorf("the next lease has it again: %v", err)
	}
	c.endLease()
}
