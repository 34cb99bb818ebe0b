package cache

import "slices"

// Writes is what a transaction has written, as far as it is known. The zero value is
// nothing. It is not safe for concurrent use.
type Writes struct {
	everything bool
	relations  []Relation // few: a scan is faster than a map
	rows       []Row      // of others than relations
}

// maxRows is how many rows of a relation are told apart. Whoever writes more writes the
// relation.
const maxRows = 64

// Add notes relations.
func (w *Writes) Add(relations ...Relation) {
	for _, r := range relations {
		if w.has(r) {
			continue
		}
		w.relations = append(w.relations, r)
		if len(w.rows) > 0 {
			w.rows = slices.DeleteFunc(w.rows, func(row Row) bool { return row.Relation == r })
		}
	}
}

// AddRow notes one row: that, or those, which had the key before, or have it now.
func (w *Writes) AddRow(row Row) {
	if w.has(row.Relation) {
		return
	}
	n := 0
	for i := range w.rows {
		if w.rows[i] == row {
			return
		}
		if w.rows[i].Relation == row.Relation {
			n++
		}
	}
	if n == maxRows {
		w.Add(row.Relation)
		return
	}
	w.rows = append(w.rows, row)
}

func (w *Writes) has(relation Relation) bool {
	for _, r := range w.relations {
		if r == relation {
			return true
		}
	}
	return false
}

// AddEverything notes writes of which nobody knows where they went.
func (w *Writes) AddEverything() { w.everything = true }

// None reports whether nothing was written.
func (w *Writes) None() bool { return !w.everything && len(w.relations) == 0 && len(w.rows) == 0 }

// Everything reports whether AddEverything was called.
func (w *Writes) Everything() bool { return w.everything }

// Relations are those that were added, and those of the rows. They belong to w.
func (w *Writes) Relations() []Relation {
	if len(w.rows) == 0 {
		return w.relations
	}
	all := slices.Clone(w.relations)
	for i := range w.rows {
		if r := w.rows[i].Relation; !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// Reset forgets what was written: after a ROLLBACK, or at the end of a transaction.
func (w *Writes) Reset() {
	clear(w.rows) // the keys may be long
	w.everything, w.relations, w.rows = false, w.relations[:0], w.rows[:0]
}
