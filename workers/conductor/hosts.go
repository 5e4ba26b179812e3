package conductor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Status is what a conductor knows of the moment, for metrics.
type Status struct {
	Leads        bool    // this process conducts
	Urgent, Bulk int     // tasks out, by lane
	Hands        [3]int  // of all workers that were heard of: for plans, tasks and checks
	Slowed       int     // hosts worked on at less than full pace, by their own wish
	Open         int     // hosts with an open breaker
	Pace         float64 // share of full speed that the service leaves, above 0 and up to 1
}

// hosts is what is known of hosts in bad order. It is made of the states of
// tasks, so that a successor, who sees the latest of each only, is slower at first
// and never faster than is safe.
type hosts map[string]*rollover.HostPace

// of returns what is known of a host, to be written to.
func (h hosts) of(host string) *rollover.HostPace {
	p := h[host]
	if p == nil {
		p = &rollover.HostPace{}
		h[host] = p
	}
	return p
}

// told takes in the state in which a try left a task.
func (h hosts) told(host string, p rollover.Progress, now time.Time) {
	switch p.Throttle {
	case rollover.ByHost:
		h.of(host).Refused(now, now.Add(p.Wait(now)))
	case rollover.BreakerOpen:
		h.of(host).Held(now, now.Add(p.Wait(now)))
	case rollover.HostDown:
		h.of(host).Failed(now)
	default:
		if known := h[host]; known != nil {
			known.Succeeded()
		}
	}
}

// ready reports whether a task of the host may be begun at now.
func (h hosts) ready(host string, now time.Time) bool {
	p := h[host]
	return p == nil || !p.ReadyAt().After(now) || p.Ahead(now)
}

// begin takes in that one is.
func (h hosts) begin(host string, now time.Time) {
	if p := h[host]; p != nil {
		p.Begin(now)
	}
}

// sweep forgets hosts in good order, and counts the others.
func (h hosts) sweep(now time.Time) (slowed, open int) {
	for host, p := range h {
		switch {
		case p.Idle(now):
			delete(h, host)
		case p.Open():
			open++
		case p.Slowed():
			slowed++
		}
	}
	return slowed, open
}

// doubtClock forgets what was remembered by a clock that was fast: what is not to be
// done before an instant would wait for as long as the clock was wrong.
func (t *turn) doubtClock() {
	now := t.Now()
	if t.last.Sub(now) > rollover.ClockDoubt {
		t.Log.Warn("the clock went back; what was known of hosts is read anew", "by", t.last.Sub(now))
		clear(t.hosts)
		clear(t.recalled)
		clear(t.limiters)
		clear(t.scans)
	}
	t.last = now
}

// recall rebuilds, once a reign and after the clock went back, what the states of a rotation's tasks say of
// their hosts.
func (t *turn) recall(ctx context.Context, v mirror.View) error {
	if t.recalled[v.Rotation.ID] {
		return nil
	}
	now := t.Now()
	for _, ord := range t.Mirror.Troubled(v.Rotation.ID) {
		it, err := t.item(ctx, rollover.TaskID{Rotation: v.Rotation.ID, Ord: ord})
		if err != nil {
			return err
		}
		p := t.Mirror.Row(rollover.TaskID{Rotation: v.Rotation.ID, Ord: ord}).Progress
		if p.UpdatedAt.Sub(now) > rollover.ClockDoubt {
			continue // Nobody can say when that was, and each reign would wait anew.
		}
		if p.Throttle == rollover.HostDown {
			t.hosts.of(it.Target.Host).Doubt(now)
			continue
		}
		t.hosts.told(it.Target.Host, p, now)
	}
	t.recalled[v.Rotation.ID] = true
	return nil
}

// item reads one line of a plan.
func (t *turn) item(ctx context.Context, id rollover.TaskID) (rollover.Item, error) {
	items, err := t.Store.Plan(ctx, id.Rotation, id.Ord, id.Ord+1)
	if err == nil && len(items) == 0 {
		err = rollover.ErrNotFound
	}
	if err != nil {
		return rollover.Item{}, fmt.Errorf("reading item %d of the plan: %w", id.Ord, err)
	}
	return items[0], nil
}

// starts returns the token bucket of a rotation that has a limit of starts; nil
// where it has none. It holds a tenth of a second's worth and begins empty, so that
// a change of conductors adds none.
func (t *turn) starts(r rollover.Rotation) *rate.Limiter {
	n := r.Spec.Limits.StartsPerSecond
	if n == 0 {
		return nil
	}
	l := t.limiters[r.ID]
	if l == nil {
		burst := max(1, n/10)
		l = rate.NewLimiter(rate.Limit(n), burst)
		l.AllowN(t.Now(), burst)
		t.limiters[r.ID] = l
	}
	return l
}
