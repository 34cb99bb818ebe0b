package rowset

// SameWorkspace reports whether two replays use one workspace.
func SameWorkspace(a, b *Rows) bool { return a.work == b.work }
