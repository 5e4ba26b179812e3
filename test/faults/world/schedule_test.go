package world

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// seeds is how many schedules a property is held against.
const seeds = 200

func eachSchedule(t *testing.T, check func(seed int64, p Profile, s []Action)) {
	t.Helper()
	for _, p := range Profiles() {
		for seed := range int64(seeds) {
			check(seed, p, Schedule(seed, p))
		}
	}
}

func TestSchedule_IsMadeOfTheSeedAlone(t *testing.T) {
	eachSchedule(t, func(seed int64, p Profile, s []Action) {
		if again := Schedule(seed, p); !reflect.DeepEqual(s, again) {
			t.Fatalf("Schedule(%d, %s) twice = %v and %v, want the same", seed, p.Name, s, again)
		}
		if reflect.DeepEqual(s, Schedule(seed+1, p)) {
			t.Errorf("Schedule(%d, %s) = Schedule(%d): want another one", seed, p.Name, seed+1)
		}
	})
}

func TestSchedule_IsInOrderAndBounded(t *testing.T) {
	eachSchedule(t, func(seed int64, p Profile, s []Action) {
		var last time.Duration
		for _, a := range s {
			if a.After < last || a.After >= p.Length {
				t.Fatalf("Schedule(%d, %s): %+v after %s, want them in order and before %s", seed, p.Name, a, last, p.Length)
			}
			if a.For <= 0 || a.For > 3*p.Longest || a.Kind != KindClock && a.For > p.Longest {
				t.Fatalf("Schedule(%d, %s): %+v, want it to last at most %s", seed, p.Name, a, p.Longest)
			}
			if d := a.Skew.Abs(); (a.Kind == KindClock) != (d != 0) || d > 5*time.Minute {
				t.Fatalf("Schedule(%d, %s): %+v, want a skew of at most 5m for clocks alone", seed, p.Name, a)
			}
			last = a.After
		}
	})
}

func TestSchedule_NeverPutsTwoNATSNodesOutOfOrder(t *testing.T) {
	eachSchedule(t, func(seed int64, p Profile, s []Action) {
		var until time.Duration
		for _, a := range s {
			if !strings.HasPrefix(a.Victim, "nats") || a.Kind == KindFull {
				continue
			}
			if a.After < until {
				t.Fatalf("Schedule(%d, %s): %+v while another node needs until %s", seed, p.Name, a, until)
			}
			until = a.After + a.For + recovery
		}
	})
}

func TestSchedule_NeverBreaksWhatIsBroken(t *testing.T) {
	eachSchedule(t, func(seed int64, p Profile, s []Action) {
		until := map[string]time.Duration{}
		for _, a := range s {
			what := a.Victim
			switch {
			case what == "acs":
				continue // Its faults add up.
			case a.Kind == KindClock:
				what += "'s clock"
			}
			if a.After <= until[what] {
				t.Fatalf("Schedule(%d, %s): %+v while %s is broken until %s", seed, p.Name, a, what, until[what])
			}
			until[what] = a.After + a.For
		}
	})
}

func TestSchedule_HasEveryKindAndEveryVictim(t *testing.T) {
	kinds, victims := map[string]int{}, map[string]int{}
	for seed := range int64(seeds) {
		for _, a := range Schedule(seed, profile(t, "short")) {
			kinds[a.Kind]++
			victims[a.Victim]++
		}
	}
	for _, k := range []string{
		KindKill, KindStop, KindCut, KindStall, KindOne, KindSlow, KindClock, KindFull, KindRenum, "acs-429", "acs-500", "acs-503",
		"acs-504-applied", "acs-reset-before", "acs-reset-applied", "acs-stall", "acs-slow", "acs-stale-read",
	} {
		if kinds[k] == 0 {
			t.Errorf("%d schedules have no %s: %v", seeds, k, kinds)
		}
	}
	clients := append(names("api", apis), names("worker", workers)...)
	want := append(append([]string{"acs", "nats"}, names("nats", natsNodes)...), clients...)
	for _, c := range clients {
		want = append(want, c+"-acs")
		for _, n := range names("nats", natsNodes) {
			want = append(want, c+"-"+n)
		}
	}
	for _, v := range append(want, "portal-api0", "portal-api1", "nats0-nats1", "nats2-nats1") {
		if victims[v] == 0 {
			t.Errorf("%d schedules leave %s alone: %v", seeds, v, victims)
		}
	}
	if victims["emulator"] != 0 {
		t.Errorf("the emulator, which is the world, is broken %d times", victims["emulator"])
	}
}

func TestRuleOf_IsUnderstoodByACS(t *testing.T) {
	for seed := range int64(seeds) {
		for _, a := range Schedule(seed, profile(t, "short")) {
			if a.Victim != "acs" || a.Kind == KindRenum {
				continue
			}
			r := ruleOf(a)
			f := acs.Faults{Rules: []acs.FaultRule{r.fault()}}
			if err := f.Check(); err != nil {
				t.Fatalf("ruleOf(%+v) = %+v: %v", a, r, err)
			}
			if r.HostShare != a.Share {
				t.Fatalf("ruleOf(%+v).HostShare = %v, want %v", a, r.HostShare, a.Share)
			}
		}
	}
}

func profile(t *testing.T, name string) Profile {
	t.Helper()
	for _, p := range Profiles() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no profile %s", name)
	return Profile{}
}

func TestStart_SaysWhatDidNotStartAndLeavesNothing(t *testing.T) {
	self, err := exec.LookPath("false") // An emulator that ends at once.
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := Start(t.Context(), Options{Dir: dir, Seed: 1, Tenants: 2, Number: 59_999, Self: self, Crossfade: self, NATSServer: filepath.Join(dir, "none")})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "emulator") {
		t.Errorf("Start with a broken emulator = %v, %v, want an error that names it", w, err)
	}
}

func TestBreak_EndsWithItsContext(t *testing.T) {
	w := &World{tally: map[string]*Tally{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Break(ctx, []Action{{After: time.Hour, Kind: KindKill, Victim: "worker0"}}); err != nil {
		t.Errorf("Break after its context's end = %v, want nothing done", err)
	}
	if got := w.Tallies(); len(got) != 0 {
		t.Errorf("Tallies() = %v, want none", got)
	}
}
