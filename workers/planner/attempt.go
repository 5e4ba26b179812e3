package planner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// attempt is what this process remembers of planning one tenant. It only saves
// work and counts tries: losing it makes planning start over.
type attempt struct {
	busy, done bool // guarded by Planner.mu

	// The rest belongs to the call of Plan that made it busy.
	due   [2]time.Time     // not before either, by Config.Now and by Config.Real; zero: at once
	lists int              // times in a row that the organisation could not be listed
	read  map[string]*read // targets by host
}

// read is one target as far as it was read.
type read struct {
	tries   int
	refused int               // times in a row that host or service asked to wait
	since   time.Time         // of the first of these
	item    *rollover.Item    // set once it is decided; without endpoints and advice
	seen    []tenants.Carried // what stood there, where it could be read
}

// begin takes the tenant for one call of Plan. It returns nil if this process
// has saved its finding before.
func (p *Planner) begin(n rollover.Nudge) (*attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.memory.Get(n)
	switch {
	case !ok:
		a = &attempt{read: map[string]*read{}}
		p.memory.Add(n, a)
	case a.done:
		return nil, nil
	case a.busy:
		// The other call may still fail, so this nudge is kept.
		return nil, rollover.RetryAfter(rollover.Backoff(4, p.c.Jitter()), fmt.Errorf("tenant %d of rotation %s is being planned", n.Ord, n.Rotation))
	}
	if left := min(a.due[0].Sub(p.c.Now()), a.due[1].Sub(p.c.Real())); left > 0 {
		return nil, rollover.RetryAfter(left, fmt.Errorf("tenant %d of rotation %s is to be tried again later", n.Ord, n.Rotation))
	}
	a.busy = true
	return a, nil
}

// end gives the tenant back.
func (p *Planner) end(a *attempt, saved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.busy, a.done = false, saved
	if saved {
		a.read = nil
	}
}

// hold remembers when the tenant may be tried again, for the nudges that come
// before.
func (p *Planner) hold(a *attempt, err error) {
	if d := after(err); d > 0 {
		a.due = [2]time.Time{p.c.Now().Add(d), p.c.Real().Add(d)}
	}
}

// again returns the error that brings the nudge back after the n-th failed try.
func (p *Planner) again(n int, err error) error {
	wait := rollover.Backoff(n, p.c.Jitter())
	var s *rollover.StepError
	if errors.As(err, &s) {
		wait = max(wait, s.After)
	}
	return rollover.RetryAfter(wait, err)
}

// maxThrottled bounds how long a plan waits for a target whose host, or the service,
// wants fewer calls. After that each refusal is a failed try.
const maxThrottled = 10 * time.Minute

// throttled returns the error that brings the nudge back where the target was not
// read because fewer calls were asked for, which is no failed try; else nil.
func (p *Planner) throttled(seen *read, err error) error {
	var s *rollover.StepError
	if !errors.As(err, &s) || !s.Throttle.Waits() {
		return nil
	}
	now := p.c.Now()
	if seen.refused == 0 {
		seen.since = now
	}
	if now.Sub(seen.since) >= maxThrottled {
		return nil
	}
	seen.refused++
	return rollover.RetryAfter(rollover.ThrottlePause(seen.refused, s.After, p.c.Jitter()), err)
}

// ended returns how an error ends the matter, or nil if trying again may help.
func ended(err error) *rollover.StepError {
	var s *rollover.StepError
	if errors.As(err, &s) && s.Outcome != rollover.Open {
		return s
	}
	return nil
}

// uncounted reports whether an error says nothing about the other side: we are
// being stopped, or did not ask at all, also since we cannot find out how to sign in.
func uncounted(ctx context.Context, err error) bool {
	var s *rollover.StepError
	return ctx.Err() != nil || errors.Is(err, dataverse.ErrPaused) || errors.As(err, &s) && s.Throttle == rollover.BreakerOpen
}

// longer returns the later of two waits, each an error or nil.
func longer(a, b error) error {
	if after(b) > after(a) || a == nil {
		return b
	}
	return a
}

func after(err error) time.Duration {
	var s *rollover.StepError
	if errors.As(err, &s) {
		return s.After
	}
	return 0
}
