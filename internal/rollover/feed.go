package rollover

import "time"

// Change is one thing that the store tells those who follow it: a rotation's
// new record, a task's new progress, a finding of planning, or a part of a check.
// Exactly one of Rotation, Task, Finding and Check is set, or CaughtUp is true.
type Change struct {
	Seq  uint64    // version in its stream; rotations have one stream, tasks and findings another
	Time time.Time // when the store took it in

	Rotation *Rotation   // its record, with Rev set
	Task     *TaskChange //
	Finding  *FindingChange
	Check    *CheckChange
	// CaughtUp is sent once for each follower: all that was stored when it began
	// to follow has been told.
	CaughtUp bool
}

// TaskChange is the progress of one task as stored.
type TaskChange struct {
	ID       TaskID
	Progress Progress
}

// FindingChange says that the tenant at a position of a rotation's selection
// has been planned. What was found is read from the store.
type FindingChange struct {
	Rotation string
	Tenant   int
}

// Nudge asks a worker to look at something: a task by its position in the plan, or a
// tenant by its position in the selection. Lost, it is sent again; sent twice, the
// second finds nothing to do.
type Nudge struct {
	Rotation string `json:"r"`
	Ord      int    `json:"o"`
	// Urgent nudges go to hands that others never take. It is a copy of the
	// rotation's lane, for workers that have not read the rotation yet.
	Urgent bool `json:"u,omitempty"`
	// Opened is one more than [Progress.Opened] was of the task when it was released;
	// 0: not said, as by older builds. A nudge of before the task was opened again is
	// void: whether the task may be worked on is to be decided anew.
	Opened int `json:"n,omitempty"`
}
