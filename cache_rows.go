package lifeguard

import (
	"database/sql/driver"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

// A text that reads or writes one row by its primary key ([catalog.Row]) says which with its
// arguments. The value has to be the one that the server gets: whatever is not of a type for
// which that is plain means the table. So it is with
//
//	reads    lifeguard_cache=local without lifeguard_redis: what others write is known by tables
//	writes   any Connector, for those of others; who announces it elsewhere names the table
//
// What is known of a table's rows belongs to [cache.Ledger].

// rowOf is the row that a statement with these arguments is about. Without a row it reports
// false: then it is about the table.
func rowOf(k *catalog.Row, args []driver.NamedValue) (row cache.Row, ok bool) {
	if k.Kind == catalog.NoKey || k.Param > len(args) {
		return row, false
	}
	for i := range args { // an option moves those behind it, or changes the text
		if args[i].Name != "" || !isPlain(args[i].Value) && isOption(args[i].Value) {
			return row, false
		}
	}
	row = cache.Row{Relation: k.Relation, By: k.Column<<2 | uint32(k.Kind)}
	if k.Param == 0 {
		row.Int = k.Number
		return row, k.Kind == catalog.IntKey
	}
	value := args[k.Param-1].Value
	switch k.Kind {
	case catalog.IntKey:
		row.Int, ok = wholeNumber(value)
	case catalog.UUIDKey:
		row.Text, ok = value.(string)
		ok = ok && isUUID(row.Text)
		row.Text = strings.ToLower(row.Text)
	case catalog.TextKey:
		row.Text, ok = value.(string)
	case catalog.NoKey:
	}
	return row, ok
}

// wholeNumber is an argument of one of the types that pgx sends as the number that they are.
func wholeNumber(value any) (int64, bool) {
	switch n := value.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case int32:
		return int64(n), true
	case int16:
		return int64(n), true
	}
	return 0, false
}

// isUUID reports whether a text is a UUID in the form that PostgreSQL prints, in any case. It
// reads others, too.
func isUUID(text string) bool {
	if len(text) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i := range len(text) {
		c := text[i]
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash && c == '-':
		case !dash && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'):
		default:
			return false
		}
	}
	return true
}

// sendsAsIs reports whether a connection sends the key's value as it was given: no codec or
// plan that the application has registered stands between. Texts are sent by none.
func sendsAsIs(types *pgtype.Map, k *catalog.Row) bool {
	return k.Param == 0 || k.Kind != catalog.IntKey || rowset.Sends(types, k.Type)
}

// dependsOnRows reports whether results may depend on rows.
func (q *queryCache) dependsOnRows(ph *physical) bool {
	return q.mode == CacheLocal && !q.core.cfg.shares() && ph.cached.shares == nil
}

// dependOnRows prepares a ruling for results that depend on one row.
func (q *queryCache) dependOnRows(ph *physical, v *ruling) {
	k := &v.analysis.Row
	if k.Kind == catalog.NoKey || !q.dependsOnRows(ph) {
		return
	}
	v.rows, _ = ph.cached.site.ledger.Keyed(k.Relation, k.Column<<2|uint32(k.Kind))
}

// capture notes the versions of what a query is about to read: of its row, if it is known, or
// of its tables.
func (v *ruling) capture(args []driver.NamedValue) (s cache.Snapshot, ok bool) {
	if v.rows.None() || v.recodes.Load() {
		return v.reads.Capture()
	}
	row, known := rowOf(&v.analysis.Row, args)
	if !known {
		return v.reads.Capture()
	}
	return v.rows.Capture(&row)
}

// confirmRow gives a fill up whose connection may have asked for another row than it depends on.
func (r *fetch) confirmRow(types *pgtype.Map) {
	if v := r.ruling; !v.rows.None() && !sendsAsIs(types, &v.analysis.Row) {
		v.recodes.Store(true)
		r.alone = true
	}
}

// narrow confines what a statement writes to the row that it is about.
func (does *effects) narrow(ph *physical, v *ruling, args []driver.NamedValue) {
	if v == nil || does.others != noOthers || does.opaque || len(does.relations) != 1 {
		return
	}
	k := &v.analysis.Row
	if k.Kind == catalog.NoKey || k.Relation != does.relations[0] || !sendsAsIs(ph.pgxConn().TypeMap(), k) {
		return
	}
	if row, known := rowOf(k, args); known {
		does.relations, does.row, does.oneRow = nil, row, true
	}
}

// addTo notes whose rows a statement changes.
func (does *effects) addTo(w *cache.Writes) {
	w.Add(does.relations...)
	if does.oneRow {
		w.AddRow(does.row)
	}
}
