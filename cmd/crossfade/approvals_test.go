package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestApprovals_AreShown(t *testing.T) {
	at := timestamppb.New(time.Date(2016, 11, 3, 10, 0, 0, 0, time.UTC))
	until := timestamppb.New(at.AsTime().Add(24 * time.Hour))
	r := &crossfadev1.Rotation{
		Name: "rotations/r1", PlanDigest: "abc", State: crossfadev1.Rotation_STATE_PLANNED, Creator: "cert:ann", ApprovalsNeeded: 2,
		Approvals: []*crossfadev1.Approval{
			{Approver: "cert:bob", ApproveTime: at, ExpireTime: until, Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START, PlanDigest: "abc", Reason: "seen"},
			{Approver: "cert:cid", ApproveTime: at, ExpireTime: until, Act: crossfadev1.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY, PlanDigest: "old", RetireNotBefore: until},
		},
	}
	want := "start by cert:bob at 2016-11-03T10:00:00Z, until 2016-11-04T10:00:00Z: seen; " +
		"retire-early by cert:cid at 2016-11-03T10:00:00Z, until 2016-11-04T10:00:00Z, not before 2016-11-04T10:00:00Z (void: of another plan)"
	if got := approvalsText(r); got != want {
		t.Errorf("approvalsText = %q, want %q", got, want)
	}
	want = "2 other than cert:ann to start, given: 1; crossfade rotation approve r1 --digest abc --act start --reason …"
	if got := neededText(r); got != want {
		t.Errorf("neededText = %q, want %q", got, want)
	}
	r.State = crossfadev1.Rotation_STATE_RUNNING
	if got := neededText(r); got != "" {
		t.Errorf("neededText of a running rotation = %q, want nothing", got)
	}
}
