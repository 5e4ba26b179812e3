package rotation_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// one wants the word of another for each start and undo.
func one(c *rotation.Config) {
	c.Approvals = rollover.ApprovalPolicy{ValidFor: 24 * time.Hour, Rules: []rollover.ApprovalRule{{Approvers: 1}}}
}

// makes creates a rotation in somebody's proven name and plans it.
func (g *guarded) makes(t *testing.T, who string, req *pb.CreateRotationRequest) *pb.Rotation {
	t.Helper()
	resp, err := g.rotations.CreateRotation(by(t, who), req)
	if err != nil {
		t.Fatal(err)
	}
	return g.plan(t, resp.GetRotation().GetName(), 3)
}

func (g *guarded) approves(t *testing.T, who string, r *pb.Rotation) error {
	t.Helper()
	_, err := g.rotations.ApproveRotation(by(t, who), &pb.ApproveRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Reason: "seen"})
	return err
}

func (g *guarded) starts(t *testing.T, who string, r *pb.Rotation) error {
	t.Helper()
	_, err := g.rotations.StartRotation(by(t, who), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	return err
}

const peopleRights = `
grants:
  - {subjects: ["cert:jane", "corp:jane", "corp:bob"], role: operator}
  - {subjects: ["cert:jane", "corp:jane", "corp:bob"], role: approver}
  - {groups: ["corp:second"], role: approver, tenants: 'id = "adatum" OR id = "contoso" OR id = "fabrikam"'}
`

// Whoever writes down later that two subjects are one person finds them one person in
// what they did before.
func TestApproveRotation_PeopleThatAreJoinedLater(t *testing.T) {
	g := openGuarded(t, one)
	g.grant(t, peopleRights)
	before, after := g.makes(t, "cert:jane", g.request()), g.makes(t, "cert:jane", g.request())
	if err := g.approves(t, "corp:jane", before); err != nil {
		t.Fatalf("ApproveRotation by who is another until somebody says so = %v", err)
	}
	g.grant(t, peopleRights+`
people:
  - {name: jane, subjects: ["cert:jane", "corp:jane"]}
`)
	refused(t, g.approves(t, "corp:jane", after), codes.PermissionDenied, "SECOND_PERSON_NEEDED")
	refused(t, g.starts(t, "cert:jane", before), codes.FailedPrecondition, "APPROVALS_NEEDED")
	refused(t, g.starts(t, "corp:bob", before), codes.FailedPrecondition, "APPROVALS_NEEDED")
	if err := g.approves(t, "corp:bob", before); err != nil {
		t.Fatal(err)
	}
	g.grant(t, peopleRights+`
people:
  - {name: robert, subjects: ["cert:bob", "corp:bob"]}
`)
	refused(t, g.starts(t, "corp:bob", after), codes.FailedPrecondition, "APPROVALS_NEEDED")
	if err := g.starts(t, "cert:jane", before); err != nil {
		t.Errorf("StartRotation with bob's word, who is called robert now = %v", err)
	}
}

// A word counts while who gave it may still give it.
func TestStartRotation_AnApproverWhoMayNoMore(t *testing.T) {
	g := openGuarded(t, one)
	for name, tt := range map[string]struct {
		who, taken string
		code       codes.Code
	}{
		"their grant is there": {"corp:bob", peopleRights, codes.OK},
		"their grant is gone": {"corp:bob", `
grants:
  - {subjects: ["cert:jane"], role: operator}
  - {subjects: ["corp:bob"], role: operator}
`, codes.FailedPrecondition},
		"their group's grant is there": {"corp:eve,corp:second,corp:others", peopleRights, codes.OK},
		"their group's grant is for fewer": {"corp:eve,corp:second", `
grants:
  - {subjects: ["cert:jane"], role: operator}
  - {groups: ["corp:second"], role: approver, tenants: 'id = "adatum" OR id = "contoso"'}
`, codes.FailedPrecondition},
	} {
		g.grant(t, peopleRights)
		r := g.makes(t, "cert:jane", g.request())
		if err := g.approves(t, tt.who, r); err != nil {
			t.Fatalf("%s: ApproveRotation = %v", name, err)
		}
		g.grant(t, tt.taken)
		err := g.starts(t, "cert:jane", r)
		if tt.code == codes.OK {
			if err != nil {
				t.Errorf("%s: StartRotation = %v", name, err)
			}
			continue
		}
		refused(t, err, tt.code, "APPROVALS_NEEDED")
	}
}

// An incident that is started when its approval is nobody else's any more starts without.
func TestStartRotation_AnIncidentWhoseApproverMayNoMore(t *testing.T) {
	g := openGuarded(t)
	const admins = `
grants:
  - {subjects: ["corp:ann"], role: admin}
`
	for name, tt := range map[string]struct {
		rights string
		wait   time.Duration
		holds  bool
	}{
		"nothing changed":     {peopleRights + "  - {subjects: [\"corp:ann\"], role: admin}\n", 0, true},
		"the grant is gone":   {admins, 0, false},
		"a day has gone by":   {peopleRights + "  - {subjects: [\"corp:ann\"], role: admin}\n", rollover.DefaultApprovalFor, false},
		"it was ann all time": {peopleRights + "  - {subjects: [\"corp:ann\"], role: admin}\npeople:\n  - {name: ann, subjects: [\"corp:ann\", \"corp:bob\"]}\n", 0, false},
	} {
		g.clock.set(rollovertest.Epoch)
		g.grant(t, peopleRights+"  - {subjects: [\"corp:ann\"], role: admin}\n")
		req := g.emergency(t)
		req.RequestId = ""
		r := g.makes(t, "corp:ann", req)
		if err := g.approves(t, "corp:bob", r); err != nil {
			t.Fatalf("%s: ApproveRotation = %v", name, err)
		}
		g.grant(t, tt.rights)
		g.clock.set(rollovertest.Epoch.Add(tt.wait))
		if err := g.starts(t, "corp:ann", r); err != nil {
			t.Fatalf("%s: StartRotation = %v", name, err)
		}
		if got := g.get(t, r.GetName()).GetContainment().GetApproval(); (got != nil) != tt.holds {
			t.Errorf("%s: it runs with the approval %v, want one: %t", name, got, tt.holds)
		}
	}
}

// What was approved before anything was removed is not the approval of what it means
// after.
func TestUndoRotation_ApprovedBeforeTheRetirement(t *testing.T) {
	h := open(t, one)
	r := h.createdBy(t, "ann", 2)
	if err := h.approve(t, "bob", r, nil); err != nil {
		t.Fatal(err)
	}
	if err := h.begun(t, "ann", r); err != nil {
		t.Fatal(err)
	}
	undo := func() error {
		_, err := h.client().UndoRotation(as(t, "ann"), &pb.UndoRotationRequest{Name: r.GetName(), Reason: "why", Scope: &pb.UndoScope{Scope: &pb.UndoScope_All{All: true}}})
		return err
	}
	allow := func() {
		t.Helper()
		if err := h.approve(t, "bob", r, func(q *pb.ApproveRotationRequest) {
			q.Act, q.Undo = pb.ApprovalAct_APPROVAL_ACT_UNDO, &pb.ApprovedUndo{All: true}
		}); err != nil {
			t.Fatal(err)
		}
	}
	allow()
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.Phase = rollover.PhaseRetire })
	refused(t, undo(), codes.FailedPrecondition, "APPROVALS_NEEDED")
	allow()
	if err := undo(); err != nil {
		t.Errorf("UndoRotation as it was approved while it retires = %v", err)
	}
}

// A tenant that is said to be elsewhere while others would be asked is where it was.
func TestStartRotation_ACloudThatTheInventoryLeftForAMoment(t *testing.T) {
	g := openGuarded(t, func(c *rotation.Config) {
		c.Approvals = rollover.ApprovalPolicy{Rules: []rollover.ApprovalRule{{Approvers: 1, Clouds: []string{"gcc_high"}}}}
	})
	g.grant(t, peopleRights)
	book := g.inventory.(*tenants.Inventory)
	move := func(host string) {
		t.Helper()
		there := tenant("contoso")
		there.Organization = host
		if _, _, err := book.Put(t.Context(), there); err != nil {
			t.Fatal(err)
		}
	}
	const public, gov = "https://contoso.crm.dynamics.com", "https://contoso.crm.microsoftdynamics.us"
	for name, tt := range map[string]struct{ created, planned, now string }{
		"at creation": {gov, public, public}, "at planning": {public, gov, public}, "now": {public, public, gov},
	} {
		move(tt.created)
		resp, err := g.rotations.CreateRotation(by(t, "cert:jane"), g.request())
		if err != nil {
			t.Fatal(err)
		}
		move(tt.planned)
		found := rollover.Finding{Tenant: "contoso"}
		planning, err := book.Tenant(t.Context(), "contoso")
		if err != nil {
			t.Fatal(err)
		}
		_, found.Cloud = planning.Place()
		g.write(t, resp.GetRotation().GetName(), func(r *rollover.Rotation) { *r = r.PlannedIn([]rollover.Finding{found}) })
		r := g.plan(t, resp.GetRotation().GetName(), 2)
		move(tt.now)
		if err := g.starts(t, "cert:jane", r); err == nil {
			t.Errorf("%s in a cloud that others must approve: started", name)
		} else {
			refused(t, err, codes.FailedPrecondition, "APPROVALS_NEEDED")
		}
	}
	move(public)
	r := g.makes(t, "cert:jane", g.request())
	if err := g.starts(t, "cert:jane", r); err != nil {
		t.Errorf("StartRotation of what was never there = %v", err)
	}
}
