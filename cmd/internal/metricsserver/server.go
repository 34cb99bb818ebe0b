package metricsserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// Run works and serves until ctx ends. The first line that it writes to out is the
// address of the metrics.
func Run(ctx context.Context, o *Options, out io.Writer) (err error) {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the HTTP server may have

	cfg, source, release, err := o.find(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg.Registerer = registry
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(1024) // they are virtual
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := prepare(ctx, db); err != nil {
		return err
	}

	work := newWorkload(db, o)
	p := &pages{work: work, connector: connector, options: o, source: source, since: time.Now()}
	fmt.Fprintln(out, address(listener.Addr()))
	o.Logger.InfoContext(ctx, "metrics server", "address", address(listener.Addr()), "postgresql", source,
		"goroutines", o.Goroutines, "rate", o.Rate, "conns", connector.Stats().Pool.Max, "hold_ms", o.Hold.Milliseconds())

	working, stop := context.WithCancel(ctx)
	var worker sync.WaitGroup
	worker.Go(func() { work.run(working, o.Goroutines, o.rows()) })
	err = serve(ctx, listener, p.handler(registry))
	stop()
	worker.Wait()
	o.Logger.Info("metrics server stopped", "operations", work.done.Load(), "failed", work.failed.Load())
	return err
}

// serve answers until ctx ends, and then what has been asked already.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-ended //nolint:errcheck // ErrServerClosed
	return err
}

// address is what a browser on this machine can open.
func address(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/metrics"
}

// cleanupLimit bounds what is done at the end.
const cleanupLimit = 30 * time.Second

// find takes the database of -dsn, or finds or starts a PostgreSQL and makes one there.
// Call release at the end.
func (o *Options) find(ctx context.Context) (cfg lifeguard.Config, source string, release func() error, err error) {
	if o.DSN != "" {
		cfg, err = o.config(o.DSN)
		if err != nil {
			return cfg, "", nil, err
		}
		source = fmt.Sprintf("%s:%d, database %q", cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Database)
		return cfg, source, func() error { return nil }, nil
	}

	server, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return cfg, "", nil, err
	}
	dsn, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		return cfg, "", nil, errors.Join(err, server.Stop())
	}
	release = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
		defer cancel()
		return errors.Join(drop(ctx), server.Stop())
	}
	cfg, err = o.config(dsn)
	if err != nil {
		return cfg, "", nil, errors.Join(err, release())
	}
	return cfg, server.Source(), release, nil
}
