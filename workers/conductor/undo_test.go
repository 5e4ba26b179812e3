package conductor_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// undo orders an undo.
func (h *house) undo(id string, scope rollover.UndoScope) {
	h.t.Helper()
	h.ledger.Undone = true
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.BeginUndo(scope, "wrong certificate", "", h.clock.Now())
	})
}

// overlap takes a rotation of n targets into its overlap.
func (h *house) overlap(id string, change ...func(*rollover.Spec)) {
	h.t.Helper()
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create(id, change...)
	h.until(id, "planned", state(rollover.StatePlanned))
	h.start(id)
	h.until(id, "in the overlap", phase(rollover.PhaseOverlap))
}

// asBefore checks that every target holds what it held at the beginning.
func (h *house) asBefore() {
	h.t.Helper()
	for target, o := range h.ledger.Before {
		if now := h.cloud.Standing(target); now.Digest("") != o.Digest("") {
			h.t.Errorf("%s holds %d credentials that are not those from before", target, len(now.Standing))
		}
	}
}

func TestConductor_UndoInTheOverlap(t *testing.T) {
	h := newHouse(t, 30)
	h.overlap("r1")
	h.undo("r1", rollover.UndoScope{Tasks: []int{3, 4}})
	v := h.until("r1", "running again", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateRunning && v.Counts.Outcome(rollover.Undone) == 2
	})
	if u := v.Counts.Undos[1]; u.Covered != 2 || u.Undone != 2 || v.Rotation.Phase != rollover.PhaseOverlap {
		t.Errorf("after the undo of two: %+v in %s", u, v.Rotation.Phase)
	}
	h.undo("r1", rollover.UndoScope{All: true})
	v = h.until("r1", "undone", state(rollover.StateUndone))
	if v.Counts.Outcome(rollover.Undone) != 30 || v.Rotation.Undo.EndedAt.IsZero() || v.Rotation.EndedAt.IsZero() {
		t.Errorf("%d undone, want 30: %+v", v.Counts.Outcome(rollover.Undone), v.Rotation)
	}
	h.asBefore()
	h.ledger.Check(t, "r1")
}

// Conductors come and go while a retired rotation is undone; it is paused and
// resumed on the way.
func TestConductor_UndoAfterRetirement(t *testing.T) {
	h := newHouse(t, 60)
	h.overlap("r1")
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	second := h.conduct("c2")
	h.undo("r1", rollover.UndoScope{All: true})
	h.until("r1", "being undone", func(v mirror.View) bool { return v.Counts.Undos[1].Covered > 0 })
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Pause("wait", h.clock.Now()) })
	v := h.until("r1", "paused", state(rollover.StatePaused))
	if v.Counts.Undos[1].Undone == 60 {
		t.Error("everything was undone before the pause: the test looks at nothing")
	}
	h.advance(time.Minute)
	second()
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Resume(false, rollover.Counts{}, h.clock.Now())
	})
	h.until("r1", "undone", state(rollover.StateUndone))
	h.asBefore()
	h.ledger.Check(t, "r1")
}

// stubborn is a cloud that puts nothing back where it is told so.
type stubborn struct {
	*rollovertest.Cloud
	bad func(rollover.Target) bool
}

func (c stubborn) Restore(ctx context.Context, w rollover.Work) error {
	if c.bad(w.Target) {
		return rollover.Permanent(rollover.Refused, errors.New("no"))
	}
	return c.Cloud.Restore(ctx, w)
}

func TestConductor_UndoBeyondTheToleranceIsPaused(t *testing.T) {
	h := newHouse(t, 30)
	h.driver = stubborn{h.cloud, func(rollover.Target) bool { return true }}
	h.overlap("r1", tolerates(rollover.Tolerance{Mode: rollover.Strict, Limit: 2}))
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "succeeded", state(rollover.StateSucceeded))
	h.undo("r1", rollover.UndoScope{All: true})
	v := h.until("r1", "stopped", state(rollover.StatePaused))
	if u := v.Counts.Undos[1]; u.Failed != 3 || !v.Rotation.Exceeded || !strings.Contains(v.Rotation.Detail, "undo: 3 of 30 tasks failed, 2 are tolerated") {
		t.Errorf("stopped with %+v: %q", u, v.Rotation.Detail)
	}
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	v = h.until("r1", "cancelled", state(rollover.StateCancelled))
	if v.Counts.OpenTasks != 0 || v.Counts.Outcome(rollover.Cancelled) != 27 {
		t.Errorf("%d open, %d cancelled, want 0 and 27", v.Counts.OpenTasks, v.Counts.Outcome(rollover.Cancelled))
	}
	h.ledger.Check(t, "r1")
}

// A rotation that was stopped by its tolerance is retried when the targets are
// mended, and one that has failed too.
func TestConductor_RetryAfterAToleranceStop(t *testing.T) {
	h := newHouse(t, 40)
	var broken atomic.Bool
	broken.Store(true)
	bad := map[rollover.Target]bool{}
	for i, target := range h.hosts {
		bad[target] = i%4 == 3
	}
	h.driver = refusing{h.cloud, func(t rollover.Target) bool { return broken.Load() && bad[t] }}
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", tolerates(rollover.Tolerance{Mode: rollover.Strict, Limit: 3}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.until("r1", "stopped", state(rollover.StatePaused))
	h.retry("r1")
	v := h.until("r1", "open again", func(v mirror.View) bool { return v.Counts.Outcome(rollover.Failed) == 0 })
	if b := v.Rotation.Budget(v.Counts); b.Failed != 0 || v.Rotation.State != rollover.StatePaused {
		t.Errorf("after the retry %d failed, %s; want none and paused", b.Failed, v.Rotation.State)
	}
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Resume(true, v.Counts, h.clock.Now())
	})
	h.until("r1", "stopped again", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StatePaused && v.Rotation.Exceeded && v.Counts.Broken == 4
	})
	broken.Store(false)
	h.retry("r1")
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Resume(true, rollover.Counts{}, h.clock.Now())
	})
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
	h.ledger.Check(t, "r1")
}

// openings is a queue that notes with how many openings tasks are sent.
type openings struct {
	*jet.Broker
	mu   sync.Mutex
	seen map[int]map[int]bool // by position in the plan
}

func (q *openings) NudgeTask(ctx context.Context, host string, n rollover.Nudge) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen[n.Ord] == nil {
		q.seen[n.Ord] = map[int]bool{}
	}
	q.seen[n.Ord][n.Opened] = true
	return q.Broker.NudgeTask(ctx, host, n)
}

func TestConductor_RetryTakesAFailedRotationBack(t *testing.T) {
	h := newHouse(t, 12)
	q := &openings{Broker: h.broker, seen: map[int]map[int]bool{}}
	h.queue = q
	var broken atomic.Bool
	broken.Store(true)
	h.driver = refusing{h.cloud, func(t rollover.Target) bool { return broken.Load() && t == h.hosts[5] }}
	h.overlap("r1", tolerates(rollover.Tolerance{Mode: rollover.Soft, Limit: 100, Percent: true}))
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "failed", state(rollover.StateFailed))
	broken.Store(false)
	h.retry("r1")
	v := h.until("r1", "succeeded", state(rollover.StateSucceeded))
	if v.Counts.Retired != 12 || v.Counts.Broken != 0 {
		t.Errorf("%d retired, %d broken, want 12 and 0", v.Counts.Retired, v.Counts.Broken)
	}
	h.ledger.Check(t, "r1")
	q.mu.Lock()
	defer q.mu.Unlock()
	twice := 0
	for ord, seen := range q.seen {
		if seen[0] || !seen[1] || seen[3] {
			t.Errorf("task %d was sent with the openings %v, want each to be said, and its first", ord, seen)
		}
		if seen[2] {
			twice++
		}
	}
	if twice != 1 {
		t.Errorf("%d tasks were sent as opened again, want the one that failed", twice)
	}
}

// retry opens every failed task again, as the service does.
func (h *house) retry(id string) {
	h.t.Helper()
	v, err := h.mirror.Rotation(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	ks, err := h.mirror.Tasks(h.t.Context(), id, 0, v.Rotation.Tasks)
	if err != nil {
		h.t.Fatal(err)
	}
	var batch []rollover.Task
	for _, k := range ks {
		if k.NotRetryable(false) == "" {
			batch = append(batch, k.Retry("", h.clock.Now()))
		}
	}
	saved, err := h.broker.SaveTasks(h.t.Context(), batch)
	if err != nil || len(saved) == 0 {
		h.t.Fatalf("opening %d tasks = %v", len(saved), err)
	}
	last := saved[len(saved)-1].Rev
	h.change(id, func(r rollover.Rotation) (rollover.Rotation, error) {
		return r.Retry(last, "", "mended", h.clock.Now())
	})
}

// A new rotation over what failed in an old one works on that alone.
func TestConductor_FailedOfAnOldOne(t *testing.T) {
	h := newHouse(t, 12)
	var broken atomic.Bool
	broken.Store(true)
	h.driver = refusing{h.cloud, func(t rollover.Target) bool { return broken.Load() && (t == h.hosts[5] || t == h.hosts[7]) }}
	h.overlap("r1", tolerates(rollover.Tolerance{Mode: rollover.Soft, Limit: 100, Percent: true}))
	h.advance(switchAt.Sub(h.clock.Now()) + 2*rollover.Margin)
	h.until("r1", "failed", state(rollover.StateFailed))
	broken.Store(false)
	h.create("r2", func(s *rollover.Spec) { s.FailedOf = "r1" })
	v := h.until("r2", "planned", state(rollover.StatePlanned))
	if v.Counts.Workable != 2 || v.Counts.Outcome(rollover.Skipped) != 10 {
		t.Errorf("%d to be worked on, %d skipped, want 2 and 10", v.Counts.Workable, v.Counts.Outcome(rollover.Skipped))
	}
	h.start("r2")
	h.until("r2", "succeeded", state(rollover.StateSucceeded))
	for _, target := range h.hosts {
		if _, ok := h.cloud.Standing(target).Find(h.ledger.Old.SHA256); ok {
			t.Errorf("the old credential still stands on %s", target)
		}
	}
}

// An undo waits for what a worker has in hand: nothing is taken back under it, and
// what it added is taken back too.
func TestConductor_UndoWaitsForWhatIsInHand(t *testing.T) {
	h := newHouse(t, 4)
	entered, release := make(chan struct{}, 8), make(chan struct{})
	h.cloud.Fault = &rollovertest.Faults{Break: func(_ int, call string) (rollovertest.Mode, bool) {
		if call == "add" {
			entered <- struct{}{}
			<-release
		}
		return 0, false
	}}
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	<-entered
	h.undo("r1", rollover.UndoScope{All: true})
	h.until("r1", "being undone", state(rollover.StateUndoing))
	turns := time.NewTicker(20 * time.Millisecond) // As the conductor's.
	defer turns.Stop()
	for range 15 {
		<-turns.C
		if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Undos[1].Covered != 0 {
			t.Fatalf("%+v, %v, while a worker has a task in hand", v.Counts.Undos[1], err)
		}
	}
	close(release)
	v := h.until("r1", "undone", state(rollover.StateUndone))
	if v.Counts.Outcome(rollover.Undone) != 4 {
		t.Errorf("%d undone, want all 4", v.Counts.Outcome(rollover.Undone))
	}
	h.asBefore()
	h.ledger.Check(t, "r1")
}
