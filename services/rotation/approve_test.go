package rotation_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// two wants two others for each start and undo.
func two(c *rotation.Config) {
	c.Approvals = rollover.ApprovalPolicy{ValidFor: time.Hour, Rules: []rollover.ApprovalRule{{Approvers: 2}}}
}

// approve says that somebody approves an act on a rotation.
func (h *house) approve(t *testing.T, who string, r *pb.Rotation, change func(*pb.ApproveRotationRequest)) error {
	t.Helper()
	req := &pb.ApproveRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Reason: "seen"}
	if change != nil {
		change(req)
	}
	_, err := h.client().ApproveRotation(as(t, who), req)
	return err
}

func (h *house) createdBy(t *testing.T, who string, tasks int) *pb.Rotation {
	t.Helper()
	resp, err := h.client().CreateRotation(as(t, who), h.request())
	if err != nil {
		t.Fatal(err)
	}
	return h.plan(t, resp.GetRotation().GetName(), tasks)
}

func (h *house) begun(t *testing.T, who string, r *pb.Rotation) error {
	t.Helper()
	_, err := h.client().StartRotation(as(t, who), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	return err
}

func TestStartRotation_NeedsOthersWords(t *testing.T) {
	h := open(t, two)
	r := h.createdBy(t, "ann", 3)
	if n := h.get(t, r.GetName()).GetApprovalsNeeded(); n != 2 {
		t.Errorf("a planned rotation tells that %d others must approve it, want 2", n)
	}
	refused(t, h.begun(t, "ann", r), codes.FailedPrecondition, "APPROVALS_NEEDED")
	refused(t, h.approve(t, "ann", r, nil), codes.PermissionDenied, "SECOND_PERSON_NEEDED")
	refused(t, h.approve(t, "ANN", r, nil), codes.PermissionDenied, "SECOND_PERSON_NEEDED")
	refused(t, h.approve(t, "bob", r, func(q *pb.ApproveRotationRequest) { q.PlanDigest = r.GetPlanDigest()[1:] + "0" }), codes.FailedPrecondition, "PLAN_CHANGED")
	for range 2 { // Twice is once.
		if err := h.approve(t, "bob", r, nil); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, h.begun(t, "ann", r), codes.FailedPrecondition, "APPROVALS_NEEDED")
	if err := h.approve(t, "cid", r, nil); err != nil {
		t.Fatal(err)
	}
	refused(t, h.begun(t, "cid", r), codes.FailedPrecondition, "APPROVALS_NEEDED") // Who starts is no other.
	h.clock.set(rollovertest.Epoch.Add(time.Hour))
	refused(t, h.begun(t, "ann", r), codes.FailedPrecondition, "APPROVALS_NEEDED") // Stale.
	for _, who := range []string{"bob", "cid"} {
		if err := h.approve(t, who, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := h.get(t, r.GetName())
	if len(got.GetApprovals()) != 2 || got.GetApprovals()[0].GetAct() != pb.ApprovalAct_APPROVAL_ACT_START || !got.GetApprovals()[0].GetExpireTime().AsTime().Equal(rollovertest.Epoch.Add(2*time.Hour)) {
		t.Errorf("approvals are %v", got.GetApprovals())
	}
	if err := h.begun(t, "ann", r); err != nil {
		t.Errorf("StartRotation with the words of two others = %v", err)
	}
	if err := h.begun(t, "ann", r); err != nil {
		t.Errorf("StartRotation of a started one = %v", err)
	}
	if n := h.get(t, r.GetName()).GetApprovalsNeeded(); n != 0 {
		t.Errorf("a started rotation tells that %d others must approve its start", n)
	}
}

// The words for one plan are for no other, however alike.
func TestStartRotation_WordsForAnotherRotation(t *testing.T) {
	h := open(t, two)
	first, second := h.createdBy(t, "ann", 3), h.createdBy(t, "ann", 4)
	for _, who := range []string{"bob", "cid"} {
		if err := h.approve(t, who, first, nil); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, h.begun(t, "ann", second), codes.FailedPrecondition, "APPROVALS_NEEDED")
}

func TestUndoRotation_NeedsOthersWordsForThatScope(t *testing.T) {
	h := open(t, two)
	r := h.createdBy(t, "ann", 3)
	for _, who := range []string{"bob", "cid"} {
		if err := h.approve(t, who, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.begun(t, "ann", r); err != nil {
		t.Fatal(err)
	}
	undo := func(s *pb.UndoScope) error {
		_, err := h.client().UndoRotation(as(t, "ann"), &pb.UndoRotationRequest{Name: r.GetName(), Reason: "why", Scope: s})
		return err
	}
	all := &pb.UndoScope{Scope: &pb.UndoScope_All{All: true}}
	wave := &pb.UndoScope{Scope: &pb.UndoScope_Wave{Wave: 1}}
	refused(t, undo(all), codes.FailedPrecondition, "APPROVALS_NEEDED") // Their word was for the start.
	for _, who := range []string{"bob", "cid"} {
		if err := h.approve(t, who, r, func(q *pb.ApproveRotationRequest) {
			q.Act, q.Undo = pb.ApprovalAct_APPROVAL_ACT_UNDO, &pb.ApprovedUndo{Wave: 1}
		}); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, undo(all), codes.FailedPrecondition, "APPROVALS_NEEDED") // And now for one wave.
	if err := undo(wave); err != nil {
		t.Errorf("UndoRotation of what was approved = %v", err)
	}
}

// Without any policy early removal is another's word: not-before promises it.
func TestRetireRotation_EarlierIsAnothersWord(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	late := h.cert.NotBefore.Add(48 * time.Hour)
	req.Rotation.Spec.RetireNotBefore = timestamppb.New(late)
	resp, err := h.client().CreateRotation(as(t, "ann"), req)
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 2)
	if err := h.begun(t, "ann", r); err != nil {
		t.Fatal(err)
	}
	retire := func(who string, at time.Time) error {
		_, err := h.client().RetireRotation(as(t, who), &pb.RetireRotationRequest{Name: r.GetName(), RetireNotBefore: timestamppb.New(at)})
		return err
	}
	early := h.cert.NotBefore.Add(time.Hour)
	told := func(want time.Time) {
		t.Helper()
		got := h.get(t, r.GetName())
		if !got.GetRetireNotBefore().AsTime().Equal(want) || !got.GetSpec().GetRetireNotBefore().AsTime().Equal(late) {
			t.Errorf("it tells %s, and %s was asked for; want %s and %s", got.GetRetireNotBefore().AsTime(), got.GetSpec().GetRetireNotBefore().AsTime(), want, late)
		}
	}
	told(late)
	refused(t, retire("ann", early), codes.FailedPrecondition, "APPROVALS_NEEDED")
	if err := h.approve(t, "bob", r, func(q *pb.ApproveRotationRequest) {
		q.Act, q.RetireNotBefore = pb.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY, timestamppb.New(early)
	}); err != nil {
		t.Fatal(err)
	}
	refused(t, retire("ann", early.Add(-time.Minute)), codes.FailedPrecondition, "APPROVALS_NEEDED") // Another instant.
	refused(t, retire("bob", early), codes.FailedPrecondition, "APPROVALS_NEEDED")                   // Their own word.
	refused(t, retire("ann", h.cert.NotBefore.Add(-time.Second)), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if err := retire("ann", early); err != nil {
		t.Fatalf("RetireRotation at the instant that was approved = %v", err)
	}
	told(early)
	id := r.GetName()[len("rotations/"):]
	stored, err := h.store.Rotation(t.Context(), id)
	if err != nil || !stored.RetireNotBefore().Equal(early) || stored.Phase == rollover.PhaseRetire {
		t.Errorf("nothing goes before %s, in phase %q, %v; want %s, and nothing begun", stored.RetireNotBefore(), stored.Phase, err, early)
	}
	if _, err := stored.BeginRetire(early.Add(rollover.Margin - time.Second)); err == nil {
		t.Error("it begins to remove before the instant and its margin")
	}
}
