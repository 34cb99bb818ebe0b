package copyenc_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/copyenc"
)

// decoded reads a numeric field as pgx does, and as text.
func decoded(t *testing.T, field []byte) string {
	t.Helper()
	if n := int(binary.BigEndian.Uint32(field)); n != len(field)-4 {
		t.Fatalf("length %d of %d bytes", n, len(field)-4)
	}
	m := pgtype.NewMap()
	var n pgtype.Numeric
	if err := m.Scan(pgtype.NumericOID, pgtype.BinaryFormatCode, field[4:], &n); err != nil {
		t.Fatal(err)
	}
	text, err := m.Encode(pgtype.NumericOID, pgtype.TextFormatCode, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNumericsAreWhatTheirTextSays(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.00": "0.00", "1": "1", "10000": "10000", "1234567890": "1234567890",
		"0.1": "0.1", "0.0001": "0.0001", "0.00001": "0.00001", "-123.4500": "-123.4500", "+5.": "5",
		"1e3": "1000", "1.5E-5": "0.000015", "12345e-3": "12.345", "NaN": "NaN", "-Infinity": "-Infinity", "inf": "Infinity",
		"99999999999999999999.00009999": "99999999999999999999.00009999", strings.Repeat("9", 300): strings.Repeat("9", 300),
	} {
		field, err := copyenc.AppendNumericText(nil, text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got, _ := new(big.Rat).SetString(decoded(t, field))
		expected, ok := new(big.Rat).SetString(want)
		if !ok {
			if s := decoded(t, field); !strings.EqualFold(s, want) {
				t.Errorf("%q: %s", text, s)
			}
			continue
		}
		if got == nil || got.Cmp(expected) != 0 {
			t.Errorf("%q: %v, not %s", text, got, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1.2.3", "e5", "1e", "1e+", "1 ", " 1", "0x10", "1_000", "--1", "infinite"} {
		if out, err := copyenc.AppendNumericText([]byte("kept"), text); !errors.Is(err, copyenc.ErrSyntax) || string(out) != "kept" {
			t.Errorf("%q: %v, %q", text, err, out)
		}
	}
	for _, text := range []string{"1e131072", "1e-16384", "1e99999999999999999999"} {
		if _, err := copyenc.AppendNumericText(nil, text); !errors.Is(err, copyenc.ErrRange) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzNumeric compares with pgx's encoder, digit for digit.
func FuzzNumeric(f *testing.F) {
	f.Add(int64(12345), int32(-2))
	f.Add(int64(-1), int32(7))
	f.Add(int64(math.MinInt64), int32(-20))
	f.Fuzz(func(t *testing.T, v int64, exp int32) {
		exp %= 300
		field, err := copyenc.AppendNumericInt(nil, v, exp)
		if err != nil {
			t.Fatal(err)
		}
		big1, err := copyenc.AppendNumericBig(nil, new(big.Int).Mul(big.NewInt(v), new(big.Int).Exp(big.NewInt(10), big.NewInt(40), nil)), exp-40)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := new(big.Rat).SetString(decoded(t, field))
		if !ok {
			t.Fatalf("%d × 10^%d is no number", v, exp)
		}
		scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil))
		want := new(big.Rat).SetInt64(v)
		if exp < 0 {
			want.Quo(want, scale)
		} else {
			want.Mul(want, scale)
		}
		if got.Cmp(want) != 0 {
			t.Fatalf("%d × 10^%d is %s", v, exp, got.FloatString(10))
		}
		if again, _ := new(big.Rat).SetString(decoded(t, big1)); again == nil || again.Cmp(want) != 0 {
			t.Fatalf("%d × 10^%d by way of big.Int is %v", v, exp, again)
		}
	})
}

func FuzzNumericText(f *testing.F) {
	for _, s := range []string{"1", "-1.50", "1e10", "NaN", ".5", "00012.3400e-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		field, err := copyenc.AppendNumericText([]byte("kept"), s)
		if err != nil {
			if string(field) != "kept" {
				t.Fatalf("%q leaves %q behind", s, field)
			}
			return
		}
		want, ok := new(big.Rat).SetString(s)
		got, finite := new(big.Rat).SetString(decoded(t, field[4:]))
		if ok != finite || ok && got.Cmp(want) != 0 {
			t.Fatalf("%q is %v", s, got)
		}
	})
}

func TestTimesAreWhatPgxMakesOfThem(t *testing.T) {
	t.Parallel()

	m := pgtype.NewMap()
	zone := time.FixedZone("", -5*3600-1800)
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0), time.Unix(-1, 999_999_999), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, zone), time.Date(2026, 2, 28, 1, 2, 3, 4_567, zone),
		time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(294276, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		for oid, encode := range map[uint32]func([]byte, time.Time) ([]byte, error){
			pgtype.TimestamptzOID: copyenc.AppendTimestamptz, pgtype.TimestampOID: copyenc.AppendTimestamp, pgtype.DateOID: copyenc.AppendDate,
		} {
			got, err := encode(nil, at)
			if err != nil {
				t.Errorf("%v as %d: %v", at, oid, err)
				continue
			}
			want, err := m.Encode(oid, pgtype.BinaryFormatCode, at, nil)
			if err != nil {
				t.Fatal(err)
			}
			if string(got[4:]) != string(want) {
				t.Errorf("%v as %d: %x, not %x", at, oid, got[4:], want)
			}
		}
	}
	for _, at := range []time.Time{time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := copyenc.AppendTimestamptz(nil, at); !errors.Is(err, copyenc.ErrRange) {
			t.Errorf("%v: %v", at, err)
		}
	}
}

func TestTextIsEscaped(t *testing.T) {
	t.Parallel()

	if got := string(copyenc.AppendText([]byte(">"), "a\\b\tc\nd\re\\N")); got != `>a\\b\tc\nd\re\\N` {
		t.Errorf("%q", got)
	}
}

func TestAUUIDIs32Digits(t *testing.T) {
	t.Parallel()

	for text, ok := range map[string]bool{
		"00112233-4455-6677-8899-aabbccddeeff": true, "00112233445566778899AABBCCDDEEFF": true,
		"": false, "00112233-4455-6677-8899-aabbccddeef": false, "00112233-4455-6677-8899-aabbccddeeff0": false, "g0112233445566778899AABBCCDDEEFF": false, "-0112233445566778899AABBCCDDEEFF": false,
	} {
		got, err := copyenc.AppendUUIDText(nil, text)
		if (err == nil) != ok || ok && string(got[4:8]) != "\x00\x11\x22\x33" {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
}

func TestNothingAllocates(t *testing.T) { //nolint:paralleltest // it counts allocations
	buf := make([]byte, 0, 4096)
	id, at, large := [16]byte{1}, time.Now(), big.NewInt(123456789)
	if n := testing.AllocsPerRun(100, func() {
		b := copyenc.AppendRow(buf[:0], 9)
		b = copyenc.AppendInt64(b, 1)
		b = copyenc.AppendString(b, "text")
		b = copyenc.AppendUUID(b, &id)
		b, _ = copyenc.AppendTimestamptz(b, at)
		b, _ = copyenc.AppendNumericInt(b, 12345, -2)
		b, _ = copyenc.AppendNumericFloat(b, 123.456, 64)
		b, _ = copyenc.AppendNumericText(b, "123456.789")
		b, _ = copyenc.AppendNumericBig(b, large, -3)
		_ = copyenc.AppendJSONB(b, "{}")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
