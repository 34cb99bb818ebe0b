package catalog

import (
	"slices"
	"strings"
)

// A judge decides from what is known, and notes what it misses; a verdict counts
// only if nothing was missed.
type judge struct {
	k      *knowledge
	want   *want
	memory map[verdictKey]verdict // of functions, also of those being judged
	user   bool                   // a function that did not come with the server was called
}

// A measure is what a function is held against.
type measure uint8

const (
	// settled: its value depends on its arguments and the session's key alone.
	settled measure = iota
	// harmless: it changes no relation, no setting and no catalog.
	harmless
	// contained: whatever it changes, it does by statements that are written down,
	// so neither the catalog nor the session.
	contained
)

type verdictKey struct {
	oid     uint32
	measure measure
}

// A verdict is empty if nothing stands against what was judged.
type verdict struct {
	reason  Reason
	culprit string
}

func (v verdict) ok() bool { return v.reason == "" }

func (j *judge) functionsNamed(n name, path []string) []*function {
	all, known := j.k.functions[n.name]
	if !known {
		j.want.functions[n.name] = true
		return nil
	}
	return filter(all, n, path, func(f *function) string { return f.Schema })
}

func (j *judge) typesNamed(n name, path []string) []*typeFact {
	all, known := j.k.types[n.name]
	if !known {
		j.want.types[n.name] = true
		return nil
	}
	return filter(all, n, path, func(t *typeFact) string { return t.Schema })
}

// filter keeps what a name shows: of its schema, else of the path; without a path,
// of every schema.
func filter[T any](all []T, n name, path []string, schema func(T) string) []T {
	if n.schema == "" && path == nil {
		return all
	}
	var shown []T
	for _, x := range all {
		if s := schema(x); s == n.schema || n.schema == "" && slices.Contains(path, s) {
			shown = append(shown, x)
		}
	}
	return shown
}

// calls judges names that look like calls. A name that is no function is judged
// as a type: then it is a cast, or it is the name of something with columns.
func (j *judge) calls(calls []name, path []string, m measure) verdict {
	for _, n := range calls {
		if strings.HasPrefix(n.schema, "pg_temp") { // the session's own, under another name
			return verdict{reason: Function, culprit: n.name}
		}
		functions := j.functionsNamed(n, path)
		var types []*typeFact
		if m == settled { // asked for at once with the functions
			types = j.typesNamed(n, path)
		}
		for _, f := range functions {
			if v := j.function(f, m); !v.ok() {
				return v
			}
		}
		for _, t := range types {
			if t.Kind == "p" || t.Built && (len(functions) > 0 || isPlainType(t.Name) || isClockType(t.Name)) {
				continue // ANY ($1); numeric(1); a cast to a date, which the gate has judged
			}
			if v := castTo(t); !v.ok() {
				return v
			}
		}
	}
	return verdict{}
}

// attributes judges names behind a dot, each of which calls a function if there
// is one by that name that takes a row, or, of methods, any one argument.
func (j *judge) attributes(names, methods, path []string, m measure) verdict {
	for _, n := range names {
		method := slices.Contains(methods, n)
		for _, f := range j.functionsNamed(name{name: n}, path) {
			if !f.Row && (!method || !f.Single) {
				continue
			}
			if v := j.function(f, m); !v.ok() {
				return v
			}
		}
		if !method || m != settled {
			continue
		}
		for _, t := range j.typesNamed(name{name: n}, path) { // (x).t is x::t
			if v := castTo(t); !v.ok() && t.Kind != "p" {
				return v
			}
		}
	}
	return verdict{}
}

// casts judges the types that something other than a literal is cast to.
func (j *judge) casts(types []name, path []string) verdict {
	for _, n := range types {
		found := j.typesNamed(n, path)
		if len(found) == 0 && len(j.want.types) == 0 {
			return verdict{reason: Cast, culprit: n.name}
		}
		for _, t := range found {
			if v := castTo(t); !v.ok() {
				return v
			}
		}
	}
	return verdict{}
}

func castTo(t *typeFact) verdict {
	switch {
	case t.Kind == "e", t.Built && isPlainType(t.Name), t.Kind == "b" && isExtensionType(t.Name):
		return verdict{}
	default:
		return verdict{reason: Cast, culprit: t.Name}
	}
}

func (j *judge) function(f *function, m measure) verdict {
	if !f.Built {
		j.user = true
	}
	at := verdictKey{f.OID, m}
	if v, known := j.memory[at]; known {
		return v
	}
	j.memory[at] = verdict{} // recursion is judged by the rest of it
	v := j.judgeFunction(f, m)
	j.memory[at] = v

	return v
}

func (j *judge) judgeFunction(f *function, m measure) verdict {
	no := verdict{reason: Function, culprit: f.Name}
	switch {
	case f.Built:
		if builtIn(f, m) {
			return verdict{}
		}
		return no
	case m == settled && f.Timetz:
		return verdict{reason: ClockType, culprit: f.Name}
	case f.Kind == "a":
		return j.ids(f.Support, m)
	case m == settled && f.Volatile != "i":
		return no
	case f.Language == "c" || f.Language == "internal":
		if f.Volatile == "i" || m != settled && (f.Volatile == "s" || isHarmlessVolatile(f.Name)) {
			return verdict{}
		}
		return no
	case f.Language == "sql" || f.Language == "plpgsql":
		return j.text(f, m)
	default:
		return no
	}
}

func builtIn(f *function, m measure) bool {
	if m == settled {
		return f.Volatile == "i" || isSettled(f.Name)
	}
	if f.Volatile != "v" {
		return !runsText(f.Name)
	}
	return isHarmlessVolatile(f.Name)
}

// ids judges functions that are known by OID.
func (j *judge) ids(ids []funcID, m measure) verdict {
	for _, id := range ids {
		for _, f := range j.functionsNamed(name{name: id.Name}, nil) {
			if f.OID != id.OID {
				continue
			}
			if v := j.function(f, m); !v.ok() {
				return v
			}
		}
	}
	return verdict{}
}

// text judges a function by what is written in it.
func (j *judge) text(f *function, m measure) verdict {
	if !f.scanned {
		f.body, f.scanned = readBody(f.Text), true
	}
	v := j.body(f.body, nil, m)
	if !v.ok() && v.reason != ClockType {
		v.reason = FunctionBody
	}
	if !v.ok() && v.culprit == "" {
		v.culprit = f.Name
	}
	return v
}

// body judges a text of the catalog. Names in it are looked for in all schemas,
// as it may run under any search_path, unless a path is given.
func (j *judge) body(b *body, path []string, m measure) verdict {
	switch {
	case b.acts, m != contained && b.writes, m == settled && b.reads:
		return verdict{reason: FunctionBody}
	case m == settled && b.reason != "":
		return verdict{reason: b.reason}
	case m == settled && b.casts:
		return verdict{reason: ClockCast}
	case m == settled && zoned(b.calls, b.times):
		return verdict{reason: ClockType}
	}
	if b.reads && m != settled {
		if v := j.anyView(m); !v.ok() {
			return v
		}
	}
	if v := j.calls(b.calls, path, m); !v.ok() {
		return v
	}
	if v := j.attributes(b.dotted, b.methods, path, m); !v.ok() {
		return v
	}
	if v := j.operators(b.ops, m); !v.ok() {
		return v
	}
	if m == settled {
		return j.casts(b.types, path)
	}
	return verdict{}
}

// anyView judges a read of a relation that is not known. It could be any view, or
// be secured by any policy, so all the functions that those call have to pass.
func (j *judge) anyView(m measure) verdict {
	if j.k.hazards == nil {
		j.want.hazards = true
		return verdict{}
	}
	if v := j.ids(j.k.hazards.Views, m); !v.ok() {
		return verdict{reason: View, culprit: v.culprit}
	}
	return verdict{}
}

// operators judges those operators of users' that have one of the names, in any
// schema. Some names stand for no token: IN, BETWEEN, ORDER BY and LIKE use them.
func (j *judge) operators(ops []string, m measure) verdict {
	if j.k.hazards == nil {
		j.want.hazards = true
		return verdict{}
	}
	for _, h := range j.k.hazards.Operators {
		if !slices.Contains(ops, h.Name) && !isUnwritten(h.Name) {
			continue
		}
		if v := j.ids([]funcID{h.Function}, m); !v.ok() {
			return verdict{reason: Operator, culprit: h.Name}
		}
	}
	return verdict{}
}

func isUnwritten(op string) bool {
	switch op {
	case "=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~":
		return true
	default:
		return false
	}
}

// A touched is what of the users' types a statement comes near.
type touched struct {
	words []string // names in texts
	types bool     // a column or function of a type that is not built in
}

// spoilt judges casts, domains and operator classes, which no token shows. Where
// one of them does not pass, whatever may involve its types does not either.
func (j *judge) spoilt(t touched, m measure) verdict {
	h := j.k.hazards
	if h == nil {
		j.want.hazards = true
		return verdict{}
	}
	defaults := h.Defaults
	if m == settled { // a query has no use for them
		defaults = nil
	}
	for _, group := range []struct {
		reason  Reason
		hazards []hazard
	}{{Cast, h.Casts}, {Domain, h.Domains}, {Domain, defaults}, {OperatorClass, h.Classes}} {
		for i := range group.hazards {
			z := &group.hazards[i]
			if !z.Built && !t.types && !slices.ContainsFunc(z.Names, func(n string) bool { return slices.Contains(t.words, n) }) {
				continue
			}
			v := j.hazard(z, m)
			if v.ok() {
				continue
			}
			culprit := v.culprit
			if len(z.Names) > 0 {
				culprit = z.Names[0]
			}
			return verdict{reason: group.reason, culprit: culprit}
		}
	}
	return verdict{}
}

func (j *judge) hazard(z *hazard, m measure) verdict {
	if z.Check == "" {
		return j.ids([]funcID{z.Function}, m)
	}
	if z.check == nil {
		z.check = readBody(z.Check)
	}
	return j.body(z.check, []string{"pg_catalog"}, m)
}
