package rollover_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// endedRotation is a rotation of n tasks that all ended well.
func endedRotation(n int) (rollover.Rotation, rollover.Counts) {
	e := rollovertest.Epoch
	r := rollover.Rotation{
		ID: ownID, State: rollover.StateSucceeded, Phase: rollover.PhaseRetire, Digest: "d", Tasks: n, StartedAt: e, EndedAt: e.Add(time.Hour),
	}
	return r, rollover.Counts{Total: n, Outcomes: map[rollover.Outcome]int{rollover.Succeeded: n}, Phases: map[rollover.Phase]int{}}
}

func TestBeginCheck_OnlyWhereTargetsHoldWhatWePutThere(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *rollover.Rotation, c *rollover.Counts)
		ok     bool
	}{
		"succeeded": {func(*rollover.Rotation, *rollover.Counts) {}, true},
		"failed":    {func(r *rollover.Rotation, _ *rollover.Counts) { r.State = rollover.StateFailed }, true},
		"cancelled": {func(r *rollover.Rotation, _ *rollover.Counts) { r.State = rollover.StateCancelled }, true},
		"cancelled before the start": {func(r *rollover.Rotation, _ *rollover.Counts) {
			r.State, r.StartedAt = rollover.StateCancelled, time.Time{}
		}, false},
		"nothing succeeded": {func(_ *rollover.Rotation, c *rollover.Counts) { c.Outcomes = nil }, false},
		"planning":          {func(r *rollover.Rotation, _ *rollover.Counts) { r.State = rollover.StatePlanning }, false},
		"planned":           {func(r *rollover.Rotation, _ *rollover.Counts) { r.State = rollover.StatePlanned }, false},
		"cancelling":        {func(r *rollover.Rotation, _ *rollover.Counts) { r.State = rollover.StateCancelling }, false},
		"staging": {func(r *rollover.Rotation, _ *rollover.Counts) {
			r.State, r.Phase = rollover.StateRunning, rollover.PhaseStage
		}, false},
		"verifying, paused": {func(r *rollover.Rotation, _ *rollover.Counts) {
			r.State, r.Phase = rollover.StatePaused, rollover.PhaseVerify
		}, false},
		"overlap": {func(r *rollover.Rotation, c *rollover.Counts) {
			r.State, r.Phase = rollover.StateRunning, rollover.PhaseOverlap
			c.Outcomes, c.Phases = nil, map[rollover.Phase]int{rollover.Activated: 3}
		}, true},
	} {
		r, c := endedRotation(3)
		test.change(&r, &c)
		next, err := r.BeginCheck(c, rollover.Check{RequestID: "q"}, rollovertest.Epoch)
		if (err == nil) != test.ok || (err != nil && !errors.Is(err, rollover.ErrState)) {
			t.Errorf("%s: BeginCheck = %v, want allowed %v", name, err, test.ok)
		}
		if test.ok && (next.Check.Number != 1 || next.Check.State != rollover.CheckRunning || next.State != r.State || next.Phase != r.Phase) {
			t.Errorf("%s: BeginCheck = %+v, want check 1 and nothing else", name, next)
		}
		if again, err := next.BeginCheck(c, rollover.Check{RequestID: "r"}, rollovertest.Epoch); test.ok && (err != nil || again.Check != next.Check) {
			t.Errorf("%s: again = %+v, %v, want the one that runs", name, again.Check, err)
		}
	}
}

func TestMoveCheck_EndsWithTheLastPart(t *testing.T) {
	r, c := endedRotation(130)
	r, err := r.BeginCheck(c, rollover.Check{}, r.EndedAt.Add(time.Second))
	if err != nil || r.CheckParts() != 3 {
		t.Fatalf("BeginCheck = %v with %d parts, want 3", err, r.CheckParts())
	}
	for n := range 3 {
		if _, moved := r.MoveCheck(c, rollovertest.Epoch); moved {
			t.Errorf("with %d of 3 parts the check moved", n)
		}
		c.Drift.Add(rollover.CheckPart{Check: 1, Looked: 10}, 1)
	}
	done, moved := r.MoveCheck(c, rollovertest.Epoch)
	if !moved || done.Check.State != rollover.CheckDone || !done.CheckSettled(c) || r.CheckSettled(c) {
		t.Errorf("MoveCheck = %+v, %v, want done", done.Check, moved)
	}
	early := r
	if early.Check.StartedAt = r.EndedAt.Add(-time.Second); !early.CheckSettled(c) {
		t.Error("a check that was begun before the end holds up those who wait for the end")
	}
	r.State, r.Phase = rollover.StateRunning, rollover.PhaseStage
	stopped, moved := r.MoveCheck(c, rollovertest.Epoch)
	if !moved || stopped.Check.State != rollover.CheckStopped || stopped.Check.Detail == "" {
		t.Errorf("a rotation that works again: MoveCheck = %+v, %v, want stopped", stopped.Check, moved)
	}
}

func TestNextCheck_ByTheRecordAlone(t *testing.T) {
	r, c := endedRotation(1)
	if due := r.NextCheck(); !due.IsZero() {
		t.Errorf("without a policy NextCheck = %s, want none", due)
	}
	r.Spec.Drift = rollover.DriftPolicy{Every: 24 * time.Hour, For: 60 * time.Hour}
	var begun []time.Duration
	for now := r.EndedAt; now.Before(r.EndedAt.AddDate(0, 0, 10)); now = now.Add(time.Minute) {
		next, moved := r.MoveCheck(c, now)
		if !moved {
			continue
		}
		if next.Check.State == rollover.CheckRunning {
			begun = append(begun, now.Sub(r.EndedAt))
			c.Drift.Add(rollover.CheckPart{Check: next.Check.Number}, 1)
		}
		r = next
	}
	if len(begun) != 2 || begun[0] != 24*time.Hour || begun[1] != 48*time.Hour || !r.Check.Scheduled {
		t.Errorf("checks begun %v after the end, want at 24h and 48h", begun)
	}
}

// The fold of parts does not depend on the order in which they come, nor on how
// often each is written anew.
func TestDriftCounts_FoldIsTheSum(t *testing.T) {
	kinds := rollover.DriftKinds()
	rapid.Check(t, func(rt *rapid.T) {
		parts := map[int]rollover.CheckPart{}
		var c rollover.DriftCounts
		for range rapid.IntRange(1, 40).Draw(rt, "writes") {
			n := rapid.IntRange(0, 5).Draw(rt, "part")
			p := rollover.CheckPart{Check: parts[n].Check + 1, Looked: rapid.IntRange(0, 64).Draw(rt, "looked")}
			for range rapid.IntRange(0, 3).Draw(rt, "targets") {
				p.Targets = append(p.Targets, rollover.Drifted{Drifts: []rollover.Drift{{Kind: rapid.SampledFrom(kinds).Draw(rt, "kind")}}})
			}
			if old, ok := parts[n]; ok {
				c.Add(old, -1)
			}
			parts[n] = p
			c.Add(p, 1)
		}
		total, by := 0, map[rollover.DriftKind]int{}
		for _, p := range parts {
			total += len(p.Targets)
			for _, d := range p.Targets {
				by[d.Drifts[0].Kind]++
			}
		}
		if c.Drifted+c.Unreadable != total || c.Unreadable != by[rollover.DriftUnreadable] ||
			c.Repairable != by[rollover.DriftNewMissing]+by[rollover.DriftOldBack] {
			rt.Errorf("folded %+v, want %d targets, %v", c, total, by)
		}
		for _, k := range kinds {
			if c.Kinds[k] != by[k] {
				rt.Errorf("%s: folded %d, want %d", k, c.Kinds[k], by[k])
			}
		}
	})
}
