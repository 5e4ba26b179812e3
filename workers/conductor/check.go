package conductor

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// CheckQueue takes nudges for parts of checks. It returns [jet.ErrBusy] while the
// part has one that is not settled.
type CheckQueue interface {
	NudgeCheck(ctx context.Context, n rollover.Nudge) error
}

// defaultCheckWindow is how many parts of checks may be out at once: as many as
// the slots of four workers.
const defaultCheckWindow = 16

// checks leads the checks for drift of all rotations, after the rotations have had
// their turn: it begins those that are due, has their parts looked at, and ends
// them. While tasks of rotations are out only one part is.
func (t *turn) checks(ctx context.Context, views []mirror.View) {
	if t.Checks == nil {
		return
	}
	_, late := t.parts.sweep(t.Patience, func(id rollover.TaskID, s sent) bool { return t.Mirror.CheckedPart(id, int(s.seq)) }) //nolint:gosec // A check's number is small.
	for _, id := range late {
		delete(t.parts, id) // It is sent anew if its check still wants it.
	}
	window := t.CheckWindow
	if len(t.tasks) > 0 {
		window = 1
	}
	running := 0
	for _, v := range views {
		if v.Rotation.Check.State == rollover.CheckRunning {
			running++
		}
	}
	for _, v := range views {
		if v.Counts.Total != v.Rotation.Tasks {
			continue // The mirror has not read the plan yet.
		}
		t.complain(ctx, v.Rotation.ID+" (check)", t.check(ctx, v, window, running))
		if v.Rotation.Check.State == rollover.CheckRunning {
			running--
		}
	}
}

// check moves one rotation's check. sharers is how many running checks still have
// to share what is left of the window.
func (t *turn) check(ctx context.Context, v mirror.View, window, sharers int) error {
	if next, changed := v.Rotation.MoveCheck(v.Counts, t.Now()); changed {
		saved, err := t.Store.SaveRotation(ctx, next)
		if err != nil {
			return fmt.Errorf("saving the check of rotation %s: %w", next.ID, err)
		}
		c := saved.Check
		t.Log.InfoContext(ctx, "check for drift", "rotation", saved.ID, "check", c.Number, "state", c.State, "scheduled", c.Scheduled,
			"looked", v.Counts.Drift.Looked(c.Number), "drifted", v.Counts.Drift.Drifted, "unreadable", v.Counts.Drift.Unreadable)
		return nil
	}
	r := v.Rotation
	if r.Check.State != rollover.CheckRunning {
		return nil
	}
	room := window - len(t.parts)
	if room > 0 {
		room = max(1, room/max(1, sharers))
	}
	if room <= 0 {
		return nil
	}
	for _, part := range t.Mirror.Unchecked(r, room+len(t.parts)) {
		id := rollover.TaskID{Rotation: r.ID, Ord: part}
		if t.parts.out(id) {
			continue
		}
		err := t.Checks.NudgeCheck(spans.Part(ctx, r.Trace, part), rollover.Nudge{Rotation: id.Rotation, Ord: id.Ord})
		if err := t.parts.note(id, sent{seq: uint64(r.Check.Number)}, err); err != nil { //nolint:gosec // Counted from 1.
			return fmt.Errorf("nudging part %d of the check: %w", part, err)
		}
		if room--; room == 0 {
			return nil
		}
	}
	return nil
}
