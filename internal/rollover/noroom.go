package rollover

import (
	"fmt"
	"time"
)

// NoRoom returns r as FAILED because the store has no room for its plan and the
// states of its tasks. Nothing was begun, and nothing of the plan is stored.
func (r Rotation) NoRoom(why error, now time.Time) Rotation {
	r.Detail = fmt.Sprintf("there is no room for the plan of %d tasks, and nothing was begun: %v; make room, then create it anew", r.Tasks, why)
	r.State, r.Digest, r.Tasks, r.PlannedAt = StateFailed, "", 0, time.Time{}
	r.EndedAt, r.UpdatedAt = now, now
	return r
}
