// Package metricsserver is a small service on Lifeguard: it works on a PostgreSQL all
// the time and serves its metrics, so that dashboards and alerts have something to show.
package metricsserver

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard"
)

// Intro is what its help begins with.
const Intro = `Usage: lifeguard metrics-server [flags]

Works on a PostgreSQL, lightly and for ever, and serves what Lifeguard says about it:

  /metrics   Prometheus or OpenMetrics, whichever the scraper asks for
  /healthz   200 while PostgreSQL answers, 503 and a reason while it does not
  /          a page that says what is going on

Without -dsn it starts a throw-away PostgreSQL. On yours it makes the schema
"lifeguard_metrics" if there is none, works in it alone, keeps it small, and leaves it
there; "drop schema lifeguard_metrics cascade" removes it. A password is better kept in
PGPASSWORD or a password file than in -dsn, where other users of the machine see it.

The first line of the output is the address of the metrics; logs go to the error output.
Ctrl-C or SIGTERM lets what has begun end, and stops.

Examples:

  lifeguard metrics-server
  lifeguard metrics-server -addr 127.0.0.1:0 -rate 500
  lifeguard metrics-server -hold 200ms -goroutines 200 -rate 0    # queue and p99 alerts
  lifeguard metrics-server -dsn 'postgres://user@host/database?lifeguard_queue=50'
`

// Options says what to do. Get one from [Flags].
type Options struct {
	Addr       string
	DSN        string
	Conns      int
	Limit      string
	Cache      string
	Goroutines int
	Rate       float64
	Hold       time.Duration

	// Logger hears of everything. TracerProvider makes spans, if there is one.
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider

	flags *flag.FlagSet
}

// Flags returns options that parsing flags fills.
func Flags(flags *flag.FlagSet) *Options {
	o := &Options{flags: flags}
	flags.StringVar(&o.Addr, "addr", ":9898", "serve on this `address`. Without a host it can be reached from every network that the machine is\n"+
		"in, as a Prometheus in a container must; the pages have no login, and no values or\n"+
		"texts of statements. 127.0.0.1:9898 is for this machine alone, port 0 for any free one")
	flags.StringVar(&o.DSN, "dsn", "", "work on this `database`, in a schema of its own")
	flags.IntVar(&o.Conns, "conns", 8, "PostgreSQL connections at most (pool_max_conns)")
	flags.StringVar(&o.Limit, "limit", "", "statements in flight at most (lifeguard_limit): a `number` or auto; -conns if not given")
	flags.StringVar(&o.Cache, "cache", string(lifeguard.CacheLocal), "query cache (lifeguard_cache), unless -dsn says: off, local or ttl")
	flags.IntVar(&o.Goroutines, "goroutines", 16, "how many goroutines work at once")
	flags.Float64Var(&o.Rate, "rate", 50, "operations per second, 0 for as many as possible")
	flags.DurationVar(&o.Hold, "hold", 0, "make two of five operations take this long on the server; with more -goroutines than -conns they queue")
	return o
}

// Problem says what is wrong with the values, or nothing.
func (o *Options) Problem() string {
	_, port, err := net.SplitHostPort(o.Addr)
	_, wrongPort := strconv.ParseUint(port, 10, 16)
	limit, wrongLimit := strconv.Atoi(o.Limit)
	switch {
	case err != nil || wrongPort != nil:
		return fmt.Sprintf("-addr must be host:port or :port, with a port from 0 to 65535, not %q", o.Addr)
	case o.Conns < 1 || o.Conns > 10_000:
		return fmt.Sprintf("-conns must be from 1 to 10000, not %d", o.Conns)
	case o.Limit != "" && o.Limit != "auto" && (wrongLimit != nil || limit < 1 || limit > 10_000):
		return fmt.Sprintf("-limit must be auto or from 1 to 10000, not %q", o.Limit)
	case !slices.Contains([]lifeguard.CacheMode{lifeguard.CacheOff, lifeguard.CacheLocal, lifeguard.CacheTTL}, lifeguard.CacheMode(o.Cache)):
		return fmt.Sprintf("-cache must be off, local or ttl, not %q", o.Cache)
	case o.Goroutines < 1 || o.Goroutines > 100_000:
		return fmt.Sprintf("-goroutines must be from 1 to 100000, not %d", o.Goroutines)
	case !(o.Rate >= 0 && o.Rate <= 1e6): // NaN too
		return fmt.Sprintf("-rate must be from 0 to 1000000, not %v", o.Rate)
	case o.Hold < 0 || o.Hold > time.Minute:
		return fmt.Sprintf("-hold must be from 0 to 1m, not %v", o.Hold)
	}
	return ""
}

// rows is how many are loaded in bulk each second.
func (o *Options) rows() int {
	if o.Rate == 0 {
		return 10_000
	}
	return int(o.Rate)
}

// slow is from when on a statement is logged, if the DSN does not say.
const slow = 250 * time.Millisecond

// config turns a DSN into what the options make of it. The server's own DSN gives way
// to -conns; a user's only if -conns was given.
func (o *Options) config(dsn string) (lifeguard.Config, error) {
	cfg, err := lifeguard.ParseConfig(dsn)
	if err != nil {
		return cfg, err
	}
	if cfg.ConnConfig == nil {
		return cfg, errors.New("-dsn must be a URL or a list of keyword=value")
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "lifeguard-metrics-server"
	}
	given := map[string]bool{}
	o.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if cfg.MaxConns == 0 || given["conns"] {
		cfg.MaxConns = o.Conns
	}
	switch o.Limit {
	case "":
	case "auto":
		cfg.Limit = lifeguard.AutoLimit
	default:
		cfg.Limit, _ = strconv.Atoi(o.Limit) // Problem has looked
	}
	if cfg.Name == "" {
		cfg.Name = "shop"
	}
	if cfg.Cache == "" || given["cache"] {
		cfg.Cache = lifeguard.CacheMode(o.Cache)
	}
	if cfg.Cache == lifeguard.CacheTTL && cfg.CacheTTL == 0 {
		cfg.CacheTTL = time.Minute
	}
	if cfg.Slow == 0 {
		cfg.Slow = slow
	}
	cfg.Logger, cfg.TracerProvider = o.Logger, o.TracerProvider
	return cfg, nil
}
