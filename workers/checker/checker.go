// Package checker is the NATS door of a check for drift: it takes a nudge for a
// part of a rotation, reads the part's targets again, and stores what is other
// than the rotation left it. It writes nothing to any target.
package checker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// store is what checking needs of the store.
type store interface {
	Rotation(ctx context.Context, id string) (rollover.Rotation, error)
	Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error)
	CheckPart(ctx context.Context, rotation string, n int) (rollover.CheckPart, uint64, error)
	SaveCheckPart(ctx context.Context, rotation string, n int, p rollover.CheckPart, rev uint64) (uint64, error)
}

// queue is where nudges come from.
type queue interface {
	Consume(ctx context.Context, q jet.Queue, slots int, handle func(context.Context, *jet.Delivery)) error
}

// Config is what a [Checker] is made of. The first three fields are required.
type Config struct {
	Store  store
	Driver func(kind string) (rollover.Driver, error) // unknown kinds are an error
	Now    func() time.Time
	Log    *slog.Logger // default: nothing is logged
	// Tracer makes a span of each nudge. It may be nil.
	Tracer *spans.Tracer
	// Rate is how many targets this process begins to read a second. Default 50:
	// a check is in no hurry, and the hosts have rotations to serve.
	Rate float64
	// Parallel is how many targets of a part are read at once. Default 4.
	Parallel int
	// Attempts is how often a target is tried before it counts as unreadable.
	// Default 3.
	Attempts int
	// Timeout bounds one reading of a target. Default 30 s.
	Timeout time.Duration
	// Pause waits between two tries of a target; it returns the error of ctx.
	// Default: real time, at most ten seconds.
	Pause func(ctx context.Context, d time.Duration) error
}

// Checker checks rotations for drift. It is safe for concurrent use, and keeps
// nothing between nudges but its pace.
type Checker struct {
	c    Config
	pace *rate.Limiter
}

// New returns a checker.
func New(c Config) (*Checker, error) {
	if c.Store == nil || c.Driver == nil || c.Now == nil {
		return nil, errors.New("making a checker: a required field of Config is missing")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rate <= 0 {
		c.Rate = 50
	}
	if c.Parallel <= 0 {
		c.Parallel = 4
	}
	if c.Attempts <= 0 {
		c.Attempts = 3
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Pause == nil {
		c.Pause = pause
	}
	return &Checker{c: c, pace: rate.NewLimiter(rate.Limit(c.Rate), c.Parallel)}, nil
}

// longestPause bounds the wait between two tries: the slot is held meanwhile.
const longestPause = 10 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(min(d, longestPause))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// Run checks until ctx ends and what is in hand is left or finished, at most slots
// parts at once.
func (k *Checker) Run(ctx context.Context, q queue, slots int) error {
	if err := q.Consume(ctx, jet.Checks, slots, k.handle); err != nil {
		return fmt.Errorf("consuming check nudges: %w", err)
	}
	return nil
}

// patience is how often one nudge is delivered. The conductor sends a new one for
// every part that is not stored.
const patience = 4

// handle checks the part of one nudge and settles it.
func (k *Checker) handle(ctx context.Context, d *jet.Delivery) {
	ctx, end := k.c.Tracer.Take(ctx, "check part", spans.Rotation(d.Nudge.Rotation), spans.Ord(d.Nudge.Ord), spans.Tries(d.Delivered))
	err := k.Check(ctx, d.Nudge)
	end(err)
	ctx = context.WithoutCancel(ctx)
	log := k.c.Log.With(slog.String("rotation", d.Nudge.Rotation), slog.Int("part", d.Nudge.Ord))
	if err != nil {
		log.WarnContext(ctx, "part not checked", "delivered", d.Delivered, "err", err)
	}
	switch {
	case err == nil, d.Delivered >= patience:
		err = d.Done(ctx)
	case errors.Is(err, rollover.ErrNotFound):
		err = d.Drop()
	default:
		err = d.Again(ctx)
	}
	if err != nil {
		log.WarnContext(ctx, "nudge not settled; it will come back", "err", err)
	}
}

// Check reads the targets of one part and stores what it found, unless the check
// that runs has been there. Nil means that there is nothing more to do for this
// nudge. After an error nothing was stored, or it is not known; the nudge is to
// come again.
func (k *Checker) Check(ctx context.Context, n rollover.Nudge) error {
	r, err := k.c.Store.Rotation(ctx, n.Rotation)
	if err != nil {
		return fmt.Errorf("reading rotation %s: %w", n.Rotation, err)
	}
	if r.Check.State != rollover.CheckRunning || n.Ord < 0 || n.Ord >= r.CheckParts() {
		return nil
	}
	before, rev, err := k.c.Store.CheckPart(ctx, r.ID, n.Ord)
	if err != nil {
		return fmt.Errorf("reading what was found before: %w", err)
	}
	if before.Check >= r.Check.Number {
		return nil
	}
	p, err := k.look(ctx, r, n.Ord)
	if err != nil {
		return err
	}
	for i, t := range p.Targets {
		var was []rollover.Drift
		for _, b := range before.Targets {
			if b.Ord == t.Ord {
				was = b.Drifts
			}
		}
		rollover.KeepSince(p.Targets[i].Drifts, was, p.At)
	}
	_, err = k.c.Store.SaveCheckPart(ctx, r.ID, n.Ord, p, rev)
	if errors.Is(err, rollover.ErrConflict) {
		return nil // Another checker was faster. If it was not, the part is nudged anew.
	}
	if err != nil {
		return fmt.Errorf("saving what was found: %w", err)
	}
	k.c.Log.DebugContext(ctx, "part checked", "rotation", r.ID, "part", n.Ord, "looked", p.Looked, "drifted", len(p.Targets))
	return nil
}
