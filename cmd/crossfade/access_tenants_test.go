package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Lemur, and others, let whoever was logged in see or name what was another's (see the
// advisories of its releases 1.9.0 to 1.9.3): each way has its test here, or in
// access_field_test.go.
func TestAccess_ATenantOfOthersIsNotThere(t *testing.T) {
	e := openEstate(t)
	list, err := e.inventory().ListTenants(e.emea, &crossfadev1.ListTenantsRequest{})
	if err != nil || list.GetTotalSize() != 2 || len(list.GetTenants()) != 2 {
		t.Errorf("ListTenants = %v, %v, want two", list, err)
	}
	_, foreign := e.inventory().GetTenant(e.emea, &crossfadev1.GetTenantRequest{Name: "tenants/apac-1"})
	_, missing := e.inventory().GetTenant(e.emea, &crossfadev1.GetTenantRequest{Name: "tenants/none-1"})
	if status.Code(foreign) != codes.NotFound || !same(foreign, missing, "apac-1", "none-1") {
		t.Errorf("another's tenant: %v; one that is not there: %v", foreign, missing)
	}
	_, foreign = e.inventory().ListEndpoints(e.emea, &crossfadev1.ListEndpointsRequest{Parent: "tenants/apac-1"})
	_, missing = e.inventory().ListEndpoints(e.emea, &crossfadev1.ListEndpointsRequest{Parent: "tenants/none-1"})
	if status.Code(foreign) != codes.NotFound || !same(foreign, missing, "apac-1", "none-1") {
		t.Errorf("endpoints of another's tenant: %v; of one that is not there: %v", foreign, missing)
	}
	for _, target := range []string{"apac-1", "none-1"} {
		if _, err := e.rotate(e.emea, named("emea-1", target)); status.Code(err) != codes.PermissionDenied || strings.Contains(err.Error(), target) {
			t.Errorf("a rotation of %s = %v, want PermissionDenied in the same words", target, err)
		}
	}
	if _, err := e.rotate(e.emea, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_Filter{Filter: `labels.region = "apac"`}}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "none of the 2 tenants") {
		t.Errorf("a rotation by a filter over others' = %v, want that it selects none", err)
	}
	r, err := e.rotate(e.emea, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_AllTenants{AllTenants: true}})
	if err != nil || r.GetTenantCount() != 2 {
		t.Errorf("a rotation of all = %v, %v, want the two that are theirs", r, err)
	}
}

// Nobody takes a tenant into their rights, or another's out of somebody else's, by
// importing it with other labels, nor learns by it which names others use.
func TestAccess_AnImportMovesNobody(t *testing.T) {
	e := openEstate(t)
	other := tenantOf("emea-2", "emea")
	other.DisplayName = "other"
	resp, err := e.inventory().ImportTenants(e.emea, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{
		tenantOf("apac-1", "emea"), tenantOf("emea-1", "apac"), tenantOf("apac-2", "apac"), tenantOf("emea-3", "emea"), other,
	}})
	if err != nil || resp.GetFailedCount() != 4 || resp.GetUpdatedCount() != 1 {
		t.Fatalf("ImportTenants = %v, %v, want that four of five are refused", resp, err)
	}
	var rows []int32
	for _, w := range resp.GetErrors() {
		rows = append(rows, w.GetRow())
		if w.GetDescription() != resp.GetErrors()[0].GetDescription() {
			t.Errorf("refused in other words: %v", resp.GetErrors())
		}
	}
	if slices.Sort(rows); !slices.Equal(rows, []int32{0, 1, 2, 3}) {
		t.Errorf("rows %v are refused, want 0 to 3", rows)
	}
	if got, err := e.inventory().GetTenant(e.admin, &crossfadev1.GetTenantRequest{Name: "tenants/apac-1"}); err != nil || got.GetTenant().GetLabels()["region"] != "apac" {
		t.Errorf("the tenant that was not to be moved = %v, %v", got, err)
	}
}

// A rotation of others is not there for any verb; one that is partly theirs is shown in
// outline and cannot be changed.
func TestAccess_ARotationOfOthers(t *testing.T) {
	e := openEstate(t)
	others, err := e.rotate(e.admin, named("apac-1"))
	if err != nil {
		t.Fatal(err)
	}
	both, err := e.rotate(e.admin, named("apac-1", "emea-1"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := e.rotate(e.emea, named("emea-1", "emea-2"))
	if err != nil {
		t.Fatal(err)
	}
	const none = "rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	digest := strings.Repeat("a", 64)
	type verb func(name string) error
	c, ctx := e.rotations(), e.emea
	changes := map[string]verb{
		"start": func(n string) error {
			_, err := c.StartRotation(ctx, &crossfadev1.StartRotationRequest{Name: n, PlanDigest: digest})
			return err
		},
		"pause": func(n string) error {
			_, err := c.PauseRotation(ctx, &crossfadev1.PauseRotationRequest{Name: n, Reason: "x"})
			return err
		},
		"resume": func(n string) error {
			_, err := c.ResumeRotation(ctx, &crossfadev1.ResumeRotationRequest{Name: n, AcceptFailures: true})
			return err
		},
		"cancel": func(n string) error {
			_, err := c.CancelRotation(ctx, &crossfadev1.CancelRotationRequest{Name: n, Reason: "x"})
			return err
		},
		"retire": func(n string) error {
			_, err := c.RetireRotation(ctx, &crossfadev1.RetireRotationRequest{Name: n})
			return err
		},
		"check": func(n string) error {
			_, err := c.CheckRotation(ctx, &crossfadev1.CheckRotationRequest{Name: n})
			return err
		},
		"retry": func(n string) error {
			_, err := c.RetryRotationTasks(ctx, &crossfadev1.RetryRotationTasksRequest{Parent: n, Reason: "x"})
			return err
		},
		"undo": func(n string) error {
			_, err := c.UndoRotation(ctx, &crossfadev1.UndoRotationRequest{Name: n, Reason: "x", ValidateOnly: true, Scope: &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_All{All: true}}})
			return err
		},
		"decide": func(n string) error {
			_, err := c.DecideWave(ctx, &crossfadev1.DecideWaveRequest{Name: n, Wave: 1, Result: crossfadev1.GateResult_GATE_RESULT_PASS, Reason: "x"})
			return err
		},
		"failed of": func(n string) error {
			_, err := e.rotate(ctx, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_FailedOf{FailedOf: n}})
			return err
		},
		"drifted of": func(n string) error {
			_, err := e.rotate(ctx, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_DriftedOf{DriftedOf: n}})
			return err
		},
	}
	reads := map[string]verb{
		"get": func(n string) error {
			_, err := c.GetRotation(ctx, &crossfadev1.GetRotationRequest{Name: n})
			return err
		},
		"task": func(n string) error {
			_, err := c.GetRotationTask(ctx, &crossfadev1.GetRotationTaskRequest{Name: n + "/tasks/000000"})
			return err
		},
		"a task far behind the last": func(n string) error {
			_, err := c.GetRotationTask(ctx, &crossfadev1.GetRotationTaskRequest{Name: n + "/tasks/499999"})
			return err
		},
		"tasks": func(n string) error {
			_, err := c.ListRotationTasks(ctx, &crossfadev1.ListRotationTasksRequest{Parent: n})
			return err
		},
		"drifts": func(n string) error {
			_, err := c.ListDrifts(ctx, &crossfadev1.ListDriftsRequest{Parent: n})
			return err
		},
		"watch": func(n string) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			s, err := c.WatchRotation(ctx, &crossfadev1.WatchRotationRequest{Name: n, IncludeTasks: true})
			if err != nil {
				return err
			}
			_, err = s.Recv()
			return err
		},
	}
	for name, f := range changes {
		foreign, missing := f(others.GetName()), f(none)
		if status.Code(foreign) != codes.NotFound || !same(foreign, missing, others.GetName(), none) {
			t.Errorf("%s: another's rotation: %v; one that is not there: %v", name, foreign, missing)
		}
		if err := f(both.GetName()); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: a rotation that is partly theirs: %v, want PermissionDenied", name, err)
		}
		if code := status.Code(f(theirs.GetName())); code == codes.NotFound || code == codes.PermissionDenied {
			t.Errorf("%s: their own rotation: %v", name, code)
		}
	}
	for name, f := range reads {
		foreign, missing := f(others.GetName()), f(none)
		if status.Code(foreign) != codes.NotFound || !same(foreign, missing, others.GetName(), none) {
			t.Errorf("%s: another's rotation: %v; one that is not there: %v", name, foreign, missing)
		}
		for _, n := range []string{both.GetName(), theirs.GetName()} {
			// Nothing is planned here, so a task is missing; its rotation is not.
			if err := f(n); err != nil && !strings.Contains(err.Error(), n+"/tasks/") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	got, err := c.GetRotation(e.emea, &crossfadev1.GetRotationRequest{Name: both.GetName()})
	if r := got.GetRotation(); err != nil || !r.GetPartial() || r.GetTenantCount() != 0 || strings.Contains(r.String(), "apac") {
		t.Errorf("a rotation that is partly theirs is shown as %v, %v", r, err)
	}
	list, err := c.ListRotations(e.emea, &crossfadev1.ListRotationsRequest{})
	if err != nil || len(list.GetRotations()) != 2 {
		t.Errorf("ListRotations = %v, %v, want two", list, err)
	}
	if list, err = c.ListRotations(e.emea, &crossfadev1.ListRotationsRequest{Filter: `display_name = "for apac-1"`}); err != nil || len(list.GetRotations()) != 0 && list.GetRotations()[0].GetName() != theirs.GetName() || len(list.GetRotations()) > 1 {
		t.Errorf("a filter by a name that is not shown finds %v, %v", list, err)
	}
}

// The block list holds for all, so who may not see all cannot change it, and is not told
// what people wrote there.
func TestAccess_TheBlockListIsForAll(t *testing.T) {
	e := openEstate(t)
	c := crossfadev1.NewCertificateServiceClient(e.conn)
	sha := strings.Repeat("ab", 32)
	req := &crossfadev1.BlockCertificateRequest{Subject: &crossfadev1.BlockCertificateRequest_Sha256{Sha256: sha}, Reason: "leaked at apac-1"}
	if _, err := c.BlockCertificate(e.emea, req); status.Code(err) != codes.PermissionDenied {
		t.Errorf("BlockCertificate with rights to some = %v", err)
	}
	if _, err := c.BlockCertificate(e.admin, req); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListBlocks(e.emea, &crossfadev1.ListBlocksRequest{})
	if err != nil || len(list.GetBlocks()) != 1 || strings.Contains(list.String(), "apac") || strings.Contains(list.String(), "root") {
		t.Errorf("ListBlocks = %v, %v, want the hash and no words", list, err)
	}
	// Of a certificate that is blocked they learn which entry it is, and no words either,
	// whatever the way to it.
	cert, err := c.GetCertificate(e.admin, &crossfadev1.GetCertificateRequest{Name: e.certificate})
	if err != nil {
		t.Fatal(err)
	}
	key := cert.GetCertificate().GetSpkiSha256()
	leaked := &crossfadev1.BlockCertificateRequest{Subject: &crossfadev1.BlockCertificateRequest_KeyHash{KeyHash: key}, Reason: "leaked at apac-1"}
	if _, err := c.BlockCertificate(e.admin, leaked); err != nil {
		t.Fatal(err)
	}
	for who, ctx := range map[string]context.Context{"all": e.admin, "emea": e.emea} {
		cert, err := c.GetCertificate(ctx, &crossfadev1.GetCertificateRequest{Name: e.certificate})
		if err != nil {
			t.Fatal(err)
		}
		up, err := c.UploadCertificate(ctx, &crossfadev1.UploadCertificateRequest{Content: cert.GetCertificate().GetDer(), ValidateOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.rotate(ctx, named("emea-1"))
		for way, text := range map[string]string{"get": cert.String(), "upload": up.String(), "rotate": status.Convert(err).Proto().String()} {
			words := strings.Contains(text, "leaked at apac-1") && strings.Contains(text, "root")
			if any := strings.Contains(text, "apac") || strings.Contains(text, "root"); words != (who == "all") || any != words || !strings.Contains(text, key) {
				t.Errorf("%s: %s is told %s", way, who, text)
			}
		}
	}
	incident, err := e.rotations().CreateRotation(e.emea, &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{Spec: &crossfadev1.RotationSpec{
		Kind: "acs-x509", Certificate: e.certificate, Lane: crossfadev1.Lane_LANE_URGENT,
		Incident: &crossfadev1.Incident{Compromised: []*crossfadev1.Compromised{{Subject: &crossfadev1.Compromised_Sha256{Sha256: sha}}}},
	}}})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("an incident with rights to some = %v, %v", incident, err)
	}
}

// A set of targets may hold tenants of others, so who may not see all has their own only.
func TestAccess_ATargetSetOfOthers(t *testing.T) {
	e := openEstate(t)
	c := crossfadev1.NewTargetSetServiceClient(e.conn)
	create := func(ctx context.Context, id string) {
		t.Helper()
		if _, err := c.CreateTargetSet(ctx, &crossfadev1.CreateTargetSetRequest{TargetSet: &crossfadev1.TargetSet{Name: "targetSets/" + id, ExpectedRows: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	create(e.admin, "all")
	create(e.emea, "ours")
	if _, err := c.AddTargets(e.admin, &crossfadev1.AddTargetsRequest{Name: "targetSets/all", Targets: []string{"tenants/apac-1"}}); err != nil {
		t.Fatal(err)
	}
	added, err := c.AddTargets(e.emea, &crossfadev1.AddTargetsRequest{Name: "targetSets/ours", Targets: []string{"tenants/apac-1"}})
	if err != nil || added.GetErrorCount() != 1 || !strings.Contains(added.GetErrors()[0].GetDescription(), "not in the inventory") {
		t.Errorf("a row of another's = %v, %v, want the words for one that is not there", added, err)
	}
	for name, err := range map[string]error{
		"get":    second(c.GetTargetSet(e.emea, &crossfadev1.GetTargetSetRequest{Name: "targetSets/all"})),
		"add":    second(c.AddTargets(e.emea, &crossfadev1.AddTargetsRequest{Name: "targetSets/all", Targets: []string{"tenants/emea-1"}})),
		"delete": second(c.DeleteTargetSet(e.emea, &crossfadev1.DeleteTargetSetRequest{Name: "targetSets/all"})),
		"rotate": second(e.rotate(e.emea, &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_TargetSet{TargetSet: "targetSets/all"}})),
	} {
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s of another's set = %v, want NotFound", name, err)
		}
	}
	// A tenant that was moved away a moment ago is not theirs to add any more, however
	// lately it was seen to be.
	ours := func(target string) *crossfadev1.AddTargetsRequest {
		return &crossfadev1.AddTargetsRequest{Name: "targetSets/ours", Targets: []string{"tenants/" + target}}
	}
	if got, err := c.AddTargets(e.emea, ours("apac-1")); err != nil || got.GetErrorCount() != 1 { // Looks at the inventory.
		t.Fatalf("AddTargets of another's = %v, %v", got, err)
	}
	e.move(t, "emea-2", "apac")
	if got, err := c.AddTargets(e.emea, ours("emea-2")); err != nil || got.GetErrorCount() != 1 {
		t.Errorf("AddTargets of a tenant that was moved away = %v, %v, want that it is not there", got, err)
	}
	list, err := c.ListTargetSets(e.emea, &crossfadev1.ListTargetSetsRequest{})
	if err != nil || len(list.GetTargetSets()) != 1 || list.GetTargetSets()[0].GetName() != "targetSets/ours" {
		t.Errorf("ListTargetSets = %v, %v, want their own", list, err)
	}
}

// What is taken away holds for the calls that come next, and ends the watch of who may no
// more; see services/edge for the watch.
func TestAccess_ARightThatIsTakenAway(t *testing.T) {
	c := openCastle(t)
	conn := c.conn(t, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.issuer.token(t, "x", "viewers"))
	list := func() error {
		_, err := crossfadev1.NewInventoryServiceClient(conn).ListTenants(ctx, &crossfadev1.ListTenantsRequest{})
		return err
	}
	if err := list(); err != nil {
		t.Fatal(err)
	}
	write(t, c.rights, []byte(strings.Replace(castleRights, "corp:viewers", "corp:others", 1)))
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		if err := list(); status.Code(err) == codes.PermissionDenied {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the right is still there 20 s after it was taken away")
		}
		<-tick.C
	}
}
