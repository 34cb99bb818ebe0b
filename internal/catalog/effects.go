package catalog

import "slices"

// effects finds what the statement may change.
func (j *judge) effects(a *Analysis, c *Candidate, p *parsed, s *split) {
	if s.odd {
		a.Everything, a.Cause, a.DDL, a.Foreign = true, LockMode, true, true
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
	a.Everything, a.Cause, a.Held = true, v.reason, held
	a.Foreign = v.reason == ForeignRelation || j.foreign(c)
	if a.Culprit == "" {
		a.Culprit = v.culprit
	}
	v, _ = j.opaque(w, c, p, s, contained)
	a.DDL = !v.ok()
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
		held = held && !deferred
	}
	next := j.computed(c, p, s, m)
	if v.ok() {
		v = next
	}

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
		worst = verdict{reason: Trigger, culprit: v.culprit}
		deferred = deferred || t.Deferred
	}
	if worst.ok() && len(r.Rules) > 0 {
		worst = j.ruled(r, m)
	}
	if r.expressions == nil {
		r.expressions = readBodies(r.Expressions)
	}
	for _, b := range r.expressions {
		v := j.body(b, []string{"pg_catalog"}, m)
		if worst.ok() && !v.ok() {
			worst = verdict{reason: Default, culprit: v.culprit}
		}
	}

	return worst, deferred
}

// ruled judges rules. The relations of their actions the server has locked with the
// statement; what they call beyond that is judged here.
func (j *judge) ruled(r *relation, m measure) verdict {
	if m == harmless {
		return verdict{reason: Rule, culprit: r.Name}
	}
	if r.rules == nil {
		r.rules = readBodies(r.Rules)
	}
	for _, b := range r.rules {
		if v := j.body(b, []string{"pg_catalog"}, m); !v.ok() {
			return v
		}
	}
	return verdict{}
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
	isSetter := func(n name) bool { return n.name == "set_config" }
	if v := j.calls(slices.DeleteFunc(slices.Clone(c.calls), isSetter), p.path, m); !v.ok() {
		return v
	}
	for _, n := range c.calls {
		if !isSetter(n) {
			continue
		}
		for _, f := range j.functionsNamed(n, p.path) {
			if f.Built { // the session is read again
				continue
			}
			if v := j.function(f, m); !v.ok() {
				return v
			}
		}
	}
	if c.body != nil {
		if v := j.body(c.body, nil, m); !v.ok() {
			return v
		}
	}
	if c.refreshes {
		if v := j.anyView(m); !v.ok() {
			return v
		}
	}
	if v := j.attributes(c.dotted, c.methods, p.path, m); !v.ok() {
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
