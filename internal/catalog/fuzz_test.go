package catalog

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

func statements(t testing.TB) []string {
	t.Helper()
	return slices.DeleteFunc(strings.Split(read(t, "testdata/verdicts.sql"), "\n"), func(s string) bool {
		return s == "" || strings.HasPrefix(s, "#")
	})
}

func FuzzGate(f *testing.F) {
	for _, sql := range slices.Concat(statements(f), seeds(f)) {
		f.Add(sql)
	}
	f.Add("SELECT 'to'\n'day'::date")
	f.Add("SELECT (((((")
	f.Add("SELECT x::::date, CAST( AS date), CAST(AS), date(), ((x))::date")
	f.Fuzz(func(t *testing.T, sql string) {
		checkGate(t, sql)
		readBody(sql)
		readBody("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $f$" + sql + "$f$")
	})
}

// checkGate holds what the gate lets through against rules that are written down
// here once more.
func checkGate(t *testing.T, sql string) {
	t.Helper()
	c, reason := Gate(sql)
	// What the lexer does not vouch for may become something else with blanks.
	if _, r := Gate(respaced(sql)); r != reason && reason != Unreadable && reason != Several {
		t.Fatalf("%q: %s, with other blanks %s", sql, reason, r)
	}
	if reason != "" {
		return
	}
	if c.Effect != Reads {
		t.Fatalf("%q may be kept, but has effect %v", sql, c.Effect)
	}
	lex := sqltext.NewLexer(sql)
	first, ended := "", false
	for tok := lex.Next(); tok.Kind != sqltext.EOF; tok = lex.Next() {
		text := strings.ToLower(lex.Text(tok))
		switch {
		case tok.Kind == sqltext.Invalid:
			t.Fatalf("%q is let through with %q", sql, text)
		case text == ";":
			ended = true
			continue
		case ended:
			t.Fatalf("%q is let through with %q behind its end", sql, text)
		case tok.Kind == sqltext.Word && first == "":
			first = text
		case first == "" && text != "(":
			t.Fatalf("%q begins with %q", sql, text)
		}
		if (tok.Kind == sqltext.String || tok.Kind == sqltext.Dollar) && ReadsClock(text) {
			t.Fatalf("%q holds %s", sql, text)
		}
	}
	if !slices.Contains([]string{"select", "with", "values", "table"}, first) {
		t.Fatalf("%q begins with %q", sql, first)
	}
}

func respaced(sql string) string {
	var b strings.Builder
	lex := sqltext.NewLexer(sql)
	for tok := lex.Next(); tok.Kind != sqltext.EOF; tok = lex.Next() {
		b.WriteString(lex.Text(tok))
		if tok.Kind != sqltext.Invalid {
			b.WriteString(" /* now() */ ")
		}
	}
	return b.String()
}

// gateSoak returns how many statements are made by chance, and from which seed:
// LIFEGUARD_PROOF_GATE and LIFEGUARD_PROOF_SEED.
func gateSoak() (n int, seed uint64) {
	n, seed = 6000, 3
	if more, err := strconv.Atoi(os.Getenv("LIFEGUARD_PROOF_GATE")); err == nil {
		n = more
	}
	if other, err := strconv.ParseUint(os.Getenv("LIFEGUARD_PROOF_SEED"), 10, 64); err == nil {
		seed = other
	}
	return n, seed
}

// otherwise is what of a session is not in its key, or is random: what two sessions with
// equal keys may differ in. What changes plans is left out: which row of several DISTINCT ON
// or LIMIT takes, where the statement does not say it, is the planner's choice.
const otherwise = `SET application_name = 'other'; SET jit = off; SET lc_messages = 'C'; SET client_min_messages = error;
	SET default_transaction_read_only = on; SET synchronous_commit = off; SET lock_timeout = '1min'; SELECT setseed(0.3)`

// TestWhatIsLetThroughIsOneStatementWithOneResult changes statements by chance, and runs
// what is said to be cacheable twice in one snapshot, at two times, in two sessions. No
// result may know what day it is, and the server's tree may call nothing else.
func TestWhatIsLetThroughIsOneStatementWithOneResult(t *testing.T) {
	t.Parallel()
	one, dsn := database(t, read(t, "testdata/schema.sql"))
	execute(t, one, corpusRows)
	execute(t, one, "SET timezone = 'UTC'")
	two := connect(t, dsn)
	execute(t, two, "SET timezone = 'UTC'")
	c := New()
	corpus := slices.Concat(statements(t), seeds(t))
	nasty := strings.Fields(nastyTokens)
	n, seed := gateSoak()
	random := rand.New(rand.NewPCG(seed, 5))
	kept, parsed, trees := 0, 0, 0
	var internal *pgconn.PgError
	for range n {
		sql := mutate(random, corpus[random.IntN(len(corpus))], nasty)
		checkGate(t, sql)
		if _, reason := Gate(sql); reason != "" {
			continue
		}
		a, err := c.Analyze(t.Context(), one, sql)
		if errors.As(err, &internal) && internal.Code == "XX000" {
			continue // the server's own mistake, of SELECT unknown(name) for one
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		_, err = one.Prepare(t.Context(), "", sql, nil)
		var refusal *pgconn.PgError
		switch {
		case errors.As(err, &refusal) && strings.Contains(refusal.Message, "multiple commands"):
			t.Fatalf("%q is let through, and is more than one statement", sql)
		case err != nil && a.Cacheable:
			t.Fatalf("%q is cacheable, but %v", sql, err)
		}
		if err == nil {
			parsed++
		}
		if !a.Cacheable || len(a.Params) > 0 {
			continue
		}
		kept += sameInOneSnapshot(t, one, two, sql)
		if checkTree(t, one, sql) {
			trees++
		}
		if t.Failed() {
			t.Fatalf("LIFEGUARD_PROOF_SEED=%d", seed)
		}
	}
	t.Logf("%d statements that the server takes, %d run twice, %d with a tree", parsed, kept, trees)
	if kept < 60 || trees < 50 {
		t.Errorf("only %d statements ran twice, %d had a tree", kept, trees)
	}
}

const nastyTokens = `now() random() clock_timestamp() current_date current_user 'now' 'today' now ( ) , ; :: date timestamptz text
	::date ::timestamptz ::text ::mood ctid xmin FOR UPDATE ORDER BY id LIMIT 1 UNION ALL SELECT FROM users orders v_users v_clock WITH AS
	. * || 'a' 1 name born u.name users.name u.secret nextval('seq') writes(1) liar(1) honest(1) CAST age(born) pg_backend_pid() INTO TABLE
	EXISTS IN OVER() count(*) lower(name) to_char(born,'YYYY') AT TIME ZONE localtime unnest(tags) row_to_json(u) current_setting('x')
	d period tags tags[1] ::date[] ::daterange [ ] ARRAY data->>'a' ->> :: date name::date (name) 'tod' 'ay' concat('to','day') min(name) CASE WHEN true THEN
	END LATERAL JOIN ON USING DISTINCT AND BETWEEN = ANY ALL VALUES ROW ::pair ::timestamp ::varchar timestamp interval 'x' extract(year FROM
	string_to_array(name,',') coalesce(name,'x') "now" "end" s.d (s).name WHERE GROUP NULL ONLY v_nested v_day m_users part kid other.users`

// mutate changes some tokens.
func mutate(random *rand.Rand, sql string, pool []string) string {
	var toks []string
	lex := sqltext.NewLexer(sql)
	for tok := lex.Next(); tok.Kind != sqltext.EOF; tok = lex.Next() {
		toks = append(toks, lex.Text(tok))
	}
	for range 1 + random.IntN(2) {
		if len(toks) == 0 {
			break
		}
		i := random.IntN(len(toks))
		switch random.IntN(4) {
		case 0:
			toks = slices.Delete(toks, i, i+1)
		case 1:
			toks[i] = pool[random.IntN(len(pool))]
		default:
			toks = slices.Insert(toks, i, pool[random.IntN(len(pool))])
		}
	}
	return strings.Join(toks, " ")
}

// sameInOneSnapshot runs sql in two transactions that see the same and began at
// different times; it returns 1 if it ran.
func sameInOneSnapshot(t *testing.T, one, two *pgconn.PgConn, sql string) int {
	t.Helper()
	execute(t, one, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	defer execute(t, one, "ROLLBACK")
	snapshot := rows(t, one, "SELECT pg_export_snapshot()")[0][1:]
	execute(t, two, "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '"+snapshot+"'; "+otherwise)
	defer execute(t, two, "ROLLBACK")
	const soon = "SET LOCAL statement_timeout = '2s'" // recursion may have lost its end
	execute(t, one, soon)
	execute(t, two, soon)
	a, errA := fetch(t, one, sql)
	b, errB := fetch(t, two, sql)
	for _, err := range []error{errA, errB} {
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && refusal.Code == "57014" {
			return 0
		}
	}
	if (errA == nil) != (errB == nil) || !slices.Equal(a, b) {
		t.Errorf("%q is cacheable, but differs:\n%v %v\n%v %v", sql, a, errA, b, errB)
	}
	checkDates(t, sql, a)
	return 1
}

func fetch(t *testing.T, conn *pgconn.PgConn, sql string) (all []string, err error) {
	t.Helper()
	result := conn.ExecParams(t.Context(), sql, nil, nil, nil, nil)
	for result.NextRow() {
		line := ""
		for _, v := range result.Values() {
			line += "|" + string(v)
		}
		all = append(all, line)
	}
	_, err = result.Close()
	slices.Sort(all)
	return all, err
}
