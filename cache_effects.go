package lifeguard

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// effects is what a statement may do.
type effects struct {
	relations []catalog.Relation
	// unknown says that rows of any relation may change; in a transaction its locks
	// tell of which.
	unknown bool
	late    bool  // … or not, since COMMIT may change more
	schema  doubt // may change the catalog
	foreign bool  // may commit something at once, whatever becomes of its transaction
	pieces  bool  // is not all or nothing
	opaque  bool  // several statements, or an unknown one: may begin and end transactions

	// Settings, or what names mean, may change:
	session bool
	local   bool // … until the transaction ends
	custom  bool // … but an application's own alone: names keep their meaning
	async   bool // … and commits may no longer wait for their log
	reload  bool // all sessions read the configuration again, soon

	generation uint64 // of the catalog in which all this holds
}

// doubt is how likely something is.
type doubt uint8

const (
	ruledOut doubt = iota
	perhaps        // in a transaction its counters tell
	likely
)

// knownRewriter is a pgx.QueryRewriter that does what the text of its statement says.
type knownRewriter interface{ doesWhatItsTextSays() }

// effectsOf says what a statement may do on a connection; v is nil if the server was not
// asked.
func (q *queryCache) effectsOf(ph *physical, st *sqltext.Statement, t *cachedText, v *ruling, args []driver.NamedValue) effects {
	all := effects{
		unknown: true, late: true, schema: likely, session: true, async: true, foreign: true, pieces: true, opaque: true,
		generation: ph.cached.generation(),
	}
	for i := range args {
		if _, known := args[i].Value.(knownRewriter); known {
			continue
		}
		if _, rewrites := args[i].Value.(pgx.QueryRewriter); rewrites {
			return all // the text is not what is sent
		}
	}
	text := &t.candidate
	if reach := q.reachFrom(ph); text.Hidden && (reach == nil || reach.Surprises(text)) {
		all.opaque = mayEndTransaction(st)
		return all
	}
	does := effects{
		session: text.Session, local: text.Local, custom: text.Custom, async: text.Async, reload: text.Reload,
		late: text.Late, pieces: text.Effect == catalog.Calls, generation: all.generation,
	}
	switch text.Effect {
	case catalog.Nothing:
		return does
	case catalog.Anything:
		all.opaque = mayEndTransaction(st)
		all.async = all.opaque
		all.reload = text.Reload
		return all
	case catalog.Reads, catalog.Targets, catalog.Runs, catalog.Calls:
	}
	if v != nil && v.analysis.Cause != catalog.Refused {
		does.saidOf(&v.analysis)
		return does
	}
	reach, old := q.reachFrom(ph), false
	if reach == nil && ph.pg.TxStatus() != 'I' {
		// Somebody has changed the catalog since BEGIN, and nobody has read it since. What
		// this transaction does to rows and the catalog it is asked for, before COMMIT.
		reach, old = ph.cached.tx.reach, true
	}
	if reach == nil {
		all.opaque, all.async = false, text.Async
		return all
	}
	if text.Effect == catalog.Reads && t.gate != catalog.Modifies && !reach.Writes && !old {
		return does
	}
	does.unknown = true
	does.foreign = reach.Foreign(text)
	does.pieces = does.pieces || does.foreign
	if reach.Acts || text.DDL || old {
		does.actsHidden()
	}
	return does
}

// saidOf adds what the server has said.
func (does *effects) saidOf(a *catalog.Analysis) {
	does.relations, does.generation = a.Writes, a.Generation
	if !a.Everything {
		return
	}
	does.unknown = true
	does.late = does.late || !a.Held
	does.foreign = a.Foreign
	does.pieces = does.pieces || a.Foreign
	if a.DDL {
		does.actsHidden()
	}
}

// actsHidden adds that the catalog or settings may change, by ways that no word shows.
func (does *effects) actsHidden() {
	does.schema = max(does.schema, perhaps)
	does.session, does.local, does.custom = true, false, false
}

// reachFrom is what functions could do where the connection is; nil if it is not known.
func (q *queryCache) reachFrom(ph *physical) *catalog.Reach {
	if !q.atHome(ph) {
		return nil
	}
	return q.catalog.KnownReach()
}

// mayEndTransaction reports whether a statement that may do anything may also begin or
// end a transaction: CALL and DO cannot end one that was begun outside of them.
func mayEndTransaction(st *sqltext.Statement) bool {
	if st.Flags.Has(sqltext.Malformed) {
		return true
	}
	switch st.Kind {
	case sqltext.DDL, sqltext.Do, sqltext.Call, sqltext.Execute, sqltext.Explain, sqltext.Refresh, sqltext.Maintenance,
		sqltext.Cursor, sqltext.Truncate, sqltext.Copy, sqltext.Select, sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
		return false
	default:
		return true
	}
}
