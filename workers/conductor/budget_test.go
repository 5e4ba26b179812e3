package conductor_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// refusing is a cloud in which chosen targets take nothing.
type refusing struct {
	*rollovertest.Cloud
	bad func(rollover.Target) bool
}

func (c refusing) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	if c.bad(w.Target) {
		return false, rollover.Permanent(rollover.Refused, errors.New("no"))
	}
	return c.Cloud.Stage(ctx, w)
}

// tolerates sets the tolerance of a rotation.
func tolerates(t rollover.Tolerance) func(*rollover.Spec) {
	return func(s *rollover.Spec) { s.Tolerance, s.MaxInFlight = t, 64 }
}

// Every second target fails. In strict mode it stops at failure N+1 and not one
// later, although conductors come and go; accepted, it goes on as far again.
func TestConductor_StrictToleranceStopsAtFailureNPlusOne(t *testing.T) {
	h := newHouse(t, 60)
	odd := map[rollover.Target]bool{}
	for i, target := range h.hosts {
		odd[target] = i%2 == 1
	}
	h.driver = refusing{h.cloud, func(t rollover.Target) bool { return odd[t] }}
	first := h.conduct("c1")
	h.plan()
	h.rotate()
	h.rotate()
	h.create("r1", tolerates(rollover.Tolerance{Mode: rollover.Strict, Limit: 10, Percent: true}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.conduct("c2")
	h.start("r1")
	h.written(2)
	first()
	v := h.until("r1", "stopped", state(rollover.StatePaused))
	if v.Counts.Broken != 7 || !v.Rotation.Exceeded || !strings.Contains(v.Rotation.Detail, "7 of 60 tasks failed, 6 are tolerated (10 %)") {
		t.Errorf("stopped with %d failures, %q; want 7 of 60", v.Counts.Broken, v.Rotation.Detail)
	}
	accept := func(r rollover.Rotation) (rollover.Rotation, error) {
		v, err := h.mirror.Rotation(t.Context(), "r1")
		if err != nil {
			return r, err
		}
		return r.Resume(true, v.Counts, h.clock.Now())
	}
	h.change("r1", accept)
	v = h.until("r1", "stopped again", func(v mirror.View) bool { return v.Rotation.State == rollover.StatePaused && v.Counts.Broken > 7 })
	if v.Counts.Broken != 14 {
		t.Errorf("accepted once, it stopped with %d failures, want 14", v.Counts.Broken)
	}
	h.ledger.Check(t, "r1")
}

// With everything failing, soft stops new starts but not at once, and never
// begins everything; 100 percent never stops.
func TestConductor_SoftToleranceAndNone(t *testing.T) {
	h := newHouse(t, 200)
	h.driver = refusing{h.cloud, func(rollover.Target) bool { return true }}
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", tolerates(rollover.Tolerance{Mode: rollover.Soft, Limit: 3}))
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "stopped", state(rollover.StatePaused))
	if v.Counts.Broken < 4 || v.Counts.OpenTasks == 0 {
		t.Errorf("soft stopped with %d failures and %d open, want at least 4, and some open", v.Counts.Broken, v.Counts.OpenTasks)
	}
	h.create("r2", tolerates(rollover.Tolerance{Mode: rollover.Strict, Limit: 100, Percent: true}))
	h.until("r2", "planned", state(rollover.StatePlanned))
	h.start("r2")
	if v := h.until("r2", "failed", state(rollover.StateFailed)); v.Counts.Broken != 200 {
		t.Errorf("100 %% ended with %d failures, want all 200", v.Counts.Broken)
	}
}
