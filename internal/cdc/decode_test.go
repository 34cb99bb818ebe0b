package cdc

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func join(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

// examples are whole messages of pgoutput.
func examples() map[string][]byte {
	return map[string][]byte{
		"begin":    join("B", be64(1), be64(2), be32(77)),
		"commit":   join("C\x00", be64(1), be64(42), be64(2)),
		"relation": join("R", be32(16400), "public\x00", "item\x00", "d", "\x00\x01", "\x01", "id\x00", be32(23), be32(0xffffffff)),
		"insert":   join("I", be32(16400), "N", "\x00\x01", "t", be32(1), "7"),
		"update":   join("U", be32(16400), "N", "\x00\x01", "u"),
		"delete":   join("D", be32(16400), "K", "\x00\x01", "n"),
		"truncate": join("T", be32(2), "\x01", be32(16400), be32(16401)),
		"message":  join("M\x01", be64(1), "lifeguard\x00", be32(3), "ddl"),
		"origin":   join("O", be64(1), "there\x00"),
		"type":     join("Y", be32(16500), "public\x00", "mood\x00"),
	}
}

func TestMessagesAreDecoded(t *testing.T) {
	t.Parallel()
	for name, b := range examples() {
		m, err := decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		switch name {
		case "begin":
			if m.xid != 77 {
				t.Errorf("begin: %+v", m)
			}
		case "commit":
			if m.lsn != 42 {
				t.Errorf("commit: %+v", m)
			}
		case "relation", "insert", "update", "delete":
			if m.relation != 16400 {
				t.Errorf("%s: %+v", name, m)
			}
		case "truncate":
			var all []Relation
			m.each(func(r Relation) { all = append(all, r) })
			if !reflect.DeepEqual(all, []Relation{16400, 16401}) {
				t.Errorf("truncate: %v", all)
			}
		case "message":
			if string(m.prefix) != prefix || string(m.content) != contentSchema {
				t.Errorf("message: %+v", m)
			}
		}
	}
}

func TestWhatIsCutOffOrUnknownIsRefused(t *testing.T) {
	t.Parallel()
	for name, b := range examples() {
		if name == "origin" || name == "type" {
			continue // nothing of them is read
		}
		end := len(b)
		if name == "insert" || name == "update" || name == "delete" {
			end = 5 // nothing is read of the tuple
		}
		for n := range end {
			if _, err := decode(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are enough", name, n, len(b))
			}
		}
		if end == len(b) {
			if _, err := decode(append(b[:end:end], 0)); err == nil {
				t.Errorf("%s: a byte too many is no error", name)
			}
		}
	}
	for _, b := range []string{"", "S", "b", "c", "E", "T\xff\xff\xff\xff\x00", "M\x00aaaaaaaa\x00\xff\xff\xff\xff"} {
		if _, err := decode([]byte(b)); err == nil {
			t.Errorf("%q is no error", b)
		}
	}
	for _, b := range []string{"", "w", "k", "x", "w1234567", "k1234567812345678"} {
		if _, err := decodeFrame([]byte(b)); err == nil {
			t.Errorf("frame %q is no error", b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range examples() {
		f.Add(b)
		f.Add(join("w", be64(0), be64(0), be64(0), b))
	}
	f.Add(join("k", be64(9), be64(0), "\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err == nil {
			n := 0
			m.each(func(Relation) { n++ })
			if n*4 > len(b) {
				t.Errorf("%d relations in %d bytes", n, len(b))
			}
		}
		if frame, err := decodeFrame(b); err == nil && !frame.keepalive {
			_, _ = decode(frame.payload)
		}
	})
}

func TestSnapshotsAreRead(t *testing.T) {
	t.Parallel()
	s, err := ParseSnapshot("10:20:12,17")
	if err != nil {
		t.Fatal(err)
	}
	for xid, want := range map[uint64]bool{9: true, 10: true, 12: false, 13: true, 17: false, 19: true, 20: false, 21: false} {
		if s.sees(xid) != want {
			t.Errorf("%d: %v", xid, !want)
		}
	}
	for _, bad := range []string{"", "1", "1:2", "a:2:", "1:b:", "2:1:", "1:9:x", "1:9:10", "5:9:4", "1:9:,", "1:9:2,"} {
		if _, err := ParseSnapshot(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add("10:20:12,17", uint64(12))
	f.Add("5:5:", uint64(5))
	f.Fuzz(func(t *testing.T, text string, xid uint64) {
		s, err := ParseSnapshot(text)
		if err == nil && s.sees(xid) && xid >= s.xmax {
			t.Errorf("%s sees %d", text, xid)
		}
	})
}

func TestNumbersOfTransactionsAreWidened(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		near uint64
		xid  uint32
		want uint64
	}{
		{1000, 1001, 1001},
		{1000, 900, 900},
		{1<<32 + 5, 7, 1<<32 + 7},
		{1<<32 + 5, 0xfffffff0, 0xfffffff0},
		{1<<32 - 5, 3, 1<<32 + 3},
		{7<<32 + 1<<31, 5, 7<<32 + 5},
	} {
		if got := widen(c.near, c.xid); got != c.want {
			t.Errorf("%d near %d is %d, not %d", c.xid, c.near, got, c.want)
		}
	}
}

func TestDoubtsLastUntilASnapshotSeesThem(t *testing.T) {
	t.Parallel()
	var u unsettled
	u.reset(&Snapshot{xmin: 100, xmax: 100})
	u.add(101, []Relation{1, 2})
	u.add(103, []Relation{2})
	u.add(102, []Relation{everything})
	if d := u.doubt([]Relation{1}); !reflect.DeepEqual(d.xids, []uint64{102, 101}) {
		t.Errorf("%+v", d)
	}
	s := Snapshot{xmin: 101, xmax: 104, running: []uint64{101}}
	u.settle(&s)
	if d := u.doubt([]Relation{2}); !reflect.DeepEqual(d.xids, []uint64{101}) || d.ResolvedBy(&s) {
		t.Errorf("%+v", d)
	}
	s = Snapshot{xmin: 104, xmax: 104}
	if d := u.doubt([]Relation{2}); !d.ResolvedBy(&s) {
		t.Errorf("%+v", d)
	}
	u.settle(&s)
	if d := u.doubt([]Relation{1, 2}); !d.None() || u.count() != 0 || u.some.Load() != 0 {
		t.Errorf("%+v", d)
	}
	for xid := range uint32(1000) { // many are taken for all up to the latest
		u.add(200+xid, []Relation{1})
	}
	d := u.doubt([]Relation{1})
	if len(d.xids) > manyDoubts || d.ResolvedBy(&Snapshot{xmin: 1000, xmax: 5000}) || !d.ResolvedBy(&Snapshot{xmin: 1200, xmax: 1200}) {
		t.Errorf("%+v", d)
	}
	u.settle(&Snapshot{xmin: 1200, xmax: 1200})
	if u.count() != 0 {
		t.Error("they stay")
	}
	u.add(1300, []Relation{1})
	u.generalize()
	if d := u.doubt([]Relation{7}); len(d.xids) != 1 {
		t.Errorf("%+v", d)
	}
}
