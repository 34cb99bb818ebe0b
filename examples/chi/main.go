// Command chi is a net/http service on the router chi: each group of routes says how urgent its
// statements are, a middleware gives every request a deadline, a scope and a span, /metrics has
// what Prometheus reads, an overload is answered with the time after which to come again, and
// the end is graceful. It asks itself a few things and ends; with -serve it runs until Ctrl-C.
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
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
)

func main() {
	address := flag.String("serve", "", "listen on this address, such as :8080, until Ctrl-C")
	flag.Parse()
	demo.Main(func(ctx context.Context, dsn string) error { return run(ctx, dsn, *address) })
}

// shop is what the handlers share.
type shop struct {
	db      *sql.DB
	metrics *prometheus.Registry
	tracer  trace.Tracer
}

func run(ctx context.Context, dsn, address string) (err error) {
	spans := &counter{}
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans)) // yours: an OTLP exporter in a batcher
	cfg, err := lifeguard.ParseConfig(dsn + "&pool_max_conns=4&lifeguard_name=shop")
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	cfg.Registerer, cfg.TracerProvider = registry, provider
	connector, err := lifeguard.NewConnector(cfg)
	if err != nil {
		return err
	}
	s := &shop{db: sql.OpenDB(connector), metrics: registry, tracer: provider.Tracer("shop")}
	if _, err := s.db.ExecContext(ctx, "create table orders (id serial primary key, pet text)"); err != nil {
		return errors.Join(err, s.db.Close())
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if address == "" {
		err = visit(ctx, "http://"+listener.Addr().String())
	} else {
		fmt.Println("listening on", listener.Addr())
		<-ctx.Done()
	}

	// The order of a graceful end: no new requests, those under way, the pool, the spans.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(bounded))
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	err = errors.Join(err, s.db.Close(), provider.Shutdown(bounded))
	fmt.Println(spans.statements, "statements had a span in a request's; ended gracefully:", err == nil)
	return err
}

func (s *shop) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Handle("/metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	r.Group(func(r chi.Router) { // goes first
		r.Use(s.guard(lifeguard.Critical, 2*time.Second))
		r.Get("/healthz", s.healthz)
		r.Post("/orders/{pet}", s.order)
		r.Get("/orders/{id}", s.petOf)
	})
	r.Group(func(r chi.Router) { // may wait
		r.Use(s.guard(lifeguard.Bulk, 30*time.Second))
		r.Get("/report", s.report)
	})
	return r
}

// guard gives a request a priority, a deadline, which the queue knows, a scope and a span.
func (s *shop) guard(p lifeguard.Priority, patience time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(lifeguard.WithPriority(lifeguard.Scope(r.Context()), p), patience)
			defer cancel()
			ctx, span := s.tracer.Start(ctx, r.Method+" "+r.URL.Path)
			defer span.End()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

func (s *shop) healthz(w http.ResponseWriter, r *http.Request) {
	answer(w, "ok", s.db.PingContext(r.Context()))
}

func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	var id int
	err := s.db.QueryRowContext(r.Context(), "insert into orders (pet) values ($1) returning id", chi.URLParam(r, "pet")).Scan(&id)
	answer(w, id, err)
}

func (s *shop) petOf(w http.ResponseWriter, r *http.Request) {
	var pet string
	err := s.db.QueryRowContext(r.Context(), "select pet from orders where id = $1", chi.URLParam(r, "id")).Scan(&pet)
	answer(w, pet, err)
}

func (s *shop) report(w http.ResponseWriter, r *http.Request) {
	type line struct {
		Pet    string
		Orders int
	}
	lines, err := lifeguard.Query[line](r.Context(), s.db, "select pet, count(*) as orders from orders group by pet order by pet")
	answer(w, lines, err)
}

// answer writes a value, or what is wrong; an overload with the time after which to come again.
func answer(w http.ResponseWriter, value any, err error) {
	var overload *lifeguard.OverloadError
	switch {
	case errors.As(err, &overload):
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(overload.RetryAfter.Seconds())))))
		http.Error(w, "overloaded, please try again later", http.StatusServiceUnavailable)
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "there is no such order", http.StatusNotFound)
	case err != nil:
		http.Error(w, "internal error", http.StatusInternalServerError)
	default:
		_ = json.NewEncoder(w).Encode(value)
	}
}

// counter is an exporter that counts the spans of statements in requests.
type counter struct{ statements int }

// ExportSpans counts.
func (c *counter) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	for _, span := range spans {
		if span.Parent().IsValid() {
			c.statements++
		}
	}
	return nil
}

// Shutdown does nothing.
func (*counter) Shutdown(context.Context) error { return nil }

// visit is what clients do.
func visit(ctx context.Context, base string) error {
	defer http.DefaultClient.CloseIdleConnections()
	for _, step := range []string{"GET /healthz", "POST /orders/Rex", "POST /orders/Rex", "GET /orders/1", "GET /orders/9", "GET /report", "GET /metrics"} {
		method, path, _ := strings.Cut(step, " ")
		request, err := http.NewRequestWithContext(ctx, method, base+path, nil)
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
			text = fmt.Sprint(strings.Count(text, "# TYPE lifeguard_") > 10)
		}
		fmt.Println(step, response.StatusCode, text)
	}
	return nil
}
