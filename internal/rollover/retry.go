package rollover

import (
	"fmt"
	"time"
)

// still returns how many of count failures, taken note of at some instant, are
// surely failures still, retried of all failures having been opened again since.
// Which of them is not known, so that all are taken for those: a tolerance may be
// kept too sharply by that, never too loosely.
func still(count, retried int) int { return max(0, count-max(0, retried)) }

// NotRetryable says why k cannot be tried again, as a part of a sentence; empty:
// it can. named says that it was asked for by name or by a filter: what is in
// conflict or was handed over is tried again only then, since somebody has to
// have mended the cause.
func (k Task) NotRetryable(named bool) string {
	switch {
	case k.Item.Outcome != Open:
		return "was decided by planning; make a new rotation"
	case k.Undo > 0 && k.Outcome != Open:
		return "was being undone; undo it again"
	case k.Outcome == Failed, named && (k.Outcome == Conflict || k.Outcome == HandedOver):
		return ""
	case k.Outcome == Open:
		return "has not ended"
	default:
		return "ended as " + string(k.Outcome)
	}
}

// Retry returns k open again where it stood, with all its tries. What it stands
// on is looked at anew: a target that changed since the plan is a conflict again,
// and no old evidence lets anything be retired.
func (k Task) Retry(request string, now time.Time) Task {
	if k.Outcome != Open && k.Outcome != Failed {
		k.Named, k.NamedAt = k.Named+1, now.UnixMilli()
	}
	k.reopen(now)
	k.RetryID = request
	return k
}

// Opened returns how often the task was opened again. It never falls.
func (p Progress) Opened() int { return p.Retried + int(p.Named) + p.Undo }

// reopen takes back the end of k.
func (k *Task) reopen(now time.Time) {
	if k.Outcome == Failed && k.Undo == 0 {
		k.Retried++
	}
	if k.Phase == Activated {
		k.Evidence = nil
	}
	k.V, k.UpdatedAt = RecordVersion, now
	k.Outcome, k.Reason, k.Detail = Open, NoReason, ""
	k.Tries, k.NextAt, k.Archive, k.Doubted = 0, time.Time{}, k.Archive.stale(), false
}

// MayRetry returns nil if tasks of r may be opened again now.
func (r Rotation) MayRetry() error {
	switch {
	case r.UndoUnderWay():
		return &StateError{"retry tasks of", r.State, "an undo is under way"}
	case r.State == StateRunning, r.State == StatePaused, r.State == StateFailed, r.State == StateSucceeded:
		return nil
	case r.State == StatePlanning, r.State == StatePlanned:
		return &StateError{"retry tasks of", r.State, "it has not been started"}
	case r.State == StateCancelling, r.State == StateCancelled:
		return &StateError{"retry tasks of", r.State, "cancelling is for good; create a new rotation over what failed"}
	default:
		return &StateError{"retry tasks of", r.State, "create a new rotation"}
	}
}

// Retry returns r as it goes on after tasks of it were opened again, the last of
// them saved as version reopened. One that had ended is RUNNING again in the
// phase that it had; others keep their state. What is known of its tasks up to
// that version is needed before anything is concluded.
func (r Rotation) Retry(reopened uint64, request, why string, now time.Time) (Rotation, error) {
	if err := r.MayRetry(); err != nil {
		return r, err
	}
	if r.State.Ended() {
		r.State, r.Detail, r.EndedAt = StateRunning, "", time.Time{}
	}
	r.Reopened, r.RetryID, r.RetryReason, r.UpdatedAt = max(r.Reopened, reopened), request, why, now
	return r, nil
}

// OnlyTargets returns plan with every target that has something to be done, and
// is not among those that were failed, marked as not selected. The other targets
// of an endpoint behind a failed one are kept too: the old credential goes from
// neither before both have the new one.
func OnlyTargets(plan []Item, failed map[Target]bool, of string) []Item {
	wanted := make([]bool, len(plan))
	for i, it := range plan {
		// A line without a host stands for all that could not be listed of a tenant.
		if !failed[it.Target] && !failed[wholeOf(it)] {
			continue
		}
		wanted[i] = true
		for _, ord := range it.Siblings {
			wanted[ord] = true
		}
	}
	out := make([]Item, len(plan))
	for i, it := range plan {
		if !wanted[i] && it.Outcome == Open {
			it.Outcome, it.Reason = Skipped, NotSelected
			it.Detail = fmt.Sprintf("it did not fail in rotation %s", of)
			it.Observed, it.Retire = "", nil
		}
		out[i] = it
	}
	return out
}

// FailedTarget returns what [OnlyTargets] knows k by, and whether k failed or
// was found in conflict.
func (k Task) FailedTarget() (Target, bool) {
	t := k.Item.Target
	if t.Host == "" {
		t = wholeOf(k.Item)
	}
	return t, k.Outcome == Failed || k.Outcome == Conflict
}

// wholeOf stands for all targets of the item's tenant.
func wholeOf(it Item) Target { return Target{Kind: it.Target.Kind, Identity: "tenants/" + it.Tenant} }
