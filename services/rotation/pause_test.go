package rotation_test

import (
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestPauseRotation_HoldsUntilResumed(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 2)
	pause := &pb.PauseRotationRequest{Name: r.GetName(), Reason: "customers complain"}
	_, err := h.client().PauseRotation(t.Context(), pause)
	if got := refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED").GetMetadata()["state"]; got != "STATE_PLANNED" {
		t.Errorf("state = %q, want STATE_PLANNED", got)
	}
	h.start(t, r)
	for range 2 {
		resp, err := h.client().PauseRotation(t.Context(), pause)
		got := resp.GetRotation()
		if err != nil || got.GetState() != pb.Rotation_STATE_PAUSED || got.GetPhase() != pb.Rotation_PHASE_STAGE ||
			got.GetStatusDetail().GetMessage() != "customers complain" || got.GetStatusDetail().GetReason() != pb.ErrorReason_ERROR_REASON_PAUSED_BY_REQUEST {
			t.Fatalf("PauseRotation = %v, %v, want PAUSED in STAGE with the reason", resp, err)
		}
	}
	_, err = h.client().StartRotation(t.Context(), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	for range 2 {
		resp, err := h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName()})
		if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING || resp.GetRotation().GetStatusDetail() != nil {
			t.Fatalf("ResumeRotation = %v, %v, want RUNNING without a detail", resp, err)
		}
	}
	_, err = h.client().PauseRotation(t.Context(), &pb.PauseRotationRequest{Name: r.GetName()})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	_, err = h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName(), RequestId: "x"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}

// A pause whose answer was lost, and that someone has ended since, does not come
// back when its request is repeated.
func TestPauseRotation_RepeatAfterAResumeChangesNothing(t *testing.T) {
	h := open(t, nil)
	r := h.start(t, h.plan(t, h.create(t).GetName(), 1))
	req := &pb.PauseRotationRequest{Name: r.GetName(), Reason: "x", RequestId: requestID, Etag: r.GetEtag()}
	h.store.loseNext(1)
	_, err := h.client().PauseRotation(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	if got := h.get(t, r.GetName()).GetState(); got != pb.Rotation_STATE_PAUSED {
		t.Fatalf("state = %s, want PAUSED", got)
	}
	if _, err := h.clients[1].ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName()}); err != nil {
		t.Fatal(err)
	}
	resp, err := h.clients[1].PauseRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING {
		t.Errorf("PauseRotation again = %v, %v, want the running rotation as it is", resp, err)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateSucceeded })
	_, err = h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName()})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

// The same where others have paused and resumed it in the meantime.
func TestPauseRotation_RepeatAfterOtherPausesChangesNothing(t *testing.T) {
	h := open(t, nil)
	r := h.start(t, h.plan(t, h.create(t).GetName(), 1))
	req := &pb.PauseRotationRequest{Name: r.GetName(), Reason: "x", RequestId: requestID}
	h.store.loseNext(1)
	_, err := h.client().PauseRotation(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	for range 3 {
		if _, err := h.clients[1].ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName(), RequestId: uuid.NewString()}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.clients[1].PauseRotation(t.Context(), &pb.PauseRotationRequest{Name: r.GetName(), Reason: "y", RequestId: uuid.NewString()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.clients[1].ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName(), RequestId: uuid.NewString()}); err != nil {
		t.Fatal(err)
	}
	resp, err := h.clients[1].PauseRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING {
		t.Errorf("PauseRotation again = %v, %v, want the running rotation as it is", resp.GetRotation().GetState(), err)
	}
}

// What the tolerance stopped goes on only when the failures are accepted.
func TestResumeRotation_AcceptsFailures(t *testing.T) {
	h := open(t, nil)
	r := h.start(t, h.plan(t, h.create(t).GetName(), 20))
	if b := r.GetFailureBudget(); b.GetWorkable() != 20 || b.GetTolerated() != 2 || b.GetFailed() != 0 {
		t.Fatalf("failure_budget = %v, want 10 percent of 20", b)
	}
	for ord := range 3 {
		h.save(t, r.GetName(), ord, rollover.Planned, rollover.Failed)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) {
		next, err := r.Exceed(rollover.Budget{Tolerance: r.Spec.Tolerance, Total: 20, Failed: 3}, h.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		*r = next
	})
	if got := h.get(t, r.GetName()).GetStatusDetail().GetReason(); got != pb.ErrorReason_ERROR_REASON_TOLERANCE_EXCEEDED {
		t.Errorf("status_detail.reason = %s, want TOLERANCE_EXCEEDED", got)
	}
	_, err := h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName()})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	resp, err := h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName(), AcceptFailures: true})
	b := resp.GetRotation().GetFailureBudget()
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING || b.GetFailed() != 0 || b.GetAccepted() != 3 {
		t.Errorf("ResumeRotation = %v, %v, want RUNNING with 3 accepted", resp, err)
	}
	_, err = h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: "rotations/" + requestID, AcceptFailures: true})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}
