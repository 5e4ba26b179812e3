package rollover_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// A task waits until its instant; but not for as long as the clock of who wrote it
// was fast.
func TestNext_AWaitIsNoLongerThanItsWriterMeant(t *testing.T) {
	now := time.Date(2016, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		written time.Duration // after now, by the writer's clock
		wait    rollover.Step
		left    time.Duration
	}{
		{"now", 0, rollover.StepWait, 30 * time.Second},
		{"a while ago", -20 * time.Second, rollover.StepWait, 10 * time.Second},
		{"long ago", -time.Minute, rollover.StepStage, -30 * time.Second},
		{"by a clock that is a little fast", rollover.ClockDoubt, rollover.StepWait, 30 * time.Second},
		{"by a clock that is five minutes fast", 5 * time.Minute, rollover.StepStage, 30 * time.Second},
		{"by a clock that is five minutes slow", -5 * time.Minute, rollover.StepStage, -270 * time.Second},
	} {
		at := now.Add(c.written)
		k := rollover.Task{Progress: rollover.Progress{Phase: rollover.Planned, UpdatedAt: at, NextAt: at.Add(30 * time.Second)}}
		if got := rollover.Next(k, now); got != c.wait {
			t.Errorf("written %s: Next = %s, want %s", c.name, got, c.wait)
		}
		if got := k.Wait(now); got != c.left {
			t.Errorf("written %s: Wait = %s, want %s", c.name, got, c.left)
		}
	}
}
