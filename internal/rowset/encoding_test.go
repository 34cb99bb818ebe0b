package rowset_test

import (
	"bytes"
	"database/sql/driver"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/internal/rowset"
)

func TestParseRefusesWhatIsNotAnEncodedSet(t *testing.T) {
	t.Parallel()
	good := five().set(t, 2).AppendBinary(nil)
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"another version":     append([]byte{2}, good[1:]...),
		"a byte too many":     append(bytes.Clone(good), 0),
		"a row too many":      replaceAt(good, 1, 1),
		"a row too few":       replaceAt(good, 1, 3),
		"2^63 rows":           append([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, good[2:]...),
		"2^62 rows, no bytes": {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0, 0, 0},
		"2^40 columns":        {1, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0},
		"a third format":      {1, 0, 0, 1, 1, 'v', 0, 0, 0, 23, 0, 0, 0, 0, 2, 0},
		"a column too few":    {1, 1, 0, 1, 1, 'v', 0, 0, 0, 25, 0, 0, 0, 0, 0, 1, 0},
		"a value too many":    {1, 1, 0, 1, 1, 'v', 0, 0, 0, 25, 0, 0, 0, 0, 0, 3, 2, 0, 0},
		"a value too long":    {1, 1, 0, 1, 1, 'v', 0, 0, 0, 25, 0, 0, 0, 0, 0, 3, 2, 9, 'x'},
	} {
		if _, err := rowset.Parse(b); err == nil || !strings.HasPrefix(err.Error(), "rowset: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range good {
		if _, err := rowset.Parse(good[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are a set", n, len(good))
		}
	}
}

func replaceAt(b []byte, i int, with byte) []byte {
	b = bytes.Clone(b)
	b[i] = with
	return b
}

// A change of these bytes is a change of the format: it needs a new version.
func TestTheEncodingOfVersionOneStaysAsItIs(t *testing.T) {
	t.Parallel()
	b := rowset.NewBuilder(rowset.NewColumns([]pgconn.FieldDescription{
		{Name: "id", DataTypeOID: pgtype.Int4OID, TypeModifier: -1, Format: 1}, {Name: "t", DataTypeOID: pgtype.VarcharOID, TypeModifier: 14},
	}), 10, 1<<20)
	b.Add([][]byte{{0, 0, 0, 1}, []byte("one")})
	b.Add([][]byte{nil, {}})
	got := b.Set(pgconn.NewCommandTag("FETCH 2")).AppendBinary(nil)
	want := "\x01\x02\x07FETCH 2\x02" +
		"\x02id\x00\x00\x00\x17\xff\xff\xff\xff\x01" + "\x01t\x00\x00\x04\x13\x00\x00\x00\x0e\x00" +
		"\x0d" + "\x09\x05\x00\x00\x00\x01\x04one" + "\x02\x00\x01"
	if string(got) != want {
		t.Errorf("%q", got)
	}
}

// FuzzParse: no bytes make Parse or a replay panic or go on for ever, and what was parsed
// survives another trip.
func FuzzParse(f *testing.F) {
	for _, s := range []shape{
		five(),
		{},
		one(pgtype.NumericOID, 1, []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 1}), one(pgtype.TimestampOID, 0, []byte("2024-02-29 13:14:15")),
		one(pgtype.JSONBOID, 1, []byte("\x01{}")), one(pgtype.Int4ArrayOID, 1, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23}), one(99999, 1, nil),
	} {
		f.Add(s.set(f, 2).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := rowset.Parse(b)
		if err != nil {
			return
		}
		if set.Len() > len(b) || set.Size() < 0 {
			t.Fatalf("%d rows of %d bytes", set.Len(), len(b))
		}
		again, err := rowset.Parse(set.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		var maps rowset.Maps
		rows := set.Rows(&maps)
		for i := range rows.Columns() {
			_ = rows.ColumnTypeDatabaseTypeName(i)
			_, _ = rows.ColumnTypeLength(i)
			_, _, _ = rows.ColumnTypePrecisionScale(i)
			_ = rows.ColumnTypeScanType(i)
		}
		if got, want := drain(again.Rows(&maps)), drain(rows); got != want || again.Tag() != set.Tag() {
			t.Errorf("%s, before %s", got, want)
		}
	})
}

// FuzzRecord: any values come back as they went in.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("some,bytes,,and more"), byte(','), 2, true)
	f.Fuzz(func(t *testing.T, b []byte, separator byte, columns int, nulls bool) {
		values := bytes.Split(b, []byte{separator})
		columns = 1 + columns&7
		of := shape{}
		for range columns {
			of.fields = append(of.fields, pgconn.FieldDescription{Name: string(separator), DataTypeOID: pgtype.ByteaOID, Format: 1})
		}
		rec := rowset.NewBuilder(rowset.NewColumns(of.fields), 1<<20, 1<<30)
		var want [][][]byte
		for len(values) >= columns {
			row := values[:columns:columns]
			values = values[columns:]
			for i := range row {
				if nulls && len(row[i]) == 0 {
					row[i] = nil
				}
			}
			want = append(want, row)
			if !rec.Add(row) {
				t.Fatal("refused")
			}
		}
		set, err := rowset.Parse(rec.Set(pgconn.CommandTag{}).AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		var maps rowset.Maps
		rows := set.Rows(&maps)
		dest := make([]driver.Value, columns)
		for _, row := range want {
			if err := rows.Next(dest); err != nil {
				t.Fatal(err)
			}
			for i, v := range dest {
				got, _ := v.([]byte)
				if !bytes.Equal(got, row[i]) || (v == nil) != (row[i] == nil) {
					t.Fatalf("%q, recorded %q", got, row[i])
				}
			}
		}
		if err := rows.Next(dest); err == nil {
			t.Fatal("a row too many")
		}
	})
}
