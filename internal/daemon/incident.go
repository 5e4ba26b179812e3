package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Incident is how an incident's rotation stands, for the metrics.
type Incident struct {
	Compromised []rollover.Compromised
	State       rollover.RotationState
	rollover.Containment
}

// NewIncidents returns gauges of all incidents together:
//
//	crossfade_incident_uncontained_targets  that carry something compromised, or might
//	crossfade_incident_contain_seconds      what the latest incident took to be contained, or takes so far
//
// read returns the incidents, the latest first. One whose every compromised thing a
// later one names too is over: that one tells how it stands now. Cancelled ones do
// not count, since a person decided so. Every process shows the same numbers, so take
// the greatest and not the sum.
func NewIncidents(read func() []Incident) prometheus.Collector {
	return &incidentGauges{
		read:        read,
		uncontained: prometheus.NewDesc("crossfade_incident_uncontained_targets", "Targets that carry something compromised, or could not be read.", nil, nil),
		took:        prometheus.NewDesc("crossfade_incident_contain_seconds", "Time to contain the latest incident, so far if it is not contained.", nil, nil),
	}
}

type incidentGauges struct {
	read              func() []Incident
	uncontained, took *prometheus.Desc
}

// Describe sends what there is to measure.
func (g *incidentGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.uncontained; ch <- g.took }

// Collect sends how things stand now. Without incidents there is no time to send.
func (g *incidentGauges) Collect(ch chan<- prometheus.Metric) {
	left, seen := 0, map[rollover.Compromised]bool{}
	latest := time.Duration(-1)
	for _, i := range g.read() {
		if i.State == rollover.StateCancelled || i.State == rollover.StateCancelling {
			continue
		}
		if latest < 0 {
			latest = i.Elapsed
		}
		news := false
		for _, x := range i.Compromised {
			news = news || !seen[x]
			seen[x] = true
		}
		if news {
			left += i.All - i.Rid + i.Dark
		}
	}
	ch <- prometheus.MustNewConstMetric(g.uncontained, prometheus.GaugeValue, float64(left))
	if latest >= 0 {
		ch <- prometheus.MustNewConstMetric(g.took, prometheus.GaugeValue, latest.Seconds())
	}
}
