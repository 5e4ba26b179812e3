package conductor_test

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// A check that cannot be asked opens no wave, and the rotation is paused until a
// person says otherwise.
func TestConductor_ACheckThatIsNotThereStopsAfterTheFirstWave(t *testing.T) {
	h := newHouse(t, 4)
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", byDefault, func(s *rollover.Spec) {
		s.Strategy.Gates = []rollover.Gate{{Kind: rollover.CheckGate, Check: "gone"}}
	})
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	v := h.until("r1", "paused", state(rollover.StatePaused))
	if n := len(h.cloud.Journal()); n != 1 || v.Rotation.Gate.Result != rollover.GateInconclusive {
		t.Errorf("%d targets were written to, gate %+v; want 1, and an inconclusive gate", n, v.Rotation.Gate)
	}
}

// A manual gate is waited for after each wave, and after the last one too.
func TestConductor_AManualGateIsWaitedFor(t *testing.T) {
	h := newHouse(t, 3)
	h.conduct("c1")
	h.plan()
	h.rotate()
	h.create("r1", byDefault, func(s *rollover.Spec) {
		s.Strategy.Start, s.Strategy.Gates = rollover.FullStart, []rollover.Gate{{Kind: rollover.ManualGate}}
	})
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	for i, want := range []int{1, 3} {
		v := h.until("r1", "at the gate", func(v mirror.View) bool { return v.Rotation.Gate.Wave == i+1 })
		if n := len(h.cloud.Journal()); n != want || v.Rotation.Phase == rollover.PhaseOverlap {
			t.Errorf("at gate %d: %d targets were written to in phase %s, want %d before the overlap", i+1, n, v.Rotation.Phase, want)
		}
		for { // The conductor may save at the same time.
			r, err := h.broker.Rotation(t.Context(), "r1")
			if err != nil {
				t.Fatal(err)
			}
			next, err := r.Decide(rollover.GateAnswer{Wave: i + 1, Result: rollover.GatePass, By: rollover.ByCaller}, h.clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err = h.broker.SaveRotation(t.Context(), next); err == nil {
				break
			}
		}
	}
	h.until("r1", "in the overlap", phase(rollover.PhaseOverlap))
}
