package rotation

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// This test stands in the package, since translation is nobody else's business.
// A word of the room that the contract lacks would be told as UNSPECIFIED.
func TestConvert_TheContractHasEveryWordOfTheRoom(t *testing.T) {
	missing := func(kind string, word any) { t.Errorf("the contract has no %s %q", kind, word) }
	for _, r := range rollover.Reasons() {
		if reasonProto(r) == 0 {
			missing("reason", r)
		}
	}
	for _, o := range append(rollover.Outcomes(), rollover.Open) {
		if outcomeProto(o) == 0 {
			missing("outcome", o)
		}
	}
	for _, p := range []rollover.Phase{rollover.Planned, rollover.Staged, rollover.Verified, rollover.Activated, rollover.Retired} {
		if taskPhaseProto(p) == 0 {
			missing("task phase", p)
		}
	}
	for _, s := range []rollover.RotationState{
		rollover.StatePlanning, rollover.StatePlanned, rollover.StateRunning, rollover.StatePaused, rollover.StateCancelling,
		rollover.StateCancelled, rollover.StateSucceeded, rollover.StateFailed, rollover.StateUndoing, rollover.StateUndone,
	} {
		if stateProto(s) == 0 {
			missing("state", s)
		}
	}
	for _, p := range []rollover.RotationPhase{rollover.PhaseStage, rollover.PhaseVerify, rollover.PhaseOverlap, rollover.PhaseRetire} {
		if phaseProto(p) == 0 {
			missing("phase", p)
		}
	}
	if adviceProto(rollover.MoveToSAS) != pb.RotationTask_ADVICE_MOVE_TO_SAS {
		missing("advice", rollover.MoveToSAS)
	}
	if got, want := len(pb.RotationTask_Reason_name)-1, len(rollover.Reasons()); got != want {
		t.Errorf("the contract has %d reasons, the room %d", got, want)
	}
}
