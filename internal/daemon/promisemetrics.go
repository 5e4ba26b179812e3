package daemon

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// promises are the numbers about what is kept back, taken over and told.
type promises struct {
	guarded  *prometheus.CounterVec
	over     prometheus.Counter
	repeated *prometheus.CounterVec
	told     *prometheus.CounterVec
	planned  *prometheus.HistogramVec
	checks   *prometheus.CounterVec
	leads    prometheus.Gauge
}

// The promises that steps are stopped for.
const (
	notBefore  = "not-before"
	evidence   = "evidence"
	frozenPlan = "frozen-plan"
	oneEffect  = "one-effect"
)

func newPromises(reg prometheus.Registerer) promises {
	p := promises{
		guarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_steps_guarded_total", Help: "Steps that were not done, to keep a promise.",
		}, []string{"promise"}),
		over: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_tasks_taken_over_total", Help: "Nudges of tasks that this process took over from a worker that was lost.",
		}),
		repeated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_nudges_repeated_total", Help: "Nudges that had no effect in time and were sent again, by queue; of the process that conducts.",
		}, []string{"queue"}),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_audit_told_total", Help: "Records that this process told the audit log, by whether they were stored; what is not told is not done.",
		}, []string{"result"}),
		planned: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "crossfade_plan_seconds", Help: "How long tries of planning a tenant took, by what came of them.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 14), // 10 ms to 82 s.
		}, []string{"result"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_gate_answers_total", Help: "Answers of the configured checks of gates.",
		}, []string{"check", "result"}),
		leads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crossfade_conducting", Help: "1 if this process conducts.",
		}),
	}
	for _, name := range []string{notBefore, evidence, frozenPlan, oneEffect} {
		p.guarded.WithLabelValues(name)
	}
	for _, q := range []string{"tasks", "plans"} {
		p.repeated.WithLabelValues(q)
	}
	for _, r := range []string{"stored", "failed"} {
		p.told.WithLabelValues(r)
	}
	reg.MustRegister(p.guarded, p.over, p.repeated, p.told, p.planned, p.checks, p.leads)
	return p
}

// guard counts a step that a promise stopped.
func (p promises) guard(err error) {
	var s *rollover.StepError
	switch {
	case err == nil:
	case errors.Is(err, rollover.ErrTooEarly):
		p.guarded.WithLabelValues(notBefore).Inc()
	case errors.Is(err, rollover.ErrNoEvidence):
		p.guarded.WithLabelValues(evidence).Inc()
	case errors.Is(err, rollover.ErrUnseen):
		p.guarded.WithLabelValues(oneEffect).Inc()
	case errors.As(err, &s) && s.Outcome == rollover.Conflict:
		p.guarded.WithLabelValues(frozenPlan).Inc()
	}
}

// TakenOver takes in that a nudge came that another worker had and was lost with.
func (m *Metrics) TakenOver() { m.promises.over.Inc() }

// Repeated takes in how many nudges were sent again.
func (m *Metrics) Repeated(tasks, plans int) {
	m.promises.repeated.WithLabelValues("tasks").Add(float64(tasks))
	m.promises.repeated.WithLabelValues("plans").Add(float64(plans))
}

// Told takes in that a record was told to the audit log, and whether it was stored.
func (m *Metrics) Told(err error) {
	result := "stored"
	if err != nil {
		result = "failed"
	}
	m.promises.told.WithLabelValues(result).Inc()
}

// Planned takes in one try of planning a tenant.
func (m *Metrics) Planned(took time.Duration, result string) {
	m.promises.planned.WithLabelValues(result).Observe(took.Seconds())
}

// Checked takes in what a check of a gate answered.
func (m *Metrics) Checked(check, result string) {
	m.promises.checks.WithLabelValues(check, result).Inc()
}
