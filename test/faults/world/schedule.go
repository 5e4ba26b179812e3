package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Action is one thing that is broken at one moment of a run, and mended later.
type Action struct {
	After  time.Duration // since faults began
	For    time.Duration // until it is mended
	Kind   string        // one of the Kind constants, or "acs-" and what ACS does
	Victim string        // "worker2"; "worker2-nats1" is the line between both; "acs"
	Skew   time.Duration // of a clock
	Share  float64       // of hosts that an ACS fault strikes; 0: all
}

// What is done to processes, lines and clocks.
const (
	KindKill  = "kill"      // kill -9, and a start after a while
	KindStop  = "stop"      // SIGSTOP, and SIGCONT after a while
	KindCut   = "cut"       // connections are reset and new ones refused
	KindStall = "stall"     // connections stay and nothing passes
	KindOne   = "one-way"   // questions pass and answers do not
	KindSlow  = "slow"      // everything takes its time
	KindClock = "clock"     // a process's clock is wrong by up to five minutes
	KindFull  = "full"      // the broker's disk quota is used up
	KindRenum = "acs-renum" // ACS gives all keys new ids
)

// Profile is how long a run breaks things and how densely.
type Profile struct {
	Name    string
	Length  time.Duration // of the time in which faults begin
	Every   time.Duration // between two faults, about
	Longest time.Duration // of one fault
	Tenants int
}

// Profiles are the sorts of runs, by name.
func Profiles() []Profile {
	return []Profile{
		{Name: "tiny", Length: 3 * time.Second, Every: 300 * time.Millisecond, Longest: time.Second, Tenants: 16},
		{Name: "short", Length: 14 * time.Second, Every: 600 * time.Millisecond, Longest: 4 * time.Second, Tenants: 40},
		{Name: "long", Length: 20 * time.Minute, Every: 1500 * time.Millisecond, Longest: 15 * time.Second, Tenants: 120},
	}
}

// The processes that are broken. The emulator, which is the world, is not.
const (
	natsNodes = 3
	apis      = 2
	workers   = 4
)

func names(kind string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", kind, i))
	}
	return out
}

// Schedule is what a seed breaks, in the order of time. The same arguments give the
// same schedule.
func Schedule(seed int64, p Profile) []Action {
	d := &dice{r: rand.New(rand.NewPCG(uint64(seed), 0x9e3779b97f4a7c15)), p: p, busy: map[string]time.Duration{}} //nolint:gosec // A seed may be any bits.
	var out []Action
	for at := d.between(100*time.Millisecond, p.Every); at < p.Length; at += d.between(p.Every/3, p.Every*5/3) {
		if a, ok := d.action(at); ok {
			out = append(out, a)
		}
	}
	return out
}

// dice draws actions. Of three NATS nodes at most one is out of order at a time:
// more than that is not promised to be outlived without a wait.
type dice struct {
	r        *rand.Rand
	p        Profile
	natsBusy time.Duration // until then one node is out of order
	busy     map[string]time.Duration
}

func (d *dice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.r.Int64N(int64(max(to-from, 1))))
}

func (d *dice) one(of []string) string { return of[d.r.IntN(len(of))] }

func (d *dice) action(at time.Duration) (Action, bool) {
	a := Action{After: at, For: d.between(200*time.Millisecond, d.p.Longest)}
	switch n := d.r.IntN(100); {
	case n < 22: // kill
		a.Kind, a.Victim = KindKill, d.process()
		a.For = min(a.For, 2*time.Second) // Init systems do not wait long.
	case n < 36:
		a.Kind, a.Victim = KindStop, d.process()
	case n < 60:
		a.Kind, a.Victim = d.one([]string{KindCut, KindStall, KindOne, KindSlow}), d.line()
	case n < 68:
		a.Kind, a.Victim = KindClock, d.one(append(names("api", apis), names("worker", workers)...))
		a.Skew = time.Duration(d.r.IntN(2)*2-1) * d.between(time.Minute, 5*time.Minute)
		a.For = d.between(d.p.Longest, 3*d.p.Longest)
	case n < 71:
		a.Kind, a.Victim = KindFull, "nats"
		a.For = min(a.For, 3*time.Second)
	default:
		a.Kind, a.Victim = d.one([]string{
			"acs-429", "acs-500", "acs-503", "acs-504-applied", "acs-504-applied", "acs-reset-before", "acs-reset-applied",
			"acs-reset-applied", "acs-stall", "acs-slow", "acs-stale-read", KindRenum,
		}), "acs"
		a.Share = []float64{0, 0.2, 0.5}[d.r.IntN(3)]
	}
	return a, d.allowed(a)
}

// process draws a process that can be killed.
func (d *dice) process() string {
	return d.one(slices.Concat(names("worker", workers), names("worker", workers), names("api", apis), names("api", apis), names("nats", natsNodes)))
}

// line draws a line between two processes, or between the portals and an API.
func (d *dice) line() string {
	clients := append(names("api", apis), names("worker", workers)...)
	switch d.r.IntN(4) {
	case 0:
		return "portal-" + d.one(names("api", apis))
	case 1:
		return d.one(clients) + "-acs"
	case 2:
		from := d.r.IntN(natsNodes)
		return fmt.Sprintf("nats%d-nats%d", from, (from+1+d.r.IntN(natsNodes-1))%natsNodes)
	default:
		return d.one(clients) + "-" + d.one(names("nats", natsNodes))
	}
}

// recovery is what a NATS node gets to catch up in before the next one is broken.
const recovery = 3 * time.Second

// allowed refuses what would put two NATS nodes out of order at once, or break what
// is broken.
func (d *dice) allowed(a Action) bool {
	victim := a.Victim
	switch {
	case victim == "acs":
		return true // Its faults add up.
	case a.Kind == KindClock:
		victim = "clock of " + victim
	}
	if a.After < d.busy[victim] {
		return false
	}
	d.busy[victim] = a.After + a.For + time.Second
	if len(a.Victim) < 4 || a.Victim[:4] != "nats" {
		return true
	}
	if a.After < d.natsBusy {
		return false
	}
	d.natsBusy = a.After + a.For + recovery
	return true
}
