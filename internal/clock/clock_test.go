package clock_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
)

// start is where the clocks of these tests begin.
func start() time.Time { return time.Date(2016, 11, 1, 1, 0, 0, 0, time.UTC) }

// check reports a clock that does not show want, which is exact for a clock that
// stands still.
func check(t *testing.T, what string, c *clock.Clock, want time.Time) {
	t.Helper()
	if got := c.Now(); !got.Equal(want) {
		t.Errorf("%s: Now = %s, want %s", what, got, want)
	}
}

// eventually waits until the clock shows at least want.
func eventually(t *testing.T, c *clock.Clock, want time.Time) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	for c.Now().Before(want) {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("Now = %s after 10 s, want %s or later", c.Now(), want)
		}
	}
}

func TestNew_RunsByItsRate(t *testing.T) {
	const rate = 3600
	before := time.Now()
	c := clock.New(start(), rate)
	eventually(t, c, start().Add(time.Minute))
	got, real := c.Now().Sub(start()), time.Since(before)
	if got > time.Duration(float64(real)*rate) {
		t.Errorf("%s passed in %s, want at most %d times as much", got, real, rate)
	}
	if loc := c.Now().Location(); loc != time.UTC {
		t.Errorf("Now is in %s, want UTC", loc)
	}
}

func TestNew_StandsStillAtRateZero(t *testing.T) {
	for _, rate := range []float64{0, -1, math.NaN()} {
		c := clock.New(start(), rate)
		check(t, "new", c, start())
		if err := c.Advance(time.Hour); err != nil {
			t.Errorf("Advance = %v", err)
		}
		check(t, "advanced", c, start().Add(time.Hour))
	}
}

func TestClock_RefusesToGoBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	shared, err := clock.Create(path, start(), 0)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	for name, c := range map[string]*clock.Clock{"own": clock.New(start(), 0), "shared": shared} {
		if err := c.Advance(-1); err == nil {
			t.Errorf("%s: Advance(-1) = nil, want an error", name)
		}
		for _, rate := range []float64{-1, math.NaN(), math.Inf(1), 2 * clock.MaxRate} {
			if err := c.SetRate(rate); err == nil {
				t.Errorf("%s: SetRate(%v) = nil, want an error", name, rate)
			}
		}
		check(t, name, c, start())
	}
	if err := clock.AdvanceFile(path, -1); err == nil {
		t.Errorf("AdvanceFile(-1) = nil, want an error")
	}
	if _, err := clock.Create(path, start(), -1); err == nil {
		t.Errorf("Create with rate -1 = nil, want an error")
	}
}

func TestSetRate_MakesNoJump(t *testing.T) {
	c := clock.New(start(), 0)
	for _, rate := range []float64{1000, 0, clock.MaxRate, 0} {
		before := c.Now()
		if err := c.SetRate(rate); err != nil {
			t.Fatalf("SetRate(%v) = %v", rate, err)
		}
		if rate == 0 {
			stopped := c.Now()
			check(t, "stopped", c, stopped)
			continue
		}
		if got := c.Now().Sub(before); got < 0 || got > time.Duration(rate)*time.Second {
			t.Errorf("SetRate(%v) moved the clock by %s", rate, got)
		}
		eventually(t, c, before.Add(1))
	}
}

func TestSystem_IsTheMachinesClock(t *testing.T) {
	before := time.Now()
	got := clock.System().Now()
	if got.Before(before) || got.After(time.Now()) {
		t.Errorf("System().Now() = %s, want the machine's time, about %s", got, before)
	}
	c := clock.System()
	if err := c.Advance(1); !errors.Is(err, clock.ErrSystem) {
		t.Errorf("System().Advance = %v, want ErrSystem", err)
	}
	if err := c.SetRate(2); !errors.Is(err, clock.ErrSystem) {
		t.Errorf("System().SetRate = %v, want ErrSystem", err)
	}
}

func TestFollow_SeesWhatOthersDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	owner, err := clock.Create(path, start(), 0)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	follower, err := clock.Follow(path)
	if err != nil {
		t.Fatalf("Follow = %v", err)
	}
	check(t, "follower", follower, start())
	if err := clock.AdvanceFile(path, time.Hour); err != nil {
		t.Fatalf("AdvanceFile = %v", err)
	}
	eventually(t, follower, start().Add(time.Hour))
	eventually(t, owner, start().Add(time.Hour))
	if err := follower.Advance(time.Hour); err != nil {
		t.Fatalf("Advance = %v", err)
	}
	check(t, "who advances sees it at once", follower, start().Add(2*time.Hour))
	eventually(t, owner, start().Add(2*time.Hour))
	check(t, "owner", owner, start().Add(2*time.Hour))
	if err := owner.SetRate(clock.MaxRate); err != nil {
		t.Fatalf("SetRate = %v", err)
	}
	eventually(t, follower, start().Add(3*time.Hour))
}

func TestFollow_FindsTheTimeThatWasReached(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := clock.Create(path, start(), clock.MaxRate)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	eventually(t, c, start().Add(time.Hour))
	reached := c.Now()
	for name, change := range map[string]func() error{
		"stopped": func() error { return c.SetRate(0) }, "advanced": func() error { return clock.AdvanceFile(path, 0) },
	} {
		if err := change(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		other, err := clock.Follow(path)
		if err != nil {
			t.Fatalf("Follow = %v", err)
		}
		if got := other.Now(); got.Before(reached) {
			t.Errorf("%s: another process reads %s, want %s or later", name, got, reached)
		}
	}
}

func TestFollow_NeverGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := clock.Create(path, start().Add(time.Hour), 0)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	check(t, "before", c, start().Add(time.Hour))
	if _, err := clock.Create(path, start(), 0); err != nil {
		t.Fatalf("Create again = %v", err)
	}
	// Advancing reads the earlier time, so it is known to have been seen.
	if err := c.Advance(time.Minute); err != nil {
		t.Fatalf("Advance = %v", err)
	}
	check(t, "after an earlier time was written", c, start().Add(time.Hour))
	if err := c.Advance(2 * time.Hour); err != nil {
		t.Fatalf("Advance = %v", err)
	}
	check(t, "when that time has come", c, start().Add(2*time.Hour+time.Minute))
}

func TestFollow_OutlivesABrokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := clock.Create(path, start(), 1000)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	for _, content := range []string{"", "{", `{"real":"2016-11-01T00:00:00Z","virtual":"2016-11-01T00:00:00Z","rate":-1}`, `{}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := clock.Follow(path); err == nil {
			t.Errorf("Follow of %q = nil, want an error", content)
		}
		if err := clock.AdvanceFile(path, 1); err == nil {
			t.Errorf("AdvanceFile of %q = nil, want an error", content)
		}
		// A thousand seconds are long enough for the file to be looked at.
		eventually(t, c, c.Now().Add(1000*100*time.Millisecond))
	}
	far := start().AddDate(1, 0, 0)
	if _, err := clock.Create(path, far, 0); err != nil {
		t.Fatalf("Create = %v", err)
	}
	eventually(t, c, far)
}

func TestAdvanceFile_CountsEveryCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	if _, err := clock.Create(path, start(), 0); err != nil {
		t.Fatalf("Create = %v", err)
	}
	const n = 32
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := clock.AdvanceFile(path, time.Minute); err != nil {
				t.Errorf("AdvanceFile = %v", err)
			}
		})
	}
	wg.Wait()
	c, err := clock.Follow(path)
	if err != nil {
		t.Fatalf("Follow = %v", err)
	}
	check(t, "after all", c, start().Add(n*time.Minute))
	left, err := filepath.Glob(path + "*")
	hidden, herr := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || herr != nil || len(left) != 2 || len(hidden) != 0 {
		t.Errorf("files left: %v, %v, want the clock and its lock", left, hidden)
	}
}

func TestClock_IsMonotoneForAllAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := clock.Create(path, start(), 1000)
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := c.Now()
			for range 2000 {
				now := c.Now()
				if now.Before(last) {
					t.Errorf("Now = %s after %s", now, last)
					return
				}
				last = now
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			if err := c.SetRate(float64(1000 - 50*i)); err != nil {
				t.Errorf("SetRate = %v", err)
			}
			if err := c.Advance(time.Second); err != nil {
				t.Errorf("Advance = %v", err)
			}
		}
	})
	wg.Wait()
}
