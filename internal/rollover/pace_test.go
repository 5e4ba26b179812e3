package rollover_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestThrottlePause(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		n      int
		after  time.Duration
		jitter float64
		want   time.Duration
	}{
		{1, 0, 0, s}, {2, 0, 0, 2 * s}, {7, 0, 0, 60 * s}, {99, 0, 0, 60 * s},
		{1, 10 * s, 0, 10 * s}, {2, 10 * s, 0, 20 * s}, {5, 10 * s, 0, 160 * s}, {50, 10 * s, 0, 160 * s},
		{1, 10 * s, 0.5, 10*s + s/2},
		{1, time.Hour, 0, rollover.MaxPause}, {9, time.Hour, 0.9, rollover.MaxPause}, {0, 0, 0, s},
	} {
		if got := rollover.ThrottlePause(c.n, c.after, c.jitter); got != c.want {
			t.Errorf("ThrottlePause(%d, %s, %v) = %s, want %s", c.n, c.after, c.jitter, got, c.want)
		}
	}
}

// A wait is never shorter than what was asked for, up to the bound, and never
// longer than the bound.
func TestThrottlePause_ObeysAndIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-3, 1<<30).Draw(t, "n")
		after := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "after"))
		got := rollover.ThrottlePause(n, after, rapid.Float64Range(0, 0.999).Draw(t, "jitter"))
		if got < min(after, rollover.MaxPause) || got > rollover.MaxPause || got < time.Second {
			t.Fatalf("ThrottlePause(%d, %s) = %s", n, after, got)
		}
	})
}

var begin = time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)

func TestHostPace_IsHalvedByRefusalsAndRises(t *testing.T) {
	var h rollover.HostPace
	now := begin
	if h.ReadyAt().After(now) || h.Slowed() || !h.Idle(now) {
		t.Error("a host of which nothing is known is slowed")
	}
	h.Refused(now, now.Add(5*time.Second))
	if got := h.ReadyAt(); got != now.Add(5*time.Second) {
		t.Errorf("after a refusal ready at %s, want 5 s later", got.Sub(now))
	}
	h.Refused(now, now.Add(99*time.Hour))
	if got := h.ReadyAt(); got != now.Add(rollover.MaxPause) {
		t.Errorf("a wish for 99 h is heard for %s, want %s", got.Sub(now), rollover.MaxPause)
	}
	now = now.Add(time.Hour / 2)
	h.Begin(now) // At a quarter of its pace, 2.5 a second.
	if gap := h.ReadyAt().Sub(now); gap != 400*time.Millisecond {
		t.Errorf("the next task of a host at a quarter of its pace waits %s, want 400 ms", gap)
	}
	for i := range 15 {
		if !h.Slowed() {
			t.Errorf("at full pace after %d answers, want 15", i)
		}
		h.Succeeded()
	}
	if h.Slowed() || !h.Idle(now.Add(time.Second)) {
		t.Error("after 15 answers the host is slowed still")
	}
}

func TestBreaker_OpensProbesAndCloses(t *testing.T) {
	var b rollover.Breaker
	now := begin
	for i := range 3 {
		if b.Open() {
			t.Fatalf("open after %d failures, want 3", i)
		}
		b.Failed(now)
	}
	for _, open := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		open *= time.Second
		if got := b.ReadyAt().Sub(now); !b.Open() || got != open {
			t.Fatalf("open for %s, want %s", got, open)
		}
		now = now.Add(open)
		b.Begin(now) // The probe; nobody else goes with it.
		if got := b.ReadyAt(); !got.After(now.Add(time.Minute)) {
			t.Fatalf("while it is probed others may ask after %s, want above a minute", got.Sub(now))
		}
		now = now.Add(time.Second)
		b.Failed(now)
	}
	b.Answered()
	if b.Open() || !b.ReadyAt().IsZero() {
		t.Error("a probe that was answered left the breaker open")
	}
	b.Failed(now)
	b.Failed(now)
	b.Answered()
	b.Failed(now)
	if b.Open() {
		t.Error("failures that were not in a row opened the breaker")
	}
}

// Who knows only that a host was down leaves it alone, and probes it then.
func TestHostPace_ADoubtedHostIsProbed(t *testing.T) {
	var h rollover.HostPace
	h.Doubt(begin)
	if got := h.ReadyAt().Sub(begin); !h.Open() || got != 10*time.Second {
		t.Errorf("ready after %s, want the breaker open for 10s", got)
	}
	now := begin.Add(10 * time.Second)
	h.Begin(now)
	h.Failed(now)
	if got := h.ReadyAt().Sub(now); got != 20*time.Second {
		t.Errorf("after the probe failed ready after %s, want 20s", got)
	}
	h.Succeeded()
	if h.Open() || !h.Idle(now) {
		t.Error("an answer left the breaker open")
	}
}

// A call that was held back by someone else's knowledge was no probe: the host is
// asked again when that says so, and not when a probe would have been too long.
func TestHostPace_AHeldProbeIsNone(t *testing.T) {
	var h rollover.HostPace
	for range 3 {
		h.Failed(begin)
	}
	now := begin.Add(10 * time.Second)
	h.Begin(now)
	h.Held(now, now.Add(4*time.Second))
	if got := h.ReadyAt().Sub(now); got != 4*time.Second {
		t.Errorf("ready after %s, want 4s", got)
	}
}

func TestPace_SlowsForSeveralHostsAndRecovers(t *testing.T) {
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	var p rollover.Pace
	for i := range 20 {
		p.Answer(at(0), "one", i%2 == 0)
	}
	if p.Now() != 1 {
		t.Errorf("pace %v after refusals of one host, want 1", p.Now())
	}
	for i := range 20 {
		p.Answer(at(1), fmt.Sprint(i), true)
	}
	if p.Now() != 0.5 {
		t.Errorf("pace %v after a second of refusals, want it halved once", p.Now())
	}
	for s := 2; s < 40; s++ {
		p.Answer(at(float64(s)), "a", true)
		p.Answer(at(float64(s)), "b", true)
	}
	if p.Now() <= 0 || p.Now() > 0.001 || p.Percent() != 1 {
		t.Errorf("pace %v, %d %%, after 38 seconds of refusals, want the floor", p.Now(), p.Percent())
	}
	low := p.Now()
	p.Answer(at(40), "a", false)
	p.Answer(at(41), "a", false)
	if got := p.Now() - low; got < 0.099 || got > 0.101 {
		t.Errorf("a second of answers raised the pace by %v, want a tenth", got)
	}
	for s := 42; s < 53; s++ {
		p.Answer(at(float64(s)), "a", false)
	}
	if p.Now() != 1 {
		t.Errorf("pace %v after eleven more seconds of answers, want full speed", p.Now())
	}
	for i := range 100 { // One instance in fifty is ill.
		p.Answer(at(60), fmt.Sprint(i), i%50 == 49)
	}
	if p.Now() != 1 {
		t.Errorf("pace %v after 2 refusals of 100 answers, want 1", p.Now())
	}
}

// Whatever is answered, the pace stays above 0 and at most 1, and a successor that
// is told a part of the answers that refuse, and those only, is not faster.
func TestPace_StaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p rollover.Pace
		now := begin
		for range rapid.IntRange(1, 200).Draw(t, "answers") {
			now = now.Add(time.Duration(rapid.IntRange(-200, 2000).Draw(t, "ms")) * time.Millisecond)
			before := p.Now()
			p.Answer(now, fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "host")), rapid.Bool().Draw(t, "refused"))
			if got := p.Now(); got <= 0 || got > 1 || got < before/2-1e-9 || got > before+0.1+1e-9 {
				t.Fatalf("pace went from %v to %v", before, got)
			}
		}
	})
}

// Being throttled uses no try, obeys what was asked for, and ends: after a day each
// refusal is a failed try.
func TestAdvance_ThrottledIsNotFailing(t *testing.T) {
	no := errors.New("no")
	for _, err := range []error{
		rollover.Throttled(rollover.ByHost, 30*time.Second, no), rollover.Throttled(rollover.ByService, 30*time.Second, no),
		rollover.Throttled(rollover.BreakerOpen, 30*time.Second, no), rollover.StoreAway(no),
	} {
		var s *rollover.StepError
		errors.As(err, &s)
		k, by, now := rollover.Task{}, s.Throttle, begin
		k.Orders.MaxTries = 2
		refusals := 0
		for ; k.Outcome == rollover.Open; refusals++ {
			if k = rollover.Failing(k, err, now); k.Outcome != rollover.Open {
				break
			}
			if d := k.NextAt.Sub(now); k.Tries == 0 && (d < 30*time.Second || d > rollover.MaxPause) {
				t.Fatalf("%s: refusal %d waits %s, want 30s up to %s", by, refusals, d, rollover.MaxPause)
			}
			if k.Throttle != by || k.Tries > 0 && now.Sub(begin) < rollover.MaxThrottled {
				t.Fatalf("%s: refusal %d after %s: %+v, want no try used up", by, refusals, now.Sub(begin), k.Progress)
			}
			now = k.NextAt
		}
		if k.Outcome != rollover.Failed || k.Reason != rollover.TriesUsedUp || now.Sub(begin) > 25*time.Hour {
			t.Errorf("%s: ended as %s (%s) after %s, want failed within 25h", by, k.Outcome, k.Reason, now.Sub(begin))
		}
	}
}

// A host that is down costs tries, so that it ends its tasks.
func TestAdvance_AHostThatStaysDownEndsItsTask(t *testing.T) {
	k := rollover.Task{}
	k.Orders.MaxTries = 3
	for i := range 3 {
		k = rollover.Failing(k, rollover.Throttled(rollover.HostDown, 0, errors.New("silence")), begin)
		if k.Tries != i+1 || k.Throttle != rollover.HostDown {
			t.Fatalf("try %d: %+v", i+1, k.Progress)
		}
	}
	if k.Outcome != rollover.Failed {
		t.Errorf("after 3 of 3 tries the task is %q, want failed", k.Outcome)
	}
}
