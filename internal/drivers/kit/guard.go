package kit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// ErrHeld says that a host was not called, because of how it answered a moment
// ago.
var ErrHeld = errors.New("the host was not asked")

// Guard keeps calls away from hosts that this process knows to be down or to want
// fewer calls, whoever makes them: tasks of several rotations, and planning, which
// the conductor does not slow. It is safe for concurrent use.
type Guard struct {
	now   func() time.Time
	mu    sync.Mutex // guards the states, the cache guards itself
	hosts *lru.Cache[string, *guarded]
}

// guarded is what is known of one host.
type guarded struct {
	rollover.HostPace
	refused int // times in a row
}

// NewGuard returns a Guard that goes by the given clock.
func NewGuard(now func() time.Time) *Guard {
	hosts, err := lru.New[string, *guarded](pacedHosts)
	if err != nil {
		panic(err) // Only a size of 0 or less is refused.
	}
	return &Guard{now: now, hosts: hosts}
}

// Allow returns nil if the host may be called. Else it returns an error that lets
// the step wait until it may, without using up a try: a throttled one that is
// [ErrHeld].
func (g *Guard) Allow(host string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, known := g.hosts.Get(host)
	if !known {
		return nil
	}
	now := g.now()
	if h.Ahead(now) {
		g.hosts.Remove(host)
		return nil
	}
	wait := h.ReadyAt().Sub(now)
	if wait <= 0 {
		if h.Open() { // This call is the probe.
			h.Begin(now)
		}
		return nil
	}
	why := "it asked for fewer calls"
	if h.Open() {
		why = "it was down"
	}
	return rollover.Throttled(rollover.BreakerOpen, wait, fmt.Errorf("%s: %w: %s", host, ErrHeld, why))
}

// Observe takes in how a call ended, by its HTTP status; 0 means that no answer
// came. A host that was never in bad order costs nothing.
func (g *Guard) Observe(host string, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, known := g.hosts.Get(host)
	down := status == 0 || status == http.StatusRequestTimeout || status >= 500 && status != http.StatusServiceUnavailable
	if !known {
		if !down && status != http.StatusTooManyRequests {
			return
		}
		h = &guarded{}
		g.hosts.Add(host, h)
	}
	now := g.now()
	switch {
	case status == http.StatusTooManyRequests:
		h.refused++
		h.Refused(now, now.Add(rollover.Backoff(h.refused, 0.5)))
	case down:
		h.Failed(now)
	default:
		h.refused = 0
		h.Succeeded()
		if h.Idle(now) {
			g.hosts.Remove(host)
		}
	}
}

// Pace returns a pace for [Kit] that asks the guard and then waits as pace does.
func (g *Guard) Pace(pace func(ctx context.Context, host string) error) func(context.Context, string) error {
	return func(ctx context.Context, host string) error {
		if err := g.Allow(host); err != nil {
			return err
		}
		return pace(ctx, host)
	}
}
