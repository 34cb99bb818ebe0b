package metricsserver

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lifeguard-go/lifeguard"
)

// pages answers HTTP.
type pages struct {
	work      *workload
	connector *lifeguard.Connector
	options   *Options
	source    string // of PostgreSQL
	since     time.Time
}

func (p *pages) handler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, // the format that has exemplars
		Registry:          registry,
	}))
	mux.HandleFunc("GET /healthz", p.health)
	mux.HandleFunc("GET /{$}", p.index)
	return mux
}

// healthLimit is how long PostgreSQL may take to answer.
const healthLimit = 2 * time.Second

// health asks the server for a sign of life, before anybody who waits: a long queue
// is no ill health.
func (p *pages) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(lifeguard.WithPriority(r.Context(), lifeguard.Critical), healthLimit)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := p.work.db.PingContext(ctx); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "unavailable: %s\n", reason(err))
		return
	}
	fmt.Fprintln(w, "ok")
}

// reason says what kind of error it is in words that hold nothing secret: messages may
// hold addresses, users and values.
func reason(err error) string {
	if refused, ok := errors.AsType[*lifeguard.OverloadError](err); ok {
		return "refused admission: " + string(refused.Reason)
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "PostgreSQL says SQLSTATE " + answer.Code
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case connecting:
		return "PostgreSQL cannot be reached"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "the connection to PostgreSQL was lost"
}

//nolint:gochecknoglobals // a constant
var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lifeguard metrics server</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}td{padding:0 2rem 0 0}</style></head>
<body><h1>Lifeguard metrics server</h1>
<ul><li><a href="metrics">/metrics</a> for Prometheus</li><li><a href="healthz">/healthz</a> for whoever watches over it</li></ul>
<table>
{{range .}}<tr><td>{{index . 0}}</td><td>{{index . 1}}</td></tr>
{{end}}</table></body></html>
`))

func (p *pages) index(w http.ResponseWriter, _ *http.Request) {
	st := p.connector.Stats()
	pace := "as fast as possible"
	if p.options.Rate > 0 {
		pace = fmt.Sprintf("%v a second", p.options.Rate)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-store")
	_ = indexPage.Execute(w, [][2]string{ // the browser has gone
		{"running for", time.Since(p.since).Round(time.Second).String()},
		{"pool", st.Name},
		{"operations", pace + fmt.Sprintf(", by %d goroutines", p.options.Goroutines)},
		{"ended well, failed", fmt.Sprintf("%d, %d", p.work.done.Load(), p.work.failed.Load())},
		{"in flight, of at most", fmt.Sprintf("%d, %d", st.Limiter.InFlight, st.Limiter.Limit)},
		{"queued", fmt.Sprint(st.Limiter.Queued)},
		{"connections, at most", fmt.Sprintf("%d, %d", st.Pool.Total, st.Pool.Max)},
		{"PostgreSQL", p.source},
	})
}
