package daemon

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Drift says how often rotations that have ended are checked for drift, and how
// fast.
type Drift struct {
	// Every is how long after its end, and after the start of its last check, a
	// rotation is checked again, 1h to 8760h. It holds for rotations that are
	// created with this setting and say nothing of it themselves. Default none:
	// rotations are checked when someone asks.
	Every time.Duration `yaml:"every"`
	// For is how long after its end a rotation is checked, up to 8760h. Only with
	// every, and needed with it.
	For time.Duration `yaml:"for"`
	// MaxRate is how many targets a second this process reads for checks, 0.1 to
	// 1000. Default 50: 100,000 targets take half an hour, and rotations feel
	// little of it.
	MaxRate float64 `yaml:"max_rate"`
}

// Policy returns how often rotations are checked that say nothing of it.
func (d Drift) Policy() rollover.DriftPolicy { return rollover.DriftPolicy{Every: d.Every, For: d.For} }

func (k *checker) drift(d Drift) {
	if d.MaxRate < 0.1 || d.MaxRate > 1000 {
		k.fail("drift.max_rate", "want 0.1 to 1000 targets a second")
	}
	switch {
	case d.Every == 0 && d.For != 0:
		k.fail("drift.for", "is how long drift.every goes on, and that is not set")
	case d.Every == 0:
	case d.Every < rollover.MinCheckEvery || d.Every > rollover.MaxCheckFor:
		k.fail("drift.every", "want 1h to 8760h")
	case d.For < d.Every || d.For > rollover.MaxCheckFor:
		k.fail("drift.for", "want at least drift.every, and at most 8760h")
	}
}

// NewDrifts returns gauges of what checks found on the targets of all rotations
// together, as last seen:
//
//	rotation_drifts{kind,drift}     how often a kind of drift stands
//	rotation_checks_running{kind}   checks for drift that are under way
//
// kind is that of the credentials. Every process shows the same numbers, so take
// the greatest and not the sum.
func NewDrifts(read func() []Standing) prometheus.Collector {
	return &driftGauges{
		read:    read,
		drifts:  prometheus.NewDesc("rotation_drifts", "Drifts as last seen by kind.", []string{"kind", "drift"}, nil),
		running: prometheus.NewDesc("rotation_checks_running", "Checks for drift under way.", []string{"kind"}, nil),
	}
}

type driftGauges struct {
	read            func() []Standing
	drifts, running *prometheus.Desc
}

// Describe sends what there is to measure.
func (g *driftGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.drifts; ch <- g.running }

// Collect sends the sums of now. A kind that was found nowhere is sent as 0, so
// that an alert on it ends.
func (g *driftGauges) Collect(ch chan<- prometheus.Metric) {
	sums, running := map[string]map[rollover.DriftKind]int{}, map[string]int{}
	for _, s := range g.read() {
		if sums[s.Kind] == nil {
			sums[s.Kind] = map[rollover.DriftKind]int{}
		}
		for k, n := range s.Counts.Drift.Kinds {
			sums[s.Kind][k] += n
		}
		if s.Checking {
			running[s.Kind]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(sums)) {
		for _, d := range rollover.DriftKinds() {
			ch <- prometheus.MustNewConstMetric(g.drifts, prometheus.GaugeValue, float64(sums[kind][d]), kind, string(d))
		}
		ch <- prometheus.MustNewConstMetric(g.running, prometheus.GaugeValue, float64(running[kind]), kind)
	}
}
