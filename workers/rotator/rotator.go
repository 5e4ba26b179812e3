// Package rotator is the NATS door of a task: it takes a nudge, lets the engine
// take the task as far as it goes, and settles the nudge.
package rotator

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// Config is what a Rotator is made of. All fields but the last three are required.
type Config struct {
	Engine interface {
		Take(ctx context.Context, n rollover.Nudge, lost bool) (rollover.Task, error)
	}
	Queue interface {
		Consume(ctx context.Context, q jet.Queue, slots int, handle func(context.Context, *jet.Delivery)) error
	}
	Slots int // tasks worked on at once; the queue adds a few hands for urgent ones
	Log   *slog.Logger
	// Waited is told how long each nudge waited for a hand, for metrics. It may be
	// nil.
	Waited func(urgent bool, d time.Duration)
	// TakenOver is told of each nudge that another worker had and was lost with. It may be nil.
	TakenOver func()
	// Tracer makes a span of each nudge. It may be nil.
	Tracer *spans.Tracer
}

// Rotator works on tasks.
type Rotator struct{ c Config }

// New returns a rotator.
func New(c Config) *Rotator { return &Rotator{c} }

// Run works until ctx ends and what is in hand is finished. While a nudge is in
// hand its host's slot is ours; the queue ends the handler's context when it can
// no longer renew that, and the driver stops writing.
func (r *Rotator) Run(ctx context.Context) error {
	if err := r.c.Queue.Consume(ctx, jet.Tasks, r.c.Slots, r.handle); err != nil {
		return fmt.Errorf("consuming task nudges: %w", err)
	}
	return nil
}

// handle looks at the task of one nudge.
func (r *Rotator) handle(ctx context.Context, d *jet.Delivery) {
	id := rollover.TaskID{Rotation: d.Nudge.Rotation, Ord: d.Nudge.Ord}
	if r.c.Waited != nil {
		r.c.Waited(d.Nudge.Urgent, d.Waited)
	}
	if d.Delivered > 1 && r.c.TakenOver != nil {
		r.c.TakenOver()
	}
	ctx, end := r.c.Tracer.Take(ctx, "task", spans.Rotation(id.Rotation), spans.Ord(id.Ord), spans.Tries(d.Delivered))
	k, err := r.take(ctx, d.Nudge, d.Delivered > 1)
	if err == nil {
		spans.Note(ctx, spans.Tenant(k.Item.Tenant), spans.Kind(k.Item.Target.Kind), spans.Host(k.Item.Target.Host), spans.Outcome(outcomeText(k)))
	}
	end(err)
	v := settle(err, d.Delivered)
	if err != nil {
		r.c.Log.WarnContext(ctx, "task not advanced", "rotation", id.Rotation, "task", id.Ord, "delivered", d.Delivered, "err", err)
	} else if k.Outcome != rollover.Open {
		r.c.Log.DebugContext(ctx, "task ended", "rotation", id.Rotation, "task", id.Ord, "tenant", k.Item.Tenant,
			"kind", k.Item.Target.Kind, "phase", k.Phase, "outcome", k.Outcome, "reason", k.Reason)
	}
	// The slot may be lost by now; the nudge is settled all the same, within the
	// time that the queue gives each call.
	ctx = context.WithoutCancel(ctx)
	switch v {
	case done:
		err = d.Done(ctx)
	case again:
		err = d.Again(ctx)
	case drop:
		err = d.Drop()
	}
	if err != nil {
		r.c.Log.WarnContext(ctx, "nudge not settled; it will come back", "rotation", id.Rotation, "task", id.Ord, "err", err)
	}
}

// outcomeText is how a task ended, or how far it has come.
func outcomeText(k rollover.Task) string {
	if k.Outcome != rollover.Open {
		return string(k.Outcome)
	}
	return string(k.Phase)
}

// take calls the engine, telling it where another had the nudge before, and turns a panic of a driver into an error: one
// poisonous answer must not take the other slots down.
func (r *Rotator) take(ctx context.Context, n rollover.Nudge, lost bool) (k rollover.Task, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.c.Log.ErrorContext(ctx, "driver panicked", "rotation", n.Rotation, "task", n.Ord, "stack", string(debug.Stack()))
			err = fmt.Errorf("advancing task %d of rotation %s: panic", n.Ord, n.Rotation)
		}
	}()
	return r.c.Engine.Take(ctx, n, lost)
}
