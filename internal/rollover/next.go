package rollover

import "time"

// Step is what is done to a task to move it on.
type Step string

// The steps. Wait and Nothing are not done by a driver: Wait means that the
// task goes on later, Nothing that it has ended.
const (
	StepStage    Step = "stage"
	StepVerify   Step = "verify"
	StepActivate Step = "activate"
	StepRetire   Step = "retire"
	StepArchive  Step = "archive" // keep what Retire will remove
	StepRestore  Step = "restore" // put back what Retire removed
	StepUndo     Step = "undo"
	StepLook     Step = "look" // a cancelled task: see what became of its last try
	StepWait     Step = "wait"
	StepNothing  Step = "nothing"
)

// Next returns the step that is due for the task at now. It is the one place
// that decides; it reads nothing but its arguments.
func Next(k Task, now time.Time) Step {
	switch {
	case k.Outcome != Open:
		return StepNothing
	case k.Orders.Cancel && k.Unsure() && !k.looksLater(now):
		return StepLook
	case k.Orders.Hold, k.waits(now), k.Orders.Undo != k.Undo, k.Orders.Scheduled && !now.Before(k.Orders.OpenUntil):
		return StepWait
	case k.Undo > 0 && k.Archive != nil:
		return StepRestore
	case k.Undo > 0:
		return StepUndo
	}
	switch k.Phase {
	case Planned:
		return StepStage
	case Staged:
		return StepVerify
	case Verified:
		return StepActivate
	case Activated:
		return afterActivation(k, now)
	default:
		return StepNothing
	}
}

// ClockDoubt is from when on a record of the future is not believed: whoever wrote it
// has a clock that is so much faster than ours, at least.
const ClockDoubt = 10 * time.Second

// waits reports whether the task is to be left alone until a later instant. That
// instant is by the clock of who wrote it: where that clock is known to be wrong, it
// would hold the task for as long as the clock is wrong.
func (p Progress) waits(now time.Time) bool {
	return now.Before(p.NextAt) && p.UpdatedAt.Sub(now) <= ClockDoubt
}

// Wait returns for how long the task is to be left alone, seen from now; 0 or less:
// it is not. It is never more than its writer meant, whatever the writer's clock
// shows.
func (p Progress) Wait(now time.Time) time.Duration {
	return min(p.NextAt.Sub(now), p.NextAt.Sub(p.UpdatedAt))
}

// afterActivation waits out the overlap. Both stand until RetireNotBefore, and
// a margin longer, since the clock that says so may be up to that much ahead.
// Evidence that has grown old is renewed before anything is removed.
func afterActivation(k Task, now time.Time) Step {
	o := k.Orders
	switch {
	case !o.Retire, o.RetireNotBefore.IsZero(), now.Before(o.RetireNotBefore.Add(o.Margin)):
		return StepWait
	case k.Evidence == nil, now.Sub(k.Evidence.At) > o.EvidenceMaxAge:
		return StepVerify
	case o.UndoWindow > 0 && (k.Archive == nil || !k.Archive.Ready):
		return StepArchive
	default:
		return StepRetire
	}
}

// advance returns the phase that a task is in after step was done.
func advance(k Task, step Step) Phase {
	switch step {
	case StepStage:
		return Staged
	case StepVerify:
		if k.Phase.Rank() < Verified.Rank() {
			return Verified
		}
	case StepActivate:
		return Activated
	case StepRetire:
		return Retired
	case StepRestore:
		if k.Phase == Retired {
			return Activated
		}
	}
	return k.Phase
}

// ended returns the outcome of a task that has just reached its phase, or Open
// if more is to come.
func ended(k Task) (Outcome, Reason) {
	done := k.Phase == Retired || (k.Phase == Activated && len(k.Item.Retire) == 0)
	switch {
	case !done:
		return Open, NoReason
	case k.Added:
		return Succeeded, Rotated
	default:
		return Succeeded, AlreadyPresent
	}
}

// Backoff returns how long to wait after the n-th failed try of a step (n from
// 1): 1 s doubling to 60 s, of which jitter in [0,1) takes off up to half, so
// that tasks that failed together do not come back together.
func Backoff(n int, jitter float64) time.Duration {
	d := time.Minute
	if n < 1 {
		n = 1
	}
	if n <= 6 {
		d = time.Second << (n - 1)
	}
	return d - time.Duration(jitter*float64(d)/2)
}
