package planner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// queue is where planning nudges come from.
type queue interface {
	Consume(ctx context.Context, q jet.Queue, slots int, handle func(context.Context, *jet.Delivery)) error
}

// Run plans tenants until ctx ends and what is in hand is finished, at most
// slots at once.
func (p *Planner) Run(ctx context.Context, q queue, slots int) error {
	if err := q.Consume(ctx, jet.Plans, slots, p.handle); err != nil {
		return fmt.Errorf("consuming planning nudges: %w", err)
	}
	return nil
}

// handle plans the tenant of one nudge and settles it. A tenant that is to come
// again later is settled as done: the conductor nudges whatever has no finding
// yet, and a nudge that waited here would hold the queue's place meanwhile.
func (p *Planner) handle(ctx context.Context, d *jet.Delivery) {
	ctx, end := p.c.Tracer.Take(ctx, "plan tenant", spans.Rotation(d.Nudge.Rotation), spans.Ord(d.Nudge.Ord), spans.Tries(d.Delivered))
	begun := time.Now()
	err := p.plan(ctx, d.Nudge)
	end(err)
	if p.c.Tried != nil {
		p.c.Tried(time.Since(begun), resultOf(err))
	}
	log := p.c.Log.With(slog.String("rotation", d.Nudge.Rotation), slog.Int("tenant", d.Nudge.Ord))
	ctx = context.WithoutCancel(ctx)
	var later *rollover.StepError
	var settle error
	switch {
	case err == nil:
		settle = d.Done(ctx)
	case errors.As(err, &later):
		log.DebugContext(ctx, "tenant not planned yet", "err", err)
		settle = d.Done(ctx)
	case errors.Is(err, rollover.ErrNotFound):
		settle = d.Drop()
	default:
		log.WarnContext(ctx, "tenant not planned", "err", err)
		settle = d.Again(ctx)
	}
	if settle != nil {
		log.WarnContext(ctx, "nudge not settled; it will come back", "err", settle)
	}
}

// resultOf names what came of a try.
func resultOf(err error) string {
	var later *rollover.StepError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &later):
		return "later"
	}
	return "failed"
}

// plan calls Plan, and turns a panic into an error: one poisonous answer must
// not take the other tenants down.
func (p *Planner) plan(ctx context.Context, n rollover.Nudge) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.c.Log.ErrorContext(ctx, "planning panicked", "rotation", n.Rotation, "tenant", n.Ord, "stack", string(debug.Stack()))
			err = rollover.RetryAfter(0, errors.New("planning panicked"))
		}
	}()
	return p.Plan(ctx, n)
}
