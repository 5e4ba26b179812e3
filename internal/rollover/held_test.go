package rollover_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// What is counted as held is what a look at every row finds, whatever came of the
// tasks, was retried, undone and accepted.
func TestBoard_HeldIsWhatEveryRowSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := rollovertest.Plan(rapid.IntRange(8, 30).Draw(rt, "tasks"))
		for i, dice := range rapid.SliceOfN(rapid.IntRange(0, 15), len(plan), len(plan)).Draw(rt, "tenants") {
			plan[i].Tenant = string(rune('a' + dice%4))
			if dice > 12 {
				plan[i].Outcome = []rollover.Outcome{rollover.Skipped, rollover.Failed, rollover.HandedOver}[dice-13]
			}
		}
		half := len(plan) / 2
		b := rollover.NewBoard(plan[:half])
		b.Extend(plan[half:])
		for seq, dice := range rapid.SliceOfN(rapid.IntRange(0, 30*6-1), 4, 60).Draw(rt, "changes") {
			ord := dice % len(plan)
			if plan[ord].Outcome != rollover.Open {
				continue
			}
			b.Apply(ord, []rollover.Progress{
				{Phase: rollover.Planned, Outcome: rollover.Failed}, {Phase: rollover.Staged, Outcome: rollover.Failed}, {Phase: rollover.Planned, Retried: 1},
				{Phase: rollover.Activated}, {Phase: rollover.Staged, Outcome: rollover.Failed, Undo: 1}, {Phase: rollover.Retired, Outcome: rollover.Succeeded},
			}[dice/30], uint64(seq+1))
		}
		r := rollover.Rotation{
			State: rollover.StateRunning, Phase: rapid.SampledFrom([]rollover.RotationPhase{rollover.PhaseStage, rollover.PhaseRetire}).Draw(rt, "phase"),
			WaveNumber: 2, AcceptedSeq: uint64(rapid.IntRange(0, 9).Draw(rt, "accepted")), //nolint:gosec // Not below 0.
			Spec: rollover.Spec{
				TenantTolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: rapid.IntRange(0, 2).Draw(rt, "limit")},
				Strategy:        rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{{Size: 2}}},
			},
		}
		failed, held, inWave, rank, tenants := map[string]int{}, 0, 0, 0, map[string]bool{}
		for ord, it := range plan {
			if row := b.Row(ord); it.Outcome == rollover.Open && row.Outcome == rollover.Failed && row.Undo == 0 && row.Seq > r.AcceptedSeq {
				failed[it.Tenant]++
			}
		}
		for ord, it := range plan {
			if it.Outcome != rollover.Open {
				continue
			}
			rank++
			row := b.Row(ord)
			risky := row.Outcome == rollover.Open && (r.Phase == rollover.PhaseRetire || row.Phase.Rank() < rollover.Activated.Rank())
			if risky && failed[it.Tenant] > r.Spec.TenantTolerance.Limit {
				held++
				tenants[it.Tenant] = true
				if rank <= 3 && r.Phase == rollover.PhaseStage { // The first is a wave, and then come two.
					inWave++
				}
			}
		}
		c := b.CountsOf(r)
		if c.Held != held || c.HeldInWave != inWave || c.HeldTenantCount != len(tenants) || len(c.HeldTenants) != len(tenants) {
			rt.Fatalf("CountsOf: %d held, %d of them in the wave, %d tenants %q; want %d, %d, %d", c.Held, c.HeldInWave, c.HeldTenantCount, c.HeldTenants, held, inWave, len(tenants))
		}
		for _, ord := range b.Releasable(r, 99, time.Time{}) {
			if name := plan[ord].Tenant; failed[name] > r.Spec.TenantTolerance.Limit && b.Row(ord).Phase.Rank() < rollover.Activated.Rank() {
				rt.Fatalf("task %d of tenant %s is released, which is held", ord, name)
			}
		}
	})
}
