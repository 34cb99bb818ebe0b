package cache

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// A statement that reads one row by its key need not be asked again because another row was
// written. So a relation has three kinds of states, and each who reads or writes it has to do
// with two of them at most:
//
//	                          any   table   stripe of the key
//	reads the table            ×
//	reads rows of a key               ×      ×
//	writes the table           ×      ×
//	writes rows of a key       ×             ×
//
// Whoever reads the table meets each writer in any. Whoever reads rows of a key meets in
// table each writer of whom no key is known, and in the stripe each who writes rows of that
// key. The only pair that meets nowhere is a reader and a writer of rows of two keys whose
// stripes differ. So invariants 1 to 4 of the Ledger hold for each reader with the states that it
// depends on, as if those were relations, and whoever knows nothing about rows, and writes
// the table, is right. Two keys of one stripe cost a needless miss.
//
// Here a key is the value that one column has. Whether it is unique does not matter, but that
// all who speak of keys of a relation mean the same column, of the same kind: that is what
// By says. Who means another one, as after a change of the primary key, reads or writes the
// table. A write that changes the key of a row is one of the table.
//
// The stripes of a relation are made by the first reader of rows. A writer that raises its
// fence before that writes the table; the reader then meets it there.

// Row says which rows of a relation a statement reads or writes: those with a key. Two that
// are equal as PostgreSQL compares them must be equal here.
type Row struct {
	Relation Relation
	By       uint32 // the column that is the key, and what kind of value it has
	Int      int64  // the key, if it is a number
	Text     string // … if it is anything else
}

const (
	stripesOf    = 1 << 14
	stripesPages = 1 << 10
	pageStripes  = stripesOf / stripesPages
)

// stripes are the states of the rows of a relation: 8 KiB, and 256 bytes for each page that
// is in use, 256 KiB at most.
type stripes struct {
	by    uint32
	pages [stripesPages]atomic.Pointer[[pageStripes]state]
}

// at returns the state for a hash.
func (s *stripes) at(hash uint64) *state {
	hash %= stripesOf
	p := &s.pages[hash/pageStripes]
	page := p.Load()
	if page == nil {
		page = new([pageStripes]state)
		if !p.CompareAndSwap(nil, page) {
			page = p.Load()
		}
	}
	return &page[hash%pageStripes]
}

// hash of a row's key.
func (l *Ledger) hash(r *Row) uint64 {
	if r.Text != "" {
		return maphash.String(l.seed, r.Text)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(r.Int)) //nolint:gosec // its bits
	return maphash.Bytes(l.seed, b[:])
}

// Keyed is a relation whose rows are depended on by their key, in the form that Capture
// wants: looked up once, for the life of a statement's analysis. The zero value can be
// captured never.
type Keyed struct {
	of      *dependencies // on the table
	stripes *stripes
}

// Keyed looks up a relation to depend on rows of it by their key. It reports false if others already mean
// another key of it; then only the relation can be depended on.
func (l *Ledger) Keyed(of Relation, by uint32) (Keyed, bool) {
	r := l.relation(of)
	l.mu.Lock()
	if r.rows == nil {
		r.rows = &stripes{by: by}
	}
	s := r.rows
	l.mu.Unlock()
	if s.by != by {
		return Keyed{}, false
	}
	return Keyed{of: &dependencies{ledger: l, states: []*state{&r.table}}, stripes: s}, true
}

// None reports whether it is the zero value.
func (r Keyed) None() bool { return r.of == nil }

// Capture is [Dependencies.Capture] for a query that reads nothing but the rows of a key. The
// relation and the kind of key are those that Keyed was looked up for.
func (r Keyed) Capture(row *Row) (Snapshot, bool) {
	if r.of == nil || r.of.fenced() {
		return Snapshot{}, false
	}
	stripe := r.stripes.at(r.of.ledger.hash(row))
	s := Snapshot{of: r.of, at: r.of.current(), row: stripe, rowAt: stripe.version.Load()}
	return s, s.Valid()
}

// fenceRow puts a fence up on rows of a key; it returns nothing if the whole relation has to
// be fenced off.
func (l *Ledger) fenceRow(r *Row) (every, stripe *state) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	known := l.relations[r.Relation]
	if known == nil || known.rows == nil || known.rows.by != r.By {
		return nil, nil
	}
	stripe = known.rows.at(l.hash(r))
	known.any.fences.Add(1)
	stripe.fences.Add(1)
	return &known.any, stripe
}

// RowState is [Ledger.State] for who depends on the rows of a key.
func (l *Ledger) RowState(r *Row) (version uint64, fenced bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	fenced = l.everything.fences.Load() != 0
	known := l.relations[r.Relation]
	if known == nil {
		return 0, fenced
	}
	version, fenced = known.table.version.Load(), fenced || known.table.fences.Load() != 0
	if known.rows == nil || known.rows.by != r.By {
		return version, fenced
	}
	stripe := known.rows.at(l.hash(r))
	return version + stripe.version.Load(), fenced || stripe.fences.Load() != 0
}
