package kit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestGuard_KeepsCallsAwayAndLetsOneProbe(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	g := kit.NewGuard(func() time.Time { return now })
	for i, status := range []int{0, 500, 504} {
		if err := g.Allow("down"); err != nil {
			t.Errorf("Allow after %d failures = %v, want nil", i, err)
		}
		g.Observe("down", status)
	}
	err := g.Allow("down")
	var s *rollover.StepError
	if !errors.Is(err, kit.ErrHeld) || !errors.As(err, &s) || s.Throttle != rollover.BreakerOpen || s.After != 10*time.Second {
		t.Fatalf("Allow after three failures in a row = %v, want it held for 10s without a try", err)
	}
	if err := g.Allow("up"); err != nil {
		t.Errorf("Allow of another host = %v, want nil", err)
	}
	now = now.Add(10 * time.Second)
	if err := g.Allow("down"); err != nil {
		t.Errorf("the probe = %v, want it let through", err)
	}
	if err := g.Allow("down"); !errors.Is(err, kit.ErrHeld) {
		t.Errorf("a second call beside the probe = %v, want it held", err)
	}
	g.Observe("down", 200)
	for range 3 {
		if err := g.Allow("down"); err != nil {
			t.Errorf("Allow after the probe was answered = %v, want nil", err)
		}
	}
}

func TestGuard_LeavesAHostAloneThatWantsFewerCalls(t *testing.T) {
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	g := kit.NewGuard(func() time.Time { return now })
	called := 0
	pace := g.Pace(func(context.Context, string) error { called++; return nil })
	g.Observe("h", 429)
	if err := pace(t.Context(), "h"); !errors.Is(err, kit.ErrHeld) || called != 0 {
		t.Errorf("pace right after a 429 = %v, %d calls, want it held", err, called)
	}
	now = now.Add(time.Second)
	if err := pace(t.Context(), "h"); err != nil || called != 1 {
		t.Errorf("pace a second later = %v, %d calls, want one", err, called)
	}
	g.Observe("h", 503) // The service's trouble, not the host's.
	if err := pace(t.Context(), "h"); err != nil {
		t.Errorf("pace after a 503 = %v, want nil", err)
	}
}

// A clock that was fast when a host was found in bad order, and is right now, does not
// hold the host for as long as it was wrong.
func TestGuard_ForgetsWhatAFastClockNoted(t *testing.T) {
	right := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	for name, bad := range map[string]func(g *kit.Guard){
		"wants fewer calls": func(g *kit.Guard) { g.Observe("h", 429) },
		"is down": func(g *kit.Guard) {
			for range 3 {
				g.Observe("h", 500)
			}
		},
	} {
		now := right.Add(5 * time.Minute)
		g := kit.NewGuard(func() time.Time { return now })
		bad(g)
		if err := g.Allow("h"); !errors.Is(err, kit.ErrHeld) {
			t.Errorf("%s: Allow = %v, want it held", name, err)
		}
		now = right
		if err := g.Allow("h"); err != nil {
			t.Errorf("%s: Allow by the right clock = %v, want nil", name, err)
		}
	}
	now := right
	g := kit.NewGuard(func() time.Time { return now })
	for range 3 {
		g.Observe("h", 500)
	}
	now = right.Add(5 * time.Minute)
	if err := g.Allow("h"); err != nil { // The probe, by a fast clock.
		t.Errorf("the probe: Allow = %v, want nil", err)
	}
	now = right.Add(10 * time.Second)
	if err := g.Allow("h"); err != nil {
		t.Errorf("after a probe by a fast clock: Allow = %v, want nil", err)
	}
}
