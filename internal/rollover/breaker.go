package rollover

import "time"

// The circuit breaker of a host.
const (
	// breakAfter is how many tries in a row must find the host down.
	breakAfter = 3
	// openFirst is how long the breaker is open the first time. Each probe that
	// fails doubles it, up to openMost.
	openFirst = 10 * time.Second
	openMost  = 5 * time.Minute
	// probeTime is how long a probe may take before another is let through. It is
	// above the time that the engine gives a step.
	probeTime = 2 * time.Minute
)

// Breaker is the circuit breaker of one host. After several failures in a row it
// opens: the host's tasks wait, without using up tries, until it lets one of them
// through as a probe. A probe that is answered closes it; one that fails opens it
// for twice as long. A probe is a try of its task, so that a host that stays dead
// ends each of its tasks after max_tries real tries. The zero Breaker is closed.
type Breaker struct {
	failures int
	opened   int       // times in a row
	until    time.Time // open until then, and half open from then on; zero: closed
}

// Failed takes in that the host gave no usable answer at now.
func (b *Breaker) Failed(now time.Time) {
	b.failures++
	if b.failures < breakAfter {
		return
	}
	b.until = now.Add(min(openMost, openFirst<<min(b.opened, 8)))
	b.opened++
}

// Answered takes in that the host is there, and closes the breaker.
func (b *Breaker) Answered() { *b = Breaker{} }

// Begin takes in that a call is let through. Of a breaker that is half open it is
// the probe, and others wait until it ends, or until it takes too long.
func (b *Breaker) Begin(now time.Time) {
	if !b.until.IsZero() {
		b.until = now.Add(probeTime)
	}
}

// ReadyAt returns from when the host may be asked; zero: at once.
func (b *Breaker) ReadyAt() time.Time { return b.until }

// Open reports whether the breaker is open or half open.
func (b *Breaker) Open() bool { return !b.until.IsZero() }
