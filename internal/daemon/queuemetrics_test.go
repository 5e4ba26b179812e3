package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// copied is a copy that took in as much.
type copied struct {
	folded uint64
	unread int
}

func (c copied) Folded() uint64 { return c.folded }
func (c copied) Unread() int    { return c.unread }

func TestQueues_SayWhatTheBrokerHolds(t *testing.T) {
	asked := 0
	c := daemon.NewQueues(func(context.Context) (jet.Gauges, error) {
		asked++
		return jet.Gauges{
			Streams: map[string]jet.StreamGauge{
				"STATE": {Usage: jet.Usage{Bytes: 70, Max: 100}, Messages: 7, Last: 50},
				"WORK":  {Usage: jet.Usage{Bytes: 1}, Messages: 2, Last: 9},
			},
			Queues: map[string]jet.QueueGauge{"tasks": {Waiting: 5, InHand: 3, Redelivered: 1}},
		}, nil
	}, copied{44, 2})
	const want = `# HELP crossfade_broker_up 1 if the broker answers this process.
# TYPE crossfade_broker_up gauge
crossfade_broker_up 1
# HELP crossfade_mirror_behind_changes Changes of states that this process has not taken in yet.
# TYPE crossfade_mirror_behind_changes gauge
crossfade_mirror_behind_changes 6
# HELP crossfade_queue_in_hand Nudges that workers have in hand, by queue.
# TYPE crossfade_queue_in_hand gauge
crossfade_queue_in_hand{queue="tasks"} 3
# HELP crossfade_queue_redelivered Nudges in hand that another worker had before, by queue.
# TYPE crossfade_queue_redelivered gauge
crossfade_queue_redelivered{queue="tasks"} 1
# HELP crossfade_queue_waiting Nudges that no worker has, by queue.
# TYPE crossfade_queue_waiting gauge
crossfade_queue_waiting{queue="tasks"} 5
# HELP crossfade_rotations_unread Rotations that are not listed because this process cannot read their plans.
# TYPE crossfade_rotations_unread gauge
crossfade_rotations_unread 2
# HELP crossfade_stream_bytes What a stream holds, in bytes.
# TYPE crossfade_stream_bytes gauge
crossfade_stream_bytes{stream="STATE"} 70
crossfade_stream_bytes{stream="WORK"} 1
# HELP crossfade_stream_max_bytes What a stream may hold, in bytes; it is not there where nothing bounds it.
# TYPE crossfade_stream_max_bytes gauge
crossfade_stream_max_bytes{stream="STATE"} 100
# HELP crossfade_stream_messages Messages that a stream holds.
# TYPE crossfade_stream_messages gauge
crossfade_stream_messages{stream="STATE"} 7
crossfade_stream_messages{stream="WORK"} 2
`
	for range 3 {
		if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("the broker was asked %d times for scrapes of one instant, want once", asked)
	}
}

func TestQueues_SayThatTheBrokerIsAway(t *testing.T) {
	c := daemon.NewQueues(func(ctx context.Context) (jet.Gauges, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the question has no deadline")
		}
		return jet.Gauges{}, errors.New("away")
	}, copied{44, 2})
	const want = "# HELP crossfade_broker_up 1 if the broker answers this process.\n# TYPE crossfade_broker_up gauge\ncrossfade_broker_up 0\n"
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestMetrics_CountWhatIsKeptBack(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := daemon.NewMetrics(reg)
	k := rollover.Task{Item: rollover.Item{Target: rollover.Target{Kind: "acs-x509"}}}
	for _, err := range []error{
		nil, errors.New("other"),
		fmt.Errorf("x: %w", rollover.ErrTooEarly), rollover.RetryAfter(time.Minute, rollover.ErrNoEvidence),
		rollover.RetryAfter(time.Minute, rollover.ErrUnseen), rollover.Changed(rollover.NoReason, errors.New("it changed")),
	} {
		m.Step(k, rollover.StepRetire, time.Second, err)
	}
	m.TakenOver()
	m.Repeated(3, 2)
	m.Told(nil)
	m.Told(errors.New("full"))
	const want = `# HELP crossfade_audit_told_total Records that this process told the audit log, by whether they were stored; what is not told is not done.
# TYPE crossfade_audit_told_total counter
crossfade_audit_told_total{result="failed"} 1
crossfade_audit_told_total{result="stored"} 1
# HELP crossfade_nudges_repeated_total Nudges that had no effect in time and were sent again, by queue; of the process that conducts.
# TYPE crossfade_nudges_repeated_total counter
crossfade_nudges_repeated_total{queue="plans"} 2
crossfade_nudges_repeated_total{queue="tasks"} 3
# HELP crossfade_steps_guarded_total Steps that were not done, to keep a promise.
# TYPE crossfade_steps_guarded_total counter
crossfade_steps_guarded_total{promise="evidence"} 1
crossfade_steps_guarded_total{promise="frozen-plan"} 1
crossfade_steps_guarded_total{promise="not-before"} 1
crossfade_steps_guarded_total{promise="one-effect"} 1
# HELP crossfade_tasks_taken_over_total Nudges of tasks that this process took over from a worker that was lost.
# TYPE crossfade_tasks_taken_over_total counter
crossfade_tasks_taken_over_total 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "crossfade_audit_told_total", "crossfade_nudges_repeated_total",
		"crossfade_steps_guarded_total", "crossfade_tasks_taken_over_total"); err != nil {
		t.Error(err)
	}
}
