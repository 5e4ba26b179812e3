package daemon

import "github.com/prometheus/client_golang/prometheus"

// newLookups counts the questions to stores of secrets.
func newLookups(reg prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crossfade_secret_lookups_total", Help: "Questions to stores of secrets, by scheme and what came of them.",
	}, []string{"scheme", "result"})
	// There from the beginning, so that a rate of failures does not miss the first.
	for _, scheme := range []string{"azkv", "vault"} {
		for _, result := range []string{"found", "missing", "forbidden", "unreachable"} {
			c.WithLabelValues(scheme, result)
		}
	}
	reg.MustRegister(c)
	return c
}

// SecretLooked takes in one question to a store of secrets.
func (m *Metrics) SecretLooked(scheme, result string) {
	m.lookups.WithLabelValues(scheme, result).Inc()
}
