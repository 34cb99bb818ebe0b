package cdc

import (
	"slices"
	"sync"
	"sync/atomic"
)

// unsettled are the transactions that were decoded and of which no snapshot has shown yet
// that they are visible, by the relations that they changed.
//
// Invariant: a transaction is in it before the cache is told of its relations, and leaves
// when a snapshot has shown it. So who notes the cache's versions first and asks here
// then, misses none that is not counted in the versions or visible to what it sends next.
type unsettled struct {
	some atomic.Int64 // relations in it: nothing is locked while there are none

	mu   sync.Mutex // guards what follows; never held while blocking
	of   map[Relation]*doubts
	near uint64 // a recent number of a transaction
}

// everything stands for all relations.
const everything Relation = 0

// doubts are those of one relation.
type doubts struct {
	xids []uint64
	upTo uint64 // if not 0: all up to this one, too
}

// manyDoubts is how many transactions of a relation are told apart. More are taken for
// everything up to the latest of them.
const manyDoubts = 64

// reset begins anew, with a snapshot's word on where the numbers are.
func (u *unsettled) reset(s *Snapshot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of, u.near = make(map[Relation]*doubts), s.xmax
	u.some.Store(0)
}

// add notes a transaction. It returns its full number.
func (u *unsettled) add(xid32 uint32, relations []Relation) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	xid := widen(u.near, xid32)
	u.near = max(u.near, xid)
	for _, r := range relations {
		d := u.of[r]
		if d == nil {
			d = &doubts{}
			u.of[r] = d
		}
		if d.upTo >= xid || len(d.xids) > 0 && d.xids[len(d.xids)-1] == xid {
			continue
		}
		d.xids = append(d.xids, xid)
		if len(d.xids) > manyDoubts {
			d.upTo, d.xids = max(d.upTo, slices.Max(d.xids)), d.xids[:0]
		}
	}
	u.some.Store(int64(len(u.of)))
	return xid
}

// settle forgets what a snapshot sees.
func (u *unsettled) settle(s *Snapshot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.near = max(u.near, s.xmax)
	for r, d := range u.of {
		d.xids = slices.DeleteFunc(d.xids, s.sees)
		if d.upTo < s.xmin {
			d.upTo = 0
		}
		if len(d.xids) == 0 && d.upTo == 0 {
			delete(u.of, r)
		}
	}
	u.some.Store(int64(len(u.of)))
}

// generalize has what is in doubt count for every relation.
func (u *unsettled) generalize() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.of) == 0 {
		return
	}
	all := &doubts{}
	for _, d := range u.of {
		all.xids = append(all.xids, d.xids...)
		all.upTo = max(all.upTo, d.upTo)
	}
	slices.Sort(all.xids)
	all.xids = slices.Compact(all.xids)
	u.of = map[Relation]*doubts{everything: all}
	u.some.Store(1)
}

// count is how many transactions there are, at least.
func (u *unsettled) count() int {
	if u.some.Load() == 0 {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	distinct := make(map[uint64]struct{})
	for _, d := range u.of {
		for _, xid := range d.xids {
			distinct[xid] = struct{}{}
		}
		if d.upTo != 0 {
			distinct[d.upTo] = struct{}{}
		}
	}
	return len(distinct)
}

// Doubt is what a snapshot must see before what is read after it may be kept.
type Doubt struct {
	xids []uint64
	upTo uint64
}

// None reports whether nothing has to be looked at.
func (d *Doubt) None() bool { return len(d.xids) == 0 && d.upTo == 0 }

// ResolvedBy reports whether a snapshot sees all of it.
func (d *Doubt) ResolvedBy(s *Snapshot) bool {
	if d.upTo != 0 && d.upTo >= s.xmin {
		return false
	}
	for _, xid := range d.xids {
		if !s.sees(xid) {
			return false
		}
	}
	return true
}

func (u *unsettled) doubt(relations []Relation) Doubt {
	if u.some.Load() == 0 {
		return Doubt{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var d Doubt
	add := func(of *doubts) {
		if of != nil {
			d.xids = append(d.xids, of.xids...)
			d.upTo = max(d.upTo, of.upTo)
		}
	}
	add(u.of[everything])
	for _, r := range relations {
		add(u.of[r])
	}
	return d
}
