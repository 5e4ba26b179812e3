package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// approveFlags is what "crossfade rotation approve" was told.
type approveFlags struct {
	digest, reason, requestID string
	act, retireNotBefore      string
	undo                      undoFlags
}

// request makes the request.
func (f approveFlags) request(name string) (*crossfadev1.ApproveRotationRequest, error) {
	req := &crossfadev1.ApproveRotationRequest{Name: name, PlanDigest: f.digest, Reason: f.reason, RequestId: f.requestID}
	act, ok := map[string]crossfadev1.ApprovalAct{
		"": crossfadev1.ApprovalAct_APPROVAL_ACT_UNSPECIFIED, "start": crossfadev1.ApprovalAct_APPROVAL_ACT_START,
		"retire-early": crossfadev1.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY, "contain": crossfadev1.ApprovalAct_APPROVAL_ACT_CONTAIN,
		"undo": crossfadev1.ApprovalAct_APPROVAL_ACT_UNDO,
	}[f.act]
	if !ok {
		return nil, usage("--act %q: want start, retire-early, contain or undo", f.act)
	}
	req.Act = act
	early := f.act == "retire-early"
	if early != (f.retireNotBefore != "") {
		return nil, usage("--retire-not-before: is needed with --act retire-early, and with nothing else")
	}
	if early {
		at, err := time.Parse(time.RFC3339, f.retireNotBefore)
		if err != nil {
			return nil, usage("--retire-not-before %q: want an instant such as 2016-11-04T01:00:00Z", f.retireNotBefore)
		}
		req.RetireNotBefore = timestamppb.New(at)
	}
	if f.act != "undo" {
		if f.undo.all || len(f.undo.tenants)+len(f.undo.tasks) > 0 || f.undo.wave != 0 {
			return nil, usage("--all, --tenant, --wave and --task: only with --act undo")
		}
		return req, nil
	}
	scope, err := f.undo.scope(name)
	if err != nil {
		return nil, err
	}
	req.Undo = &crossfadev1.ApprovedUndo{
		All: scope.GetAll(), Tenants: scope.GetTenants().GetNames(), Wave: scope.GetWave(), Tasks: scope.GetTasks().GetNames(),
	}
	return req, nil
}

func (a *app) rotationApproveCommand() *cobra.Command {
	var f approveFlags
	c := a.verb("approve", "Give your word for what is not to be one person's", `  crossfade rotation approve 0198…
  crossfade rotation approve 0198… --digest 3a7f… --reason "incident 4711, seen with Ann"
  crossfade rotation approve 0198… --digest 3a7f… --act retire-early --retire-not-before 2016-11-04T01:00:00Z --reason "agreed"
  crossfade rotation approve 0198… --digest 3a7f… --act undo --tenant contoso --reason "agreed"`,
		func(ctx context.Context, cl *client, name string) error { return a.approve(ctx, cl, name, f) })
	c.Long = `Approve is somebody else's word for exactly the plan that was shown: that it is started,
that old certificates may go earlier, that what is compromised goes with the
shortened overlap, or that the rotation, or a part of it, is taken back. Who created
the rotation cannot, and the word of who then acts does not count. It holds for a
day, unless the service says otherwise. Without --digest it shows what would be
approved, and approves nothing.`
	c.Flags().StringVar(&f.act, "act", "", "what is approved: start, retire-early, contain or undo (default contain for an incident, else start)")
	c.Flags().StringVar(&f.retireNotBefore, "retire-not-before", "", "the `INSTANT` of --act retire-early")
	f.undo.scopeFlags(c.Flags())
	c.Flags().StringVar(&f.digest, "digest", "", "`DIGEST` of the plan that was shown; another plan is refused")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the record")
	c.Flags().StringVar(&f.requestID, "request-id", "", "`UUID` of this request; the same one again changes nothing (default a new one)")
	return c
}

func (a *app) approve(ctx context.Context, cl *client, name string, f approveFlags) error {
	if f.digest == "" {
		r, err := cl.rotation(ctx, name)
		if err != nil {
			return err
		}
		if err := a.showPlan(ctx, cl, r); err != nil {
			return err
		}
		return usage("nothing is approved yet; to approve exactly this plan: crossfade rotation approve %s --digest %s --reason …", name, r.GetPlanDigest())
	}
	if strings.TrimSpace(f.reason) == "" {
		return usage("--reason: say why, for the record")
	}
	if f.requestID == "" {
		f.requestID = uuid.NewString()
	}
	cctx, cancel := bounded(ctx)
	defer cancel()
	req, err := f.request(name)
	if err != nil {
		return err
	}
	res, err := cl.rotations.ApproveRotation(cctx, req)
	if err != nil {
		return err
	}
	a.showRotation(res.GetRotation())
	return nil
}

// actText is the act as flags and people write it.
func actText(a crossfadev1.ApprovalAct) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(a.String(), "APPROVAL_ACT_"), "_", "-"))
}

// approvalsText says who approved what, and until when that holds, or is empty. What
// approved an incident's containment is told there.
func approvalsText(r *crossfadev1.Rotation) string {
	var out []string
	for _, p := range r.GetApprovals() {
		text := fmt.Sprintf("%s by %s at %s, until %s", actText(p.GetAct()), p.GetApprover(), instant(p.GetApproveTime()), instant(p.GetExpireTime()))
		if at := p.GetRetireNotBefore(); at != nil {
			text += ", not before " + instant(at)
		}
		if p.GetReason() != "" {
			text += ": " + p.GetReason()
		}
		if p.GetPlanDigest() != r.GetPlanDigest() {
			text += " (void: of another plan)"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// neededText says that others must approve the start, and how, or is empty.
func neededText(r *crossfadev1.Rotation) string {
	n := r.GetApprovalsNeeded()
	if n == 0 || r.GetState() != crossfadev1.Rotation_STATE_PLANNED {
		return ""
	}
	given := map[string]bool{} // Who gave their word for this plan; until when it holds stands beside it.
	for _, p := range r.GetApprovals() {
		if p.GetAct() == crossfadev1.ApprovalAct_APPROVAL_ACT_START && p.GetPlanDigest() == r.GetPlanDigest() {
			given[p.GetApprover()] = true
		}
	}
	return fmt.Sprintf("%d other than %s to start, given: %d; crossfade rotation approve %s --digest %s --act start --reason …",
		n, r.GetCreator(), len(given), strings.TrimPrefix(r.GetName(), "rotations/"), r.GetPlanDigest())
}
