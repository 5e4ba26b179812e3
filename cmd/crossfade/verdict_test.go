package main

import (
	"strings"
	"testing"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// An undo that left tasks to their owners failed although no task did: who looked for
// failed tasks would find none.
func TestVerdict_AnUndoThatLeftTasksToOwnersNamesThem(t *testing.T) {
	r := &crossfadev1.Rotation{
		Name: "rotations/1", State: crossfadev1.Rotation_STATE_FAILED, Undo: &crossfadev1.UndoStatus{},
		Counts: &crossfadev1.TaskCounts{HandedOver: 1},
	}
	if err := verdictOf(r); err == nil || !strings.Contains(err.Error(), "OUTCOME_HANDED_OVER") {
		t.Errorf("it ends with %v", err)
	}
	r.Counts.Failed = 1
	if err := verdictOf(r); err == nil || !strings.Contains(err.Error(), "1 failed") {
		t.Errorf("with a failed task it ends with %v", err)
	}
}
