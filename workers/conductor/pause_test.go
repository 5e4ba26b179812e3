package conductor_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// written waits until the cloud has taken in n writes.
func (h *house) written(n int) {
	h.t.Helper()
	h.waits(time.Minute, "writes", func() bool { return len(h.cloud.Journal()) >= n })
}

// waits polls a condition that nobody tells.
func (h *house) waits(d time.Duration, what string, ok func() bool) {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(d)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("waited %s for %s", d, what)
		}
	}
}

func (h *house) start(id string) {
	h.t.Helper()
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) { return r.Start(r.Digest, h.clock.Now()) })
}

func (h *house) pause(id string) {
	h.t.Helper()
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) { return r.Pause("hold on", h.clock.Now()) })
}

func (h *house) resume(id string) {
	h.t.Helper()
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Resume(false, rollover.Counts{}, h.clock.Now())
	})
}

// Under load, the last write after a pause is at most a second later by the
// cloud's own journal. The queue drains, nothing comes after, and the rotation
// ends as it would have.
func TestConductor_PauseStopsNewStartsWithinASecond(t *testing.T) {
	const targets = 400
	h := newHouse(t, targets)
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.rotate()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.written(40)
	h.pause("r1")
	paused := h.clock.Now()
	h.waits(10*time.Second, "an empty queue", func() bool {
		out, err := h.broker.InFlight(t.Context(), jet.Tasks)
		return err == nil && len(out) == 0
	})
	drained := len(h.cloud.Journal())
	h.waits(10*time.Second, "two seconds to pass", func() bool { return h.clock.Now().Sub(paused) > 2*time.Second })
	journal := h.cloud.Journal()
	last := journal[len(journal)-1].At.Sub(paused)
	t.Logf("paused after %d writes; the last write came %s after the pause, with %d of %d made", 40, last, len(journal), targets)
	if last > time.Second || len(journal) != drained {
		t.Errorf("the last write came %s after the pause, %d after the queue was empty; want at most 1 s and none", last, len(journal)-drained)
	}
	if len(journal) == targets {
		t.Error("everything was written before the pause took hold: the test looked at nothing")
	}
	v, err := h.mirror.Rotation(t.Context(), "r1")
	if err != nil || v.Rotation.State != rollover.StatePaused || v.Rotation.Phase != rollover.PhaseStage {
		t.Errorf("the rotation is %s/%s, %v, want paused in its phase", v.Rotation.State, v.Rotation.Phase, err)
	}
	h.ledger.Check(t, "r1")

	h.resume("r1")
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.pause("r1")
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	begun := h.clock.Now()
	h.waits(10*time.Second, "some turns of the conductor", func() bool { return h.clock.Now().Sub(begun) > 300*time.Millisecond })
	if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Rotation.Phase != rollover.PhaseOverlap || v.Counts.Retired != 0 {
		t.Errorf("paused in the overlap, past the instant: %s, %d retired, %v; want it to stay", v.Rotation.Phase, v.Counts.Retired, err)
	}
	h.resume("r1")
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	if n := len(h.cloud.Journal()); n != 2*targets {
		t.Errorf("%d writes in all, want %d adds and as many deletes", n, targets)
	}
	h.ledger.Check(t, "r1")
}

func TestConductor_CancelsWhatIsPaused(t *testing.T) {
	h := newHouse(t, 30)
	h.conduct("c1")
	h.plan()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.pause("r1")
	h.rotate() // Takes the nudges that are out, and finds that nothing is to be done.
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	v := h.until("r1", "cancelled", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateCancelled && v.Counts.OpenTasks == 0
	})
	if v.Counts.Outcome(rollover.Cancelled) != 30 || len(h.cloud.Journal()) != 0 {
		t.Errorf("%d cancelled, %d writes, want 30 and none", v.Counts.Outcome(rollover.Cancelled), len(h.cloud.Journal()))
	}
}

// A retry that comes while the rotation is being cancelled may open tasks of one
// that is cancelled by then: they are cancelled too.
func TestConductor_CancelsWhatARetryOpenedTooLate(t *testing.T) {
	h := newHouse(t, 3)
	h.conduct("c1")
	h.plan()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.pause("r1")
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	h.rotate()
	h.until("r1", "cancelled", state(rollover.StateCancelled))
	k, err := h.broker.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: 1})
	if err != nil {
		t.Fatal(err)
	}
	k.Outcome, k.Reason = rollover.Open, rollover.NoReason
	k, err = h.broker.SaveTask(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	h.until("r1", "cancelled again", func(v mirror.View) bool { return v.Seq > k.Rev && v.Counts.OpenTasks == 0 })
	v := h.until("r1", "still cancelled", state(rollover.StateCancelled))
	if v.Counts.Outcome(rollover.Cancelled) != 3 || len(h.cloud.Journal()) != 0 {
		t.Errorf("%d cancelled, %d writes, want 3 and none", v.Counts.Outcome(rollover.Cancelled), len(h.cloud.Journal()))
	}
}
