package rollover

import (
	"math"
	"time"
)

// Throttle says that a step was held up by the state of a host or of the whole
// service and not by its own target. Being held up is not failing.
type Throttle string

// The throttles. Only HostDown costs a try: a host that stays dead must end its
// tasks.
const (
	NotThrottled Throttle = ""
	ByHost       Throttle = "host"    // the host wants fewer calls (HTTP 429)
	ByService    Throttle = "service" // the service behind all hosts is overloaded (HTTP 503)
	HostDown     Throttle = "down"    // the host gave no answer that can be used: 5xx, silence, a cut line
	BreakerOpen  Throttle = "open"    // the host was not asked: it was down a moment ago, or see [StoreAway]
)

// Waits reports whether the step waits without using up a try.
func (t Throttle) Waits() bool { return t == ByHost || t == ByService || t == BreakerOpen }

// MaxThrottled bounds how long one step waits without using up tries. After that
// each refusal is a failed try as any other.
const MaxThrottled = 24 * time.Hour

// MaxPause bounds each wait of a throttled step, whatever the other side asks for.
const MaxPause = 10 * time.Minute

// Throttled marks err: the step waits for at least after and is not counted as a
// try, or, with [HostDown], is.
func Throttled(by Throttle, after time.Duration, err error) error {
	return &StepError{Throttle: by, After: after, Err: err}
}

// storePause is how long a step waits for a store of secrets that is away.
const storePause = 30 * time.Second

// StoreAway marks err: what we sign in with on the host cannot be found out now. The host
// was not asked, so the step waits as behind an open breaker, and no try is used up: an
// outage of the store is not the target's failure.
func StoreAway(err error) error { return Throttled(BreakerOpen, storePause, err) }

// ThrottlePause returns how long to wait after the n-th refusal in a row (n from
// 1) that asked for after. A host that refuses again when its time was over is
// believed to want longer: the wait doubles, up to 16 times what it asked for and
// never above [MaxPause]. jitter in [0,1) adds up to a tenth.
func ThrottlePause(n int, after time.Duration, jitter float64) time.Duration {
	d := min(after, MaxPause) << min(max(n-1, 0), 4)
	d = max(d, Backoff(n, 0))
	return min(d+time.Duration(jitter*float64(d)/10), MaxPause)
}

// held writes a refusal into the task, and reports whether that is all: the task
// waits and no try is used up.
func (k *Task) held(s *StepError, now time.Time, jitter float64) bool {
	k.Throttle = s.Throttle
	if !s.Throttle.Waits() || s.Outcome != Open {
		return false
	}
	if k.ThrottledAt.IsZero() {
		k.ThrottledAt = now
	}
	if now.Sub(k.ThrottledAt) >= MaxThrottled {
		return false
	}
	if s.Throttle == BreakerOpen { // Nobody was asked: what was said last still holds.
		k.NextAt = now.Add(min(max(s.After, time.Second), MaxPause))
		return true
	}
	k.Throttled++
	k.NextAt = now.Add(ThrottlePause(k.Throttled, s.After, jitter))
	return true
}

// unthrottle forgets refusals: a step was done.
func (p *Progress) unthrottle() {
	p.Throttle, p.Throttled, p.ThrottledAt = NotThrottled, 0, time.Time{}
}

// The pace of one host, in tasks a second: it is halved by each refusal and rises
// by a step with each answer that is none.
const (
	fullHostPace  = 10.0
	leastHostPace = 1.0 / 60
	hostPaceStep  = 0.5
)

// HostPace is what is known of one host: how fast it may be worked on, until when
// not at all, and whether it answers. The zero HostPace is a host in good order.
// It is not safe for concurrent use.
type HostPace struct {
	Breaker
	slow  float64   // tasks a second below full pace; 0: none
	until time.Time // not before
	heard time.Time // when it was last in bad order
}

// Refused takes in that the host wants to be left alone until an instant.
func (h *HostPace) Refused(now, until time.Time) {
	pace := max(leastHostPace, (fullHostPace-h.slow)/2)
	h.slow = fullHostPace - pace
	h.heard, h.until = now, later(h.until, minTime(until, now.Add(MaxPause)))
	h.Answered() // It is there.
}

// Held takes in that the host was not asked, and is not to be before an instant. A
// probe that was let through was none.
func (h *HostPace) Held(now, until time.Time) {
	until = minTime(until, now.Add(MaxPause))
	h.heard, h.until = now, later(h.until, until)
	if h.Open() {
		h.Breaker.until = until
	}
}

// Failed takes in that the host gave no usable answer.
func (h *HostPace) Failed(now time.Time) {
	h.heard = now
	h.Breaker.Failed(now)
}

// Doubt takes in that the host was down when it was last heard of, by someone who
// knows no more than that: it is left alone as if its breaker had just opened.
func (h *HostPace) Doubt(now time.Time) {
	h.heard = now
	h.failures, h.opened, h.Breaker.until = breakAfter, 1, now.Add(openFirst)
}

// Succeeded takes in an answer that was none of both.
func (h *HostPace) Succeeded() {
	h.slow = max(0, h.slow-hostPaceStep)
	h.Answered()
}

// Ahead reports whether what is known of the host was noted by a clock that was fast:
// it would hold the host for as long as the clock was wrong, and is to be forgotten.
func (h *HostPace) Ahead(now time.Time) bool { return h.heard.Sub(now) > ClockDoubt }

// Begin takes in that a task of the host is begun: the next one follows at the
// host's pace.
func (h *HostPace) Begin(now time.Time) {
	if h.Open() || h.slow > 0 {
		h.heard = now
	}
	h.Breaker.Begin(now)
	if h.slow > 0 {
		h.until = later(h.until, now.Add(time.Duration(float64(time.Second)/(fullHostPace-h.slow))))
	}
}

// ReadyAt returns from when a task of the host may be begun; now or earlier: at
// once.
func (h *HostPace) ReadyAt() time.Time { return later(h.until, h.Breaker.ReadyAt()) }

// Slowed reports whether the host is worked on at less than its full pace.
func (h *HostPace) Slowed() bool { return h.slow > 0 }

// memory is how long a host in bad order is remembered when nothing is heard of it.
const memory = time.Hour

// Idle reports whether there is nothing to remember of the host at now.
func (h *HostPace) Idle(now time.Time) bool {
	well := h.slow == 0 && h.failures == 0
	return well && !h.ReadyAt().After(now) || h.ReadyAt().Add(memory).Before(now) && h.heard.Add(memory).Before(now)
}

// Pace is how fast everything goes, by what the service behind all hosts says.
// Refusals of several targets within a second halve it; seconds of answers raise
// it by a tenth. The zero Pace is full speed. It is not safe for concurrent use.
type Pace struct {
	slow     float64 // share that is taken away, from 0 to 1
	second   int64   // the second at hand, Unix
	answers  int     // in it
	refused  int     // of them
	first    string  // whom the first refusal in it came from
	several  bool    // refusals in it came from several
	lessened bool    // it was halved in this second
}

// leastPace is as slow as everything becomes: then one task is out at a time,
// whatever is left of the window.
const leastPace = 1.0 / 1024

// Refusals below this share of a second's answers are a bad instance of the
// service, not an overloaded one.
const refusedShare = 0.05

// Answer takes in one answer of the service at an instant, by whom it came from.
// Answers come in the order of their times, but for clocks that differ a little.
func (p *Pace) Answer(at time.Time, from string, refused bool) {
	if s := at.Unix(); s > p.second {
		if p.answers > p.refused && !p.heavy() {
			p.slow = max(0, p.slow-0.1)
		}
		*p = Pace{slow: p.slow, second: s}
	}
	p.answers++
	if !refused {
		return
	}
	p.refused++
	if p.first == "" {
		p.first = from
	}
	p.several = p.several || from != p.first
	if p.several && p.heavy() && !p.lessened {
		p.lessened = true
		p.slow = min(1-leastPace, 1-(1-p.slow)/2)
	}
}

func (p *Pace) heavy() bool { return float64(p.refused) > refusedShare*float64(p.answers) }

// Now returns the share of full speed that is left, above 0 and up to 1.
func (p *Pace) Now() float64 { return 1 - p.slow }

// Percent returns Now in percent, rounded up.
func (p *Pace) Percent() int { return int(math.Ceil(100 * p.Now())) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
