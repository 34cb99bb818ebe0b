package rowset

import "unsafe"

// SameWorkspace reports whether two replays use one workspace.
func SameWorkspace(a, b *Rows) bool { return a.work == b.work }

// Of is the set that is replayed.
func (r *Rows) Of() *Set { return r.set }

// RowsSize is what one replay takes of the heap, but for its values.
const RowsSize = unsafe.Sizeof(Rows{})
