package lifeguard

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/internal/catalog"
	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// effects is what a statement may do.
type effects struct {
	relations  []catalog.Relation // whose rows may change
	row        cache.Row          // … and, with oneRow, of which no others do
	oneRow     bool
	others     others // … beside them
	schema     doubt  // the catalog
	commits    commits
	settings   catalog.Settings
	async      bool   // commits may no longer wait for their log
	reload     bool   // all sessions read the configuration again, soon
	opaque     bool   // several statements, or an unknown one: may begin and end transactions
	generation uint64 // of the catalog in which all this holds
}

// others says whose rows may change beside those of relations that are known.
type others uint8

const (
	noOthers     others = iota
	lockedOthers        // anybody's; in a transaction its locks tell whose
	anyOthers           // anybody's, and COMMIT may change more
)

// doubt is how likely something is.
type doubt uint8

const (
	ruledOut doubt = iota
	perhaps        // in a transaction its counters tell
	likely
)

// commits says what of a statement may be committed if it fails.
type commits uint8

const (
	allOrNothing commits = iota
	inPieces             // CALL and DO may commit in between, outside a transaction
	besides              // something may be at once, whatever becomes of the transaction around it
)

// anything is what a statement may do of which nothing is known.
func anything(generation uint64) effects {
	return effects{
		others: anyOthers, schema: likely, commits: besides, settings: catalog.AnyLasting, async: true, opaque: true,
		generation: generation,
	}
}

// knownRewriter is a pgx.QueryRewriter that does what the text of its statement says.
type knownRewriter interface{ doesWhatItsTextSays() }

// effectsOf says what a statement may do on a connection; v is nil if the server was not
// asked.
func (q *queryCache) effectsOf(ph *physical, st *sqltext.Statement, t *cachedText, v *ruling, args []driver.NamedValue) effects {
	all := anything(ph.cached.generation())
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
	does := effects{settings: text.Settings, async: text.Async, reload: text.Reload, generation: all.generation}
	if text.Effect == catalog.Calls {
		does.commits = inPieces
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
		does.saidOf(&v.analysis, text)
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
	does.others = othersUntil(!text.Late)
	if reach.Foreign(text) {
		does.commits = besides
	}
	if reach.Acts || text.DDL || old {
		does.actsHidden()
	}
	return does
}

// saidOf adds what the server has said of a text.
func (does *effects) saidOf(a *catalog.Analysis, text *catalog.Candidate) {
	does.relations, does.generation = a.Writes, a.Generation
	if !a.Everything {
		return
	}
	does.others = othersUntil(a.Held && !text.Late)
	if a.Foreign {
		does.commits = besides
	}
	if a.DDL {
		does.actsHidden()
	}
}

// othersUntil is for rows of any relation; held says that all have changed before COMMIT.
func othersUntil(held bool) others {
	if held {
		return lockedOthers
	}
	return anyOthers
}

// actsHidden adds that the catalog or settings may change, by ways that no word shows.
func (does *effects) actsHidden() {
	does.schema = max(does.schema, perhaps)
	does.settings = catalog.AnyLasting
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
