package lifeguard

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// CacheExplanation says what the query cache makes of a statement.
type CacheExplanation struct {
	Mode CacheMode     `json:"mode"`
	TTL  time.Duration `json:"ttl_ns,omitempty"` // lifeguard_cache_ttl; with CacheTTL results may be that stale

	Cacheable bool `json:"cacheable"`
	// Reason is why its results are not kept: one of the values of the label "reason" of
	// lifeguard_cache_bypasses_total. Because is the same as a sentence, and Culprit names
	// the function, relation or type that it is about, if there is one.
	Reason  string `json:"reason,omitempty"`
	Because string `json:"because,omitempty"`
	Culprit string `json:"culprit,omitempty"`

	// Reads are the tables whose writes make a result invalid; Writes those of which a
	// write makes results invalid. Partitions stand under their root.
	Reads  []CacheTable `json:"reads"`
	Writes []string     `json:"writes"`
	// Row is the column that is the table's primary key if the statement reads, or writes, one
	// row by it: then writes of other rows leave the result in memory. Empty if it is about the
	// table.
	Row string `json:"row,omitempty"`
	// Functions are those that it calls, with the schema if they did not come with the
	// server.
	Functions []string `json:"functions"`
	// Everything says that the statement makes every result invalid, and Cause why.
	Everything bool   `json:"everything"`
	Cause      string `json:"cause,omitempty"`
	// Settings are those that are part of its key, beside the text and the arguments: the
	// database, the roles, the schemas that are searched, and what was set.
	Settings map[string]string `json:"settings"`

	// Option is what WithCache and the hints of the text ask for together, as a hint;
	// UnknownHints are those that mean nothing.
	Option       string   `json:"option,omitempty"`
	UnknownHints []string `json:"unknown_hints,omitempty"`

	// Entries and Bytes are the results of this text in memory, and about what they take;
	// Hits counts the answers from memory to it.
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Hits    uint64 `json:"hits"`
	// Entry is the result in memory for exactly these arguments, or nil.
	Entry *CacheEntry `json:"entry"`
	// Redis is what lifeguard_redis says of exactly these arguments at the moment: same (what
	// memory has still stands), value (there is a result in Redis), miss, fenced (a write is
	// under way), unconfirmed (it is not known what other processes write), unreachable, or
	// private (the arguments are of types that are not shared). Empty without lifeguard_redis.
	Redis string `json:"redis,omitempty"`
}

// CacheTable is a table that a result depends on.
type CacheTable struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"` // how often it was written since a query depends on it
	Fenced  bool   `json:"fenced"`  // a commit to it is under way
}

// CacheEntry is a result in memory.
type CacheEntry struct {
	Age   time.Duration `json:"age_ns"` // since its query was sent
	Rows  int           `json:"rows"`
	Bytes int64         `json:"bytes"` // about
}

//nolint:gochecknoglobals // a constant
var explain = &sqltext.Statement{Summary: "explain cache"}

const relationNamesSQL = `SELECT u.oid::pg_catalog.regclass::pg_catalog.text
	FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY u(oid, place) ORDER BY u.place`

// ExplainCache tells why the results of a statement are kept in memory, or are not, in a
// session as connections are opened, and whether there is one for these arguments. It
// takes a connection, and does not run the statement. Options of ctx count; see
// [WithCache].
func (c *Connector) ExplainCache(ctx context.Context, query string, args ...any) (CacheExplanation, error) {
	co, err := c.ready()
	if err != nil {
		return CacheExplanation{}, err
	}
	q := co.cache
	if q == nil {
		return CacheExplanation{}, errors.New("lifeguard: there is no cache: lifeguard_cache is off")
	}
	values := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	if query, values, err = namedToOrdinal(ctx, query, values); err != nil {
		return CacheExplanation{}, err
	}
	conn := &Conn{core: co}
	if err := conn.leaseForAsking(ctx); err != nil {
		return CacheExplanation{}, err
	}
	defer conn.endLease()
	if _, err := conn.watch(ctx); err != nil {
		return CacheExplanation{}, err
	}
	conn.slot.begin(SlotExecuting, explain.Summary, 0)
	return conn.explain(ctx, q.text(query), values)
}

func (c *Conn) explain(ctx context.Context, t *cachedText, args []driver.NamedValue) (x CacheExplanation, err error) {
	q, ph := c.core.cache, c.ph
	s := q.sessionOf(ph)
	if s == nil {
		if s, err = q.meetAtLast(ctx, ph); err != nil {
			return x, err
		}
	}
	if r := q.refused(); s == nil && r != nil {
		x = CacheExplanation{Mode: q.mode, TTL: q.ttl, Culprit: r.culprit}
		return x.because(cmp.Or(string(t.gate), bypassRefused)), nil
	}
	a, err := q.catalog.Analyze(ctx, ph.pg, t.text)
	if err != nil {
		return x, err
	}
	x = CacheExplanation{
		Mode: q.mode, TTL: q.ttl, Culprit: a.Culprit, Everything: a.Everything, Cause: string(a.Cause),
		Functions: q.catalog.Calls(t.text),
	}
	_, x.UnknownHints = readHints(t.text)
	option := cacheOptionOf(ctx).and(t.option)
	x.Option = option.String()
	if x.Writes, err = relationNames(ctx, ph.pgxConn(), a.Writes); err != nil {
		return x, err
	}
	names, err := relationNames(ctx, ph.pgxConn(), a.Reads)
	if err != nil {
		return x, err
	}
	row, oneRow := rowOf(&a.Row, args)
	if oneRow {
		x.Row = a.Row.Name
	}
	fenced := false
	for i, name := range names {
		version, up := ph.cached.site.ledger.State(a.Reads[i])
		if oneRow && q.dependsOnRows(ph) {
			version, up = ph.cached.site.ledger.RowState(&row)
		}
		fenced = fenced || up
		x.Reads = append(x.Reads, CacheTable{Name: name, Version: version, Fenced: up})
	}
	if s == nil {
		return x.because(cmp.Or(string(t.gate), q.reasonOf(&a), q.whyUnknown())), nil
	}
	x.Settings = catalog.KeySettings(s.key)
	reason := cmp.Or(s.reason, string(t.gate), q.reasonOf(&a))
	if reason == "" {
		listed, culprit, err := q.listed(ctx, ph, s, &a)
		if err != nil {
			return x, err
		}
		if i := slices.Index(a.Reads, culprit); i >= 0 {
			x.Culprit = names[i]
		}
		reason = listed
	}
	if reason == "" && option == NoCache {
		reason = bypassNoCache
	}
	if reason == "" {
		reason = c.explainMemory(ctx, &x, t, s, args)
	}
	switch {
	case reason != "":
	case !q.follower.current():
		reason = bypassUnconfirmed
	case fenced && q.mode.exact():
		reason = bypassFenced
	}
	return x.because(reason), nil
}

// explainMemory says what memory has of a text, and why it has nothing of these arguments, if
// it never will.
func (c *Conn) explainMemory(ctx context.Context, x *CacheExplanation, t *cachedText, s *cacheSession, args []driver.NamedValue) (reason string) {
	q := c.core.cache
	x.Hits = t.hits.sum()
	v := t.in(s)
	if v == nil { // not analysed yet
		return c.question(&ruling{}, args)
	}
	usage := q.store.Under(string(v.key(nil)))
	x.Entries, x.Bytes = usage.Entries, usage.Bytes
	if reason = cmp.Or(c.question(v, args), q.skips(v)); reason != "" {
		return reason
	}
	if e, ok := q.store.Get(string(c.key)); ok && q.serves(e) {
		x.Entry = &CacheEntry{Age: q.core.limiter.now() - e.Stored, Bytes: int64(e.Rows.Size())}
		if set, ok := e.Rows.(interface{ Len() int }); ok {
			x.Entry.Rows = set.Len()
		}
		x.Redis = c.explainRedis(ctx, v, e.Proof)
		return ""
	}
	x.Redis = c.explainRedis(ctx, v, "")
	return ""
}

// explainRedis asks Redis as a query would.
func (c *Conn) explainRedis(ctx context.Context, v *ruling, proof string) string {
	if v.shared == nil {
		return ""
	}
	ask := c.sharedQuestion(v)
	ask.Have = proof
	a, err := v.shared.space.Look(ctx, ask)
	switch {
	case err != nil:
		return "unreachable"
	case c.private && a.State == rediscache.Miss:
		return "private"
	}
	return string(a.State)
}

func (x CacheExplanation) because(reason string) CacheExplanation {
	x.Reason, x.Because, x.Cacheable = reason, sentences[reason], reason == ""
	return x
}

func relationNames(ctx context.Context, conn *pgx.Conn, relations []uint32) ([]string, error) {
	if len(relations) == 0 {
		return nil, nil
	}
	rows, err := conn.Query(ctx, relationNamesSQL, relations)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
