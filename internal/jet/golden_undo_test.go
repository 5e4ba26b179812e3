package jet

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The records of what is undone have files of their own: those from before there
// was an undo are read as they were.
func TestRecords_OfAnUndoAreReadAsTheyWereWritten(t *testing.T) {
	at := time.Date(2016, 11, 5, 12, 0, 0, 0, time.UTC)
	golden(t, "progress_undo.json", rollover.Progress{
		V: 1, Phase: rollover.Retired, Added: true, Removed: []string{"ab"}, Undo: 2, Retried: 1, RetryID: "id", UpdatedAt: at,
		Archive: &rollover.Archive{At: at, Ready: true, Keys: []rollover.ArchivedKey{
			{SHA256: "ab", Start: at.AddDate(-1, 0, 0), End: at.AddDate(1, 0, 0), Name: "CRM", Usage: "Signing"},
		}},
	})
	golden(t, "rotation_undo.json", rollover.Rotation{
		V: 1, ID: "r1", State: rollover.StateUndoing, Phase: rollover.PhaseRetire, CreatedAt: at, UpdatedAt: at,
		Spec:    rollover.Spec{Kind: "acs-x509", ReplacesSubject: true, UndoWindow: 36 * time.Hour, FailedOf: "r0"},
		Retried: 1, WaveRetried: 1, Reopened: 7, RetryID: "id", RetryReason: "mended",
		Undo: &rollover.Undo{
			N: 2, Scope: rollover.UndoScope{Tasks: []int{1, 2}}, Reason: "wrong", RequestID: "id2", From: rollover.StateFailed,
			Detail: "1 failed", Exceeded: true, Accepted: 1, At: at, EndedAt: at,
		},
	})
}
