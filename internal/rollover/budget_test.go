package rollover_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestBudget_TheOneRule(t *testing.T) {
	tasks := func(n int) rollover.Tolerance { return rollover.Tolerance{Mode: rollover.Strict, Limit: n} }
	percent := func(n int) rollover.Tolerance {
		return rollover.Tolerance{Mode: rollover.Strict, Limit: n, Percent: true}
	}
	soft := rollover.Tolerance{Mode: rollover.Soft, Limit: 2}
	for _, c := range []struct {
		name          string
		tolerance     rollover.Tolerance
		total, failed int
		allowed, room int
		exceeded      bool
	}{
		{"0: nothing failed", tasks(0), 10, 0, 0, 1, false},
		{"0: the first failure stops", tasks(0), 10, 1, 0, 0, true},
		{"2: two failed", tasks(2), 10, 2, 2, 1, false},
		{"2: the third stops", tasks(2), 10, 3, 2, 0, true},
		{"more tolerated than there are", tasks(50), 10, 10, 50, 41, false},
		{"10 % of 19 is 1", percent(10), 19, 1, 1, 1, false},
		{"10 % of 20 is 2", percent(10), 20, 1, 2, 2, false},
		{"10 % of 9 is none", percent(10), 9, 1, 0, 0, true},
		{"0 %", percent(0), 100, 1, 0, 0, true},
		{"100 %: all may fail", percent(100), 7, 7, 7, 1, false},
		{"one target, it fails", percent(10), 1, 1, 0, 0, true},
		{"one target, 100 %", percent(100), 1, 1, 1, 1, false},
		{"nothing to be worked on: all skipped", percent(10), 0, 0, 0, 1, false},
		{"soft: full speed", soft, 10, 2, 2, 10, false},
		{"soft: stops", soft, 10, 3, 2, 0, true},
		{"no tolerance, as before there were any", rollover.Tolerance{}, 10, 10, 0, 10, false},
	} {
		b := rollover.Budget{Tolerance: c.tolerance, Total: c.total, Failed: c.failed}
		if got := b.Allowed(c.total); got != c.allowed || b.Room() != c.room || b.Exceeded() != c.exceeded {
			t.Errorf("%s: Allowed = %d, Room = %d, Exceeded = %v; want %d, %d, %v",
				c.name, got, b.Room(), b.Exceeded(), c.allowed, c.room, c.exceeded)
		}
	}
}

// Only failures of tasks that were begun are counted: not what planning decided,
// what was handed over or found in conflict.
func TestBudget_WhatIsAFailure(t *testing.T) {
	plan := rollovertest.Plan(8)
	plan[0].Outcome, plan[0].Reason = rollover.Failed, rollover.InventoryUnreadable
	plan[1].Outcome, plan[1].Reason = rollover.Skipped, rollover.NotACS
	b := rollover.NewBoard(plan)
	for ord, o := range map[int]rollover.Outcome{2: rollover.HandedOver, 3: rollover.Conflict, 4: rollover.Skipped, 5: rollover.Failed, 6: rollover.Succeeded} {
		b.Apply(ord, rollover.Progress{Phase: rollover.Staged, Outcome: o}, uint64(ord))
	}
	r := rollover.Rotation{Spec: rollover.Spec{Tolerance: rollover.Tolerance{Mode: rollover.Strict}}}
	if got := r.Budget(b.Counts()); got.Total != 6 || got.Failed != 1 {
		t.Errorf("Budget = %d failed of %d, want 1 of 6", got.Failed, got.Total)
	}
}

func TestRotation_ExceededGoesOnOnlyWhenAccepted(t *testing.T) {
	now := rollovertest.Epoch
	c := rollover.Counts{Workable: 10, Broken: 2, OpenTasks: 5}
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 1}}}
	b := r.Budget(c)
	if !b.Exceeded() {
		t.Fatalf("%+v is not exceeded", b)
	}
	stopped, err := r.Exceed(b, now)
	if err != nil || stopped.State != rollover.StatePaused || !stopped.Exceeded ||
		stopped.Detail != "failure tolerance exceeded: 2 of 10 tasks failed, 1 are tolerated (1)" {
		t.Fatalf("Exceed = %+v, %v", stopped, err)
	}
	if got, err := stopped.Resume(false, c, now); err == nil || got.State != rollover.StatePaused {
		t.Errorf("Resume without accepting = %s, %v, want ErrState", got.State, err)
	}
	c.Broken = 3 // One was in hand.
	got, err := stopped.Resume(true, c, now)
	if err != nil || got.State != rollover.StateRunning || got.Exceeded || got.Budget(c).Exceeded() || got.Budget(c).Room() != 2 {
		t.Errorf("Resume = %+v, %v, want it running with a budget as at the start", got, err)
	}
	c.Broken = 5
	if !got.Budget(c).Exceeded() {
		t.Errorf("two failures more than were accepted do not exceed a tolerance of 1: %+v", got.Budget(c))
	}
}

// fleet is a model of what runs: the true states of all tasks in one log,
// conductors that each know a part of it, and tasks that were sent to workers.
type fleet struct {
	rotation   rollover.Rotation
	plan       []rollover.Item
	truth      []rollover.Progress
	log        []rollover.TaskChange
	conductors []*rollover.Board
	known      []int // how much of the log each conductor has read
	sent       map[int]bool
	fails      map[int]rollover.Phase // tasks that will fail, and in which phase
	failed     int
	inWave     int            // failures since the wave was opened
	ofTenant   map[string]int // failures of each tenant since its last acceptance
}

func newFleet(rt *rapid.T) *fleet {
	n := rapid.IntRange(1, 40).Draw(rt, "tasks")
	f := &fleet{plan: rollovertest.Plan(n), ofTenant: map[string]int{}, sent: map[int]bool{}, fails: map[int]rollover.Phase{}}
	f.rotation = rollover.Rotation{
		State: rollover.StateRunning, Phase: rollover.PhaseStage,
		Spec: rollover.Spec{MaxTries: 1, MaxInFlight: 100, Tolerance: rollover.Tolerance{
			Mode: rollover.Strict, Limit: rapid.IntRange(0, 100).Draw(rt, "limit"), Percent: rapid.Bool().Draw(rt, "percent"),
		}},
	}
	if !f.rotation.Spec.Tolerance.Percent {
		f.rotation.Spec.Tolerance.Limit %= n + 2
	}
	if rapid.Bool().Draw(rt, "tenants") {
		f.rotation.Spec.TenantTolerance = rollover.Tolerance{Mode: rollover.Strict, Limit: rapid.IntRange(0, 3).Draw(rt, "tenant limit")}
		if rapid.Bool().Draw(rt, "tenant percent") {
			f.rotation.Spec.TenantTolerance = rollover.Tolerance{Mode: rollover.Strict, Limit: rapid.IntRange(0, 100).Draw(rt, "tenant percentage"), Percent: true}
		}
		for i := range f.plan {
			f.plan[i].Tenant = rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "tenant")
		}
	}
	if rapid.Bool().Draw(rt, "waves") {
		f.rotation.Spec.Strategy = rollover.Strategy{
			Start: rapid.SampledFrom([]rollover.StartMode{rollover.SlowStart, rollover.FullStart}).Draw(rt, "start"),
			Waves: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) rollover.WaveSize {
				return rollover.WaveSize{Size: rapid.IntRange(1, 12).Draw(rt, "size"), Percent: rapid.Bool().Draw(rt, "percent")}
			}), 0, 3).Draw(rt, "sizes"),
		}
	}
	share := rapid.IntRange(0, 10).Draw(rt, "share that fails")
	for i := range f.plan {
		if rapid.IntRange(0, 4).Draw(rt, "skipped") == 0 {
			f.plan[i].Outcome = rollover.Skipped
		}
		if rapid.IntRange(1, 10).Draw(rt, "fails") <= share {
			f.fails[i] = rapid.SampledFrom([]rollover.Phase{rollover.Planned, rollover.Staged, rollover.Verified}).Draw(rt, "when")
		}
		f.truth = append(f.truth, f.plan[i].Start())
	}
	for range rapid.IntRange(1, 3).Draw(rt, "conductors") {
		f.conductors, f.known = append(f.conductors, rollover.NewBoard(f.plan)), append(f.known, 0)
	}
	return f
}

// read lets a conductor read up to n more changes.
func (f *fleet) read(i, n int) {
	for ; n > 0 && f.known[i] < len(f.log); n-- {
		c := f.log[f.known[i]]
		f.known[i]++
		f.conductors[i].Apply(c.ID.Ord, c.Progress, uint64(f.known[i]))
	}
}

// release lets a conductor send what it may.
func (f *fleet) release(i, limit int) int {
	if next, ok := f.rotation.NextWave(f.conductors[i].CountsOf(f.rotation), time.Time{}); ok {
		f.rotation = next // By compare-and-swap, so from the latest record.
		f.inWave = 0
		return 1
	}
	ords := f.conductors[i].Releasable(f.rotation, limit, time.Time{})
	for _, ord := range ords {
		f.sent[ord] = true
	}
	return len(ords)
}

// work does one step of a task that was sent.
func (f *fleet) work(ord int) {
	p := &f.truth[ord]
	if p.Outcome != rollover.Open || p.Phase == rollover.Activated {
		delete(f.sent, ord)
		return
	}
	if f.fails[ord] == p.Phase {
		p.Outcome = rollover.Failed
		f.failed++
		f.inWave++
		f.ofTenant[f.plan[ord].Tenant]++
	} else {
		p.Phase = map[rollover.Phase]rollover.Phase{rollover.Planned: rollover.Staged, rollover.Staged: rollover.Verified, rollover.Verified: rollover.Activated}[p.Phase]
	}
	f.log = append(f.log, rollover.TaskChange{ID: rollover.TaskID{Ord: ord}, Progress: *p})
}

// checkWave holds the wave in progress against its size and its tolerance.
func (f *fleet) checkWave(rt *rapid.T, workable int) {
	s := f.rotation.Spec.Strategy
	if s.Start == "" || workable == 0 {
		return
	}
	sizes := s.Sizes(workable)
	n, begun, end := max(1, f.rotation.WaveNumber), 0, 0
	for _, size := range sizes[:n] {
		end += size
	}
	for ord := range f.truth {
		if start := f.plan[ord].Start(); f.truth[ord].Phase != start.Phase || f.truth[ord].Outcome != start.Outcome {
			begun++
		}
	}
	if begun > end {
		rt.Fatalf("%d tasks were begun in wave %d of %v", begun, n, sizes)
	}
	if most := f.rotation.Spec.Tolerance.Allowed(sizes[n-1]) + 1; f.inWave > most {
		rt.Fatalf("%d failed in wave %d of %v, at most %d may", f.inWave, n, sizes, most)
	}
}

// In strict mode no more than N+1 fail, whatever fails in whatever order, however
// many conductors there are, however far each lags behind, and whenever one
// crashes and begins anew. And it is not bought by standing still: in the end
// everything was begun, or N+1 have failed.
func TestBudget_StrictIsNeverOvershot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFleet(rt)
		workable := rollover.NewBoard(f.plan).Counts().Workable
		most := f.rotation.Spec.Tolerance.Allowed(workable) + 1
		for range rapid.IntRange(0, 120).Draw(rt, "moves") {
			i := rapid.IntRange(0, len(f.conductors)-1).Draw(rt, "conductor")
			switch rapid.IntRange(0, 6).Draw(rt, "move") {
			case 0:
				f.conductors[i], f.known[i] = rollover.NewBoard(f.plan), 0
			case 1, 2:
				f.read(i, rapid.IntRange(1, 8).Draw(rt, "changes"))
			case 3, 4:
				f.release(i, rapid.IntRange(1, 50).Draw(rt, "limit"))
			default:
				if out := slices.Sorted(maps.Keys(f.sent)); len(out) > 0 {
					f.work(rapid.SampledFrom(out).Draw(rt, "task"))
				}
			}
			if f.failed > most {
				rt.Fatalf("%d failed, at most %d may", f.failed, most)
			}
			f.checkWave(rt, workable)
			f.checkTenants(rt)
		}
		for f.read(0, len(f.log)); f.release(0, 100) > 0; f.read(0, len(f.log)) {
			for ord := range f.sent {
				f.work(ord)
			}
		}
		if f.failed > most {
			rt.Fatalf("%d failed in the end, at most %d may", f.failed, most)
		}
		f.checkWave(rt, workable)
		f.checkTenants(rt)
		if held, ok := f.rotation.HoldTenants(f.conductors[0].CountsOf(f.rotation), time.Time{}); ok {
			f.acceptTenants(rt, held, most)
			return
		}
		if w, ok := f.rotation.Wave(f.conductors[0].CountsOf(f.rotation)); ok && w.Exceeded() {
			return
		}
		for ord, p := range f.truth {
			if p.Outcome == rollover.Open && p.Phase != rollover.Activated && f.failed < most {
				rt.Fatalf("task %d was left %s although only %d of %d failed", ord, p.Phase, f.failed, most)
			}
		}
	})
}

// checkTenants holds each tenant against its tolerance.
func (f *fleet) checkTenants(rt *rapid.T) {
	tol := f.rotation.Spec.TenantTolerance
	if tol.Mode == "" {
		return
	}
	workable := map[string]int{}
	for _, it := range f.plan {
		if it.Outcome == rollover.Open {
			workable[it.Tenant]++
		}
	}
	for tenant, failed := range f.ofTenant {
		if most := tol.Allowed(workable[tenant]) + 1; failed > most {
			rt.Fatalf("%d of tenant %s failed, at most %d may", failed, tenant, most)
		}
	}
}

// acceptTenants lets the tenants that are held go on: the bounds hold anew, for
// conductors that lag behind too.
func (f *fleet) acceptTenants(rt *rapid.T, held rollover.Rotation, most int) {
	next, err := held.Resume(true, f.conductors[0].CountsOf(held), time.Time{})
	if err != nil {
		rt.Fatalf("Resume = %v", err)
	}
	f.rotation, f.failed, f.inWave, f.ofTenant = next, 0, 0, map[string]int{}
	for range rapid.IntRange(1, 60).Draw(rt, "moves after") {
		i := rapid.IntRange(0, len(f.conductors)-1).Draw(rt, "conductor")
		switch rapid.IntRange(0, 3).Draw(rt, "move") {
		case 0:
			f.read(i, rapid.IntRange(1, 8).Draw(rt, "changes"))
		case 1:
			f.release(i, 50)
		default:
			if out := slices.Sorted(maps.Keys(f.sent)); len(out) > 0 {
				f.work(rapid.SampledFrom(out).Draw(rt, "task"))
			}
		}
		if f.failed > most {
			rt.Fatalf("%d failed after they were accepted, at most %d may", f.failed, most)
		}
		f.checkTenants(rt)
	}
}
