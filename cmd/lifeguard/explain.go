package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

const explainIntro = `Explain tells whether the query cache would keep the results of a statement, or why not:
the reason, what it reads, writes and calls, and the settings that are part of its key. The
statement is not run. What follows it are its arguments, as texts.

Examples:

  lifeguard explain 'select name from users where id = $1' 42
  lifeguard explain -dsn 'postgres://app@db/shop?lifeguard_cache=local' 'select now()'
  lifeguard explain -json 'select 1' | jq .cacheable

Without -dsn it takes LIFEGUARD_URL, or finds or starts an empty PostgreSQL. The exit status
is 0 if the results are kept, 1 if they are not, and 2 after an error.
`

// errExplain is the exit status of a command whose 1 says something else.
const errExplain statusError = 2

func runExplain(ctx context.Context, args []string, out output) error {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	dsn := flags.String("dsn", "", "`DSN` as the application has it (default $LIFEGUARD_URL)")
	asJSON := flags.Bool("json", false, "print the explanation as JSON")
	rest, err := parseArguments(flags, args, out, explainIntro)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return &usageError{command: "explain", text: "no statement given"}
	}
	x, err := explainOn(ctx, *dsn, rest[0], rest[1:])
	if err != nil {
		fmt.Fprintf(out.errors, "lifeguard explain: %v\n", err)
		return errExplain
	}
	if err := printExplanation(out, x, *asJSON); err != nil {
		return err
	}
	if !x.Cacheable {
		return statusError(1)
	}
	return nil
}

func printExplanation(w io.Writer, x lifeguard.CacheExplanation, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprint(w, x)
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}

// explainOn explains on the database of a DSN, of LIFEGUARD_URL, or on one of its own.
func explainOn(ctx context.Context, dsn, query string, args []string) (x lifeguard.CacheExplanation, err error) {
	if dsn == "" {
		dsn = os.Getenv("LIFEGUARD_URL")
	}
	if dsn == "" {
		server, err := pgtest.Start(ctx, pgtest.Options{})
		if err != nil {
			return x, err
		}
		t := &target{server: server}
		defer func() { err = errors.Join(err, t.close()) }()
		if dsn, t.drop, err = server.CreateDatabase(ctx); err != nil {
			return x, err
		}
	}
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		return x, err
	}
	if cfg.Cache == "" || cfg.Cache == lifeguard.CacheOff {
		cfg.Cache = lifeguard.CacheLocal // as it would be
	}
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return x, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg
	}
	return connector.ExplainCache(ctx, query, values...)
}
