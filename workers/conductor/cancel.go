package conductor

import (
	"context"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// cancelBatch is how many tasks are cancelled in one turn, so that other
// rotations get their turn.
const cancelBatch = 1024

// cancel ends a rotation that was cancelled: it waits until no nudge of it is
// out, so that whatever a worker has in hand is finished and recorded, has the
// targets looked at of which it is not known what became of the last try, and then
// ends every open task where it stands. It reports whether there are looks to be
// released.
func (t *turn) cancel(ctx context.Context, v mirror.View) (bool, error) {
	id := v.Rotation.ID
	if v.Counts.Total != v.Rotation.Tasks {
		return false, nil
	}
	if v.Counts.OpenTasks == 0 {
		delete(t.looking, id)
		return false, t.save(ctx, v.Rotation.End(v.Counts, t.Now()))
	}
	since, looking := t.looking[id]
	if !looking {
		// What was out before the cancellation is not waited for as a look is.
		t.forget(id)
		since = time.Now()
		t.looking[id] = since
	}
	if time.Since(since) < t.LookFor && t.unsure(v.Rotation) {
		return true, t.recall(ctx, v)
	}
	out, err := t.Queue.InFlight(ctx, jet.Tasks)
	if err != nil {
		return false, fmt.Errorf("reading what is in flight: %w", err)
	}
	for _, n := range out {
		if n.Rotation == id {
			return false, nil
		}
	}
	var batch []rollover.Task
	for ord := 0; ord < v.Rotation.Tasks && len(batch) < cancelBatch; ord++ {
		row := t.Mirror.Row(rollover.TaskID{Rotation: id, Ord: ord})
		if row.Outcome == rollover.Open {
			k := rollover.Task{ID: rollover.TaskID{Rotation: id, Ord: ord}, Progress: row.Progress, Rev: row.Seq}
			batch = append(batch, k.CancelNow(t.Now()))
		}
	}
	if _, err := t.Store.SaveTasks(ctx, batch); err != nil {
		return false, fmt.Errorf("cancelling tasks: %w", err)
	}
	return false, nil
}

// unsure reports whether a target of the rotation is to be looked at, now or later.
func (t *turn) unsure(r rollover.Rotation) bool {
	for ord := range r.Tasks {
		if t.Mirror.Row(rollover.TaskID{Rotation: r.ID, Ord: ord}).Unsure() {
			return true
		}
	}
	return false
}
