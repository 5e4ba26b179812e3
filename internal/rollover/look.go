package rollover

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// LookFor is how long a rotation that is being cancelled waits until the targets are
// looked at of which it is not known what became of the last try. A target that
// cannot be read for so long ends with a detail that says so.
const LookFor = 2 * time.Minute

// MaxLookPause is the longest time between two looks at one target.
const MaxLookPause = 10 * time.Second

// Unsure reports whether a try to add the new credential, or to remove an old one,
// may have been done without p saying so: the try failed, or its worker was lost.
func (p Progress) Unsure() bool {
	tried := p.Tries > 0 || p.Throttled > 0 || p.Doubted || p.Looks > 0
	return tried && p.Outcome == Open && p.Undo == 0 && (p.Phase == Planned || p.Phase == Activated)
}

// looksLater reports whether the look at a target has to wait. What a failed try
// waits for does not matter to the first look, but where the other side asked to
// be left alone it is.
func (p Progress) looksLater(now time.Time) bool {
	return (p.Looks > 0 || p.Throttle.Waits()) && p.waits(now)
}

// CancelNow returns k ended as cancelled, where it stands. Where that is not known,
// its reason is NotKnown.
func (k Task) CancelNow(now time.Time) Task {
	unsure := k.Unsure()
	k.V, k.UpdatedAt = RecordVersion, now
	k.Outcome, k.Reason, k.NextAt = Cancelled, ByRequest, time.Time{}
	switch {
	case unsure && k.Phase == Planned:
		k.Reason = NotKnown
		k.Detail = "the new certificate was sent, no answer said what became of it, and the target could not be read since: it may stand there"
	case unsure:
		k.Reason = NotKnown
		k.Detail = "the old certificates were to be removed, no answer said what became of it, and the target could not be read since: they may be gone"
	default:
		k.Detail = "stands as it was: " + string(k.Phase)
	}
	return k
}

// look reads the target of a cancelled task of which it is not known what became of
// the last try, and ends the task. What was to be done and is not seen is
// looked for once more, since the first answer may be of a moment ago.
func (e *Engine) look(ctx context.Context, d Driver, k Task, w Work) (Task, error) {
	o, err := d.Observe(ctx, w)
	if err != nil {
		return k, err
	}
	now := e.c.Now()
	seen := false
	if k.Phase == Planned {
		for _, s := range o.Standing {
			if s.SHA256 == w.New.SHA256 {
				seen = true
				k.Added = k.Added || s.Mark == w.Rotation
			}
		}
		if seen {
			k.Phase = Staged
		}
	} else {
		var gone []string
		for _, c := range k.Item.Retire {
			if _, stands := o.Find(c.SHA256); !stands {
				gone = append(gone, c.SHA256)
			}
		}
		if seen = len(gone) == len(k.Item.Retire); seen && len(gone) > 0 {
			k.Phase = Retired
		}
		slices.Sort(gone)
		if len(gone) > len(k.Removed) {
			k.Removed = gone
		}
	}
	if !seen && k.Looks < 2 {
		k.Looks, k.NextAt, k.UpdatedAt = 2, now.Add(DoubtPause), now
		return k, nil
	}
	k.Tries, k.Doubted, k.Looks = 0, false, 0 // It is known now.
	k.unthrottle()
	if k.Phase == Retired {
		k.V, k.UpdatedAt, k.NextAt, k.Detail = RecordVersion, now, time.Time{}, ""
		k.Outcome, k.Reason = ended(k)
		if k.Archive != nil {
			k.Archive = &Archive{At: now, Ready: true, Keys: k.Archive.Keys}
		}
		return k, nil
	}
	return k.CancelNow(now), nil
}

// unlooked writes into a cancelled task that its target could not be read. There is
// no limit of tries: the conductor ends after [LookFor] what was not seen until then.
func (e *Engine) unlooked(k Task, err error, now time.Time) Task {
	k.V, k.UpdatedAt, k.Looks = RecordVersion, now, max(k.Looks, 1)
	s := asStepError(err)
	if s.Outcome != Open { // It will not be otherwise the next time.
		k = k.CancelNow(now)
		k.Detail = clip(fmt.Sprintf("%s (%v)", k.Detail, err))
		return k
	}
	k.Detail = clip(err.Error())
	jitter := e.c.Jitter()
	if !k.held(s, now, jitter) {
		k.NextAt = now.Add(max(s.After, min(MaxLookPause, Backoff(3, jitter))))
	}
	return k
}
