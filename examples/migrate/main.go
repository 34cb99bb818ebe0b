// Command migrate runs golang-migrate through Lifeguard. It keeps a connection, for its
// lock, from WithInstance to Close, which closes the *sql.DB: give it one of its own.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/golang-migrate/migrate/v4"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

//go:embed migrations/*.sql
var migrations embed.FS

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	if err := up(dsn); err != nil {
		return err
	}
	db, err := lifeguard.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	var name string
	var legs int
	if err := db.QueryRowContext(ctx, "select name, legs from pets").Scan(&name, &legs); err != nil {
		return err
	}
	fmt.Println(name, "has", legs, "legs")
	return nil
}

func up(dsn string) (err error) {
	db, err := lifeguard.Open(dsn + "&pool_max_conns=1")
	if err != nil {
		return err
	}
	target, err := pgxmigrate.WithInstance(db, &pgxmigrate.Config{})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	source, err := iofs.New(migrations, "migrations")
	if err != nil {
		return errors.Join(err, db.Close())
	}
	m, err := migrate.NewWithInstance("iofs", source, "pgx5", target)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	defer func() {
		sourceErr, dbErr := m.Close()
		err = errors.Join(err, sourceErr, dbErr)
	}()
	if err := m.Up(); err != nil {
		return err
	}
	version, dirty, err := m.Version()
	fmt.Println("the schema has version", version, "and is dirty:", dirty)
	return err
}
