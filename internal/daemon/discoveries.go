package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Discovery is how one discovery of endpoints stands.
type Discovery struct {
	State rollover.RotationState
	Left  int // tenants that are still to be looked at
}

// NewDiscoveries returns gauges of all discoveries of endpoints together:
//
//	crossfade_discoveries{state}            how many are in a state
//	crossfade_discovery_tenants_waiting{}   tenants that are still to be looked at
//
// Every process shows the same numbers, so take the greatest and not the sum.
func NewDiscoveries(read func() []Discovery) prometheus.Collector {
	return &discoveryGauges{
		read:  read,
		count: prometheus.NewDesc("crossfade_discoveries", "Discoveries of endpoints by state.", []string{"state"}, nil),
		left:  prometheus.NewDesc("crossfade_discovery_tenants_waiting", "Tenants that discoveries under way have still to look at.", nil, nil),
	}
}

type discoveryGauges struct {
	read        func() []Discovery
	count, left *prometheus.Desc
}

// Describe sends what there is to measure.
func (g *discoveryGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.count; ch <- g.left }

// Collect sends the sums of now.
func (g *discoveryGauges) Collect(ch chan<- prometheus.Metric) {
	counts, left := map[rollover.RotationState]int{}, 0
	for _, d := range g.read() {
		counts[d.State]++
		left += d.Left
	}
	for state, label := range map[rollover.RotationState]string{
		rollover.StatePlanning: "running", rollover.StateSucceeded: "succeeded", rollover.StateFailed: "failed", rollover.StateCancelled: "cancelled",
	} {
		ch <- prometheus.MustNewConstMetric(g.count, prometheus.GaugeValue, float64(counts[state]), label)
	}
	ch <- prometheus.MustNewConstMetric(g.left, prometheus.GaugeValue, float64(left))
}
