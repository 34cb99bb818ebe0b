package rowset

// SameWorkspace reports whether two replays use one workspace.
func SameWorkspace(a, b *Rows) bool { return a.work == b.work }

// Of is the set that is replayed.
func (r *Rows) Of() *Set { return r.set }
