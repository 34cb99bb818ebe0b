package catalog

import "slices"

// A Row says which one row of a relation a statement is about: that whose primary key has a
// value. A statement that reads yields what it does whatever the others hold, and one that
// writes leaves them alone.
type Row struct {
	Relation Relation
	// Column is the number of the key's column, and Name its name.
	Column uint32
	Name   string
	// Kind is the kind of values that the key has.
	Kind KeyKind
	// Param is the parameter that has the value, counted from 1; 0 if it is Number. Type is
	// the parameter's type.
	Param  int
	Type   uint32
	Number int64
}

// A KeyKind says when two values of a key are equal.
type KeyKind uint8

// The kinds of keys.
const (
	NoKey   KeyKind = iota
	IntKey          // as numbers, whatever their width
	UUIDKey         // as 16 bytes
	TextKey         // byte by byte
)

const (
	int8OID    = 20
	int2OID    = 21
	int4OID    = 23
	textOID    = 25
	varcharOID = 1043
	uuidOID    = 2950
)

func kindOfKey(oid uint32) KeyKind {
	switch oid {
	case int2OID, int4OID, int8OID:
		return IntKey
	case uuidOID:
		return UUIDKey
	case textOID, varcharOID:
		return TextKey
	default:
		return NoKey
	}
}

// rowRead is the row that a text which may be kept reads.
func (j *judge) rowRead(a *Analysis, c *Candidate, p *parsed, s *split) Row {
	if c.row.kind != readsRow || len(a.Reads) != 1 {
		return Row{}
	}
	return j.rowOf(c, p, s)
}

// rowWritten is the row that a text writes.
func (j *judge) rowWritten(a *Analysis, c *Candidate, p *parsed, s *split) Row {
	if c.row.kind == noRow || c.row.kind == readsRow || a.Everything || len(a.Writes) != 1 || len(a.Reads) != 0 || len(s.named) != 1 {
		return Row{}
	}
	r := s.named[0]
	// A trigger may give the row another key, a rule do something else instead, and a key to
	// the own table take other rows along.
	if a.Writes[0] != r.OID || len(r.Triggers) > 0 || len(r.Rules) > 0 || len(r.Keys) > 0 && slices.ContainsFunc(r.Keys, r.isAffected) {
		return Row{}
	}
	return j.rowOf(c, p, s)
}

// isAffected reports whether changes of the relation come back to it.
func (r *relation) isAffected(k key) bool { return k.From == r.OID && (k.Delete || k.Update) }

// rowOf holds what the text says of a row against the catalog: the relation is a table of its
// own, whose key has one column, with values that are equal if they look so. That column is
// compared by the "=" that came with the server, since that is found first and fits exactly;
// for the parameter's type says which it was.
func (j *judge) rowOf(c *Candidate, p *parsed, s *split) Row {
	if len(s.named) != 1 || len(s.families) != 1 || len(p.locks) != 1 || !builtInsFirst(p.path) {
		return Row{}
	}
	r := s.named[0]
	if r.Primary == nil || r.System || r.Secured || r.Kind != "r" || r.Persistence != "p" || len(r.Parents) > 0 || len(r.Children) > 0 {
		return Row{}
	}
	e, ok := c.row.of(r.Primary.Name)
	inserts := c.row.kind == insertsRow
	if !ok || inserts && r.Primary.Cuts {
		return Row{}
	}
	row := Row{
		Relation: r.OID, Column: r.Primary.Number, Name: r.Primary.Name, Kind: kindOfKey(r.Primary.Type),
		Param: e.param, Number: e.number,
	}
	switch {
	case e.param == 0:
		ok = row.Kind == IntKey
	case e.param > len(p.params):
		ok = false
	default:
		row.Type = p.params[e.param-1]
		ok = kindOfKey(row.Type) == row.Kind && (inserts || row.Type != varcharOID)
	}
	if !ok {
		return Row{}
	}
	return row
}
