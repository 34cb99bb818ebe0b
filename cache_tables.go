package lifeguard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
)

// tableListAllowed says how lists of tables are written.
const tableListAllowed = `tables such as orders,shop.items,"Odd, name"`

// splitTables splits a list at commas outside of quotes.
func splitTables(list string) []string {
	var names []string
	for len(list) > 0 {
		end, quoted := 0, false
		for end < len(list) && (quoted || list[end] != ',') {
			if list[end] == '"' {
				quoted = !quoted
			}
			end++
		}
		names = append(names, strings.TrimSpace(list[:end]))
		list = strings.TrimPrefix(list[end:], ",")
	}
	return names
}

// sqlTable reads table or schema.table as SQL does, where what is not quoted is folded to
// lower case, and returns it with each part quoted.
func sqlTable(name string) (string, error) {
	var parts []string
	for rest := name; ; {
		part, after, ok := sqlIdentifier(rest)
		if !ok {
			return "", fmt.Errorf("lifeguard: %q is no name of a table: write table or schema.table as in SQL, quoted where SQL needs it", name)
		}
		parts = append(parts, quoteIdentifier(part))
		if after == "" && len(parts) <= 2 {
			return strings.Join(parts, "."), nil
		}
		if after == "" || after[0] != '.' {
			return "", fmt.Errorf("lifeguard: %q is no name of a table: write table or schema.table as in SQL, quoted where SQL needs it", name)
		}
		rest = after[1:]
	}
}

func sqlIdentifier(s string) (identifier, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		for i := 1; i < len(s); i++ {
			switch {
			case s[i] != '"':
			case strings.HasPrefix(s[i+1:], `"`):
				i++
			default:
				identifier = strings.ReplaceAll(s[1:i], `""`, `"`)
				return identifier, s[i+1:], identifier != "" && strings.IndexByte(identifier, 0) < 0
			}
		}
		return "", "", false
	}
	end := 0
	for end < len(s) && isNameByte(s[end], end == 0) {
		end++
	}
	return lowerASCII(s[:end]), s[end:], end > 0
}

func isNameByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0x80:
		return true
	case c >= '0' && c <= '9', c == '$':
		return !first
	}
	return false
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// sqlTables reads names; the error names the one that is none.
func sqlTables(names []string) ([]string, error) {
	quoted := make([]string, len(names))
	for i, name := range names {
		var err error
		if quoted[i], err = sqlTable(name); err != nil {
			return nil, err
		}
	}
	return quoted, nil
}

// InvalidateCache makes the results of all queries invalid that read one of the tables;
// without tables, all results. It is for writes that the cache does not notice: those of
// other programs. It holds for all Connectors of this process on the same database, and
// for queries that are under way: what they bring is not kept.
//
// A name is read as in SQL, with a schema or without, and looked up in the search_path of
// one of the pool's connections; an unknown one is an error, and then nothing has become
// invalid. A partition stands for its whole table, a view for the queries that read it.
// Names need a connection, for which it waits as a statement of High priority, and
// half a minute at most; without names nothing is sent to PostgreSQL. With lifeguard_redis it holds for all
// processes that share the database, and is an error if they cannot be told. Without a cache it does nothing.
// It may be called concurrently.
func (c *Connector) InvalidateCache(tables ...string) error {
	names, err := sqlTables(tables)
	if err != nil {
		return err
	}
	co, err := c.ready()
	if err != nil {
		return err
	}
	q := co.cache
	if q == nil {
		return nil
	}
	var w cache.Writes
	if len(names) == 0 {
		w.AddEverything()
		return q.invalidate(context.Background(), q.site.Load(), &w)
	}
	ctx, cancel := context.WithTimeout(WithPriority(context.Background(), High), invalidateLimit)
	defer cancel()
	conn := &Conn{core: co}
	if err := conn.leaseForAsking(ctx); err != nil {
		return err
	}
	defer conn.endLease()
	if _, err := conn.watch(ctx); err != nil {
		return err
	}
	conn.slot.begin(SlotExecuting, invalidate, 0)
	found, err := q.catalog.Named(ctx, conn.ph.pg, names)
	if err != nil {
		return err
	}
	if i := slices.Index(found, 0); i >= 0 {
		return fmt.Errorf("lifeguard: there is no table %s", tables[i])
	}
	w.Add(found...)
	return q.invalidate(ctx, conn.ph.cached.site, &w)
}

const (
	invalidate      = "invalidate cache"
	invalidateLimit = 30 * time.Second
)

// invalidate makes results invalid in each ledger of a site, and for the other processes that
// share it. If these cannot be told, it is an error.
func (q *queryCache) invalidate(ctx context.Context, p *site, w *cache.Writes) error {
	if p == nil {
		return nil // nothing was ever read
	}
	q.counts.invalidated[causeManual].Add(1)
	if w.Everything() {
		p.generations.Next() // as after DDL
	}
	for _, q := range p.ageing() {
		q.ageing.Raise(w).Bump()
	}
	f, err := p.raise(ctx, &whatIsWritten{rows: w, schema: w.Everything(), generation: p.generations.Now()})
	if err != nil {
		p.flush() // here at least
		return err
	}
	f.Bump()
	return nil
}

// ageing are the caches whose results only age.
func (p *site) ageing() (all []*queryCache) {
	inProcess.mu.Lock()
	defer inProcess.mu.Unlock()
	for _, q := range p.askers {
		if q.mode == CacheTTL {
			all = append(all, q)
		}
	}
	return all
}

// listedTables are lifeguard_cache_tables and lifeguard_cache_exclude as a session has them.
type listedTables struct{ only, not []catalog.Relation }

// listed says why a text is not kept for the tables that it reads. Views need not be
// listed, but may be excluded.
func (q *queryCache) listed(ctx context.Context, ph *physical, s *cacheSession, a *catalog.Analysis) (reason string, culprit catalog.Relation, err error) {
	cfg := &q.core.cfg
	if len(cfg.CacheTables)+len(cfg.CacheExclude) == 0 {
		return "", 0, nil
	}
	lists := s.lists.Load()
	if lists == nil {
		if lists, err = q.findListed(ctx, ph); err != nil {
			return "", 0, err
		}
		s.lists.Store(lists)
	}
	for _, r := range a.Reads {
		switch {
		case slices.Contains(lists.not, r):
			return bypassExcluded, r, nil
		case len(cfg.CacheTables) > 0 && !slices.Contains(lists.only, r) && !q.catalog.IsView(r):
			return bypassUnlisted, r, nil
		}
	}
	return "", 0, nil
}

func (q *queryCache) findListed(ctx context.Context, ph *physical) (*listedTables, error) {
	cfg := &q.core.cfg
	names, err := sqlTables(slices.Concat(cfg.CacheTables, cfg.CacheExclude))
	if err != nil {
		return nil, err
	}
	found, err := q.catalog.Named(ctx, ph.pg, names)
	if err != nil {
		return nil, err
	}
	for i, r := range found {
		if _, said := q.missing.LoadOrStore(names[i], true); r == 0 && !said {
			cfg.Logger.Warn("lifeguard: a table of lifeguard_cache_tables or lifeguard_cache_exclude does not exist", "pool", cfg.Name, "table", names[i])
		}
	}
	return &listedTables{only: found[:len(cfg.CacheTables)], not: found[len(cfg.CacheTables):]}, nil
}
