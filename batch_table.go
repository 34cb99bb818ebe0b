package lifeguard

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// batchColumn is a column of the table as its catalog has it.
type batchColumn struct {
	name      string
	oid       uint32 // of its type, or of what a domain stands on
	typname   string
	isArray   bool
	receives  bool   // its type has a binary input
	arrayOID  uint32 // of the array of that type; 0 if there is none
	identity  bool
	generated bool
}

// batchTable is what the catalog says of a table.
type batchTable struct {
	name    tableName // schema always set
	columns []*batchColumn
	noCopy  bool        // a view, or row-level security applies: INSERT only
	types   *pgtype.Map // of the batch's own: pgx's plus those of the columns
	// constraints are the columns of each constraint and unique index, by its name.
	constraints map[string][]string
}

func (t *batchTable) column(name string) (*batchColumn, error) {
	for _, c := range t.columns {
		if c.name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("lifeguard: table %s has no column %q", t.name, name)
}

// columnsSQL follows domains down to the type they stand on. attgenerated is read through
// jsonb, since servers before PostgreSQL 12 have none.
const columnsSQL = `with recursive base as (
	select a.attnum, t.oid, t.typtype, t.typbasetype
	from pg_attribute a join pg_type t on t.oid = a.atttypid
	where a.attrelid = to_regclass($1)
	union all
	select b.attnum, t.oid, t.typtype, t.typbasetype
	from base b join pg_type t on t.oid = b.typbasetype where b.typtype = 'd'
)
select n.nspname::text, r.relname::text, a.attname::text, t.oid, t.typname::text,
	t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A', t.typreceive <> 0, t.typarray,
	r.relkind = 'v' or row_security_active(r.oid), a.attidentity <> '', coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''
from pg_class r join pg_namespace n on n.oid = r.relnamespace
	join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
	join base b on b.attnum = a.attnum and b.typtype <> 'd'
	join pg_type t on t.oid = b.oid
where r.oid = to_regclass($1)
order by a.attnum`

// lookUpTable reads the catalog. It leaves the connection's own type map alone: what is
// registered there changes what the application scans.
func lookUpTable(ctx context.Context, conn *pgx.Conn, name tableName) (*batchTable, error) {
	rows, err := conn.Query(ctx, columnsSQL, name.String())
	if err != nil {
		return nil, err
	}
	table := &batchTable{types: conn.TypeMap().Copy()}
	c := batchColumn{}
	_, err = pgx.ForEachRow(rows, []any{
		&table.name.schema, &table.name.table, &c.name, &c.oid, &c.typname,
		&c.isArray, &c.receives, &c.arrayOID, &table.noCopy, &c.identity, &c.generated,
	}, func() error {
		column := c
		table.columns = append(table.columns, &column)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(table.columns) == 0 {
		return nil, fmt.Errorf("lifeguard: there is no table %s, or it has no columns", name)
	}
	return table, table.loadConstraints(ctx, conn)
}

const constraintsSQL = `with named as (
	select conname as name, conrelid as relation, conkey::int2[] as keys from pg_constraint
	where conrelid = to_regclass($1) and conkey is not null
	union
	select c.relname, i.indrelid, i.indkey::int2[] from pg_index i join pg_class c on c.oid = i.indexrelid
	where i.indrelid = to_regclass($1) and i.indisunique
)
select name::text, array(select a.attname::text from unnest(keys) with ordinality k (num, ord)
	join pg_attribute a on a.attrelid = relation and a.attnum = k.num order by k.ord)
from named`

func (t *batchTable) loadConstraints(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, constraintsSQL, t.name.String())
	if err != nil {
		return err
	}
	t.constraints = make(map[string][]string)
	var name string
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&name, &columns}, func() error {
		t.constraints[name] = columns
		columns = nil
		return nil
	})
	return err
}

// chosen returns the columns that rows fill: those wanted, or, with nil, all that offered
// names and the server does not fill itself.
func (t *batchTable) chosen(wanted, offered []string) ([]*batchColumn, error) {
	names := wanted
	if len(names) == 0 {
		names = offered
	}
	var columns []*batchColumn
	for i, name := range names {
		c, err := t.column(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("lifeguard: column %q is named twice", name)
		}
		if len(wanted) == 0 && (c.identity || c.generated) {
			continue
		}
		columns = append(columns, c)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("lifeguard: no column of %s is left to write", t.name)
	}
	return columns, nil
}

// loadTypes makes the map know the types of the columns, as far as pgx has codecs, and
// reports whether all of them have a binary form.
func (t *batchTable) loadTypes(ctx context.Context, conn *pgx.Conn, columns []*batchColumn) (binary bool, err error) {
	binary = true
	for _, c := range columns {
		known, err := registerType(ctx, conn, t.types, c.oid, 0)
		if err != nil {
			return false, err
		}
		binary = binary && known && c.receives
	}
	return binary, nil
}

const typeSQL = `select t.typname::text, t.typtype::text, t.typbasetype, t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A',
	t.typelem, t.typdelim::text, t.typrelid from pg_type t where t.oid = $1`

// registerType adds a type, and those that it consists of, to the map. It reports whether
// there is a codec with a binary form.
func registerType(ctx context.Context, conn *pgx.Conn, types *pgtype.Map, oid uint32, depth int) (bool, error) {
	if known, ok := types.TypeForOID(oid); ok {
		return known.Codec.FormatSupported(pgtype.BinaryFormatCode), nil
	}
	if depth > 20 {
		return false, nil
	}
	var typ struct {
		name, kind, delim    string
		base, elem, relation uint32
		isArray              bool
	}
	err := conn.QueryRow(ctx, typeSQL, oid).Scan(&typ.name, &typ.kind, &typ.base, &typ.isArray, &typ.elem, &typ.delim, &typ.relation)
	if err != nil {
		return false, err
	}
	part := func(oid uint32) (*pgtype.Type, error) {
		if ok, err := registerType(ctx, conn, types, oid, depth+1); err != nil || !ok {
			return nil, err
		}
		known, _ := types.TypeForOID(oid)
		return known, nil
	}

	var codec pgtype.Codec
	switch {
	case typ.kind == "e":
		codec = &pgtype.EnumCodec{}
	case typ.kind == "d":
		if base, err := part(typ.base); base != nil || err != nil {
			if err != nil {
				return false, err
			}
			codec = base.Codec
		}
	case typ.isArray:
		if elem, err := part(typ.elem); elem != nil || err != nil {
			if err != nil {
				return false, err
			}
			codec = &pgtype.ArrayCodec{ElementType: elem, Delimiter: typ.delim[0]}
		}
	case typ.kind == "c":
		if codec, err = compositeCodec(ctx, conn, typ.relation, part); err != nil {
			return false, err
		}
	case typ.kind == "r", typ.kind == "m":
		if codec, err = rangeCodec(ctx, conn, oid, typ.kind, part); err != nil {
			return false, err
		}
	default:
		codec = extensionCodec(typ.name)
	}
	if codec == nil {
		return false, nil
	}
	types.RegisterType(&pgtype.Type{Name: typ.name, OID: oid, Codec: codec})
	return codec.FormatSupported(pgtype.BinaryFormatCode), nil
}

// extensionCodec knows the extensions' types that pgx can encode, by their names.
func extensionCodec(name string) pgtype.Codec {
	switch name {
	case "citext":
		return pgtype.TextCodec{}
	case "hstore":
		return pgtype.HstoreCodec{}
	case "ltree":
		return pgtype.LtreeCodec{}
	}
	return nil
}

func compositeCodec(ctx context.Context, conn *pgx.Conn, relation uint32, part func(uint32) (*pgtype.Type, error)) (pgtype.Codec, error) {
	rows, err := conn.Query(ctx, `select attname::text, atttypid from pg_attribute
		where attrelid = $1 and attnum > 0 and not attisdropped order by attnum`, relation)
	if err != nil {
		return nil, err
	}
	codec := &pgtype.CompositeCodec{}
	var oids []uint32
	var name string
	var oid uint32
	_, err = pgx.ForEachRow(rows, []any{&name, &oid}, func() error {
		codec.Fields = append(codec.Fields, pgtype.CompositeCodecField{Name: name})
		oids = append(oids, oid)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, oid := range oids {
		field, err := part(oid)
		if field == nil || err != nil {
			return nil, err
		}
		codec.Fields[i].Type = field
	}
	return codec, nil
}

func rangeCodec(ctx context.Context, conn *pgx.Conn, oid uint32, kind string, part func(uint32) (*pgtype.Type, error)) (pgtype.Codec, error) {
	query := "select rngsubtype from pg_range where rngtypid = $1"
	if kind == "m" {
		query = "select rngtypid from pg_range where rngmultitypid = $1"
	}
	var inner uint32
	if err := conn.QueryRow(ctx, query, oid).Scan(&inner); err != nil {
		return nil, err
	}
	element, err := part(inner)
	if element == nil || err != nil {
		return nil, err
	}
	if kind == "m" {
		return &pgtype.MultirangeCodec{ElementType: element}, nil
	}
	return &pgtype.RangeCodec{ElementType: element}, nil
}
