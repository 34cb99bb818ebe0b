package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Relation is a table, by its OID in the database; the root, if it is partitioned.
type Relation = uint32

// Ledger says whether what was read from the database at some time is still what the
// database would return. Everybody who reads through it or writes past it follows one
// protocol:
//
//	reader that fills             reader that hits          writer
//	─────────────────             ────────────────          ──────
//	s := Capture(reads)           entry with snapshot s     f := Raise(writes)
//	send the query, read it       s.Valid()? serve          send COMMIT
//	s.Valid()? store with s       else: as a miss           answer: f.Bump()
//	                                                        not committed: f.Lower()
//
// A state is a version and a count of fences. Each relation has one that every write to it
// changes, and the ledger has one for everything at once: the epoch, and fences for writes
// whose relations are not known. What rows by their key add to that stands in rows.go.
//
// Invariants:
//
//  1. A version only grows. It grows after a commit that touched the relation and
//     before the fence of that commit is lowered (Bump does both, in that order).
//  2. A fence is up before COMMIT is sent, and until the outcome is known.
//  3. Capture gives a snapshot only if no fence is up on anything it depends on. So the
//     effects of a commit that the query could miss, or see, are either counted in
//     the snapshot or come with a fence raised after it: then the version will differ.
//  4. Valid is true only if there was a moment during the call at which no fence was
//     up and all versions were those of the snapshot: what the entry holds is what
//     the database would have returned at that moment. Hence its order: the fences
//     first, then the versions. A commit in between would have raised its fence after
//     that look, and so be later than the moment; one before it has bumped already.
//     Over several relations: versions that are equal at the end were equal at the
//     time of the first look, and a fence that was up then and is down now without a
//     bump belonged to a transaction that changed nothing.
//  5. A write fences and bumps, of its relation, what every reader depends on whom it may
//     concern. Whoever may have read any row depends on the state any, that every write
//     changes; see rows.go for who depends on one row.
//  6. A store that is slow, or a fill that races with a commit, can therefore put a
//     dead entry into the store, but none can be served.
//
// Everything but the lists of relations is atomic: a hit takes no lock, so readers of
// one table do not queue for each other.
//
// Rejected: timestamps instead of versions, which need a clock that both sides
// trust and fail when a commit and a read share a tick; deleting entries on commit
// instead of comparing versions, where a fill that began before the commit stores the
// old rows after the deletion; a random token per commit and relation, which needs the
// same fences and tells nobody which of two is the later.
type Ledger struct {
	everything state // fences of unknown writes; its version is the epoch

	mu sync.RWMutex
	// relations is guarded by mu. One that a statement depends on stays for ever; another,
	// such as of a temporary table, is there as long as a fence of it is up: a bump that
	// nobody depends on need not be remembered.
	relations map[Relation]*relation

	seed   maphash.Seed // of the keys of rows
	onBump func()       // may be nil; called after versions have grown, before the fence is lowered
}

// state is what somebody depends on.
type state struct {
	version atomic.Uint64
	fences  atomic.Int64
}

// relation is what is known of one.
type relation struct {
	any   state    // changed by every write
	table state    // … but those of rows whose keys are known
	rows  *stripes // of rows by their key; nil until a statement depends on one. Guarded by Ledger.mu
	read  bool     // some statement depends on it; guarded by Ledger.mu
}

// NewLedger returns a ledger for one database. onBump, if not nil, is called whenever
// versions have grown, for entries may have died; it must be quick.
func NewLedger(onBump func()) *Ledger {
	return &Ledger{relations: make(map[Relation]*relation), seed: maphash.MakeSeed(), onBump: onBump}
}

// Dependencies are relations in the form that Capture wants: looked up once, for the
// life of a statement's analysis. The zero value can be captured never.
type Dependencies struct{ *dependencies }

type dependencies struct {
	ledger *Ledger
	states []*state
	latest atomic.Pointer[versions] // that were captured
}

// versions are those of some relations at one moment. They are immutable: all snapshots
// that were taken while nothing changed share them.
type versions struct {
	epoch uint64
	of    []uint64
}

// Dependencies looks up relations. Those of no relation, such as of SELECT 1, depend on
// the epoch alone.
func (l *Ledger) Dependencies(of []Relation) Dependencies {
	d := Dependencies{&dependencies{ledger: l, states: make([]*state, len(of))}}
	for i, r := range of {
		d.states[i] = &l.relation(r).any
	}
	return d
}

// relation returns the state of a relation on which a statement depends.
func (l *Ledger) relation(oid Relation) *relation {
	l.mu.RLock()
	r := l.relations[oid]
	known := r != nil && r.read
	l.mu.RUnlock()
	if known {
		return r
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r = l.lookUpLocked(oid)
	r.read = true
	return r
}

func (l *Ledger) lookUpLocked(oid Relation) *relation {
	r := l.relations[oid]
	if r == nil {
		r = new(relation)
		l.relations[oid] = r
	}
	return r
}

// fence puts a fence up on a relation. It does so under the lock, so that nobody forgets
// the relation in between.
func (l *Ledger) fence(oid Relation) (r *relation, read bool) {
	l.mu.RLock()
	if r = l.relations[oid]; r != nil {
		r.raise()
		read = r.read
	}
	l.mu.RUnlock()
	if r != nil {
		return r, read
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r = l.lookUpLocked(oid)
	r.raise()
	return r, r.read
}

func (r *relation) raise() {
	r.any.fences.Add(1)
	r.table.fences.Add(1)
}

// forget removes relations on which no statement depends.
func (l *Ledger) forget(relations []Relation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, oid := range relations {
		if r := l.relations[oid]; r != nil && !r.read && r.any.fences.Load() == 0 {
			delete(l.relations, oid)
		}
	}
}

// State tells a relation's version, and whether a fence is up on it or on everything.
func (l *Ledger) State(of Relation) (version uint64, fenced bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	fenced = l.everything.fences.Load() != 0
	if r := l.relations[of]; r != nil {
		return r.any.version.Load(), fenced || r.any.fences.Load() != 0
	}
	return 0, fenced
}

// Snapshot is the state of some relations at one moment.
type Snapshot struct {
	of *dependencies
	at *versions

	row   *state // beside them; nil for all but those of Keyed
	rowAt uint64
}

// Capture notes the versions of what a query is about to read, before it is sent. It
// reports false while a writer's fence is up: what is read then can be old or new, and
// must not be kept.
func (d Dependencies) Capture() (Snapshot, bool) {
	if d.dependencies == nil || d.fenced() {
		return Snapshot{}, false
	}
	s := Snapshot{of: d.dependencies, at: d.current()}
	// A fence that went up and down in between may have counted in one version and not
	// in another: then they are not of one moment.
	return s, s.Valid()
}

// current are the versions now. If some grow meanwhile, they are of no one moment, and then
// no snapshot of them is valid.
func (d *dependencies) current() *versions {
	latest := d.latest.Load()
	if latest != nil && d.stands(latest) {
		return latest
	}
	latest = &versions{epoch: d.ledger.everything.version.Load(), of: make([]uint64, len(d.states))}
	for i, r := range d.states {
		latest.of[i] = r.version.Load()
	}
	d.latest.Store(latest)
	return latest
}

func (d *dependencies) fenced() bool {
	if d.ledger.everything.fences.Load() != 0 {
		return true
	}
	for _, r := range d.states {
		if r.fences.Load() != 0 {
			return true
		}
	}
	return false
}

// stands reports whether no version has grown.
func (d *dependencies) stands(at *versions) bool {
	if d.ledger.everything.version.Load() != at.epoch {
		return false
	}
	for i, r := range d.states {
		if r.version.Load() != at.of[i] {
			return false
		}
	}
	return true
}

// Valid reports whether what was read after the snapshot is still what the database
// would return; see invariant 4.
func (s *Snapshot) Valid() bool {
	return s.of != nil && !s.of.fenced() && (s.row == nil || s.row.fences.Load() == 0) && s.Alive()
}

// Alive reports whether the snapshot can become valid again: no version has grown.
func (s *Snapshot) Alive() bool {
	return s.of != nil && s.of.stands(s.at) && (s.row == nil || s.row.version.Load() == s.rowAt)
}

// Fence keeps everybody from being served, and from keeping, what a transaction is
// about to change. It ends with exactly one call of Bump or Lower; a nil Fence, of a
// transaction that wrote nothing, needs none and allows both.
type Fence struct {
	ledger *Ledger
	behind []*state
	unread []Relation // of the relations: on these nobody depended when the fence went up
	down   atomic.Bool
}

// Raise puts the fence up, before the COMMIT of these writes is sent.
func (l *Ledger) Raise(w *Writes) *Fence {
	if w.None() {
		return nil
	}
	f := &Fence{ledger: l}
	if w.everything {
		f.behind = []*state{&l.everything}
		l.everything.fences.Add(1)
		return f
	}
	f.behind = make([]*state, 0, 2*(len(w.relations)+len(w.rows)))
	for _, oid := range w.relations {
		f.whole(oid)
	}
	for i := range w.rows {
		r := &w.rows[i]
		if every, stripe := l.fenceRow(r); stripe != nil {
			f.behind = append(f.behind, every, stripe)
			continue
		}
		f.whole(r.Relation) // nobody depends on a row of it, or by another key
	}
	return f
}

// whole puts the fence up on a relation as a whole.
func (f *Fence) whole(oid Relation) {
	r, read := f.ledger.fence(oid)
	f.behind = append(f.behind, &r.any, &r.table)
	if !read {
		f.unread = append(f.unread, oid)
	}
}

// Bump ends the fence of a commit that was acknowledged, or may have happened.
func (f *Fence) Bump() {
	if f == nil {
		return
	}
	f.once()
	for _, r := range f.behind {
		r.version.Add(1)
	}
	if f.ledger.onBump != nil {
		f.ledger.onBump()
	}
	f.lower()
}

// Lower ends the fence of a transaction of which it is certain that it was not
// committed.
func (f *Fence) Lower() {
	if f == nil {
		return
	}
	f.once()
	f.lower()
}

func (f *Fence) once() {
	if f.down.Swap(true) {
		panic("lifeguard/cache: a fence ended twice")
	}
}

func (f *Fence) lower() {
	for _, r := range f.behind {
		r.fences.Add(-1)
	}
	if len(f.unread) > 0 {
		f.ledger.forget(f.unread)
	}
}

// Changed makes invalid what depends on relations that a commit of somebody else's has
// changed. There is no fence before it: when the commit became visible is not known here.
// Who keeps what he reads after it has to know that the commit was visible to him.
func (l *Ledger) Changed(relations []Relation) {
	l.mu.RLock()
	for _, oid := range relations {
		if r := l.relations[oid]; r != nil {
			r.any.version.Add(1)
			r.table.version.Add(1)
		}
	}
	l.mu.RUnlock()
	if l.onBump != nil {
		l.onBump()
	}
}

// Flush makes every entry invalid, for whatever happened outside of transactions: a
// change of the schema, a role's rights.
func (l *Ledger) Flush() {
	l.everything.version.Add(1)
	if l.onBump != nil {
		l.onBump()
	}
}
