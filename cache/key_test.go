package cache

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"math/big"
	"reflect"
	"testing"
	"time"
)

type (
	status  string
	rank    int64
	uuid    [16]byte
	point   struct{ X, Y float64 }
	address struct{ p *int }
	method  struct{ n int }
)

func (*method) Value() (driver.Value, error) { return nil, nil } //nolint:nilnil // a test's

func named(values ...any) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

func ptr[T any](v T) *T { return &v }

// Every two of these are different questions.
func TestDifferentArgumentsMakeDifferentKeys(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 8, 0, 0, 5, time.UTC)
	lists := [][]any{
		{},
		{nil},
		{nil, nil},
		{true},
		{false},
		{int64(1)},
		{1},
		{int32(1)},
		{int16(1)},
		{uint8(1)},
		{rank(1)},
		{1.0},
		{float32(1)},
		{"1"},
		{""},
		{"x y", "z"},
		{"x", "y z"},
		{"xy", "z"},
		{"x", "yz"},
		{[]byte("1")},
		{[]byte{}},
		{[]byte(nil)},
		{status("1")},
		{uuid{1}},
		{[16]byte{1}},
		{at},
		{at.Add(1)},
		{at.In(time.FixedZone("UTC", 3600))},
		{at.In(time.FixedZone("CET", 3600))},
		{[]string{"a", "b"}},
		{[]string{"ab"}},
		{[]string{}},
		{[]string(nil)},
		{[]int64{1}},
		{[]int{1}},
		{sql.NullString{}},
		{sql.NullString{Valid: true}},
		{sql.NullString{String: "a", Valid: true}},
		{sql.NullTime{Time: at, Valid: true}},
		{point{1, 2}},
		{point{2, 1}},
		{ptr("a")},
		{(*string)(nil)},
		{(*int)(nil)},
		{ptr(status("a"))},
		{"a"},
	}
	for i, a := range lists {
		ka, ok := AppendArguments([]byte("select"), named(a...))
		if !ok {
			t.Errorf("%#v is not taken", a)
			continue
		}
		if again, _ := AppendArguments([]byte("select"), named(a...)); !bytes.Equal(ka, again) {
			t.Errorf("%#v has two keys", a)
		}
		for _, b := range lists[:i] {
			if kb, ok := AppendArguments([]byte("select"), named(b...)); ok && bytes.Equal(ka, kb) {
				t.Errorf("%#v and %#v share a key", a, b)
			}
		}
	}
}

func TestArgumentsThatSayTooLittleAreNotTaken(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		big.NewInt(1), address{}, map[string]int{}, struct{ V any }{1}, func() {}, make(chan int), complex(1, 2),
		[][]string{{"a"}}, []any{1}, []*string{nil}, &method{}, struct{ at time.Time }{}, reflect.ValueOf(1), ptr(ptr(big.NewInt(1))),
	} {
		if key, ok := AppendArguments(nil, named(v)); ok {
			t.Errorf("%T is taken, as %q", v, key)
		}
	}
	if _, ok := AppendArguments(nil, []driver.NamedValue{{Name: "id", Ordinal: 1, Value: 1}}); ok {
		t.Error("a named argument is taken")
	}
}

// Arguments follow each other without a separator, so each must tell its own length.
func FuzzAppendArguments(f *testing.F) {
	f.Add("x y", "z", "x", "y z", int64(1), int64(1))
	f.Add("", "", "", "", int64(0), int64(-1))
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string, a3, b3 int64) {
		ka, _ := AppendArguments(nil, named(a1, []byte(a2), status(a2), a3))
		kb, _ := AppendArguments(nil, named(b1, []byte(b2), status(b2), b3))
		if same := a1 == b1 && a2 == b2 && a3 == b3; bytes.Equal(ka, kb) != same {
			t.Errorf("keys equal: %t, arguments equal: %t", !same, same)
		}
	})
}

func BenchmarkAppendArguments(b *testing.B) {
	args := named(int64(7), "open")
	prefix := []byte("select * from orders where customer = $1 and state = $2")
	b.ReportAllocs()
	for b.Loop() {
		key := append(make([]byte, 0, 128), prefix...)
		if _, ok := AppendArguments(key, args); !ok {
			b.Fatal("not taken")
		}
	}
}
