package conductor

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// undoID names one undo of one rotation.
type undoID struct {
	rotation string
	n        int
}

// undoBatch is how many tasks are marked in one turn, so that other rotations get
// their turn.
const undoBatch = 1024

// undo takes back what the undo of a rotation covers: it marks every task that it
// is for, sends them to the workers as the tolerance allows, and gives the rotation
// its state when the last one has ended. What is marked stands in the tasks
// themselves, so that another conductor goes on where this one stopped.
func (t *turn) undo(ctx context.Context, v mirror.View) (ready bool, err error) {
	r := v.Rotation
	if v.Counts.Total != r.Tasks {
		return false, nil // The mirror has not read the plan yet.
	}
	marked, err := t.markUndo(ctx, v)
	if err != nil || !marked {
		return false, err
	}
	if v.Counts.Undos[r.Undo.N].Open == 0 {
		delete(t.undoing, undoID{r.ID, r.Undo.N})
		return false, t.save(ctx, r.EndUndo(v.Counts, t.Now()))
	}
	if b := r.Budget(v.Counts); b.Exceeded() {
		next, err := r.Exceed(b, t.Now())
		if err != nil {
			return false, err
		}
		return false, t.save(ctx, next)
	}
	return true, t.recall(ctx, v)
}

// markUndo marks the tasks of an undo, a batch a turn, and reports whether all
// are. It begins when no nudge of the rotation is out: whatever a worker has in
// hand is finished and recorded, and nothing else is begun in this state.
func (t *turn) markUndo(ctx context.Context, v mirror.View) (bool, error) {
	r, id := v.Rotation, undoID{v.Rotation.ID, v.Rotation.Undo.N}
	covered, known := t.undoing[id]
	if !known {
		idle, err := t.idle(ctx, r.ID)
		if err != nil || !idle {
			return false, err
		}
		return false, t.cover(ctx, v, id)
	}
	var batch []rollover.Task
	for _, ord := range covered.ords {
		id := rollover.TaskID{Rotation: r.ID, Ord: ord}
		row := t.Mirror.Row(id)
		if row.Undo == r.Undo.N {
			continue
		}
		k := rollover.Task{ID: id, Progress: row.Progress, Rev: row.Seq}
		if batch = append(batch, k.GoBack(r.Undo.N, t.Now())); len(batch) == undoBatch {
			break
		}
	}
	if len(batch) == 0 {
		if covered.sure {
			return true, nil
		}
		// What was in hand was saved before the first mark, and the mirror has heard
		// of the last: now it knows of all tasks that were begun.
		covered.sure = true
		return false, t.cover(ctx, v, id)
	}
	if _, err := t.Store.SaveTasks(ctx, batch); err != nil {
		return false, fmt.Errorf("marking tasks to be undone: %w", err)
	}
	return false, nil
}

// idle reports whether no nudge of the rotation is out.
func (t *turn) idle(ctx context.Context, rotation string) (bool, error) {
	out, err := t.Queue.InFlight(ctx, jet.Tasks)
	if err != nil {
		return false, fmt.Errorf("reading what is in flight: %w", err)
	}
	for _, n := range out {
		if n.Rotation == rotation {
			return false, nil
		}
	}
	return true, nil
}

// coverage is what an undo is for, as far as one reign of a conductor knows.
type coverage struct {
	ords []int
	sure bool // it was looked at again after the last mark
}

// cover finds what an undo is for.
func (t *turn) cover(ctx context.Context, v mirror.View, id undoID) error {
	ks, err := v.Rotation.Undo.Scope.Covers(v.Rotation, v.Counts, func(from, to int) ([]rollover.Task, error) {
		return t.Mirror.Tasks(ctx, id.rotation, from, to)
	})
	if err != nil {
		return fmt.Errorf("finding what is to be undone: %w", err)
	}
	if t.undoing == nil {
		t.undoing = map[undoID]*coverage{}
	}
	if t.undoing[id] == nil {
		t.undoing[id] = &coverage{}
	}
	c := t.undoing[id]
	c.ords = c.ords[:0]
	for _, k := range ks {
		c.ords = append(c.ords, k.ID.Ord)
	}
	return nil
}

// failedTargets returns the targets that failed or were found in conflict in
// another rotation.
func (t *turn) failedTargets(ctx context.Context, rotation string) (map[rollover.Target]bool, error) {
	v, err := t.Mirror.Rotation(ctx, rotation)
	if err != nil {
		return nil, err
	}
	if v.Counts.Total != v.Rotation.Tasks {
		return nil, fmt.Errorf("its plan is not read yet: %w", rollover.ErrUnavailable)
	}
	failed := map[rollover.Target]bool{}
	const step = 1000
	for from := 0; from < v.Rotation.Tasks; from += step {
		ks, err := t.Mirror.Tasks(ctx, rotation, from, min(from+step, v.Rotation.Tasks))
		if err != nil {
			return nil, err
		}
		for _, k := range ks {
			if target, ok := k.FailedTarget(); ok {
				failed[target] = true
			}
		}
	}
	return failed, nil
}
