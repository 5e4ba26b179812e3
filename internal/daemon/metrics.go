package daemon

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Metrics are the numbers that a process keeps of its work. No tenant, host or
// rotation is a label: their number has no bound.
type Metrics struct {
	steps *prometheus.HistogramVec
	calls *prometheus.HistogramVec
	lanes lanes
	gone  prometheus.Counter
	audit auditing

	promises promises
	lookups  *prometheus.CounterVec
	spans    *prometheus.CounterVec
}

// NewMetrics returns metrics registered with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	// From 5 ms, a step that only looks on a near host, to 80 s, beyond the
	// minute that the engine gives a step.
	buckets := prometheus.ExponentialBuckets(0.005, 2, 15)
	m := &Metrics{
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rotation_step_seconds", Help: "How long steps of tasks took, by what came of them.", Buckets: buckets,
		}, []string{"kind", "step", "result"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "target_call_seconds", Help: "How long calls to other people's servers took; status 0: no answer.", Buckets: buckets,
		}, []string{"op", "status"}),
	}
	m.gone = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "crossfade_rotations_deleted_total", Help: "Ended rotations that this process deleted, as the retention says.",
	})
	reg.MustRegister(m.steps, m.calls, m.gone)
	m.lanes, m.audit = newLanes(reg), newAuditing(reg)
	m.lookups, m.promises = newLookups(reg), newPromises(reg)
	m.spans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crossfade_trace_spans_total", Help: "Spans that ended and are to be sent, that were sent, and that could not be sent.",
	}, []string{"result"})
	for _, result := range []string{"ended", "sent", "failed"} {
		m.spans.WithLabelValues(result)
	}
	reg.MustRegister(m.spans)
	return m
}

// Step takes in one step of a task; it fits [rollover.Config].
func (m *Metrics) Step(k rollover.Task, s rollover.Step, took time.Duration, err error) {
	m.promises.guard(err)
	result := "done"
	var e *rollover.StepError
	switch {
	case errors.As(err, &e) && e.Outcome != rollover.Open:
		result = string(e.Outcome)
	case e != nil && e.Throttle.Waits():
		result = "throttled"
	case err != nil:
		result = "again"
	}
	m.steps.WithLabelValues(k.Item.Target.Kind, string(s), result).Observe(took.Seconds())
}

// Deleted takes in that n rotations were deleted.
func (m *Metrics) Deleted(n int) { m.gone.Add(float64(n)) }

// Call takes in one call of a driver. The host is left out on purpose.
func (m *Metrics) Call(_, op string, status int, took time.Duration) {
	m.calls.WithLabelValues(op, strconv.Itoa(status)).Observe(took.Seconds())
}
