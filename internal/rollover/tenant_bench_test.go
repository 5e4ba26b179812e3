package rollover_test

import (
	"fmt"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A view of 100,000 tasks of 5,000 tenants, of which ten failed.
func BenchmarkCountsOf(b *testing.B) {
	plan := rollovertest.Plan(100_000)
	for i := range plan {
		plan[i].Tenant = fmt.Sprintf("tenant-%d", i%5000)
	}
	board := rollover.NewBoard(plan)
	for i := range 10 {
		board.Apply(i*77, rollover.Progress{Outcome: rollover.Failed}, uint64(i+1))
	}
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
		TenantTolerance: rollover.Tolerance{Mode: rollover.Strict}, Strategy: rollover.Strategy{Start: rollover.FullStart},
	}}
	b.ReportAllocs()
	for b.Loop() {
		if c := board.CountsOf(r); c.Held != 190 || c.HeldTenantCount != 10 {
			b.Fatalf("%d tasks of %d tenants are held, want 190 of 10", c.Held, c.HeldTenantCount)
		}
	}
}
