package rollover_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// boardOf returns the board of a plan of one task for each letter: whose it is, in
// capitals where it has failed by now, and in brackets where planning skipped it.
func boardOf(tasks string) *rollover.Board {
	var plan []rollover.Item
	var failed []int
	skip := false
	for _, c := range tasks {
		if c == '(' || c == ')' {
			skip = c == '('
			continue
		}
		it := rollovertest.Plan(1)[0]
		it.Ord, it.Target.Host = len(plan), fmt.Sprintf("h%d", len(plan))
		if skip {
			it.Outcome = rollover.Skipped
		}
		if c < 'a' {
			failed = append(failed, it.Ord)
			c += 'a' - 'A'
		}
		it.Tenant = string(c)
		plan = append(plan, it)
	}
	b := rollover.NewBoard(plan)
	for i, ord := range failed {
		b.Apply(ord, rollover.Progress{Phase: rollover.Planned, Outcome: rollover.Failed}, uint64(i+1))
	}
	return b
}

// The one rule for each tenant: what is released, and what is held.
func TestTenants_TheOneRule(t *testing.T) {
	tasks := func(n int) rollover.Tolerance { return rollover.Tolerance{Mode: rollover.Strict, Limit: n} }
	percent := func(n int) rollover.Tolerance {
		return rollover.Tolerance{Mode: rollover.Strict, Limit: n, Percent: true}
	}
	for _, c := range []struct {
		name      string
		tasks     string
		tolerance rollover.Tolerance
		release   string // positions
		held      int
	}{
		{"0: one of each at a time", "aabb", tasks(0), "[0 2]", 0},
		{"0: the first failure holds the tenant", "Aabb", tasks(0), "[2]", 1},
		{"1: two at a time", "aaabbb", tasks(1), "[0 1 3 4]", 0},
		{"1: one failed, one may", "Aaabbb", tasks(1), "[1 3 4]", 0},
		{"1: the second holds", "AAabbb", tasks(1), "[3 4]", 1},
		{"0 %", "Aaaab", percent(0), "[4]", 3},
		{"50 % of three is one", "Aaab", percent(50), "[1 3]", 0},
		{"50 % of its own, not of all", "AAabbbbbbb", percent(50), "[3 4 5 6]", 1},
		{"skipped ones are not among the hundred", "A(aaa)aab", percent(34), "[4 6]", 0},
		{"skipped ones make no room", "A(aaa)aab", percent(33), "[6]", 2},
		{"100 %: all may fail", "AAab", percent(100), "[2 3]", 0},
		{"one target, it fails", "Ab", tasks(0), "[1]", 0},
		{"one target, 100 %", "ab", percent(100), "[0 1]", 0},
		{"all skipped", "(aabb)", tasks(0), "[]", 0},
		{"soft: full speed", "Aaabb", rollover.Tolerance{Mode: rollover.Soft, Limit: 1}, "[1 2 3 4]", 0},
		{"soft: holds too", "AAabb", rollover.Tolerance{Mode: rollover.Soft, Limit: 1}, "[3 4]", 1},
	} {
		b := boardOf(c.tasks)
		r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
			MaxTries: 1, TenantTolerance: c.tolerance, Tolerance: rollover.Tolerance{Mode: rollover.Strict, Limit: 100, Percent: true},
		}}
		counts := b.CountsOf(r)
		if got := fmt.Sprint(b.Releasable(r, 99, time.Time{})); got != c.release || counts.Held != c.held {
			t.Errorf("%s: %s with %s: releases %s, holds %d; want %s, %d", c.name, c.tasks, c.tolerance, got, counts.Held, c.release, c.held)
		}
		if held, ok := r.HoldTenants(counts, time.Time{}); ok && c.release != "[]" {
			t.Errorf("%s: paused with %q although there is work", c.name, held.Detail)
		}
	}
}

// The one rule for a wave, whose percentage is of the wave.
func TestWave_TheOneRule(t *testing.T) {
	percent := func(n int) rollover.Tolerance {
		return rollover.Tolerance{Mode: rollover.Strict, Limit: n, Percent: true}
	}
	wave := func(n int) []rollover.WaveSize { return []rollover.WaveSize{{Size: n}} }
	for _, c := range []struct {
		name      string
		tasks     string // all one tenant's
		tolerance rollover.Tolerance
		waves     []rollover.WaveSize
		number    int
		release   string
		exceeded  bool
		next      bool // the next wave is opened
	}{
		{"the first is alone", "aaaa", percent(100), nil, 1, "[0]", false, false},
		{"the first fails, 10 %", "Aaaa", percent(10), nil, 1, "[]", true, false},
		{"the first fails, 100 %", "Aaaa", percent(100), nil, 1, "[]", false, true},
		{"one target", "a", percent(10), nil, 1, "[0]", false, false},
		{"one target fails", "A", percent(0), nil, 1, "[]", true, false},
		{"a wave of four, 50 %: three at a time", "Aaaaaaaa", percent(50), wave(4), 2, "[1 2 3]", false, false},
		{"it fails wholly, 50 %", "AAAAAaaa", percent(50), wave(4), 2, "[]", true, false},
		{"it fails wholly, 100 %", "AAAAAaaa", percent(100), wave(4), 2, "[]", false, true},
		{"three of four, 50 %", "AAAAaaaa", percent(50), wave(4), 2, "[]", true, false},
		{"two of four, 50 %: one at a time", "AAAaaaaa", percent(50), wave(4), 2, "[3]", false, false},
		{"skipped ones are in no wave", "(aa)Aaa(a)aaa", percent(50), wave(2), 2, "[3 4]", false, false},
		{"all skipped", "(aaaa)", percent(0), nil, 1, "[]", false, false},
	} {
		b := boardOf(c.tasks)
		r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, WaveNumber: c.number, Spec: rollover.Spec{
			MaxTries: 1, Tolerance: c.tolerance, Strategy: rollover.Strategy{Start: rollover.FullStart, Waves: c.waves},
		}}
		if c.number == 2 {
			r.WaveBase = 1 // The first task's, when the wave was opened.
		}
		counts := b.CountsOf(r)
		w, _ := r.Wave(counts)
		_, next := r.NextWave(counts, time.Time{})
		if got := fmt.Sprint(b.Releasable(r, 99, time.Time{})); got != c.release || w.Exceeded() != c.exceeded || next != c.next {
			t.Errorf("%s: %s with %s: wave %d of %d: releases %s, exceeded %v, next %v; want %s, %v, %v",
				c.name, c.tasks, c.tolerance, w.Number, w.Of, got, w.Exceeded(), next, c.release, c.exceeded, c.next)
		}
	}
}
