package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// target is the database that a demo works on.
type target struct {
	dsn    string           // with -conns, and with search_path set to schema
	config lifeguard.Config // what dsn says
	schema string           // a name that nobody else uses
	server *pgtest.Server   // nil for a user's own

	userDSN string // of server's new database, for anybody's use
	drop    func(context.Context) error
}

// find takes the database of -dsn, or finds or starts a PostgreSQL. Close t also after
// an error.
func (t *target) find(ctx context.Context, o demoOptions, out output) error {
	params := []param{
		{"search_path", t.schema},
		{"application_name", "lifeguard-demo"},
		{"lifeguard_slow", "0"}, // the demo reports how long things take
	}
	if o.dsn != "" {
		cfg, err := lifeguard.ParseConfig(o.dsn)
		if err != nil {
			return err
		}
		if cfg.ConnConfig == nil {
			return errors.New("-dsn must be a URL or a list of keyword=value")
		}
		if cfg.MaxConns == 0 || o.given["conns"] {
			params = append(params, param{"pool_max_conns", strconv.Itoa(o.conns)})
		}
		fmt.Fprintf(out, "PostgreSQL at %s:%d, database %q, from -dsn\n",
			cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Database)
		return t.setDSN(withParams(o.dsn, params...))
	}

	began := time.Now()
	if err := t.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, ready in %s\n", t.server.Source(), duration(time.Since(began)))
	return t.setDSN(withParams(t.userDSN, append(params, param{"pool_max_conns", strconv.Itoa(o.conns)})...))
}

// start finds or starts a PostgreSQL, with a new database.
func (t *target) start(ctx context.Context) (err error) {
	if t.server, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return err
	}
	t.userDSN, t.drop, err = t.server.CreateDatabase(ctx)
	return err
}

// setDSN notes what is in force: the environment overrides the DSN.
func (t *target) setDSN(dsn string) (err error) {
	t.dsn = dsn
	t.config, err = lifeguard.ParseConfig(dsn)
	return err
}

// newSchemaName is random, for a demo may drop only what it made itself.
func newSchemaName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return "lifeguard_demo_" + hex.EncodeToString(b[:])
}

// cleanupLimit bounds what is done after a demo, also after Ctrl-C.
const cleanupLimit = 30 * time.Second

// close ends what find started.
//
//nolint:contextcheck // also after Ctrl-C, which ends every context
func (t *target) close() error {
	if t.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	var err error
	if t.drop != nil {
		err = t.drop(ctx)
	}
	return errors.Join(err, t.server.Stop())
}

// param is a parameter of a DSN.
type param struct{ key, value string }

// withParams adds parameters to a DSN. They override those that it has, for the last of
// two counts. net/url cannot read a URL of several hosts, hence the work on the text.
func withParams(dsn string, params ...param) string {
	for _, p := range params {
		switch {
		case !isURL(dsn):
			dsn += fmt.Sprintf(" %s='%s'", p.key, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p.value))
			continue
		case !strings.Contains(dsn, "?"):
			dsn += "?"
		case !strings.HasSuffix(dsn, "?"):
			dsn += "&"
		}
		dsn += p.key + "=" + strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20")
	}
	return dsn
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}
