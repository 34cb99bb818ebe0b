package cdc

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func TestAnEntryIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	e := epoch{number: 1 << 50, nonce: "0123456789abcdef"}
	var commits []byte
	commits = appendCommit(commits, 7, false, map[Relation]struct{}{16384: {}, 1<<32 - 1: {}})
	commits = appendCommit(commits, 1<<32-1, true, nil)
	b := appendEntry(nil, entry{position: 1<<64 - 1, commits: commits}, e, 5)
	en, err := decodeEntry(b, e, 5)
	if err != nil || en.position != 1<<64-1 || en.last {
		t.Fatalf("%+v, %v", en, err)
	}
	type commit struct {
		xid    uint32
		schema bool
		leaves []Relation
	}
	var got []commit
	en.each(func(xid uint32, schema bool, leaves []byte) {
		c := commit{xid: xid, schema: schema}
		for ; len(leaves) > 0; leaves = leaves[4:] {
			c.leaves = append(c.leaves, binary.BigEndian.Uint32(leaves))
		}
		slices.Sort(c.leaves)
		got = append(got, c)
	})
	if len(got) != 2 || got[0].xid != 7 || got[0].schema || !slices.Equal(got[0].leaves, []Relation{16384, 1<<32 - 1}) ||
		got[1].xid != 1<<32-1 || !got[1].schema || got[1].leaves != nil {
		t.Errorf("%+v", got)
	}
	// It is nobody else's.
	for what, of := range map[string]epoch{"another number": {e.number + 1, e.nonce}, "another leader": {e.number, "1123456789abcdef"}} {
		if _, err := decodeEntry(b, of, 5); !errors.Is(err, errRelayGap) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := decodeEntry(b, e, 6); !errors.Is(err, errRelayGap) {
		t.Errorf("another place: %v", err)
	}
	for i := range b {
		changed := slices.Clone(b)
		changed[i] ^= 0x10
		if _, err := decodeEntry(changed, e, 5); !errors.Is(err, errRelayGap) {
			t.Errorf("byte %d is changed: %v", i, err)
		}
		if _, err := decodeEntry(b[:i], e, 5); !errors.Is(err, errRelayGap) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestTheBaseIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, e := range []entries{
		{all: true},
		{of: edition{oid: 16399, written: 700}, tables: map[Relation]uint32{16384: 1, 16390: 2}, schemas: map[uint32]uint32{2200: 3}},
	} {
		b := appendBase(nil, &e)
		got, err := decodeBase(b)
		if err != nil || !got.within(&e) || !e.within(&got) {
			t.Errorf("%+v became %+v, %v", e, got, err)
		}
		for i := range b {
			if _, err := decodeBase(b[:i]); err == nil {
				t.Errorf("cut at %d it is read", i)
			}
		}
	}
}

// What a publisher gives out says, entry by entry, how far the log was read: never further
// than what it has given out.
func TestAPublisherNeverRunsAheadOfItself(t *testing.T) {
	t.Parallel()
	p := &publisher{kick: make(chan struct{}, 1)}
	const commits = 10_000
	for i := range uint64(commits) {
		p.commit(uint32(i), false, map[Relation]struct{}{1: {}, 2: {}}, 10*(i+1)) //nolint:gosec // small
		p.advance(10*(i+1) + 5)
	}
	var next uint64
	for {
		en, some, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		if !some {
			break
		}
		if len(en.commits) > chunkBytes+100 {
			t.Errorf("an entry of %d bytes", len(en.commits))
		}
		en.each(func(xid uint32, _ bool, _ []byte) {
			if uint64(xid) != next {
				t.Fatalf("%d in place of %d", xid, next)
			}
			next++
		})
		if en.position >= 10*(next+1) {
			t.Fatalf("position %d after %d commits", en.position, next)
		}
	}
	if next != commits || p.waiting() != 0 {
		t.Errorf("%d commits, %d bytes are left", next, p.waiting())
	}
	for i := uint32(0); ; i++ {
		p.commit(i, false, map[Relation]struct{}{1: {}}, 1<<40+uint64(i))
		if _, _, err := p.take(); i%2 == 0 && err != nil {
			t.Fatal("it does not keep up with who takes")
		}
		if i > 1000 {
			break
		}
	}
	for range queueBytes/commitHead + 1 {
		p.commit(1, false, nil, 1<<50)
	}
	if _, _, err := p.take(); !errors.Is(err, errOverrun) || p.waiting() != 0 {
		t.Errorf("overrun: %v, %d bytes", err, p.waiting())
	}
}

func FuzzEntry(f *testing.F) {
	e := epoch{number: 3, nonce: "x"}
	f.Add(appendEntry(nil, entry{position: 1, commits: appendCommit(nil, 7, true, map[Relation]struct{}{9: {}})}, e, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// With a checksum that is right, too.
		for _, b := range [][]byte{b, binary.BigEndian.AppendUint32(slices.Clone(b), e.checksum(1, b))} {
			en, err := decodeEntry(b, e, 1)
			if err != nil {
				continue
			}
			left := len(en.commits)
			en.each(func(_ uint32, _ bool, leaves []byte) { left -= commitHead + len(leaves) })
			if left != 0 {
				t.Errorf("%d bytes are left", left)
			}
		}
		_, _ = decodeBase(b)
	})
}
