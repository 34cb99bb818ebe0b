// Package spec is the one place where Lifeguard's dashboards, alert rules and their
// delivery are written down. From it come the files that Grafana, Prometheus and
// Alertmanager read; `make grafana` writes them, and a test fails when they differ.
//
// Another test asks a real Prometheus for every expression, so a name that the library
// does not export, or a legend's label that an expression does not return, fails it.
package spec

import (
	"time"
)

// Params are what may differ from one installation to the next. Default holds what the
// files in the tree are made with; tests use shorter times and sinks of their own.
type Params struct {
	Job string // of the scraped services, for the alert on a scrape that is gone

	QueueDepth   float64 // waiters; the alert is for more
	P99          time.Duration
	RefusedShare float64 // of those who ask for admission
	ErrorShare   float64 // of statements
	MinRate      float64 // statements a second, below which shares and quantiles say nothing

	CachePast  time.Duration // what the share that the cache answers is compared with
	CacheShare float64       // it must have been at least this
	CacheLeft  float64       // part of it that is left; the alert is for less

	Window   time.Duration // of every rate in an alert
	Interval time.Duration // between evaluations
	Scale    float64       // of how long a condition must hold; 1, and less in tests

	GroupWait, GroupInterval, RepeatInterval time.Duration

	Receivers Receivers
	Docs      string // where the runbook is
}

// Receivers say where Alertmanager sends. Grafana takes the same from its environment,
// since it can expand variables and Alertmanager cannot.
type Receivers struct {
	SlackURL     string
	SlackChannel string
	WebhookURL   string
	SMTPHost     string // and port
	From, To     string
}

// Default returns what the files in the tree are made with.
func Default() Params {
	return Params{
		Job:            "lifeguard",
		QueueDepth:     50,
		P99:            100 * time.Millisecond,
		RefusedShare:   0.01,
		ErrorShare:     0.05,
		MinRate:        0.1,
		CachePast:      time.Hour,
		CacheShare:     0.1,
		CacheLeft:      0.5,
		Window:         5 * time.Minute,
		Interval:       10 * time.Second, // Grafana takes multiples of 10 s
		Scale:          1,
		GroupWait:      15 * time.Second,
		GroupInterval:  2 * time.Minute,
		RepeatInterval: 4 * time.Hour,
		Receivers: Receivers{
			SlackURL:     "http://sink:8080/slack",
			SlackChannel: "#alerts",
			WebhookURL:   "http://sink:8080/webhook",
			SMTPHost:     "mailpit:1025",
			From:         "lifeguard@example.com",
			To:           "oncall@example.com",
		},
		Docs: "https://github.com/lifeguard-go/lifeguard/blob/main/docs/operating.md",
	}
}

// The uids of the data sources, as provisioning/datasources sets them.
const (
	Prometheus = "prometheus"
	Loki       = "loki"
	Tempo      = "tempo"
)

// Service is the service.name under which the metrics server sends logs and traces.
const Service = "lifeguard-demo"
