package catalog

import "slices"

// effects finds what the statement may change.
func (j *judge) effects(a *Analysis, c *Candidate, p *parsed, s *split) {
	if s.odd {
		a.Everything, a.Cause, a.DDL = true, LockMode, true
		return
	}
	w := &writeSet{writes: map[Relation]bool{}, members: map[Relation]*relation{}, changes: map[Relation]change{}}
	for _, oid := range s.targets {
		j.close(w, oid, change{updates: c.updates, deletes: c.deletes, cascade: c.cascade})
	}
	a.Writes = sorted(w.writes)
	v, held := j.opaque(w, c, p, s, harmless)
	if v.ok() {
		return
	}
	a.Everything, a.Cause, a.Held = true, v.reason, held && !v.foreign
	if a.Culprit == "" {
		a.Culprit = v.culprit
	}
	v, _ = j.opaque(w, c, p, s, contained)
	a.DDL = !v.ok() && v.reason != Rule
}

// opaque looks for what may change more than the targets, and reports also whether
// all of it has happened before COMMIT.
func (j *judge) opaque(w *writeSet, c *Candidate, p *parsed, s *split, m measure) (v verdict, held bool) {
	for _, oid := range sorted(membersOf(w.members)) {
		switch r := w.members[oid]; {
		case r.System:
			return verdict{reason: CatalogRelation, culprit: r.Name}, false
		case r.Kind == "f":
			return verdict{reason: ForeignRelation, culprit: r.Name}, false
		}
	}
	held = true
	for _, oid := range sorted(membersOf(w.members)) {
		next, deferred := j.attached(w.members[oid], m)
		if v.ok() {
			v = next
		}
		v.foreign = v.foreign || next.foreign
		held = held && !deferred
	}
	next := j.computed(c, p, s, m)
	if v.ok() {
		v = next
	}
	v.foreign = v.foreign || next.foreign

	return v, held
}

func membersOf(members map[Relation]*relation) map[Relation]bool {
	set := make(map[Relation]bool, len(members))
	for oid := range members {
		set[oid] = true
	}
	return set
}

// attached judges what hangs on a relation that is written, and reports whether
// some of it may come only at COMMIT.
func (j *judge) attached(r *relation, m measure) (worst verdict, deferred bool) {
	for _, t := range r.Triggers {
		v := j.ids([]funcID{t.Function}, m)
		if v.ok() {
			continue
		}
		worst = verdict{reason: Trigger, culprit: v.culprit, foreign: worst.foreign || v.foreign}
		deferred = deferred || t.Deferred
	}
	if worst.ok() && r.Rules && m == harmless {
		worst = verdict{reason: Rule, culprit: r.Name}
	}
	if r.expressions == nil {
		r.expressions = readBodies(r.Expressions)
	}
	for _, b := range r.expressions {
		v := j.body(b, []string{"pg_catalog"}, m)
		if worst.ok() && !v.ok() {
			worst = verdict{reason: Default, culprit: v.culprit}
		}
		worst.foreign = worst.foreign || v.foreign
	}

	return worst, deferred
}

// secured judges policies. What they read the server has locked with the statement.
func (j *judge) secured(r *relation, m measure) verdict {
	if !r.Secured {
		return verdict{}
	}
	if r.policies == nil {
		r.policies = readBodies(r.Policies)
	}
	for _, b := range r.policies {
		known := *b
		known.reads = false
		if v := j.body(&known, []string{"pg_catalog"}, m); !v.ok() {
			return v
		}
	}
	return verdict{}
}

func readBodies(texts []string) []*body {
	bodies := make([]*body, len(texts))
	for i, text := range texts {
		bodies[i] = readBody(text)
	}
	return bodies
}

// computed judges what the statement itself calls, by any way.
func (j *judge) computed(c *Candidate, p *parsed, s *split, m measure) verdict {
	calls := slices.DeleteFunc(slices.Clone(c.calls), func(n name) bool {
		return n.name == "set_config" && c.Session // the session is read again
	})
	if v := j.calls(calls, p.path, m); !v.ok() {
		return v
	}
	if v := j.attributes(c.dotted, p.path, m); !v.ok() {
		return v
	}
	if v := j.operators(c.ops, m); !v.ok() {
		return v
	}
	near := touched{words: c.words, types: p.types}
	for _, r := range s.families {
		near.types = near.types || hasUserTypes(r)
		if v := j.secured(r, m); !v.ok() {
			return v
		}
	}
	for _, r := range s.named {
		if r.Kind != "v" || r.System {
			continue
		}
		v, view := j.view(r, m)
		if !v.ok() {
			return v
		}
		near.words = append(near.words, view.words...)
	}
	near.types = near.types || j.user

	return j.spoilt(near, m)
}
