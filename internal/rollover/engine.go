package rollover

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// tasks is what the engine needs of a [Store].
type tasks interface {
	Task(ctx context.Context, id TaskID) (Task, error)
	SaveTask(ctx context.Context, k Task) (Task, error)
}

// Config is what an [Engine] is made of. Store, Driver and Now are required.
type Config struct {
	Store  tasks
	Driver func(kind string) (Driver, error) // unknown kinds are an error
	Now    func() time.Time
	// StepTimeout bounds one step, all its calls together. Default 1 minute: a
	// step makes up to five calls, and ACS was given 10 s for each.
	StepTimeout time.Duration
	// Jitter returns a number in [0,1) for [Backoff]. Default: always 0.
	Jitter func() float64
	// Blocks is asked before every step that puts the new credential in place. Nil:
	// nothing is ever blocked.
	Blocks Blocks
	// Archive keeps what is retired. Nil: nothing is kept, and what was retired
	// cannot be undone.
	Archive Vault
	// Begin is told of every step before it is done, and returns the context to do it
	// in and what to call with what came of it, for traces. It may be nil.
	Begin func(ctx context.Context, k Task, s Step) (context.Context, func(error))
	// Done is told of every step, for metrics. It may be nil.
	Done func(k Task, s Step, took time.Duration, err error)
}

// Engine does the steps that [Next] says are due and saves the task: once for
// the steps that add and read, and before and after each step that changes more.
// It keeps no state: any number of engines may work on one store.
type Engine struct{ c Config }

// NewEngine returns an engine.
func NewEngine(c Config) *Engine {
	if c.StepTimeout == 0 {
		c.StepTimeout = defaultStepTimeout
	}
	if c.Jitter == nil {
		c.Jitter = func() float64 { return 0 }
	}
	return &Engine{c}
}

// defaultStepTimeout is the default of [Config].StepTimeout.
const defaultStepTimeout = time.Minute

// maxRounds bounds one call of Advance. A task has at most six steps; the rest
// is for saves between them and for lost races.
const maxRounds = 24

// Advance takes the task as far as it goes now and returns it as it is stored.
// A failed step is no error: it is written into the task, which then is due
// again later or has ended. An error means that the task may not be as the
// caller last saw it; calling again finds out.
func (e *Engine) Advance(ctx context.Context, id TaskID) (Task, error) {
	return e.advance(ctx, hand{e: e, id: id})
}

// AdvanceLost is Advance for a task that another worker had in hand and was lost
// with: what that worker did is not known. It counts as a try that failed, so that
// the next one looks twice before it adds, and a cancellation looks at the target.
func (e *Engine) AdvanceLost(ctx context.Context, id TaskID) (Task, error) {
	return e.advance(ctx, hand{e: e, id: id, lost: true})
}

// Take is Advance for the task of a nudge, or AdvanceLost where another had the nudge
// before. A task that was opened again after it was released is left as it is.
func (e *Engine) Take(ctx context.Context, n Nudge, lost bool) (Task, error) {
	return e.advance(ctx, hand{e: e, id: TaskID{n.Rotation, n.Ord}, lost: lost, opened: n.Opened})
}

func (e *Engine) advance(ctx context.Context, h hand) (Task, error) {
	for range maxRounds {
		done, err := h.move(ctx)
		if done || err != nil {
			return h.k, err
		}
	}
	return Task{}, fmt.Errorf("task %s: no end after %d rounds: %w", h.id, maxRounds, ErrConflict)
}

// try does one step and returns the task as it should be saved. It returns an
// error only if ctx ended, when nothing is known and nothing should be saved.
func (e *Engine) try(ctx context.Context, k Task, step Step) (Task, error) {
	sctx, cancel := context.WithTimeout(ctx, e.c.StepTimeout)
	defer cancel()
	begun := e.c.Now()
	end := func(error) {}
	if e.c.Begin != nil {
		sctx, end = e.c.Begin(sctx, k, step)
	}
	next, err := e.do(sctx, k, step)
	end(err)
	now := e.c.Now()
	if e.c.Done != nil {
		e.c.Done(k, step, now.Sub(begun), err)
	}
	if ctx.Err() != nil {
		return k, fmt.Errorf("%s of task %s: %w", step, k.ID, context.Cause(ctx))
	}
	switch {
	case err != nil && step == StepLook:
		return e.unlooked(k, err, now), nil
	case err != nil:
		return e.failed(k, err, now), nil
	case step == StepLook:
		return next, nil
	}
	next.V, next.UpdatedAt = RecordVersion, now
	if next.Outcome == Open {
		next.Phase = advance(next, step)
		next.Tries, next.NextAt, next.Detail = 0, time.Time{}, ""
		// What only makes ready for Retire says nothing of what Retire did not see.
		next.Doubted = k.Doubted && k.Phase == Activated && (step == StepArchive || step == StepVerify)
		next.unthrottle()
		next.Outcome, next.Reason = ended(next)
	}
	return next, nil
}

// do asks the driver and returns the task with what came of it.
func (e *Engine) do(ctx context.Context, k Task, step Step) (Task, error) {
	d, err := e.c.Driver(k.Item.Target.Kind)
	if err != nil {
		return k, Permanent(Refused, err)
	}
	w := k.Work(e.c.Now())
	w.Careful = k.careful(step)
	switch step {
	case StepStage:
		added, err := d.Stage(ctx, w)
		k.Added = k.Added || added
		return k, err
	case StepVerify:
		if k.Phase == Activated {
			// The evidence is renewed before Retire. An old credential that is
			// gone by now may well be gone by our own hand, the answer lost.
			w.Old = nil
		}
		ev, err := d.Verify(ctx, w)
		if err == nil {
			k.Evidence = &ev
		}
		return k, err
	case StepActivate:
		return k, d.Activate(ctx, w)
	case StepRetire:
		return e.retire(ctx, d, k, w)
	case StepArchive:
		return e.archive(ctx, d, k, w)
	case StepRestore:
		return e.restore(ctx, d, k, w)
	case StepUndo:
		return e.undo(ctx, d, k, w)
	case StepLook:
		return e.look(ctx, d, k, w)
	default:
		return k, fmt.Errorf("no step %q", step)
	}
}

// retire removes the old credentials, if every target of every endpoint behind
// this one has its evidence: a federated endpoint signs in to both of its
// namespaces, and one that is half done still needs the old credential.
func (e *Engine) retire(ctx context.Context, d Driver, k Task, w Work) (Task, error) {
	for _, ord := range k.Item.Siblings {
		s, err := e.c.Store.Task(ctx, TaskID{k.ID.Rotation, ord})
		switch {
		case err != nil:
			return k, fmt.Errorf("reading sibling %d: %w", ord, err)
		case s.Evidence != nil && s.Undo == 0 && (s.Outcome == Open || s.Outcome == Succeeded):
			continue
		case s.Outcome == Open && s.Undo == 0:
			return k, RetryAfter(time.Minute, fmt.Errorf("sibling %s is only %s: %w", s.Item.Target, s.Phase, ErrNoEvidence))
		default:
			k.Outcome, k.Reason = Succeeded, RotatedOldKept
			k.Detail = fmt.Sprintf("%s ended as %s", s.Item.Target, s.Outcome)
			if s.Outcome == Open {
				k.Detail = fmt.Sprintf("%s is being undone", s.Item.Target)
			}
			return k, nil
		}
	}
	if w.RetireNotBefore.IsZero() || w.Now.Before(w.RetireNotBefore.Add(w.Margin)) {
		return k, fmt.Errorf("retiring on %s: %w", w.Target, ErrTooEarly)
	}
	removed, err := d.Retire(ctx, w)
	k.Removed = removed
	if err == nil && k.Archive != nil {
		k.Archive = &Archive{At: e.c.Now(), Ready: true, Keys: k.Archive.Keys}
	}
	return k, err
}

// careful reports whether what a step does not find is to be looked for once more.
// A try of adding that failed may have been done; what is to be removed was there.
func (k Task) careful(step Step) bool {
	switch step {
	case StepStage:
		return !k.Doubted && k.Tries > 0
	case StepRetire:
		return !k.Doubted
	case StepUndo:
		return !k.Doubted && (k.Added || k.Tries > 0)
	}
	return false
}

// Work returns what a driver is told about k.
func (k Task) Work(now time.Time) Work {
	return Work{
		Rotation: k.ID.Rotation, Tenant: k.Item.Tenant, Target: k.Item.Target,
		New: k.Orders.New, Old: k.Item.Retire, Observed: k.Item.Observed,
		RetireNotBefore: k.Orders.RetireNotBefore, Margin: k.Orders.Margin, Now: now,
	}
}

// failed writes err into the task: it ends, or is due again later.
func (e *Engine) failed(k Task, err error, now time.Time) Task {
	k.V, k.UpdatedAt, k.Detail = RecordVersion, now, clip(err.Error())
	k.Archive = k.Archive.stale() // Whatever was tried, the target may be another now.
	s := asStepError(err)
	doubted := k.Doubted
	k.Doubted = false
	switch {
	case errors.Is(err, ErrUnseen) && !doubted:
		k.Doubted, k.NextAt = true, now.Add(DoubtPause)
		return k
	case s.Outcome == Conflict && !doubted && k.Orders.MaxTries > 1:
		// A conflict is believed when it is seen twice. ACS may answer with what
		// stood there a moment ago, and one such answer must not end a task.
		s, k.Doubted = &StepError{Err: err, After: DoubtPause}, true
	}
	if s.Outcome != Open {
		k.Outcome, k.Reason, k.NextAt = s.Outcome, s.Reason, time.Time{}
		return k
	}
	if errors.Is(err, errNotYet) {
		k.NextAt = now.Add(s.After)
		return k
	}
	jitter := e.c.Jitter()
	if k.held(s, now, jitter) {
		return k
	}
	if errors.Is(err, ErrTooEarly) || errors.Is(err, ErrNoEvidence) && len(k.Item.Siblings) > 0 && s.After > 0 {
		// Waiting is not failing: no try is used up.
		k.NextAt = now.Add(max(s.After, time.Minute))
		return k
	}
	k.Tries++
	if k.Tries >= max(1, k.Orders.MaxTries) {
		k.Outcome, k.Reason, k.NextAt = Failed, TriesUsedUp, time.Time{}
		return k
	}
	k.NextAt = now.Add(max(s.After, Backoff(k.Tries, jitter)))
	return k
}

// asStepError returns what err says of the step; an unmarked one says "try again".
func asStepError(err error) *StepError {
	var s *StepError
	if !errors.As(err, &s) {
		s = &StepError{Err: err}
	}
	return s
}

// maxDetail is the most characters of an error that a record keeps.
const maxDetail = 500

// clip shortens s to maxDetail characters.
func clip(s string) string {
	r := []rune(s)
	if len(r) <= maxDetail {
		return s
	}
	return string(r[:maxDetail-1]) + "…"
}
