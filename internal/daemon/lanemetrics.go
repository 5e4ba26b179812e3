package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lanes are the numbers about who waits for what.
type lanes struct {
	waits *prometheus.HistogramVec
	out   *prometheus.GaugeVec
	hands *prometheus.GaugeVec
	hosts *prometheus.GaugeVec
	pace  prometheus.Gauge
}

func newLanes(reg prometheus.Registerer) lanes {
	l := lanes{
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "crossfade_lane_wait_seconds", Help: "How long nudges of tasks waited for a hand since they were sent, by lane.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // 1 ms to 33 s.
		}, []string{"lane"}),
		out: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crossfade_tasks_out", Help: "Tasks sent to workers and not settled, by lane; of the process that conducts.",
		}, []string{"lane"}),
		hands: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crossfade_worker_hands", Help: "Nudges that the workers heard of in the last seconds can work on at once, by queue; of the process that conducts.",
		}, []string{"queue"}),
		hosts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crossfade_hosts_held", Help: "Hosts that are throttled, or whose breaker is open; of the process that conducts.",
		}, []string{"why"}),
		pace: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crossfade_pace_ratio", Help: "Share of full speed that 503 answers leave to everything; of the process that conducts.",
		}),
	}
	reg.MustRegister(l.waits, l.out, l.hands, l.hosts, l.pace)
	l.pace.Set(1) // Who never conducted knows of nothing that is slow.
	return l
}

func lane(urgent bool) string {
	if urgent {
		return "urgent"
	}
	return "bulk"
}

// Waited takes in how long a nudge waited for a hand.
func (m *Metrics) Waited(urgent bool, d time.Duration) {
	m.lanes.waits.WithLabelValues(lane(urgent)).Observe(d.Seconds())
}

// Conducting is how things stand with a process that conducts.
type Conducting struct {
	Leads        bool    // it conducts
	Urgent, Bulk int     // tasks out, by lane
	Hands        [3]int  // of all workers that were heard of: for plans, tasks and checks
	Slowed, Open int     // hosts that are throttled, and with an open breaker
	Pace         float64 // share of full speed
}

// Conducting takes in how things stand.
func (m *Metrics) Conducting(c Conducting) {
	m.promises.leads.Set(oneIf(c.Leads))
	m.lanes.out.WithLabelValues(lane(true)).Set(float64(c.Urgent))
	m.lanes.out.WithLabelValues(lane(false)).Set(float64(c.Bulk))
	for i, queue := range []string{"plans", "tasks", "checks"} {
		m.lanes.hands.WithLabelValues(queue).Set(float64(c.Hands[i]))
	}
	m.lanes.hosts.WithLabelValues("throttled").Set(float64(c.Slowed))
	m.lanes.hosts.WithLabelValues("breaker").Set(float64(c.Open))
	m.lanes.pace.Set(c.Pace)
}
