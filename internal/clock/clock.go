// Package clock is a test clock: a time that starts where it is told, runs
// faster than the machine's and can be pushed forward, so that a rotation of
// four days is watched in a minute. One file can be shared by all processes of a
// demo or test, so that emulator and service agree on what time it is.
//
// Nothing of this belongs into production but [System], which is the machine's
// clock.
package clock

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// MaxRate bounds how much faster than the machine's a clock may run: one
// million times, about twelve days a second.
const MaxRate = 1e6

// ErrSystem says that the machine's clock was to be pushed or sped up.
var ErrSystem = errors.New("the system clock cannot be changed")

// Clock tells the time. It never goes backwards, but by [Clock.SetSkew], and is
// safe for concurrent use.
type Clock struct {
	file *file // nil: not shared. It has its own lock.

	mu     sync.Mutex
	system bool      // tells the machine's time; the fields below are unused
	line   line      // where the clock is now
	last   time.Time // the latest time that was told
}

// line is a straight line through real and virtual time.
type line struct {
	real    time.Time // the machine's time at which
	virtual time.Time // the clock showed this,
	rate    float64   // and how many of its seconds pass in one of the machine's
	// skew is added to what the clock tells, after it was made sure that it does
	// not go backwards: a change of skew is how a clock is put wrong, or right.
	skew time.Duration
}

// at returns the virtual time when the machine's clock shows real.
func (l line) at(real time.Time) time.Time {
	d := float64(real.Sub(l.real)) * l.rate
	if d >= math.MaxInt64 || d <= math.MinInt64 {
		d = math.Copysign(math.MaxInt64/2, d)
	}
	return l.virtual.Add(time.Duration(d))
}

// System returns the machine's clock. [Clock.Advance] and [Clock.SetRate] refuse
// on it with [ErrSystem].
func System() *Clock { return &Clock{system: true} }

// New returns a test clock that shows start now and runs rate times as fast as
// the machine's. Rate 0 is a clock that stands still until it is advanced; a
// rate that is negative, not a number or above [MaxRate] is taken as the nearest
// that is allowed.
func New(start time.Time, rate float64) *Clock {
	if math.IsNaN(rate) {
		rate = 0
	}
	rate = min(max(rate, 0), MaxRate)
	return &Clock{line: line{real: time.Now(), virtual: start.UTC().Round(0), rate: rate}}
}

// Now returns the time, in UTC for a test clock. A shared clock looks whether
// its file changed, at most every 50 ms; while the file cannot be read, the
// clock runs on as it was last told.
func (c *Clock) Now() time.Time {
	if c.system {
		return time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		if l, changed := c.file.poll(); changed {
			c.line = l
		}
	}
	return c.tell(time.Now())
}

// tell returns the time at real, or the latest time that was told if that is
// later. c.mu is held.
func (c *Clock) tell(real time.Time) time.Time {
	if t := c.line.at(real); t.After(c.last) {
		c.last = t
	}
	return c.last.Add(c.line.skew)
}

// Advance pushes the clock forward by d. It refuses a negative d. For a shared
// clock it writes the file.
func (c *Clock) Advance(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("advancing the clock by %s: a clock goes forward only", d)
	}
	return c.change(func(l line) line {
		l.virtual = l.virtual.Add(d)
		return l
	})
}

// SetSkew puts the clock wrong by d, forward or backward, from now on; 0 puts it
// right. It is the one way in which a clock leaps back, as a machine's does that is
// set anew. For a shared clock it writes the file.
func (c *Clock) SetSkew(d time.Duration) error {
	return c.change(func(l line) line {
		l.skew = d
		return l
	})
}

// SetRate makes the clock run rate times as fast as the machine's from now on,
// without a jump; 0 stops it. It refuses what is no rate from 0 to [MaxRate].
// For a shared clock it writes the file.
func (c *Clock) SetRate(rate float64) error {
	if err := checkRate(rate); err != nil {
		return err
	}
	return c.change(func(l line) line {
		l.rate = rate
		return l
	})
}

// change moves the clock's line to the present instant and lets f change it.
func (c *Clock) change(f func(line) line) error {
	if c.system {
		return ErrSystem
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		l, err := c.file.change(f)
		if err != nil {
			return err
		}
		c.line = l
		return nil
	}
	c.line = f(c.line.move(time.Now()))
	return nil
}

// move returns the same line, with its fixed point at real.
func (l line) move(real time.Time) line {
	return line{real: real, virtual: l.at(real), rate: l.rate, skew: l.skew}
}

func checkRate(rate float64) error {
	if math.IsNaN(rate) || rate < 0 || rate > MaxRate {
		return fmt.Errorf("clock rate %v: want 0 to %v", rate, float64(MaxRate))
	}
	return nil
}
