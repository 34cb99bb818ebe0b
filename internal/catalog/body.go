package catalog

import (
	"strings"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// A body is what the text of a function, or an expression of the catalog, says
// about itself. It goes by words, as the gate does: "from" is the sign of reading
// a table, also where it is a variable.
type body struct {
	reason  Reason // why its value is not settled, as far as words tell
	reads   bool   // may read a relation
	writes  bool   // may change one
	acts    bool   // may run commands, or texts
	calls   []name
	dotted  []string
	methods []string
	ops     []string
	types   []name
	casts   bool // casts a variable to a date
	times   bool // as of Candidate
}

// readBody reads an expression, or what pg_get_functiondef says.
func readBody(text string) *body {
	b := &body{}
	head := newScan(text)
	for i, t := range head.toks {
		if t.kind != sqltext.Dollar || !head.at(i-1).word("as") {
			continue
		}
		tag := strings.IndexByte(t.text[1:], '$') + 2
		inner := newScan(t.text[tag : len(t.text)-tag])
		inner.inBody = true
		b.add(inner)
		head.toks = head.toks[:i]

		break
	}
	b.add(head)

	return b
}

func (b *body) add(s *scan) {
	b.words(s) // before read, which closes no statement
	s.read()
	b.acts = b.acts || b.writes && s.settings // its rule calls set_config
	if s.unreadable {
		b.acts = true
		s.refuse(Unreadable)
	}
	if b.reason == "" {
		b.reason = s.reason
	}
	b.calls = append(b.calls, s.calls...)
	b.dotted = append(b.dotted, s.dotted...)
	b.methods = append(b.methods, s.methods...)
	b.ops = append(b.ops, s.ops...)
	b.types = append(b.types, s.types...)
	b.casts = b.casts || len(s.columns) > 0
	b.times = b.times || s.times
}

func (b *body) words(s *scan) {
	var open []int
	for i, t := range s.toks {
		switch {
		case t.is("("):
			open = append(open, i)
		case t.is(")") && len(open) > 0:
			open = open[:len(open)-1]
		}
		if t.kind != sqltext.Word || s.at(i-1).is(".") {
			continue
		}
		switch t.name {
		case "from":
			inside := len(open) > 0 && isFromFunction(s.at(open[len(open)-1]-1).name)
			b.reads = b.reads || !inside && !s.at(i-1).word("distinct")
		case "table":
			b.reads = b.reads || !s.at(i-1).word("returns")
		case "join":
			b.reads = true
		case "insert", "update", "delete", "merge", "perform":
			// A trigger's WHEN clause and definition name events.
			b.writes = b.writes || s.inBody || !isTriggerDefinition(s)
		default:
			b.acts = b.acts || s.inBody && (t.name == "execute" || isCommand(t.name) && s.beginsStatement(i))
		}
	}
}

// isFromFunction reports whether FROM within the brackets of a function is part of
// its syntax.
func isFromFunction(function string) bool {
	switch function {
	case "extract", "substring", "trim", "overlay":
		return true
	default:
		return false
	}
}

func isTriggerDefinition(s *scan) bool {
	return s.at(0).word("create") && (s.at(1).word("trigger") || s.at(1).word("constraint"))
}

// beginsStatement reports whether a statement may begin at i, in SQL or PL/pgSQL; not so
// SET in UPDATE … SET, or DO in ON CONFLICT DO.
func (s *scan) beginsStatement(i int) bool {
	switch before := s.at(i - 1); before.kind {
	case sqltext.Word:
		switch before.name {
		case "begin", "then", "else", "loop", "atomic", "explain", "analyze", "analyse", "verbose":
			return true
		default:
			return false
		}
	case sqltext.Punct:
		return before.is(";") || before.is(")") && s.at(s.opening(i-1)-1).word("explain")
	case sqltext.Operator:
		return before.text == ">>" // a label
	default: // nothing, or #option
		return true
	}
}

// isCommand reports whether a word may begin a statement that is neither a query
// nor changes rows. Committing is none: it changes nothing.
func isCommand(word string) bool {
	switch word {
	case "execute", "call", "do", "copy", "truncate", "create", "alter", "drop", "grant", "revoke", "comment",
		"security", "import", "reassign", "refresh", "reindex", "cluster", "vacuum", "analyze", "analyse",
		"set", "reset", "discard", "lock", "listen", "unlisten", "notify", "load", "prepare", "deallocate",
		"open", "fetch", "move", "checkpoint":
		return true
	default:
		return false
	}
}
