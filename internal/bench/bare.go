package bench

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Observe reads every target with slots at once, as planning does, and notes in
// each work what stands there.
func Observe(ctx context.Context, d rollover.Driver, works []rollover.Work, slots int) error {
	return each(ctx, works, slots, func(ctx context.Context, w *rollover.Work) error {
		o, err := d.Observe(ctx, *w)
		if err != nil {
			return fmt.Errorf("observing %s: %w", w.Target, err)
		}
		w.Observed = o.Digest(w.New.SHA256)
		return nil
	})
}

// Bare stages and verifies every target of works with slots at once, and does
// nothing else: no plan, no queue, no record, no status. The driver is the one
// of the whole system, so that the calls over the wire are the same. It returns
// how long that took, and stops at the first error.
func Bare(ctx context.Context, d rollover.Driver, works []rollover.Work, slots int) (time.Duration, error) {
	begun := time.Now()
	err := each(ctx, works, slots, func(ctx context.Context, w *rollover.Work) error {
		if _, err := d.Stage(ctx, *w); err != nil {
			return fmt.Errorf("staging on %s: %w", w.Target, err)
		}
		if _, err := d.Verify(ctx, *w); err != nil {
			return fmt.Errorf("verifying %s: %w", w.Target, err)
		}
		return nil
	})
	return time.Since(begun), err
}

// each calls do for every work, slots at once, until one fails.
func each(ctx context.Context, works []rollover.Work, slots int, do func(context.Context, *rollover.Work) error) error {
	g, ctx := errgroup.WithContext(ctx)
	next := make(chan *rollover.Work)
	for range slots {
		g.Go(func() error {
			for w := range next {
				if err := do(ctx, w); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(next)
		for i := range works {
			select {
			case next <- &works[i]:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	return g.Wait()
}
