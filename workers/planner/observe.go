package planner

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// observe reads every target that is not decided yet, several at once, and
// writes into each line what stands there or how it ended. An error means that
// some are still open; those that were read are remembered.
func (p *Planner) observe(ctx context.Context, r rollover.Rotation, targets []*target, a *attempt) error {
	var mu sync.Mutex // guards a.read and wait
	var wait error
	var g errgroup.Group
	g.SetLimit(p.c.Parallel)
	for _, k := range targets {
		if k.item.Outcome != rollover.Open {
			continue
		}
		host := k.item.Target.Host
		if seen := a.read[host]; seen == nil {
			a.read[host] = &read{}
		} else if seen.item != nil {
			k.take(seen)
			continue
		}
		seen := a.read[host]
		g.Go(func() error {
			it, err := p.look(ctx, r, k, seen)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wait = longer(wait, err)
				return nil // The other targets go on.
			}
			seen.item = &it
			k.take(seen)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil && wait != nil {
		return context.Cause(ctx)
	}
	return wait
}

// take copies what was found on the target into the line.
func (k *target) take(seen *read) {
	it := *seen.item
	k.seen = seen.seen
	k.item.Present, k.item.Observed, k.item.Retire = it.Present, it.Observed, it.Retire
	k.item.Outcome, k.item.Reason, k.item.Detail = it.Outcome, it.Reason, it.Detail
}

// look reads one target and says what is to be done there. An error means: try
// again.
func (p *Planner) look(ctx context.Context, r rollover.Rotation, k *target, seen *read) (rollover.Item, error) {
	it := rollover.Item{}
	o, err := p.ask(ctx, r, k.item)
	if err == nil {
		_, it.Present = o.Find(r.Spec.New.SHA256)
		it.Observed, it.Retire = o.Digest(r.Spec.New.SHA256), r.Spec.ToRetire(o)
		seen.seen = tenants.CarriedOf(o)
		return it, nil
	}
	s := ended(err)
	if s == nil {
		if uncounted(ctx, err) {
			return it, err
		}
		if wait := p.throttled(seen, err); wait != nil {
			return it, wait
		}
		seen.tries++
		if seen.tries < p.c.Attempts {
			return it, p.again(seen.tries, err)
		}
		s = &rollover.StepError{
			Outcome: rollover.Failed, Reason: rollover.TriesUsedUp,
			Err: fmt.Errorf("after %d tries: %w", seen.tries, err),
		}
		err = s
	}
	it.Outcome, it.Reason, it.Detail = s.Outcome, s.Reason, detail(err)
	if k.plain && s.Outcome == rollover.HandedOver && s.Reason == rollover.NamespaceUnknown {
		it.Reason = rollover.FederatedHalfMissing
	}
	return it, nil
}

// ask has the driver read one target. A panic of the driver is an error like
// another: one poisonous answer must not take the other tenants down.
func (p *Planner) ask(ctx context.Context, r rollover.Rotation, it rollover.Item) (o rollover.Observation, err error) {
	defer func() {
		if why := recover(); why != nil {
			p.c.Log.Error("driver panicked", "rotation", r.ID, "tenant", it.Tenant, "host", it.Target.Host, "stack", string(debug.Stack()))
			err = errors.New("the driver panicked")
		}
	}()
	if it.Target.Identity == "" {
		return rollover.Observation{}, rollover.HandOver(rollover.IdentityMissing,
			errors.New("nobody says what the CRM service identity is called"))
	}
	d, err := p.c.Driver(it.Target.Kind)
	if err != nil {
		return rollover.Observation{}, rollover.Permanent(rollover.Refused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.ObserveTimeout)
	defer cancel()
	return d.Observe(ctx, rollover.Work{
		Rotation: r.ID, Tenant: it.Tenant, Target: it.Target, New: r.Spec.New, Now: p.c.Now(),
	})
}
