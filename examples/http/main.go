// Command http is a service with health, metrics, traces, an answer to overload and a
// graceful end. It asks itself a few things and ends; with -serve it runs until Ctrl-C.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

func main() {
	serve := flag.String("serve", "", "listen on this address, such as :8080, until Ctrl-C")
	flag.Parse()
	demo.Main(func(ctx context.Context, dsn string) error { return run(ctx, dsn, *serve) })
}

func run(ctx context.Context, dsn, address string) (err error) {
	tracer := trace.NewTracerProvider(trace.WithSyncer(printer{})) // yours: an OTLP exporter in a batcher
	defer func() { err = errors.Join(err, tracer.Shutdown(context.WithoutCancel(ctx))) }()
	db, err := openPool(ctx, dsn, tracer)
	if err != nil {
		return err
	}
	defer db.Close() // after the last request

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes(db, tracer), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()

	if address != "" {
		fmt.Println("listening on", listener.Addr())
		<-ctx.Done()
	} else {
		err = tryOut(ctx, "http://"+listener.Addr().String())
	}

	// No new requests; those under way have ten seconds.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(bounded))
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	fmt.Println("the service has ended gracefully:", err == nil)
	return err
}

func openPool(ctx context.Context, dsn string, tracer *trace.TracerProvider) (*sql.DB, error) {
	cfg, err := lifeguard.ParseConfig(dsn + "&pool_max_conns=4&lifeguard_queue=16&lifeguard_name=shop")
	if err != nil {
		return nil, err
	}
	setup, err := lifeguard.NewConnector(cfg) // without traces
	if err != nil {
		return nil, err
	}
	tables := sql.OpenDB(setup)
	_, err = tables.ExecContext(ctx, "create table pets (id int primary key, name text); insert into pets values (1, 'Rex')")
	if err := errors.Join(err, tables.Close()); err != nil {
		return nil, err
	}

	cfg.TracerProvider = tracer
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func routes(db *sql.DB, tracer *trace.TracerProvider) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := db.PingContext(r.Context()); err != nil {
			fail(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /pets/{id}", func(w http.ResponseWriter, r *http.Request) {
		var name string
		err := db.QueryRowContext(r.Context(), "select name from pets where id = $1", r.PathValue("id")).Scan(&name)
		if err != nil {
			fail(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"name": name})
	})

	// Every request has a deadline, which the queue knows, a scope and a span.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(lifeguard.Scope(r.Context()), 5*time.Second)
		defer cancel()
		ctx, span := tracer.Tracer("shop").Start(ctx, r.Method+" "+r.URL.Path)
		defer span.End()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// fail answers an error; an overload with the time after which to come again.
func fail(w http.ResponseWriter, err error) {
	var overload *lifeguard.OverloadError
	switch {
	case errors.As(err, &overload):
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(overload.RetryAfter.Seconds())))))
		http.Error(w, "overloaded, please try again later", http.StatusServiceUnavailable)
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "there is no such pet", http.StatusNotFound)
	default:
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// printer is an exporter of spans.
type printer struct{}

// ExportSpans prints spans.
func (printer) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	for _, span := range spans {
		if name := span.Name(); span.Parent().IsValid() {
			fmt.Println("span", name, "in a request")
		} else {
			fmt.Println("span", name)
		}
	}
	return nil
}

// Shutdown does nothing.
func (printer) Shutdown(context.Context) error { return nil }

// tryOut is what clients do.
func tryOut(ctx context.Context, base string) error {
	for _, path := range []string{"/healthz", "/pets/1", "/pets/2", "/metrics"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(body))
		if path == "/metrics" {
			lines := strings.Split(text, "\n")
			text = lines[slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "lifeguard_queries_total") })]
		}
		fmt.Println(path, "answers", response.StatusCode, text)
	}
	http.DefaultClient.CloseIdleConnections()
	return nil
}
