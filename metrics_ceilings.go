package lifeguard

import "github.com/prometheus/client_golang/prometheus"

// ceilingMetrics are the series of what lowers the limit: lifeguard_limit=auto and
// lifeguard_fleet_budget. A pool that has neither shows none of them.
type ceilingMetrics struct {
	autoLimit, autoSlowdown, autoFingerprints, autoWindows, autoProbes, autoStalls    *prometheus.Desc
	fleetBudget, fleetShare, fleetInstances, fleetOthers, fleetLooks, fleetServerFull *prometheus.Desc
}

func newCeilingMetrics(desc func(name, help string, variable ...string) *prometheus.Desc) ceilingMetrics {
	return ceilingMetrics{
		autoLimit:        desc("auto_limit", "Limit that the adaptive limit asks for; the one in force may be lower."),
		autoSlowdown:     desc("auto_slowdown_ratio", "How many times longer statements take than each takes alone, in the latest window; 0 before the first."),
		autoFingerprints: desc("auto_fingerprints", "Fingerprints whose times the adaptive limit keeps."),
		autoWindows:      desc("auto_windows_total", "Windows of measurement, by whether they were judged, or unused because the load did not need the limit.", "use"),
		autoProbes:       desc("auto_probes_total", "Times that the adaptive limit was lowered to measure statements alone."),
		autoStalls:       desc("auto_stalls_total", "Times that the adaptive limit was raised because no answer came."),

		fleetBudget:     desc("fleet_budget_connections", "Physical connections that all instances share."),
		fleetShare:      desc("fleet_share_connections", "Physical connections that this instance may have of them."),
		fleetInstances:  desc("fleet_instances", "Instances at the latest look, with this one; 0 before the first."),
		fleetOthers:     desc("fleet_other_connections", "Physical connections of the other instances, at the latest look."),
		fleetLooks:      desc("fleet_looks_total", "Looks at the other instances, by outcome.", "outcome"),
		fleetServerFull: desc("fleet_server_full_total", "Times that the share was halved because the server had no room (SQLSTATE 53300)."),
	}
}

func (m *ceilingMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.autoLimit, m.autoSlowdown, m.autoFingerprints, m.autoWindows, m.autoProbes, m.autoStalls,
		m.fleetBudget, m.fleetShare, m.fleetInstances, m.fleetOthers, m.fleetLooks, m.fleetServerFull,
	} {
		ch <- d
	}
}

// collect is given what Collect uses to make a sample.
func (m *ceilingMetrics) collect(st *Stats, gauge, counter func(d *prometheus.Desc, v float64, labels ...string)) {
	if auto := st.Auto; auto.Limit > 0 {
		gauge(m.autoLimit, float64(auto.Limit))
		gauge(m.autoSlowdown, auto.Slowdown)
		gauge(m.autoFingerprints, float64(auto.Fingerprints))
		counter(m.autoWindows, float64(auto.Windows), "judged")
		counter(m.autoWindows, float64(auto.Unused), "unused")
		counter(m.autoProbes, float64(auto.Probes))
		counter(m.autoStalls, float64(auto.Stalls))
	}
	if fleet := st.Fleet; fleet.Budget > 0 {
		gauge(m.fleetBudget, float64(fleet.Budget))
		gauge(m.fleetShare, float64(fleet.Share))
		gauge(m.fleetInstances, float64(fleet.Instances))
		gauge(m.fleetOthers, float64(fleet.Others))
		counter(m.fleetLooks, float64(fleet.Looks), "ok")
		counter(m.fleetLooks, float64(fleet.Failures), "error")
		counter(m.fleetServerFull, float64(fleet.Refusals))
	}
}
