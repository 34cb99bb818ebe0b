package cache

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

type (
	status  string
	rank    int64
	uuid    [16]byte
	point   struct{ X, Y float64 }
	address struct{ P *int }
	method  struct{ N int }
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
		{pgtype.Text{String: "a", Valid: true}},
		{pgtype.Int8{Int64: 1, Valid: true}},
		{pgtype.UUID{Bytes: uuid{1}, Valid: true}},
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

// tick says something else each time, and holds nothing.
type tick struct{}

func (tick) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: time.Now().String(), Valid: true}, nil
}

type jsonTick struct{ N int }

func (jsonTick) MarshalJSON() ([]byte, error) { return time.Now().MarshalJSON() }

type circle struct{ Next *circle }

func oneID() any { type id int; return []id{7} }

func anotherID() any { type id int; return []id{7} }

func TestSlicesOfTwoTypesOfOneNameMakeTwoKeys(t *testing.T) {
	t.Parallel()
	a, b := oneID(), anotherID()
	if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
		t.Fatal("this tests nothing")
	}
	ka, ok := AppendArguments(nil, named(a))
	kb, ok2 := AppendArguments(nil, named(b))
	if !ok || !ok2 || bytes.Equal(ka, kb) {
		t.Errorf("%q and %q", ka, kb)
	}
}

func TestTextsAreFoundWhereverAnArgumentHoldsThem(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		"x", []byte("x"), status("x"),
		[]string{"a", "x"},
		[]status{"x"},
		ptr("x"), ptr(status("x")),
		[1]byte{'x'},
		sql.NullString{String: "x"},
		struct {
			n int
			s struct{ t string }
		}{s: struct{ t string }{"x"}},
	} {
		if _, ok := AppendArguments(nil, named(v)); !ok {
			t.Errorf("%#v is not taken", v)
		}
		if !HasText(v, func(s string) bool { return s == "x" }) {
			t.Errorf("%#v: not found", v)
		}
		if HasText(v, func(s string) bool { return s == "ax" || s == "y" }) {
			t.Errorf("%#v: found what is not there", v)
		}
	}
	if HasText((*string)(nil), func(string) bool { return true }) {
		t.Error("a nil pointer has a text")
	}
}

func TestArgumentsThatSayTooLittleAreNotTaken(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		big.NewInt(1),
		address{},
		map[string]int{},
		struct{ V any }{1},
		func() {}, make(chan int), complex(1, 2),
		[][]string{{"a"}},
		[]any{1},
		[]*string{nil},
		&method{},
		struct{ at time.Time }{},
		reflect.ValueOf(1), ptr(ptr(big.NewInt(1))),
		struct{ V []byte }{},
		struct{ In struct{ V []string } }{},
		pgtype.Bits{}, // shared by whoever copies the struct
		tick{},
		&tick{},
		[]tick{{}},
		struct{ In tick }{},
		jsonTick{},
		circle{},
		&circle{}, // what pgx asks for may change
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
