package catalog

import "slices"

// facts returns what is known of a relation, or nil.
func (j *judge) facts(oid Relation) *relation {
	r, known := j.k.relations[oid]
	if !known {
		j.want.relations[oid] = true
	}
	return r
}

// family returns all relations that are connected with oid by partitioning or
// inheritance, and the one that stands for all of them.
func (j *judge) family(oid Relation) (members []*relation, root Relation) {
	seen := map[Relation]bool{oid: true}
	for queue := []Relation{oid}; len(queue) > 0; queue = queue[1:] {
		r := j.facts(queue[0])
		if r == nil {
			continue
		}
		members = append(members, r)
		for _, next := range slices.Concat(r.Parents, r.Children) {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	root = oid
	for first, i := true, 0; i < len(members); i++ {
		if m := members[i]; len(m.Parents) == 0 && (first || m.OID < root) {
			root, first = m.OID, false
		}
	}
	return members, root
}

// readable judges a relation, with its family, as the source of a result that is
// kept.
func (j *judge) readable(members []*relation) verdict {
	for _, r := range members {
		if reason := unreadable(r); reason != "" {
			return verdict{reason: reason, culprit: r.Name}
		}
		for _, c := range r.Columns {
			if c.Type == timetzOID || c.Type == timetzArrayOID {
				return verdict{reason: ClockType, culprit: r.Name}
			}
		}
	}
	return verdict{}
}

const (
	timetzOID      = 1266
	timetzArrayOID = 1270
	timeOID        = 1083
	timeArrayOID   = 1183
)

func unreadable(r *relation) Reason {
	switch {
	case r.System:
		return CatalogRelation
	case r.Persistence == "t":
		return TemporaryRelation
	case r.Kind == "f":
		return ForeignRelation
	case r.Kind == "S":
		return Sequence
	case r.Secured:
		return RowSecurity
	case r.Kind == "r", r.Kind == "p", r.Kind == "v", r.Kind == "m":
		return ""
	default:
		return RelationKind
	}
}

// view judges a view's definition.
func (j *judge) view(r *relation, m measure) (verdict, *Candidate) {
	if r.view == nil {
		c, reason := Gate(r.View)
		r.view, r.viewReason = &c, reason
	}
	if m == settled && r.viewReason != "" {
		return verdict{reason: View, culprit: r.Name}, r.view
	}
	v := j.candidate(r.view, []string{"pg_catalog"}, m)
	if !v.ok() && v.reason == Function {
		v.reason = View
	}
	return v, r.view
}

// zoned reports whether a call may turn a time into one with a time zone, which depends on
// the day: TIME AT TIME ZONE goes by way of that type, and no word shows it.
func zoned(calls []name, times bool) bool {
	return times && slices.ContainsFunc(calls, func(n name) bool { return n.name == "timezone" })
}

// candidate judges what the gate collected.
func (j *judge) candidate(c *Candidate, path []string, m measure) verdict {
	if v := j.calls(c.calls, path, m); !v.ok() {
		return v
	}
	if v := j.attributes(c.dotted, c.methods, path, m); !v.ok() {
		return v
	}
	if v := j.operators(c.ops, m); !v.ok() {
		return v
	}
	if m != settled {
		return verdict{}
	}
	for _, n := range c.dated {
		for _, f := range j.functionsNamed(name{name: n}, path) {
			if !f.Built {
				return verdict{reason: ClockCast, culprit: n}
			}
		}
	}
	return j.casts(c.types, path)
}

// datedColumns judges the columns that a statement casts to a date: the relations
// must have them, and none as text.
func datedColumns(columns []string, read []*relation) verdict {
	for _, n := range columns {
		found := false
		for _, r := range read {
			for _, c := range r.Columns {
				if c.Name != n {
					continue
				}
				if !isDatedOID(c.Type) {
					return verdict{reason: ClockCast, culprit: n}
				}
				found = true
			}
		}
		if !found {
			return verdict{reason: ClockCast, culprit: n}
		}
	}
	return verdict{}
}

// isDatedOID reports whether a column's type is date, time, timestamp, timestamptz
// or interval, whose casts to one another go by no text.
func isDatedOID(oid uint32) bool {
	switch oid {
	case 1082, 1083, 1114, 1184, 1186:
		return true
	default:
		return false
	}
}

// A change is what a statement does to the rows of a family.
type change struct{ updates, deletes, cascade bool }

// A writeSet is the closure of what a statement changes.
type writeSet struct {
	writes  map[Relation]bool
	members map[Relation]*relation
	changes map[Relation]change // by root
}

// close adds a target and what follows from its change: its family, and the tables
// that reference it by foreign keys with actions.
func (j *judge) close(w *writeSet, oid Relation, c change) {
	type step struct {
		oid Relation
		change
	}
	for queue := []step{{oid, c}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		members, root := j.family(at.oid)
		had, seen := w.changes[root]
		all := change{had.updates || at.updates, had.deletes || at.deletes, had.cascade || at.cascade}
		for _, m := range members {
			w.members[m.OID] = m
			// A row that moves to another partition is deleted there, and up to
			// PostgreSQL 14 the foreign keys saw it so.
			all.deletes = all.deletes || all.updates && m.Kind == "p"
		}
		if seen && all == had {
			continue
		}
		w.changes[root], w.writes[root] = all, true
		for _, m := range members {
			for _, k := range m.Keys {
				if next, follows := follow(k, all); follows {
					queue = append(queue, step{k.From, next})
				}
			}
		}
	}
}

// follow returns what a change does to the table that the key comes from.
func follow(k key, c change) (next change, follows bool) {
	if c.cascade { // TRUNCATE … CASCADE takes every referencing table
		return change{deletes: true, cascade: true}, true
	}
	if c.updates && k.Update {
		next.updates, follows = true, true
	}
	if c.deletes && k.Delete {
		next.updates = next.updates || k.Rewrites
		next.deletes = !k.Rewrites
		follows = true
	}
	return next, follows
}
