package rowset

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
)

// Maps pools what decoding needs, because a pgtype.Map may be used by one goroutine at a
// time only and is dear to make. The zero value is ready. It must not be copied.
type Maps struct {
	pool sync.Pool // of *workspace, each with a default map
}

func (p *Maps) take() *workspace {
	if w, ok := p.pool.Get().(*workspace); ok {
		return w
	}
	return &workspace{types: pgtype.NewMap()}
}

// put takes back a workspace that nobody uses any more.
func (p *Maps) put(w *workspace) {
	w.bytes, w.text, w.texts = nil, "", texts{} // the caller's now
	p.pool.Put(w)
}

// workspace is a type map, the plans that were made from it, and what they scan into.
// One goroutine at a time uses it.
type workspace struct {
	types *pgtype.Map
	plans [kinds][2]pgtype.ScanPlan // by kind and format, made at the first use
	texts texts                     // of a large arena

	// The destinations are here, and not on the stack, because a plan's destination
	// escapes: one of these for each value would double the allocations.
	boolean     bool
	bytes       []byte
	uint32      pgtype.Uint32
	date        pgtype.Date
	float4      float32
	float8      float64
	int2        int16
	int4        int32
	int8        int64
	timestamp   pgtype.Timestamp
	timestamptz pgtype.Timestamptz
	text        string
}

// scan reads src into target, which must have the one type that f's kind has.
func (w *workspace) scan(f *field, src []byte, target any) error {
	if f.kind == kindPlanned || uint16(f.format) > 1 { // negative is large
		return w.types.PlanScan(f.oid, f.format, target).Scan(src, target)
	}
	plan := &w.plans[f.kind][f.format]
	if *plan == nil {
		*plan = w.types.PlanScan(f.oid, f.format, target)
	}
	return (*plan).Scan(src, target)
}

// decode is the value, never NULL, that stdlib gives for src. After an error the value
// means nothing: it may be of another row.
func (w *workspace) decode(f *field, src []byte) (driver.Value, error) {
	switch f.kind {
	case kindString:
		return string(src), nil
	case kindBool:
		err := w.scan(f, src, &w.boolean)
		return w.boolean, err
	case kindBytea, kindJSON, kindJSONB, kindXML:
		err := w.scan(f, src, &w.bytes)
		return w.bytes, err
	case kindInt2:
		err := w.scan(f, src, &w.int2)
		return int64(w.int2), err
	case kindInt4:
		err := w.scan(f, src, &w.int4)
		return int64(w.int4), err
	case kindInt8:
		err := w.scan(f, src, &w.int8)
		return w.int8, err
	case kindFloat4:
		err := w.scan(f, src, &w.float4)
		return float64(w.float4), err
	case kindFloat8:
		err := w.scan(f, src, &w.float8)
		return w.float8, err
	case kindCID, kindOID, kindXID:
		return valueOf(w.scan(f, src, &w.uint32), &w.uint32)
	case kindDate:
		return valueOf(w.scan(f, src, &w.date), &w.date)
	case kindTimestamp:
		return valueOf(w.scan(f, src, &w.timestamp), &w.timestamp)
	case kindTimestamptz:
		return valueOf(w.scan(f, src, &w.timestamptz), &w.timestamptz)
	default:
		err := w.scan(f, src, &w.text)
		return w.text, err
	}
}

// plain is the value of a column whose decoding needs no plan: NULL, and what is a number
// or a text as it stands. Whatever is not as long as it should be is left to pgx, whose
// errors the application knows. Without texts that copy it, a text points to src. A whole number
// goes to place, as boxed says.
func (f *field) plain(src []byte, t *texts, place **int64) (v driver.Value, ok bool) {
	if src == nil {
		return nil, true
	}
	switch f.way {
	case wayText:
		if t == nil {
			return textOf(src), true
		}
		return t.copyOf(src), true
	case wayBool:
		if len(src) == 1 {
			return src[0] == 1, true
		}
	case wayInt2:
		if len(src) == 2 {
			return boxed(int64(int16(binary.BigEndian.Uint16(src))), place), true //nolint:gosec // the same bits
		}
	case wayInt4:
		if len(src) == 4 {
			return boxed(int64(int32(binary.BigEndian.Uint32(src))), place), true //nolint:gosec // as above
		}
	case wayInt8:
		if len(src) == 8 {
			return boxed(int64(binary.BigEndian.Uint64(src)), place), true //nolint:gosec // as above
		}
	case wayFloat8:
		if len(src) == 8 {
			return math.Float64frombits(binary.BigEndian.Uint64(src)), true
		}
	case wayTimestamp, wayTimestamptz:
		if t, ok := moment(src, f.way == wayTimestamp); ok {
			return t, true
		}
	case wayPlan:
	}
	return nil, false
}

func valueOf(err error, v driver.Valuer) (driver.Value, error) {
	if err != nil {
		return nil, err
	}
	return v.Value()
}
