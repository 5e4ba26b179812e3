package rollover_test

import (
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestRotation_PauseAndResume(t *testing.T) {
	now := rollovertest.Epoch
	pause := func(r rollover.Rotation) (rollover.Rotation, error) { return r.Pause("complaints", now) }
	resume := func(r rollover.Rotation) (rollover.Rotation, error) { return r.Resume(false, rollover.Counts{}, now) }
	cancel := func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", now) }
	start := func(r rollover.Rotation) (rollover.Rotation, error) { return r.Start("d", now) }
	retire := func(r rollover.Rotation) (rollover.Rotation, error) { return r.BeginRetire(now) }
	const none = rollover.RotationState("")
	for _, c := range []struct {
		name string
		do   func(rollover.Rotation) (rollover.Rotation, error)
		want map[rollover.RotationState]rollover.RotationState // none: refused
	}{
		{"pause", pause, map[rollover.RotationState]rollover.RotationState{
			rollover.StatePlanning: none, rollover.StatePlanned: none, rollover.StateRunning: rollover.StatePaused,
			rollover.StatePaused: rollover.StatePaused, rollover.StateCancelling: none, rollover.StateCancelled: none,
			rollover.StateSucceeded: none, rollover.StateFailed: none,
		}},
		{"resume", resume, map[rollover.RotationState]rollover.RotationState{
			rollover.StatePlanning: none, rollover.StatePlanned: none, rollover.StateRunning: rollover.StateRunning,
			rollover.StatePaused: rollover.StateRunning, rollover.StateCancelling: none, rollover.StateCancelled: none,
			rollover.StateSucceeded: none, rollover.StateFailed: none,
		}},
		{"cancel", cancel, map[rollover.RotationState]rollover.RotationState{rollover.StatePaused: rollover.StateCancelling}},
		{"start", start, map[rollover.RotationState]rollover.RotationState{rollover.StatePaused: none}},
		{"retire", retire, map[rollover.RotationState]rollover.RotationState{rollover.StatePaused: none}},
	} {
		for from, want := range c.want {
			r := rollover.Rotation{
				State: from, Phase: rollover.PhaseOverlap, Digest: "d", Rev: 7,
				Spec: rollover.Spec{ReplacesSubject: true, RetireNotBefore: now.Add(-rollover.Margin)},
			}
			got, err := c.do(r)
			switch {
			case want == none && (!errors.Is(err, rollover.ErrState) || got.State != from):
				t.Errorf("%s a rotation that is %s = %s, %v, want ErrState", c.name, from, got.State, err)
			case want != none && (err != nil || got.State != want || got.Phase != rollover.PhaseOverlap):
				t.Errorf("%s a rotation that is %s = %s/%s, %v, want %s in its phase", c.name, from, got.State, got.Phase, err, want)
			}
		}
	}
}

// A paused rotation orders no step, in whatever phase it is.
func TestRotation_PausedHoldsEveryTask(t *testing.T) {
	now := rollovertest.Epoch
	for _, p := range []rollover.RotationPhase{rollover.PhaseStage, rollover.PhaseVerify, rollover.PhaseOverlap, rollover.PhaseRetire} {
		r := rollover.Rotation{State: rollover.StatePaused, Phase: p, Spec: rollover.Spec{ReplacesSubject: true, RetireNotBefore: now.AddDate(0, 0, -1), MaxTries: 5}}
		for _, q := range []rollover.Phase{rollover.Planned, rollover.Staged, rollover.Verified, rollover.Activated} {
			k := rollover.Task{Progress: rollover.Progress{Phase: q}, Orders: r.Orders(rollover.Credential{})}
			if got := rollover.Next(k, now); got != rollover.StepWait {
				t.Errorf("Next of a %s task of a rotation paused in %s = %s, want wait", q, p, got)
			}
		}
	}
}
