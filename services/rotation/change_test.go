package rotation_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (h *house) start(t *testing.T, r *pb.Rotation) *pb.Rotation {
	t.Helper()
	resp, err := h.client().StartRotation(t.Context(), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	if err != nil {
		t.Fatalf("StartRotation = %v", err)
	}
	return resp.GetRotation()
}

func TestStartRotation_OnlyThePlanThatWasShown(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	other := strings.Repeat("0", 64)
	_, err := h.client().StartRotation(t.Context(), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: other})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	r = h.plan(t, r.GetName(), 3)
	if r.GetState() != pb.Rotation_STATE_PLANNED || r.GetCounts().GetTotal() != 3 || r.GetCounts().GetPlanned() != 3 {
		t.Fatalf("GetRotation after the plan was frozen = %v, want PLANNED with three tasks", r)
	}
	_, err = h.client().StartRotation(t.Context(), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: other})
	if got := refused(t, err, codes.FailedPrecondition, "PLAN_CHANGED").GetMetadata()["current_plan_digest"]; got != r.GetPlanDigest() {
		t.Errorf("current_plan_digest = %q, want %q", got, r.GetPlanDigest())
	}
	if got := h.start(t, r); got.GetState() != pb.Rotation_STATE_RUNNING || got.GetPhase() != pb.Rotation_PHASE_STAGE || got.GetStartTime() == nil {
		t.Errorf("StartRotation = %v, want RUNNING in STAGE", got)
	}
	if got := h.start(t, r); got.GetState() != pb.Rotation_STATE_RUNNING {
		t.Errorf("StartRotation again = %v, want RUNNING", got)
	}
}

func TestStartRotation_RepeatAfterTheEndFindsThatItHappened(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 1)
	req := &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), RequestId: requestID, Etag: r.GetEtag()}
	h.store.loseNext(1)
	_, err := h.client().StartRotation(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateSucceeded })
	resp, err := h.clients[1].StartRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_SUCCEEDED {
		t.Errorf("StartRotation again = %v, %v, want the rotation as it is now", resp, err)
	}
	req.RequestId = ""
	_, err = h.client().StartRotation(t.Context(), req)
	refused(t, err, codes.Aborted, "ETAG_MISMATCH")
	req.Etag = ""
	_, err = h.client().StartRotation(t.Context(), req)
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

func TestChange_RequestIDIsForOneRequest(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 1)
	if _, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "wrong month", RequestId: requestID}); err != nil {
		t.Fatal(err)
	}
	_, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "another", RequestId: requestID})
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	_, err = h.client().StartRotation(t.Context(), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), RequestId: requestID})
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
}

func TestChange_EtagBindsToAVersion(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 2)
	h.save(t, r.GetName(), 0, rollover.Staged, rollover.Open)
	if got := h.get(t, r.GetName()).GetEtag(); got != r.GetEtag() {
		t.Errorf("a task changed the etag from %s to %s", r.GetEtag(), got)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.DisplayName = "x" })
	_, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "x", Etag: r.GetEtag()})
	current := h.get(t, r.GetName()).GetEtag()
	if got := refused(t, err, codes.Aborted, "ETAG_MISMATCH").GetMetadata()["current_etag"]; got != current {
		t.Errorf("current_etag = %q, want %q", got, current)
	}
	resp, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "wrong month", Etag: current})
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_CANCELLING || resp.GetRotation().GetStatusDetail().GetMessage() != "wrong month" {
		t.Errorf("CancelRotation = %v, %v, want CANCELLING with the reason", resp, err)
	}
}

// Between reading and saving the conductor writes.
func TestChange_LostRacesAreBegunAnew(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 1)
	races := 0
	h.store.before = func() {
		if races < 3 {
			races++
			h.write(t, r.GetName(), func(r *rollover.Rotation) { r.UpdatedAt = r.UpdatedAt.Add(time.Second) })
		}
	}
	if got := h.start(t, r); got.GetState() != pb.Rotation_STATE_RUNNING || races != 3 {
		t.Errorf("StartRotation after %d lost races = %v, want RUNNING", races, got)
	}
	h.store.before = func() {
		h.write(t, r.GetName(), func(r *rollover.Rotation) { r.UpdatedAt = r.UpdatedAt.Add(time.Second) })
	}
	_, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: r.GetName(), Reason: "x"})
	refused(t, err, codes.Aborted, "CONFLICT")
}

func TestRetireRotation_NotBeforeTheInstant(t *testing.T) {
	h := open(t, nil)
	r := h.start(t, h.plan(t, h.create(t).GetName(), 1))
	retire := func() (*pb.RetireRotationResponse, error) {
		return h.client().RetireRotation(t.Context(), &pb.RetireRotationRequest{Name: r.GetName()})
	}
	allowed := r.GetSpec().GetRetireNotBefore().AsTime().Add(rollover.Margin)
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.Phase = rollover.PhaseOverlap })
	h.clock.set(allowed.Add(-time.Second))
	_, err := retire()
	if got := refused(t, err, codes.FailedPrecondition, "TOO_EARLY").GetMetadata()["not_before"]; got != allowed.Format(time.RFC3339) {
		t.Errorf("not_before = %q, want %s", got, allowed.Format(time.RFC3339))
	}
	h.clock.set(allowed)
	if resp, err := retire(); err != nil || resp.GetRotation().GetPhase() != pb.Rotation_PHASE_RETIRE {
		t.Errorf("RetireRotation at the instant = %v, %v, want the phase RETIRE", resp, err)
	}
}

func TestChange_UnknownRotation(t *testing.T) {
	h := open(t, nil)
	name := "rotations/" + requestID
	_, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: name, Reason: "x", RequestId: requestID})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	_, err = h.client().GetRotation(t.Context(), &pb.GetRotationRequest{Name: name})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	_, err = h.client().GetRotationTask(t.Context(), &pb.GetRotationTaskRequest{Name: name + "/tasks/000000"})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	w, err := h.client().WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: name})
	if err == nil {
		_, err = w.Recv()
	}
	refused(t, err, codes.NotFound, "NOT_FOUND")
}
