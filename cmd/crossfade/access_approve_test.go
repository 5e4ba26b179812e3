package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

const approvingRights = castleRights + `
  - {subjects: ["cert:jane.test", "corp:jane"], role: operator}
  - {subjects: ["cert:jane.test", "corp:jane"], role: approver}
people:
  - {name: jane, subjects: ["cert:jane.test", "corp:jane"]}
`

// Through real identities: the certificate and the token of one person are one person,
// nobody approves their own, and a word that is stale is none.
func TestAccess_TheWordOfAnother(t *testing.T) {
	e := openEstate(t, func(c *daemon.Config) {
		c.Approvals.Rules = map[string][]byte{"all": []byte("{approvers: 1}")}
		if err := os.WriteFile(c.Identity.Rights, []byte(approvingRights), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	pair, _ := e.office.pair("jane.test")
	byCert := crossfadev1.NewRotationServiceClient(e.castle.conn(t, &pair))
	as := func(sub string, groups ...string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+e.issuer.token(t, sub, groups...))
	}
	token, other := as("jane"), as("maria", "approvers")
	planned := func() *crossfadev1.Rotation {
		t.Helper()
		created, err := byCert.CreateRotation(t.Context(), &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{
			Spec: &crossfadev1.RotationSpec{Kind: "acs-x509", Certificate: e.certificate, Target: named("emea-1")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		name := created.GetRotation().GetName()
		r, err := e.node.broker.Rotation(t.Context(), strings.TrimPrefix(name, "rotations/"))
		if err != nil {
			t.Fatal(err)
		}
		items := rollovertest.Plan(1)
		if r, err = r.Freeze(items, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.node.broker.FreezePlan(t.Context(), r, items); err != nil {
			t.Fatal(err)
		}
		got, err := byCert.GetRotation(t.Context(), &crossfadev1.GetRotationRequest{Name: name})
		if err != nil || got.GetRotation().GetCreator() != "person:jane" {
			t.Fatalf("the planned rotation is %v, %v, want jane's", got, err)
		}
		return got.GetRotation()
	}
	approve := func(c crossfadev1.RotationServiceClient, ctx context.Context, r *crossfadev1.Rotation, change func(*crossfadev1.ApproveRotationRequest)) error { //nolint:revive // The client is the subject.
		req := &crossfadev1.ApproveRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Reason: "seen", Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START}
		if change != nil {
			change(req)
		}
		_, err := c.ApproveRotation(ctx, req)
		return err
	}
	start := func(r *crossfadev1.Rotation) error {
		_, err := byCert.StartRotation(t.Context(), &crossfadev1.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
		return err
	}

	r := planned()
	refusedAs(t, "the start without any word", start(r), codes.FailedPrecondition, "APPROVALS_NEEDED")
	refusedAs(t, "one's own word by certificate", approve(byCert, t.Context(), r, nil), codes.PermissionDenied, "SECOND_PERSON_NEEDED")
	refusedAs(t, "one's own word by token", approve(e.rotations(), token, r, nil), codes.PermissionDenied, "SECOND_PERSON_NEEDED")
	refusedAs(t, "the word of who may not approve", approve(e.rotations(), e.admin, r, nil), codes.PermissionDenied, "PERMISSION_DENIED")
	refusedAs(t, "the word for another plan", approve(e.rotations(), other, r, func(q *crossfadev1.ApproveRotationRequest) { q.PlanDigest = strings.Repeat("0", 64) }), codes.FailedPrecondition, "PLAN_CHANGED")
	if err := approve(e.rotations(), other, r, func(q *crossfadev1.ApproveRotationRequest) {
		q.Act = crossfadev1.ApprovalAct_APPROVAL_ACT_CONTAIN
	}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the word for an incident where there is none = %v", err)
	}

	for name, spoil := range map[string]func(*rollover.Approval){
		"it has ended":            func(a *rollover.Approval) { a.Until = time.Now().Add(-time.Second) },
		"it is for another plan":  func(a *rollover.Approval) { a.Digest = strings.Repeat("0", 64) },
		"it is for another act":   func(a *rollover.Approval) { a.Act = rollover.ActUndo },
		"it was given by nobody":  func(a *rollover.Approval) { a.By, a.Proven = "", "" },
		"it is jane's by token":   func(a *rollover.Approval) { a.By, a.Proven = "corp:jane", "corp:jane" },
		"nobody had to prove who": func(a *rollover.Approval) { a.Proven = "" },
	} {
		r := planned()
		if err := approve(e.rotations(), other, r, nil); err != nil {
			t.Fatalf("ApproveRotation by another = %v", err)
		}
		stored, err := e.node.broker.Rotation(t.Context(), strings.TrimPrefix(r.GetName(), "rotations/"))
		if err != nil || len(stored.Approvals) != 1 || stored.Approvals[0].Proven != "corp:maria" || stored.Approvals[0].Groups != "corp:approvers" || stored.CreatorProven != "cert:jane.test" {
			t.Fatalf("stored is %+v of %s, %v", stored.Approvals, stored.CreatorProven, err)
		}
		spoil(&stored.Approvals[0])
		if _, err := e.node.broker.SaveRotation(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, name, start(r), codes.FailedPrecondition, "APPROVALS_NEEDED")
	}
	if err := approve(e.rotations(), other, r, nil); err != nil {
		t.Fatal(err)
	}
	if err := start(r); err != nil {
		t.Errorf("StartRotation with the word of another = %v", err)
	}
	refusedAs(t, "the word for a start that was", approve(e.rotations(), other, r, nil), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

// refusedAs checks the code and the reason of a refusal.
func refusedAs(t *testing.T, what string, err error, code codes.Code, reason string) {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && status.Code(err) == code && info.GetReason() == reason {
			return
		}
	}
	t.Errorf("%s = %v, want %s %s", what, err, code, reason)
}
