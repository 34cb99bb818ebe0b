package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Named finds what names stand for in the connection's session, which is idle and outside
// a transaction: relations, in the form that [Analysis] has them, so a partition is its
// root. A name must be as to_regclass takes it; one that stands for no relation gives 0.
func (c *Catalog) Named(ctx context.Context, conn *pgconn.PgConn, names []string) ([]Relation, error) {
	k := c.current()
	found := make([]Relation, 0, len(names))
	pipe, err := newPipe(ctx, conn)
	if err != nil {
		return nil, err
	}
	var bad error
	pipe.query(lookupBegin, nil)
	for _, n := range names {
		pipe.query(targetQuery, func(row [][]byte) {
			if row[0] == nil {
				found = append(found, 0)
				return
			}
			found = append(found, oid(row[0], &bad))
		}, []byte(n))
	}
	if err = errors.Join(pipe.run(ctx), bad); err != nil {
		return nil, fmt.Errorf("catalog: look up names: %w", err)
	}
	for range rounds {
		w := newWant()
		all := make([]Relation, len(found))
		k.mu.Lock()
		j := &judge{k: k, want: w, memory: map[verdictKey]verdict{}}
		for i, oid := range found {
			if oid != 0 {
				_, all[i] = j.family(oid)
			}
		}
		k.mu.Unlock()
		if w.empty() {
			return all, nil
		}
		if err := k.load(ctx, conn, w); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("catalog: look up names: the catalog is changing")
}

// IsView reports whether a relation of an analysis is a view, as far as is remembered.
func (c *Catalog) IsView(relation Relation) bool {
	k := c.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.relations[relation]
	return r != nil && r.Kind == "v"
}

// Calls returns the functions that an analysed text calls, as far as is remembered, sorted:
// with their schema unless they came with the server.
func (c *Catalog) Calls(sql string) []string {
	candidate, _ := Gate(sql)
	k := c.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	var called []string
	for _, n := range candidate.calls {
		for _, f := range k.functions[n.name] {
			if n.schema != "" && n.schema != f.Schema {
				continue
			}
			if name := f.shown(); !slices.Contains(called, name) {
				called = append(called, name)
			}
		}
	}
	slices.Sort(called)
	return called
}

func (f *function) shown() string {
	if f.Built {
		return f.Name
	}
	return f.Schema + "." + f.Name
}

// KeySettings takes a [Session] key apart, for people.
func KeySettings(key string) map[string]string {
	var s sessionState
	if err := json.NewDecoder(strings.NewReader(key)).Decode(&s); err != nil {
		return nil
	}
	all := maps.Clone(s.Settings)
	if all == nil {
		all = make(map[string]string)
	}
	all["database"], all["user"], all["schemas"] = s.Database, s.User, strings.Join(s.Schemas, ", ")
	if s.SessionUser != s.User {
		all["session_user"] = s.SessionUser
	}
	return all
}
