package lifeguard_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// openPets opens a database with a cache, in which Rex is in memory.
func openPets() (db *sql.DB, connector *lifeguard.Connector, dsn string, stop func()) {
	dsn, stopServer := startPostgres("lifeguard_cache=local")
	db, err := lifeguard.Open(dsn)
	if err != nil {
		log.Fatal(err)
	}
	if connector, err = lifeguard.FromDB(db); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("create table pets (id int primary key, name text); insert into pets values (1, 'Rex')"); err != nil {
		log.Fatal(err)
	}
	for range 5 { // known the second time, kept the third
		petsName(context.Background(), db)
	}
	return db, connector, dsn, func() {
		if err := db.Close(); err != nil {
			log.Fatal(err)
		}
		stopServer()
	}
}

func petsName(ctx context.Context, db *sql.DB) (name string) {
	if err := db.QueryRowContext(ctx, "select name from pets where id = $1", 1).Scan(&name); err != nil {
		log.Fatal(err)
	}
	return name
}

// A write through any pool of the process is seen by the next query.
func ExampleCacheStats() {
	db, connector, _, stop := openPets()
	defer stop()
	if _, err := db.Exec("update pets set name = 'Polly' where id = 1"); err != nil {
		log.Fatal(err)
	}
	st := connector.Stats().Cache
	fmt.Println(st.Hits, "hits and", st.Misses, "miss, and now", petsName(context.Background(), db))
	// Output: 2 hits and 1 miss, and now Polly
}

// What other programs write the cache does not notice. A query can ask for less.
func ExampleWithCache() {
	db, _, dsn, stop := openPets()
	defer stop()
	writeElsewhere(dsn)

	ctx := context.Background()
	fmt.Println("from memory:", petsName(ctx, db))
	fmt.Println("not a day old:", petsName(lifeguard.WithCache(ctx, lifeguard.MaxAge(24*time.Hour)), db))
	fmt.Println("from PostgreSQL:", petsName(lifeguard.WithCache(ctx, lifeguard.NoCache), db))
	// Output:
	// from memory: Rex
	// not a day old: Rex
	// from PostgreSQL: Polly
}

// writeElsewhere writes past Lifeguard, as another program would.
func writeElsewhere(dsn string) {
	other, err := sql.Open("pgx", plainDSN(dsn))
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec("update pets set name = 'Polly' where id = 1"); err != nil {
		log.Fatal(err)
	}
}

// plainDSN is a DSN without what pgx does not know.
func plainDSN(dsn string) string {
	dsn, _, _ = strings.Cut(dsn, "&lifeguard_cache")
	dsn, _, _ = strings.Cut(dsn, "?lifeguard_cache")
	return dsn
}
