package daemon

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Standing is what one rotation counts for in the gauges of [NewTasks].
type Standing struct {
	Kind   string // of its credentials
	State  rollover.RotationState
	Counts rollover.Counts
	AtRisk bool // its stage deadline is at risk or was missed, and it has not ended
	// Held says why it is paused: "person", "tolerance", "tenant_tolerance", "gate_failed"
	// or "gate_inconclusive"; empty if it is not.
	Held string
	// Checking says that a check for drift is under way.
	Checking bool
}

// NewTasks returns gauges of all rotations together, folded anew by each scrape
// from what read returns:
//
//	rotations{kind,state}            how many rotations are in a state
//	rotation_tasks{kind,phase}       open tasks by how far they have come
//	rotation_tasks_ended{kind,outcome}
//	rotation_tasks_retrying{kind}    open tasks whose last try failed
//	crossfade_rotations_deadline_at_risk{kind}
//	crossfade_rotations_held{kind,why}  paused, by why
//
// Every process shows the same numbers, so take the greatest and not the sum.
func NewTasks(read func() []Standing) prometheus.Collector {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &taskGauges{
		read:      read,
		rotations: gauge("rotations", "Rotations by state.", "kind", "state"),
		open:      gauge("rotation_tasks", "Open tasks by phase.", "kind", "phase"),
		ended:     gauge("rotation_tasks_ended", "Ended tasks by outcome.", "kind", "outcome"),
		retrying:  gauge("rotation_tasks_retrying", "Open tasks whose last try failed.", "kind"),
		held:      gauge("crossfade_rotations_held", "Rotations that are paused, by why.", "kind", "why"),
		atRisk:    gauge("crossfade_rotations_deadline_at_risk", "Rotations under way whose stage deadline is at risk or was missed.", "kind"),
	}
}

// HeldWhys lists why rotations are held.
func HeldWhys() []string {
	return []string{"person", "tolerance", "tenant_tolerance", "gate_failed", "gate_inconclusive"}
}

type taskGauges struct {
	read                             func() []Standing
	rotations, open, ended, retrying *prometheus.Desc
	atRisk, held                     *prometheus.Desc
}

// Describe sends what there is to measure.
func (g *taskGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.rotations, g.open, g.ended, g.retrying, g.atRisk, g.held} {
		ch <- d
	}
}

// Collect sends the sums of now.
func (g *taskGauges) Collect(ch chan<- prometheus.Metric) {
	sums := map[*prometheus.Desc]map[[2]string]int{g.rotations: {}, g.open: {}, g.ended: {}, g.retrying: {}, g.atRisk: {}, g.held: {}}
	for _, s := range g.read() {
		sums[g.rotations][[2]string{s.Kind, string(s.State)}]++
		sums[g.retrying][[2]string{s.Kind}] += s.Counts.Retrying
		sums[g.atRisk][[2]string{s.Kind}] += 0 // There from the first rotation on, so that an alert has something to look at.
		if s.AtRisk {
			sums[g.atRisk][[2]string{s.Kind}]++
		}
		for _, why := range HeldWhys() {
			sums[g.held][[2]string{s.Kind, why}] += 0 // As the one before.
		}
		if s.Held != "" {
			sums[g.held][[2]string{s.Kind, s.Held}]++
		}
		for p, n := range s.Counts.Phases {
			sums[g.open][[2]string{s.Kind, string(p)}] += n
		}
		for o, n := range s.Counts.Outcomes {
			sums[g.ended][[2]string{s.Kind, string(o)}] += n
		}
	}
	for d, values := range sums {
		for _, labels := range slices.SortedFunc(maps.Keys(values), compare) {
			l := labels[:]
			if d == g.retrying || d == g.atRisk {
				l = l[:1]
			}
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(values[labels]), l...)
		}
	}
}

func compare(a, b [2]string) int { return slices.Compare(a[:], b[:]) }
