package conductor

import (
	"context"
	"slices"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// late are nudges that had no effect in time.
type late struct{ tasks, plans []rollover.TaskID }

// sweep takes in what was settled, and returns what was not in time.
func (t *turn) sweep() late {
	var l late
	var n int
	now := time.Now()
	n, l.tasks = t.tasks.sweep(t.Patience, t.settled)
	t.settling.add(n, now)
	t.moves += n
	n, l.plans = t.plans.sweep(t.Patience, func(id rollover.TaskID, _ sent) bool { return t.Mirror.HasFinding(id) })
	t.finding.add(n, now)
	return l
}

// remind sends late nudges again, those of rotations that may release and plan now.
func (t *turn) remind(ctx context.Context, l late, running, planning []mirror.View) {
	among := func(views []mirror.View) func(rollover.TaskID) bool {
		return func(id rollover.TaskID) bool {
			return slices.ContainsFunc(views, func(v mirror.View) bool { return v.Rotation.ID == id.Rotation })
		}
	}
	repeatedTasks, repeatedPlans := 0, 0
	if t.Repeated != nil {
		defer func() { t.Repeated(repeatedTasks, repeatedPlans) }()
	}
	err := t.tasks.remind(l.tasks, func(id rollover.TaskID) bool {
		v, err := t.Mirror.Rotation(ctx, id.Rotation)
		return err == nil && t.due(v, t.Mirror.Row(id))
	}, among(running), func(id rollover.TaskID, s sent) error {
		repeatedTasks++
		return t.Queue.NudgeTask(spans.Part(ctx, s.trace, id.Ord), s.host, rollover.Nudge{Rotation: id.Rotation, Ord: id.Ord, Urgent: s.urgent, Opened: s.opened})
	})
	t.once(ctx, "", "late nudges are not sent again; trying on", err)
	err = t.plans.remind(l.plans, func(id rollover.TaskID) bool {
		return t.Mirror.Planning(id.Rotation)
	}, among(planning), func(id rollover.TaskID, s sent) error {
		repeatedPlans++
		return t.Queue.NudgePlan(spans.Part(ctx, s.trace, id.Ord), s.tenant, rollover.Nudge{Rotation: id.Rotation, Ord: id.Ord, Urgent: s.urgent})
	})
	t.once(ctx, "*", "late nudges of planning are not sent again; trying on", err)
}
