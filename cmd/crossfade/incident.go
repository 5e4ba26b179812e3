package main

import (
	"context"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// incidentFlags is what "crossfade rotate --incident" was told.
type incidentFlags struct {
	on          bool
	compromised []string
	shortened   time.Duration
	summary     string
}

func (f *incidentFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.BoolVar(&f.on, "incident", false, "get rid of what --compromised names, wherever it stands, in the urgent lane")
	fl.StringSliceVar(&f.compromised, "compromised", nil, "`HASH` of what others may have got hold of: a thumbprint (SHA-1 or SHA-256) or the\nSHA-256 of a key, or key:HASH or sha256:HASH to say which; may be repeated")
	fl.DurationVar(&f.shortened, "shortened-overlap", 0, "how long both stand once all is verified and a second person has approved")
	fl.StringVar(&f.summary, "summary", "", "what happened, for the block list and the record")
}

// incident reads the flags, nil where there is no incident.
func (f *incidentFlags) incident() (*crossfadev1.Incident, error) {
	switch {
	case !f.on && (len(f.compromised) > 0 || f.shortened != 0 || f.summary != ""):
		return nil, usage("--compromised, --shortened-overlap and --summary are only for --incident")
	case !f.on:
		return nil, nil
	case len(f.compromised) == 0:
		return nil, usage("--incident: say what is compromised, with --compromised")
	case f.shortened < 0:
		return nil, usage("--shortened-overlap %s: must not be negative", f.shortened)
	}
	i := &crossfadev1.Incident{Summary: f.summary}
	if f.shortened > 0 {
		i.ShortenedOverlap = durationpb.New(f.shortened)
	}
	for _, text := range f.compromised {
		xs, err := compromisedOf(text)
		if err != nil {
			return nil, err
		}
		i.Compromised = append(i.Compromised, xs...)
	}
	return i, nil
}

// compromisedOf reads one hash. 64 digits that do not say what they are of stand for
// the certificate and for the key: no hash is both, and in an incident nobody should
// have to think about which it is.
func compromisedOf(text string) ([]*crossfadev1.Compromised, error) {
	sort, hash, said := strings.Cut(text, ":")
	if sort = strings.ToLower(strings.TrimSpace(sort)); !said || sort != "key" && sort != "sha256" && sort != "sha1" {
		sort, hash = "", text // Colons may stand between the digits.
	}
	h, err := certs.ParseThumbprint(hash)
	want := map[string]int{"key": 64, "sha256": 64, "sha1": 40}[sort]
	if err != nil || want != 0 && len(h) != want {
		return nil, usage("--compromised %q: want a thumbprint of 40 or 64 hexadecimal digits, key:HASH or sha256:HASH with 64, or sha1:HASH with 40", text)
	}
	sha1 := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_Sha1{Sha1: h}}
	sha256 := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_Sha256{Sha256: h}}
	key := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_KeyHash{KeyHash: h}}
	switch {
	case len(h) == 40:
		return []*crossfadev1.Compromised{sha1}, nil
	case sort == "key":
		return []*crossfadev1.Compromised{key}, nil
	case sort == "sha256":
		return []*crossfadev1.Compromised{sha256}, nil
	default:
		return []*crossfadev1.Compromised{sha256, key}, nil
	}
}

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

// containText says how far an incident is contained, or is empty.
func containText(r *crossfadev1.Rotation) string {
	c := r.GetContainment()
	if c == nil || r.GetPlanDigest() == "" {
		return ""
	}
	took := c.GetElapsed().AsDuration().Round(time.Second)
	text := fmt.Sprintf("%d of %d carriers", c.GetContained(), c.GetCarriers())
	if c.GetContainedTime() != nil {
		return fmt.Sprintf("contained in %s: %s", took, text)
	}
	if n := c.GetLeft(); n > 0 {
		text += fmt.Sprintf(", %d ended and still carry it", n)
	}
	if n := c.GetUnknown(); n > 0 {
		text += fmt.Sprintf(", %d could not be read and may carry it", n)
	}
	return fmt.Sprintf("NOT contained after %s: %s", took, text)
}

// approvalText says who approved, or how to, or is empty.
func approvalText(r *crossfadev1.Rotation) string {
	c := r.GetContainment()
	switch a := c.GetApproval(); {
	case a != nil:
		return fmt.Sprintf("by %s at %s: %s", a.GetApprover(), instant(a.GetApproveTime()), a.GetReason())
	case c == nil || r.GetPlanDigest() == "" || ended(r) || r.GetPhase() == crossfadev1.Rotation_PHASE_RETIRE:
		return ""
	default:
		return fmt.Sprintf("nobody's; a second person can bring the removal forward: crossfade rotation approve %s --digest %s --reason …",
			strings.TrimPrefix(r.GetName(), "rotations/"), r.GetPlanDigest())
	}
}

// compromisedText names what is compromised, or is empty.
func compromisedText(r *crossfadev1.Rotation) string {
	var parts []string
	for _, x := range r.GetSpec().GetIncident().GetCompromised() {
		switch s := x.GetSubject().(type) {
		case *crossfadev1.Compromised_Sha256:
			parts = append(parts, "sha256:"+s.Sha256)
		case *crossfadev1.Compromised_Sha1:
			parts = append(parts, "sha1:"+s.Sha1)
		case *crossfadev1.Compromised_KeyHash:
			parts = append(parts, "key:"+s.KeyHash)
		}
	}
	return strings.Join(parts, " ")
}

// incidentOf returns what is compromised, nil where nothing is.
func incidentOf(r *crossfadev1.Rotation) *rollover.Incident {
	if r.GetSpec().GetIncident() == nil {
		return nil
	}
	i := &rollover.Incident{}
	for _, x := range r.GetSpec().GetIncident().GetCompromised() {
		if id, ok := edge.CompromisedSubject(x); ok {
			i.Compromised = append(i.Compromised, rollover.Compromised{Sort: rollover.CompromisedSort(id.Sort), Hash: id.Hash})
		}
	}
	return i
}

// retireText is when the old credentials may go at the earliest.
func retireText(r *crossfadev1.Rotation) string {
	if c := r.GetContainment(); c.GetRetireNotBefore() != nil {
		return instant(c.GetRetireNotBefore())
	}
	return instant(r.GetSpec().GetRetireNotBefore())
}

// caller returns the name that the service is told, and whether it was given. It is
// a claim; the service cannot prove it.
func (a *app) caller() (string, error) {
	if a.as != "" {
		if !edge.IsCaller(a.as) {
			return "", usage("--as %q: want 1 to 128 printable ASCII characters", a.as)
		}
		return a.as, nil
	}
	if u, err := user.Current(); err == nil && edge.IsCaller(u.Username) {
		return u.Username, nil
	}
	return "", nil // Anonymous, which is told to be too little where it matters.
}

// calling says to every call who makes it: proven where there is something to prove it
// with, else claimed.
func (a *app) calling(secure bool) ([]grpc.DialOption, error) {
	if a.proof.given() {
		if a.as != "" {
			return nil, usage("--as is a claim, and --client-cert and --token-file prove who you are: leave it out")
		}
		return a.proof.options(secure)
	}
	who, err := a.caller()
	return callingAs(who), err
}

// callingAs adds the name of the caller to every call.
func callingAs(name string) []grpc.DialOption {
	if name == "" {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(metadata.AppendToOutgoingContext(ctx, edge.CallerHeader, name), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, edge.CallerHeader, name), d, cc, method, opts...)
		}),
	}
}
