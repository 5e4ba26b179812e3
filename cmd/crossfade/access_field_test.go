package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// planned creates a rotation of those tenants and gives it a plan with a target of each.
func (e *estate) planned(t *testing.T, ctx context.Context, ids ...string) *crossfadev1.Rotation { //nolint:revive // The test comes first.
	t.Helper()
	made, err := e.rotate(ctx, named(ids...))
	if err != nil {
		t.Fatal(err)
	}
	id, _ := edge.ParseRotation(made.GetName())
	r, err := e.node.broker.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	items := rollovertest.Plan(len(ids))
	for i, owner := range ids {
		items[i].Tenant, items[i].Endpoints = owner, []rollover.EndpointRef{{Tenant: owner, ID: "0a", Name: "orders"}}
	}
	if r, err = r.Freeze(items, time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.node.broker.FreezePlan(t.Context(), r, items); err != nil {
		t.Fatal(err)
	}
	got, err := e.rotations().GetRotation(e.admin, &crossfadev1.GetRotationRequest{Name: made.GetName()})
	if err != nil || got.GetRotation().GetPlanDigest() == "" {
		t.Fatalf("GetRotation = %v, %v, want it planned", got, err)
	}
	return got.GetRotation()
}

// Lemur re-targeted the rotation of whoever's certificate was named in "replaces" (1.9.3).
// Here it selects nobody: what is replaced is looked for at the caller's tenants alone,
// and whether a thumbprint stands at others' is not told.
func TestAccess_ReplacesOfOthersReachesNoneOfTheirs(t *testing.T) {
	e := openEstate(t)
	theirs := rollover.Credential{SHA256: strings.Repeat("ab", 32), SHA1: strings.Repeat("AB", 20)}
	host := "apac.accesscontrol.windows.net"
	if err := e.node.inventory.SaveEndpoints(t.Context(), "apac-1", []tenants.Seen{{
		Endpoint: rollover.Endpoint{Tenant: "apac-1", ID: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Name: "orders"},
		Targets:  []tenants.SeenTarget{{Host: host, Observed: true, Carries: []tenants.Carried{{SHA256: theirs.SHA256, SHA1: theirs.SHA1}}}},
	}}); err != nil {
		t.Fatal(err)
	}
	replacing := func(sha1 string, target *crossfadev1.TargetSelector) (*crossfadev1.Rotation, error) {
		resp, err := e.rotations().CreateRotation(e.emea, &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{Spec: &crossfadev1.RotationSpec{
			Kind: "acs-x509", Certificate: e.certificate, Replaces: []string{sha1}, Target: target,
		}}})
		return resp.GetRotation(), err
	}
	all := &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_AllTenants{AllTenants: true}}
	for name, c := range map[string]struct {
		target *crossfadev1.TargetSelector
		want   []string
	}{"one": {named("emea-1"), []string{"emea-1"}}, "all": {all, []string{"emea-1", "emea-2"}}} {
		var told []string
		for _, sha1 := range []string{theirs.SHA1, strings.Repeat("CD", 20)} {
			r, err := replacing(sha1, c.target)
			if err != nil {
				t.Fatalf("%s: replacing %s = %v", name, sha1, err)
			}
			id, _ := edge.ParseRotation(r.GetName())
			of, err := e.node.broker.SelectedTenants(t.Context(), id)
			if err != nil || !slices.Equal(of, c.want) {
				t.Errorf("%s: replacing %s is for %v, %v, want %v", name, sha1, of, err, c.want)
			}
			text := strings.NewReplacer(r.GetName(), "NAME", sha1, "SHA1", strings.ToLower(sha1), "SHA1").Replace(
				fmt.Sprint(r.GetState(), r.GetTenantCount(), r.GetCounts(), r.GetSpec().GetReplaces()))
			told = append(told, text)
			if strings.Contains(r.String(), "apac") {
				t.Errorf("%s: the answer tells of others: %v", name, r)
			}
		}
		if told[0] != told[1] {
			t.Errorf("%s: one that stands at others' is answered with\n%s\nand one that stands nowhere with\n%s", name, told[0], told[1])
		}
	}
	if _, err := replacing(theirs.SHA1, named("emea-1", "apac-1")); status.Code(err) != codes.PermissionDenied {
		t.Errorf("naming their tenant too = %v, want PermissionDenied", err)
	}
}

// Lemur showed the secrets in options of destinations to whoever was logged in. Here a
// reference to a secret is seen by who may see its tenant, and by no other, whatever the
// method and whatever is named.
func TestAccess_SecretsOfOthersAreInNoAnswer(t *testing.T) {
	e := openEstate(t)
	viewer := e.as(t, "emea-viewer")
	both, others := e.planned(t, e.admin, "emea-1", "apac-1"), e.planned(t, e.admin, "apac-1")
	names := []string{
		"", "tenants/apac-1", "tenants/emea-1", "tenants/-", both.GetName(), others.GetName(), "rotations/-", both.GetName() + "/tasks/000001", others.GetName() + "/tasks/000000",
		e.certificate,
	}
	theirs := false // their own reference was seen: the test looks where such things are
	for _, m := range methods() {
		if !slices.Contains(mayCall()["viewers"], string(m.Name())) {
			continue
		}
		for _, name := range names {
			req := dynamicpb.NewMessage(m.Input())
			set := false
			for _, field := range []protoreflect.Name{"name", "parent"} {
				if d := m.Input().Fields().ByName(field); d != nil {
					req.Set(d, protoreflect.ValueOfString(name))
					set = true
				}
			}
			if !set && name != "" {
				continue
			}
			text := e.answer(t, viewer, m, req)
			theirs = theirs || strings.Contains(text, "CROSSFADE_SECRET_OF_EMEA")
			if strings.Contains(text, "CROSSFADE_SECRET_OF_APAC") {
				t.Errorf("%s of %q tells a secret's name of others: %s", m.Name(), name, text)
			}
		}
	}
	if !theirs {
		t.Error("no answer has the reference of their own tenants: the test looks in the wrong places")
	}
}

// answer returns what a call is told, also as an error, and of a stream its first message.
func (e *estate) answer(t *testing.T, ctx context.Context, m protoreflect.MethodDescriptor, req proto.Message) string { //nolint:revive // The test comes first.
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	method, resp := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), dynamicpb.NewMessage(m.Output())
	var err error
	if m.IsStreamingServer() {
		var s grpc.ClientStream
		if s, err = e.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method); err == nil {
			_ = s.SendMsg(req) // What went wrong, RecvMsg says.
			_ = s.CloseSend()
			err = s.RecvMsg(resp)
		}
	} else {
		err = e.conn.Invoke(ctx, method, req, resp)
	}
	return fmt.Sprint(resp, status.Convert(err).Proto())
}

// A check that stores nothing asks for the same rights as the change (AIP-163): otherwise
// it is a way to ask what may not be seen.
func TestAccess_ValidateOnlyAsksForTheSameRights(t *testing.T) {
	e := openEstate(t)
	mixed, others := e.planned(t, e.admin, "emea-1", "apac-1"), e.planned(t, e.admin, "apac-1")
	undo := func(ctx context.Context, name string, only bool) error {
		_, err := e.rotations().UndoRotation(ctx, &crossfadev1.UndoRotationRequest{
			Name: name, Reason: "x", ValidateOnly: only, Scope: &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_All{All: true}},
		})
		return err
	}
	update := func(ctx context.Context, row *crossfadev1.Tenant, only bool) error {
		_, err := e.inventory().UpdateTenant(ctx, &crossfadev1.UpdateTenantRequest{Tenant: row, ValidateOnly: only})
		return err
	}
	viewer, moved := e.as(t, "emea-viewer"), tenantOf("emea-1", "apac")
	for name, f := range map[string]func(ctx context.Context, only bool) error{
		"CreateRotation of others'": func(ctx context.Context, only bool) error {
			_, err := e.rotations().CreateRotation(ctx, &crossfadev1.CreateRotationRequest{ValidateOnly: only, Rotation: &crossfadev1.Rotation{
				Spec: &crossfadev1.RotationSpec{Kind: "acs-x509", Certificate: e.certificate, Target: named("apac-1")},
			}})
			return err
		},
		"UpdateTenant of others'":   func(ctx context.Context, only bool) error { return update(ctx, tenantOf("apac-1", "apac"), only) },
		"UpdateTenant to others'":   func(ctx context.Context, only bool) error { return update(ctx, moved, only) },
		"UpdateTenant from others'": func(ctx context.Context, only bool) error { return update(ctx, tenantOf("apac-1", "emea"), only) },
		"DeleteTenant of others'": func(ctx context.Context, only bool) error {
			_, err := e.inventory().DeleteTenant(ctx, &crossfadev1.DeleteTenantRequest{Name: "tenants/apac-1", ValidateOnly: only})
			return err
		},
		"UndoRotation of others'":     func(ctx context.Context, only bool) error { return undo(ctx, others.GetName(), only) },
		"UndoRotation of some theirs": func(ctx context.Context, only bool) error { return undo(ctx, mixed.GetName(), only) },
	} {
		checked, done := f(e.emea, true), f(e.emea, false)
		if code := status.Code(done); !slices.Contains([]codes.Code{codes.PermissionDenied, codes.NotFound, codes.InvalidArgument}, code) {
			t.Errorf("%s = %v, want that it is refused", name, done)
		}
		if !same(checked, done, "", "") {
			t.Errorf("%s: checked only it is %v, and done %v", name, checked, done)
		}
		if err := f(viewer, true); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s, checked by a viewer = %v, want PermissionDenied", name, err)
		}
	}
	// An import is judged row by row; the rows are refused in the same words.
	said := map[bool]string{}
	for _, only := range []bool{true, false} {
		job, err := e.imported(e.emea, only, tenantOf("apac-1", "emea"), tenantOf("emea-2", "apac"))
		if err != nil || job.GetFailedCount() != 2 {
			t.Fatalf("ImportInventory(validate_only=%t) = %v, %v, want both rows refused", only, job, err)
		}
		list, err := e.inventory().ListInventoryJobErrors(e.emea, &crossfadev1.ListInventoryJobErrorsRequest{Parent: job.GetName()})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range list.GetErrors() {
			said[only] += fmt.Sprintln(row.GetRow(), row.GetDescription())
		}
	}
	if said[true] != said[false] || said[true] == "" {
		t.Errorf("an import is refused as %q when it is checked, and as %q when it is done", said[true], said[false])
	}
	if _, err := e.imported(viewer, true, tenantOf("emea-1", "emea")); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an import checked by a viewer = %v, want PermissionDenied", err)
	}
}

// imported runs an import and returns how it ended.
func (e *estate) imported(ctx context.Context, only bool, rows ...*crossfadev1.Tenant) (*crossfadev1.InventoryJob, error) {
	s, err := e.inventory().ImportInventory(ctx)
	if err != nil {
		return nil, err
	}
	parts := []*crossfadev1.ImportInventoryRequest{
		{Part: &crossfadev1.ImportInventoryRequest_Header{Header: &crossfadev1.ImportHeader{ValidateOnly: only}}},
		{Part: &crossfadev1.ImportInventoryRequest_Chunk{Chunk: &crossfadev1.ImportChunk{Tenants: rows}}},
	}
	for _, p := range parts {
		if err := s.Send(p); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	resp, err := s.CloseAndRecv()
	return resp.GetJob(), err
}

// An approver's word counts for tenants within their rights, and a rotation of others' is
// not there for it.
func TestAccess_AnApproverOfOtherTenants(t *testing.T) {
	e := openEstate(t, needingOthers)
	approve := func(ctx context.Context, r *crossfadev1.Rotation) error {
		_, err := e.rotations().ApproveRotation(ctx, &crossfadev1.ApproveRotationRequest{
			Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START, Reason: "seen",
		})
		return err
	}
	theirs, both := e.planned(t, e.admin, "emea-1"), e.planned(t, e.admin, "emea-1", "apac-1")
	foreign := approve(e.as(t, "apac-approver"), theirs)
	const none = "rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	missing := approve(e.as(t, "apac-approver"), &crossfadev1.Rotation{Name: none, PlanDigest: theirs.GetPlanDigest()})
	if status.Code(foreign) != codes.NotFound || !same(foreign, missing, theirs.GetName(), none) {
		t.Errorf("approving others' = %v, and one that is not there = %v, want NotFound in the same words", foreign, missing)
	}
	if err := approve(e.as(t, "emea-approver"), both); status.Code(err) != codes.PermissionDenied {
		t.Errorf("approving one that is partly theirs = %v, want PermissionDenied", err)
	}
	start := func() error {
		_, err := e.rotations().StartRotation(e.admin, &crossfadev1.StartRotationRequest{Name: theirs.GetName(), PlanDigest: theirs.GetPlanDigest()})
		return err
	}
	if err := start(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("started without a word that counts = %v", err)
	}
	if err := approve(e.as(t, "emea-approver"), theirs); err != nil {
		t.Errorf("approving their own = %v", err)
	}
	if err := start(); err != nil {
		t.Errorf("started with it = %v", err)
	}
}

// needingOthers has every start approved by one other.
func needingOthers(c *daemon.Config) {
	c.Approvals.Rules = map[string][]byte{"starts": []byte(`{approvers: 1, acts: "start"}`)}
}

// A certificate that is revoked while its owner watches ends the watch.
func TestAccess_ACertificateThatIsRevokedDuringAWatch(t *testing.T) {
	e := openEstate(t)
	pair, serial := e.office.pair("portal.test")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := crossfadev1.NewRotationServiceClient(e.castle.conn(t, &pair)).WatchRotations(ctx, &crossfadev1.WatchRotationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	write(t, e.crl, e.office.crl(100, serial))
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("the watch ended with %v, want Unauthenticated", err)
	}
}

// Each refusal that matters is in the audit log: whose it was, of what, and why.
func TestAccess_EveryRefusalIsToldByName(t *testing.T) {
	e := openEstate(t, needingOthers)
	e.office.next = 100
	revoked, _ := e.office.pair("revoked.test")
	stranger := newOffice(t).key
	forged := func(method jwt.SigningMethod, key any, change string, value any) context.Context {
		c := e.issuer.claims("jane", "admins")
		c[change] = value
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token(t, key, method, c))
	}
	es := jwt.SigningMethodES256
	both := e.as(t, "maker", "operators", "approvers")
	mine, stale := e.planned(t, both, "emea-1"), e.planned(t, both, "emea-2")
	list := func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := crossfadev1.NewRotationServiceClient(conn).ListRotations(ctx, &crossfadev1.ListRotationsRequest{})
		return err
	}
	approve := func(ctx context.Context, r *crossfadev1.Rotation, digest string) error {
		_, err := e.rotations().ApproveRotation(ctx, &crossfadev1.ApproveRotationRequest{Name: r.GetName(), PlanDigest: digest, Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START, Reason: "seen"})
		return err
	}
	bare := func(ctx context.Context) error { return list(ctx, e.conn) }
	type refusal struct {
		ctx            context.Context
		do             func(context.Context) error
		who, act       string
		code           codes.Code
		reason, object string
	}
	const lists = "RotationService/ListRotations"
	refusals := map[string]refusal{
		"no token":       {t.Context(), bare, "", lists, codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"expired":        {forged(es, e.issuer.key, "exp", time.Now().Add(-time.Minute).Unix()), bare, "", lists, codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"wrong audience": {forged(es, e.issuer.key, "aud", "other"), bare, "", lists, codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"alg none":       {forged(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "x", 1), bare, "", lists, codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"another's key":  {forged(es, stranger, "x", 1), bare, "", lists, codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"revoked certificate": {t.Context(), func(ctx context.Context) error { return list(ctx, e.castle.conn(t, &revoked)) }, "", lists,
			codes.Unauthenticated, "UNAUTHENTICATED", ""},
		"an operator outside their tenants": {e.emea, func(ctx context.Context) error { return second(e.rotate(ctx, named("apac-1"))) }, "corp:emea",
			"RotationService/CreateRotation", codes.PermissionDenied, "PERMISSION_DENIED", ""},
		"their own plan": {both, func(ctx context.Context) error { return approve(ctx, mine, mine.GetPlanDigest()) }, "corp:maker",
			"RotationService/ApproveRotation", codes.PermissionDenied, "SECOND_PERSON_NEEDED", mine.GetName()},
		"a stale approval": {e.as(t, "late", "approvers"), func(ctx context.Context) error { return approve(ctx, stale, strings.Repeat("a", 64)) }, "corp:late",
			"RotationService/ApproveRotation", codes.FailedPrecondition, "PLAN_CHANGED", stale.GetName()},
		"a start without approval": {both, func(ctx context.Context) error {
			return second(e.rotations().StartRotation(ctx, &crossfadev1.StartRotationRequest{Name: mine.GetName(), PlanDigest: mine.GetPlanDigest()}))
		}, "corp:maker", "RotationService/StartRotation", codes.FailedPrecondition, "APPROVALS_NEEDED", mine.GetName()},
	}
	for _, m := range methods() {
		if slices.Contains(mayCall()["viewers"], string(m.Name())) {
			continue
		}
		refusals["a viewer calls "+string(m.Name())] = refusal{
			e.as(t, "looker", "viewers"), func(ctx context.Context) error { return call(ctx, e.conn, m) }, "corp:looker",
			fmt.Sprintf("%s/%s", m.Parent().Name(), m.Name()), codes.PermissionDenied, "PERMISSION_DENIED", "",
		}
	}
	id := func(name string) string { return "refusal-" + strings.NewReplacer(" ", "-", "'", "").Replace(name) }
	for name, r := range refusals {
		if err := r.do(metadata.AppendToOutgoingContext(r.ctx, "x-request-id", id(name))); status.Code(err) != r.code {
			t.Errorf("%s = %v, want %s", name, err, r.code)
		}
	}
	told := map[string]audit.Record{}
	if err := e.node.broker.AuditRecords(t.Context(), func(_ uint64, b []byte) error {
		r, err := audit.Decode(b)
		if err == nil && r.Outcome != audit.Asked {
			told[r.Request] = r
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range refusals {
		r, ok := told[id(name)]
		if !ok || r.Who != want.who || r.Act != want.act || r.Outcome != audit.Refused || r.Reason != want.reason || r.Detail["code"] != want.code.String() || r.Object != want.object {
			t.Errorf("%s is told as %+v, want %s by %q refused as %s %s", name, r, want.act, want.who, want.code, want.reason)
		}
	}
}
