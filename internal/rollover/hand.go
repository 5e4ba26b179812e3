package rollover

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// hand is a task while one call of Advance works on it.
//
// Each save is synced to a disk, so steps that belong together are saved
// together: stage, verify, and an activation that does nothing. What makes that
// safe is that none of them needs the record of the one before. A process that
// dies between them is followed by one that stages again, and finds at the target
// what stands there and whose it is.
type hand struct {
	e     *Engine
	id    TaskID
	k     Task
	known bool // k was read and nobody is known to have moved it since
	ahead bool // k has come further than what is stored
	lost  bool // whoever had it before was lost, and what came of that try is not written down yet

	opened int // see [Nudge]; 0: whenever it was released
}

// keepTimeout bounds the save of what was done when ctx has ended.
const keepTimeout = 5 * time.Second

// move does the next thing that there is to do: read the task, do a step, or
// save. It reports whether the task is stored and rests.
func (h *hand) move(ctx context.Context) (done bool, err error) {
	if !h.known {
		if h.k, err = h.e.c.Store.Task(ctx, h.id); err != nil {
			return false, fmt.Errorf("reading task %s: %w", h.id, err)
		}
		h.known, h.ahead = true, false
	}
	if h.opened > 0 && h.k.Opened() >= h.opened && !h.ahead {
		return true, nil // It was opened again since: its turn may be another by now.
	}
	if h.lost && h.k.mayHaveTried(h.e.c.Now()) {
		h.k.Tries, h.k.Detail = 1, "a worker was lost during a try"
		h.k.V, h.k.UpdatedAt = RecordVersion, h.e.c.Now()
		h.ahead = true
	}
	step := Next(h.k, h.e.c.Now())
	rests := step == StepWait || step == StepNothing
	switch {
	case rests && !h.ahead:
		return true, nil
	case rests:
		return h.save(ctx)
	case h.ahead && h.e.writes(h.k, step):
		// What led here is on the disk before the target is written to, and the
		// orders are read anew: a rotation that was paused meanwhile is.
		_, err := h.save(ctx)
		h.known = false
		return false, err
	}
	next, err := h.e.tryUnblocked(ctx, h.k, step)
	if err != nil {
		return false, errors.Join(err, h.keep(ctx))
	}
	h.k, h.ahead = next, true
	if next.Outcome == Open && next.NextAt.IsZero() && !h.e.writes(next, step) {
		return false, nil
	}
	return h.save(ctx)
}

// mayHaveTried reports whether a worker that was lost with k in hand may have changed
// the target, and k does not say so. It then counts as a try that failed: the next
// one looks twice before it adds, and a cancellation looks at all.
func (k Task) mayHaveTried(now time.Time) bool {
	o := k.Orders
	switch {
	case k.Outcome != Open || k.Undo > 0 || k.Unsure():
		return false
	case k.Phase == Planned:
		return true
	default:
		return k.Phase == Activated && len(k.Item.Retire) > 0 && !o.RetireNotBefore.IsZero() && !now.Before(o.RetireNotBefore.Add(o.Margin))
	}
}

// save stores the task and reports whether it rests. Someone else who moved it
// meanwhile has won: what is at hand is forgotten, and found again at the target.
func (h *hand) save(ctx context.Context) (rests bool, err error) {
	saved, err := h.e.c.Store.SaveTask(ctx, h.k)
	h.ahead = false
	switch {
	case errors.Is(err, ErrConflict):
		h.known = false
		return false, nil
	case err != nil:
		return false, fmt.Errorf("saving task %s as %s: %w", h.id, h.k.Phase, err)
	}
	h.k, h.lost = saved, false
	step := Next(saved, h.e.c.Now())
	if step == StepWait || step == StepNothing {
		return true, nil
	}
	h.known = false // The next step writes, and wants orders of now.
	return false, nil
}

// keep stores what was done before ctx ended, so that a rotation that is
// cancelled next says of the task what is true. It writes to no target, and loses
// against whoever has the task by now.
func (h *hand) keep(ctx context.Context) error {
	if !h.ahead {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	if _, err := h.e.c.Store.SaveTask(ctx, h.k); err != nil {
		return fmt.Errorf("saving task %s as %s: %w", h.id, h.k.Phase, err)
	}
	return nil
}

// writes reports whether a step changes something beyond adding the new
// credential, which is found again at the target. Such a step has a save before
// it and one after.
func (e *Engine) writes(k Task, step Step) bool {
	switch step {
	case StepStage, StepVerify:
		return false
	case StepActivate:
		d, err := e.c.Driver(k.Item.Target.Kind)
		if err != nil {
			return true
		}
		s, ok := d.(SelfSwitching)
		return !ok || !s.SelfSwitching()
	default:
		return true
	}
}
