package spec

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Alert is one alert rule, for Grafana and for Prometheus.
type Alert struct {
	Name     string // Prometheus' name; Title is Grafana's
	Title    string
	UID      string
	Severity string // warning or critical
	Section  string // of the runbook

	// Value is PromQL without the comparison; the alert is for what is over the
	// threshold, or under it if Below.
	Value     string
	Below     bool
	Threshold float64
	For       time.Duration
	Absent    string // Prometheus only: a vector that is there when Value's is gone

	// NoData and Failed are what Grafana makes of an empty answer and of none.
	NoData, Failed string

	// Summary and Text are templates over $labels; VALUE stands for the value, written
	// by the template function Format.
	Summary, Text string
	Format        string

	Board string
	Panel int
}

// What Grafana does when a query returns nothing, or fails.
const (
	stayNormal = "OK"       // no series: no pool, or no traffic
	keepLast   = "KeepLast" // the one alert on the scrape says that Prometheus is gone
	alerting   = "Alerting"
	asError    = "Error"
)

// valueMark is replaced by how each of the two systems names the value.
const valueMark = "VALUE"

// Alerts returns all rules.
func Alerts(p Params) []Alert {
	window := "[" + promDuration(p.Window) + "]"
	rate := func(by, series string) string { return "sum by (" + by + ") (rate(" + series + window + "))" }
	answered := func(over time.Duration) string {
		window := promDuration(over)
		return "(" + spared("job, pool", "", window) + " / (" + asked("job, pool", "", window) + " > 0))"
	}
	hold := func(d time.Duration) time.Duration { return time.Duration(float64(d) * p.Scale) }
	all := rate("job, pool", statements)
	enough := " and " + all + " > " + number(p.MinRate)
	refused, admitted := rate("job, pool", "lifeguard_refusals_total"), rate("job, pool", "lifeguard_admissions_total")
	lookups := rate("job, instance, pool", "lifeguard_redis_lookups_total")
	slots := "sum by (job, instance, pool) (lifeguard_slots) / sum by (job, instance, pool) (lifeguard_limit)"

	return []Alert{
		{
			Name: "LifeguardQueueDeep", Title: "Queue depth", Format: "humanize", UID: "lifeguard-queue-deep", Severity: "warning", Section: "queue-depth",
			Value:     "max by (job, instance, pool) (lifeguard_pool_queue_depth)",
			Threshold: p.QueueDepth, For: hold(time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: VALUE goroutines wait for the database",
			Text: fmt.Sprintf("In {{ $labels.instance }} more than %s goroutines have been waiting for admission to pool {{ $labels.pool }}.",
				number(p.QueueDepth)),
			Board: AdmissionUID, Panel: panelQueue,
		},
		{
			Name: "LifeguardSlow", Title: "p99 latency", Format: "humanizeDuration", UID: "lifeguard-slow", Severity: "warning", Section: "p99-latency",
			Value:     "histogram_quantile(0.99, " + rate("job, pool, le", statementSeconds+"_bucket") + ")" + enough,
			Threshold: p.P99.Seconds(), For: hold(5 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: the slowest statement of a hundred takes VALUE",
			Text:    "The p99 of statements in pool {{ $labels.pool }} of {{ $labels.job }} has been above " + p.P99.String() + ".",
			Board:   OverviewUID, Panel: panelLatency,
		},
		{
			Name: "LifeguardRefusing", Title: "Refusals", Format: "humanizePercentage", UID: "lifeguard-refusing", Severity: "critical", Section: "refusals",
			Value:     refused + " / (" + admitted + " + " + refused + ") and " + refused + " > 0",
			Threshold: p.RefusedShare, For: hold(2 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: statements are refused",
			Text:    "VALUE of those who asked pool {{ $labels.pool }} of {{ $labels.job }} for admission were refused.",
			Board:   OverviewUID, Panel: panelRefusals,
		},
		{
			Name: "LifeguardPoolExhausted", Title: "Pool exhausted", UID: "lifeguard-pool-exhausted", Severity: "critical", Section: "pool-exhausted",
			Value:     slots + " and sum by (job, instance, pool) (lifeguard_pool_queue_depth) > 0",
			Threshold: 0.99, For: hold(2 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: every slot is in use and goroutines wait",
			Text:    "In {{ $labels.instance }} all slots of pool {{ $labels.pool }} have been in use at every look, with somebody waiting.",
			Board:   AdmissionUID, Panel: panelSlots,
		},
		{
			Name: "LifeguardErrors", Title: "Error ratio", Format: "humanizePercentage", UID: "lifeguard-errors", Severity: "critical", Section: "error-ratio",
			Value:     rate("job, pool", statements+"{"+failed+"}") + " / " + all + enough,
			Threshold: p.ErrorShare, For: hold(5 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: statements fail",
			Text:    "VALUE of the statements of pool {{ $labels.pool }} of {{ $labels.job }} ended in an error or in their deadline.",
			Board:   OverviewUID, Panel: panelErrors,
		},
		{
			Name: "LifeguardCacheCollapsed", Title: "Cache collapsed", Format: "humanizePercentage", UID: "lifeguard-cache-collapsed",
			Severity: "warning", Section: "cache-collapsed",
			Value:     answered(p.Window) + " / (" + answered(p.CachePast) + " >= " + number(p.CacheShare) + ") and " + asked("job, pool", "", promDuration(p.Window)) + " > " + number(p.MinRate),
			Below:     true,
			Threshold: p.CacheLeft, For: hold(10 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: the cache answers VALUE of what it did",
			Text: "In pool {{ $labels.pool }} of {{ $labels.job }} the share of reads that memory answers has fallen to VALUE of its mean over " +
				promDuration(p.CachePast) + "; the database gets the rest.",
			Board: CacheUID, Panel: panelSpared,
		},
		{
			Name: "LifeguardCacheUnsettled", Title: "Unsettled commits", Format: "humanize", UID: "lifeguard-cache-unsettled",
			Severity: "warning", Section: "unsettled-commits",
			Value:     "max by (job, instance, pool) (lifeguard_cache_unsettled_commits)",
			Threshold: 0, For: hold(5 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: the outcome of VALUE commits is not known",
			Text: "In {{ $labels.instance }} connections of pool {{ $labels.pool }} were lost during a commit, and the server has not said what " +
				"became of it. Reads of what was written go to the database.",
			Board: CacheUID, Panel: panelUnsettled,
		},
		{
			Name: "LifeguardCacheUnconfirmed", Title: "Cache unconfirmed", Format: "humanize", UID: "lifeguard-cache-unconfirmed",
			Severity: "warning", Section: "cache-unconfirmed",
			Value: "max by (job, instance, pool) (lifeguard_cdc_confirmed_age_seconds) / max by (job, instance, pool) (lifeguard_cdc_bound_seconds)" +
				` unless max by (job, instance, pool) (lifeguard_cdc_state{state="idle"}) == 1`,
			Threshold: 1, For: hold(5 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: the cache does not hear of others' writes in time",
			Text: "In {{ $labels.instance }} the latest confirmation of pool {{ $labels.pool }} is VALUE times as old as lifeguard_cache_bound allows; " +
				"every read goes to the database.",
			Board: CacheUID, Panel: panelConfirmed,
		},
		{
			Name: "LifeguardRedisAway", Title: "Redis tier away", Format: "humanizePercentage", UID: "lifeguard-redis-away",
			Severity: "warning", Section: "redis-tier-away",
			Value: rate("job, instance, pool", `lifeguard_redis_lookups_total{result=~"error|unconfirmed"}`) + " / " + lookups + " and " + lookups +
				" > " + number(p.MinRate),
			Threshold: 0.5, For: hold(5 * time.Minute), NoData: stayNormal, Failed: keepLast,
			Summary: "{{ $labels.pool }}: results are not shared through Redis",
			Text: "In {{ $labels.instance }} VALUE of the look-ups of pool {{ $labels.pool }} in Redis bring nothing, since it does not answer or it is not " +
				"known what others write; those queries go to the database.",
			Board: CacheUID, Panel: panelLookups,
		},
		{
			Name: "LifeguardGone", Title: "Scrape gone", UID: "lifeguard-gone", Severity: "critical", Section: "scrape-gone",
			Value: "up{job=" + strconv.Quote(p.Job) + "}", Below: true, Absent: "absent(up{job=" + strconv.Quote(p.Job) + "})",
			Threshold: 1, For: hold(time.Minute), NoData: alerting, Failed: asError,
			Summary: "No metrics from {{ $labels.job }} {{ $labels.instance }}",
			Text:    "Prometheus cannot scrape it, or does not know of it; no other alert can fire while this one does.",
			Board:   OverviewUID, Panel: panelThroughput,
		},
	}
}

// labels are what each alert carries besides those of its series; the notification
// policy goes by component.
func (a *Alert) labels() map[string]string {
	return map[string]string{"component": component, "severity": a.Severity}
}

const component = "lifeguard"

// annotations are the alert's texts; value is the template expression for its value.
func (a *Alert) annotations(p Params, value string) map[string]string {
	value = "{{ " + value + " | " + a.Format + " }}"
	return map[string]string{
		"summary":     strings.ReplaceAll(a.Summary, valueMark, value),
		"description": strings.ReplaceAll(a.Text, valueMark, value),
		"runbook_url": p.Docs + "#" + a.Section,
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// promDuration writes a duration as Prometheus and Grafana read it: whole, in the
// largest unit that divides it.
func promDuration(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d%u.of == 0 {
			return strconv.FormatInt(int64(d/u.of), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
