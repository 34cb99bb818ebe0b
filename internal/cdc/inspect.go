package cdc

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Publication is what there is of one, as a role sees it, and what it lacks. Tables are
// quoted, with their schemas.
type Publication struct {
	Name   string
	Exists bool
	Usable bool   // publishes every kind of change, each under the name of the table that it changes
	All    bool   // FOR ALL TABLES
	Ours   bool   // the role may change it
	Owner  string // a role

	Unsafe  []string // it names them, and they have no replica identity: UPDATE and DELETE fail on them
	Missing []string // could be published, by this role
	Foreign []string // could be published, by others: their owners

	target string
}

// Inspect looks at a publication and changes nothing.
func Inspect(ctx context.Context, conn *pgconn.PgConn, name string) (*Publication, error) {
	p := &Publication{Name: name, target: pgx.Identifier{name}.Sanitize()}
	found, err := loadPublication(ctx, conn, name, serverVersion(conn))
	if err != nil {
		return nil, err
	}
	published := &entries{}
	if found != nil {
		p.Exists, p.Usable, p.Ours, p.Owner, p.All = true, found.usable, found.ours, found.owner, found.published.all
		published = &found.published
		rows, err := query(ctx, conn, unsafeSQL, found.oid)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			p.Unsafe = append(p.Unsafe, pgx.Identifier{row[0], row[1]}.Sanitize())
		}
	}
	rows, err := query(ctx, conn, candidatesSQL)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		there, err := published.name(row[0], row[3])
		if err != nil {
			return nil, err
		}
		table := pgx.Identifier{row[1], row[2]}.Sanitize()
		switch {
		case there:
		case row[4] == "true":
			p.Missing = append(p.Missing, table)
		default:
			p.Foreign = append(p.Foreign, table)
		}
	}
	return p, nil
}

// name reports whether a table, or its schema, is among the entries.
func (e *entries) name(table, schema string) (bool, error) {
	oid, err := parseOID(table)
	if err != nil {
		return false, err
	}
	in, err := parseOID(schema)
	if err != nil {
		return false, err
	}
	_, itself := e.tables[oid]
	_, its := e.schemas[in]
	return e.all || itself || its, nil
}

// changeable reports whether EnsurePublication changes it.
func (p *Publication) changeable() bool { return p.Exists && p.Ours && !p.All }

// Statements are what [EnsurePublication] sends, if nothing gets in its way.
func (p *Publication) Statements() (list []string) {
	if !p.Exists {
		list = append(list, p.create())
	} else if !p.changeable() {
		return nil
	}
	for _, table := range p.Unsafe {
		list = append(list, p.drop(table))
	}
	if len(p.Missing) > 0 {
		list = append(list, p.add(p.Missing))
	}
	return list
}

func (p *Publication) create() string { return "CREATE PUBLICATION " + p.target }

func (p *Publication) add(tables []string) string {
	return "ALTER PUBLICATION " + p.target + " ADD TABLE ONLY " + strings.Join(tables, ", ONLY ")
}

func (p *Publication) drop(table string) string {
	return "ALTER PUBLICATION " + p.target + " DROP TABLE ONLY " + table
}

// Announces reports whether what [InstallSQL] makes is there, and fires for everybody.
func Announces(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	rows, err := query(ctx, conn, installedSQL)
	if err != nil {
		return false, err
	}
	return len(rows) == 1 && rows[0][0] == "true", nil
}
