package lifeguard

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeguard-go/lifeguard/internal/cdc"
)

// cdcMetrics are those of lifeguard_cache=cdc. They are described in other modes, too, see
// cacheMetrics.
type cdcMetrics struct {
	states, leads, announced, bound, confirmed, lag, unsettled *prometheus.Desc
	commits, relations, schema, restarts, refused              *prometheus.Desc
	roles, relayed, relayErrors, relayPending                  *prometheus.Desc
}

func newCDCMetrics(desc func(name, help string, variable ...string) *prometheus.Desc) *cdcMetrics {
	return &cdcMetrics{
		states:    desc("cdc_state", "1 for the state in which the cache hears of others' writes: streaming; settling, where it waits for what is not visible yet; starting; idle, where nobody reads, so nothing is confirmed; down. Only in streaming it serves anything.", "state"),
		leads:     desc("cdc_leader", "1 if this process beats for all that share the database."),
		roles:     desc("cdc_role", "1 for the way by which changes are heard of: direct, through a replication slot; leader, so, and they are written to lifeguard_redis for others; follower, from there. All 0 without a stream.", "role"),
		announced: desc("cdc_ddl_announced", "1 if an event trigger tells of DDL; else the catalog is looked at every lifeguard_cdc_poll."),
		bound:     desc("cdc_bound_seconds", "lifeguard_cache_bound: the age of others' writes above which nothing is served."),
		confirmed: desc("cdc_confirmed_age_seconds", "So long ago everything that was visible is known to have been heard of; infinite if that is not known."),
		lag:       desc("cdc_lag_bytes", "Log of the server that was written and not heard yet."),
		unsettled: desc("cdc_unsettled_transactions", "Transactions that were heard of and are not known to be visible yet."),
		commits:   desc("cdc_commits_total", "Commits that were heard of, this process's own among them."),
		relations: desc("cdc_relations_total", "Tables changed by these commits, each counted once for a commit."),
		schema:    desc("cdc_schema_changes_total", "Changes of the catalog that were heard of or seen; each empties the cache."),
		restarts:  desc("cdc_restarts_total", "Streams that ended, by reason; each empties the cache.", "reason"),
		refused:   desc("cdc_refused_fills_total", "Results that were not kept, since they were read without a commit that had been heard of."),

		relayed:      desc("cdc_relay_entries_total", "With lifeguard_redis: entries that were written there by the leader, or heard there by a follower. A leader writes two a second at least."),
		relayErrors:  desc("cdc_relay_errors_total", "With lifeguard_redis: commands of the relay that failed. They are tried again."),
		relayPending: desc("cdc_relay_pending_bytes", "With lifeguard_redis: changes that the leader has heard of and not written there yet."),
	}
}

func (m *cdcMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.states, m.leads, m.announced, m.bound, m.confirmed, m.lag, m.unsettled,
		m.commits, m.relations, m.schema, m.restarts, m.refused,
		m.roles, m.relayed, m.relayErrors, m.relayPending,
	} {
		ch <- d
	}
}

func (m *cdcMetrics) collect(st *CDCStats, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	if st == nil {
		return
	}
	one := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	for _, state := range cdcStates {
		gauge(m.states, one(st.State == state), state)
	}
	gauge(m.leads, one(st.Leads))
	gauge(m.announced, one(st.Announced))
	for _, role := range cdc.Roles() {
		gauge(m.roles, one(st.Role == string(role)), string(role))
	}
	counter(m.relayed, float64(st.Relayed))
	counter(m.relayErrors, float64(st.RelayErrors))
	gauge(m.relayPending, float64(st.RelayPending))
	gauge(m.bound, st.Bound.Seconds())
	confirmed := math.Inf(1)
	if st.Confirmed >= 0 {
		confirmed = st.Confirmed.Seconds()
	}
	gauge(m.confirmed, confirmed)
	gauge(m.lag, float64(st.Lag))
	gauge(m.unsettled, float64(st.Unsettled))
	counter(m.commits, float64(st.Commits))
	counter(m.relations, float64(st.Relations))
	counter(m.schema, float64(st.SchemaChanges))
	for reason, n := range st.Restarts {
		counter(m.restarts, float64(n), reason)
	}
	counter(m.refused, float64(st.Refused))
}
