package rollover_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestStrategy_Sizes(t *testing.T) {
	size := func(n int) rollover.WaveSize { return rollover.WaveSize{Size: n} }
	percent := func(n int) rollover.WaveSize { return rollover.WaveSize{Size: n, Percent: true} }
	for _, c := range []struct {
		name  string
		s     rollover.Strategy
		total int
		want  []int
	}{
		{"none", rollover.Strategy{}, 9, []int{9}},
		{"nothing to do", rollover.Strategy{Start: rollover.SlowStart}, 0, nil},
		{"one task", rollover.Strategy{Start: rollover.SlowStart}, 1, []int{1}},
		{"slow", rollover.Strategy{Start: rollover.SlowStart}, 20, []int{1, 2, 4, 8, 5}},
		{"full: the first alone", rollover.Strategy{Start: rollover.FullStart}, 20, []int{1, 19}},
		{"slow up to the first wave", rollover.Strategy{Start: rollover.SlowStart, Waves: []rollover.WaveSize{size(5), percent(50)}}, 100, []int{1, 2, 4, 5, 50, 38}},
		{"full with waves", rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{percent(10), percent(30)}}, 100, []int{1, 10, 30, 59}},
		{"waves of more than there is", rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{size(500)}}, 10, []int{1, 9}},
		{"a percentage of little is one", rollover.Strategy{Start: rollover.FullStart, Waves: []rollover.WaveSize{percent(1)}}, 5, []int{1, 1, 3}},
	} {
		if got := c.s.Sizes(c.total); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Sizes(%d) = %v, want %v", c.name, c.total, got, c.want)
		}
	}
}

// A wave is followed by the next when all its tasks are past and it has baked.
func TestRotation_NextWave(t *testing.T) {
	now := rollovertest.Epoch
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
		Strategy:  rollover.Strategy{Start: rollover.SlowStart, Bake: time.Hour},
		Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 50, Percent: true},
	}}
	counts := func(planned, staged, broken int) rollover.Counts {
		return rollover.Counts{Workable: 10, Broken: broken, Phases: map[rollover.Phase]int{rollover.Planned: planned, rollover.Staged: staged}}
	}
	if _, ok := r.NextWave(counts(9, 1, 0), now); ok {
		t.Error("the next wave was opened with the first task only staged")
	}
	if _, ok := r.NextWave(counts(9, 0, 1), now); ok {
		t.Error("the next wave was opened although the first task failed")
	}
	baking, ok := r.NextWave(counts(9, 0, 0), now)
	if !ok || baking.WaveNumber != 0 || !baking.BakeUntil.Equal(now.Add(time.Hour)) {
		t.Fatalf("NextWave of a wave that is done = %+v, %v, want it to bake for an hour", baking, ok)
	}
	if _, ok := baking.NextWave(counts(9, 0, 0), now.Add(time.Hour-1)); ok {
		t.Error("the next wave was opened before the bake time was over")
	}
	second, ok := baking.NextWave(counts(9, 0, 0), now.Add(time.Hour))
	if w, _ := second.Wave(counts(9, 0, 0)); !ok || second.WaveNumber != 2 || w.Size != 2 || w.Done != 0 || w.Of != 4 || !second.BakeUntil.IsZero() {
		t.Fatalf("NextWave after baking = %+v, %v, %+v, want the second of four", second, ok, w)
	}
	if w, _ := second.Wave(counts(7, 0, 1)); w.Done != 2 || w.Failed != 1 || w.Exceeded() {
		t.Errorf("Wave with one failure of two at 50 %% = %+v, want it done and not exceeded", w)
	}
	second.Phase = rollover.PhaseOverlap
	if _, ok := second.Wave(counts(0, 0, 0)); ok {
		t.Error("there is a wave in the overlap")
	}
	second.Phase, second.State = rollover.PhaseStage, rollover.StatePaused
	second.BakeUntil = now
	if _, ok := second.NextWave(counts(7, 0, 0), now.Add(time.Hour)); ok {
		t.Error("a paused rotation opened a wave")
	}
}
