package daemon

import "github.com/prometheus/client_golang/prometheus"

// Webhooks are the numbers about those who are told how rotations stand. Their names
// are labels: the configuration bounds their number.
type Webhooks struct {
	tries   *prometheus.CounterVec
	waiting prometheus.Gauge
}

// NewWebhooks returns metrics registered with reg, for webhooks and results of these
// names. All are there from the beginning, so that a rate of failures does not miss
// the first.
func NewWebhooks(reg prometheus.Registerer, hooks, results []string) *Webhooks {
	m := &Webhooks{
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_webhook_tries_total", Help: "Tries to tell a webhook an event, by what came of them; of the process that tells.",
		}, []string{"webhook", "result"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crossfade_webhook_events_waiting", Help: "Rotations with an event that has not arrived; of the process that tells.",
		}),
	}
	for _, h := range hooks {
		for _, r := range results {
			m.tries.WithLabelValues(h, r)
		}
	}
	reg.MustRegister(m.tries, m.waiting)
	return m
}

// Count takes in what came of a try.
func (m *Webhooks) Count(hook, result string) { m.tries.WithLabelValues(hook, result).Inc() }

// Waiting takes in of how many rotations an event waits.
func (m *Webhooks) Waiting(n int) { m.waiting.Set(float64(n)) }
