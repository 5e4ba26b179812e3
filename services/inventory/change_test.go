package inventory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/inventory"
)

// refused wants an error of that code and reason, and returns its info.
func refused(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && status.Code(err) == code && info.GetReason() == reason {
			return info
		}
	}
	t.Fatalf("got %v with %v, want %s %s", err, status.Convert(err).Details(), code, reason)
	return nil
}

func imported(t *testing.T, c pb.InventoryServiceClient, ids ...string) {
	t.Helper()
	req := &pb.ImportTenantsRequest{}
	for _, id := range ids {
		req.Tenants = append(req.Tenants, tenant(id))
	}
	if got, err := c.ImportTenants(t.Context(), req); err != nil || got.GetFailedCount() > 0 {
		t.Fatalf("ImportTenants = %v, %v", got, err)
	}
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func TestUpdateTenant_ChangesWhatTheMaskNames(t *testing.T) {
	c, _ := open(t)
	imported(t, c, "contoso")
	get := func() *pb.Tenant {
		t.Helper()
		got, err := c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/contoso"})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetTenant()
	}
	was := get()
	for _, step := range []struct {
		name   string
		tenant *pb.Tenant
		mask   *fieldmaskpb.FieldMask
		want   func(*pb.Tenant) bool
	}{
		{"a field", &pb.Tenant{DisplayName: "Contoso"}, mask("display_name"), func(n *pb.Tenant) bool {
			return n.GetDisplayName() == "Contoso" && n.GetLabels()["wave"] == "1"
		}},
		{"a field within one", &pb.Tenant{Login: &pb.Login{Secret: "env:OTHER"}}, mask("login.secret"), func(n *pb.Tenant) bool {
			return n.GetLogin().GetSecret() == "env:OTHER" && n.GetLogin().GetClientId() == was.GetLogin().GetClientId()
		}},
		{"what is set, without a mask", &pb.Tenant{Disabled: true}, nil, func(n *pb.Tenant) bool {
			return n.GetDisabled() && n.GetDisplayName() == "Contoso"
		}},
		{"cleared", &pb.Tenant{}, mask("labels", "disabled"), func(n *pb.Tenant) bool { return len(n.GetLabels()) == 0 && !n.GetDisabled() }},
		{"all of it", tenant("contoso"), mask("*"), func(n *pb.Tenant) bool {
			return n.GetDisplayName() == "The contoso" && n.GetLogin().GetSecret() == "env:SECRET" && n.GetEtag() == was.GetEtag()
		}},
	} {
		step.tenant.Name = "tenants/contoso"
		try, err := c.UpdateTenant(t.Context(), &pb.UpdateTenantRequest{Tenant: step.tenant, UpdateMask: step.mask, ValidateOnly: true})
		if before := get(); err != nil || !step.want(try.GetTenant()) || before.GetEtag() == try.GetTenant().GetEtag() {
			t.Errorf("%s, only tried = %v, %v; stored is %v", step.name, try, err, before)
		}
		got, err := c.UpdateTenant(t.Context(), &pb.UpdateTenantRequest{Tenant: step.tenant, UpdateMask: step.mask, Etag: get().GetEtag()})
		if err != nil || !step.want(got.GetTenant()) || got.GetCreated() || got.GetTenant().GetEtag() != get().GetEtag() || !step.want(get()) {
			t.Errorf("%s = %v, %v; stored is %v", step.name, got, err, get())
		}
	}
}

func TestUpdateTenant_Refuses(t *testing.T) {
	c, _ := open(t)
	imported(t, c, "contoso")
	const secret = "hunter2+/Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6"
	update := func(change func(*pb.UpdateTenantRequest)) error {
		req := &pb.UpdateTenantRequest{Tenant: &pb.Tenant{Name: "tenants/contoso", DisplayName: "x"}}
		change(req)
		_, err := c.UpdateTenant(t.Context(), req)
		return err
	}
	info := refused(t, update(func(r *pb.UpdateTenantRequest) { r.Etag = "other" }), codes.Aborted, "ETAG_MISMATCH")
	now, err := c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/contoso"})
	if err != nil || info.GetMetadata()["current_etag"] != now.GetTenant().GetEtag() {
		t.Errorf("current_etag = %q, %v, want %q", info.GetMetadata()["current_etag"], err, now.GetTenant().GetEtag())
	}
	for name, change := range map[string]func(*pb.UpdateTenantRequest){
		"a mask of nothing":        func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("nonsense") },
		"a mask of the name":       func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("name") },
		"a mask of the etag":       func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("etag") },
		"a mask within a list":     func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("namespaces.host") },
		"a mask within a map":      func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("labels.wave") },
		"a star and more":          func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("*", "labels") },
		"no name":                  func(r *pb.UpdateTenantRequest) { r.Tenant.Name = "" },
		"a required field cleared": func(r *pb.UpdateTenantRequest) { r.UpdateMask = mask("organization") },
		"a secret for a reference": func(r *pb.UpdateTenantRequest) {
			r.Tenant.Login = &pb.Login{Secret: secret}
			r.UpdateMask = mask("login.secret")
		},
		"added without its content": func(r *pb.UpdateTenantRequest) { r.Tenant.Name, r.AllowMissing = "tenants/fresh", true },
	} {
		err := update(change)
		if refused(t, err, codes.InvalidArgument, "INVALID_FIELDS"); strings.Contains(fmt.Sprint(err, status.Convert(err).Details()), secret) {
			t.Errorf("%s: the secret is repeated: %v", name, err)
		}
	}
	refused(t, update(func(r *pb.UpdateTenantRequest) { r.Tenant.Name = "tenants/fresh" }), codes.NotFound, "NOT_FOUND")
	got, err := c.UpdateTenant(t.Context(), &pb.UpdateTenantRequest{Tenant: tenant("fresh"), AllowMissing: true, UpdateMask: mask("display_name")})
	if err != nil || !got.GetCreated() || got.GetTenant().GetOrganization() == "" {
		t.Errorf("added with allow_missing: %v, %v", got, err)
	}
}

// Of many changes at once none is lost.
func TestUpdateTenant_ManyAtOnce(t *testing.T) {
	c, _ := open(t)
	imported(t, c, "contoso")
	var wg sync.WaitGroup
	paths := []string{"display_name", "labels", "disabled", "identity"}
	for _, path := range paths {
		wg.Go(func() {
			next := &pb.Tenant{Name: "tenants/contoso", DisplayName: "new", Labels: map[string]string{"new": "1"}, Disabled: true, Identity: "new"}
			if _, err := c.UpdateTenant(t.Context(), &pb.UpdateTenantRequest{Tenant: next, UpdateMask: mask(path)}); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	wg.Wait()
	got, err := c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/contoso"})
	if n := got.GetTenant(); err != nil || n.GetDisplayName() != "new" || n.GetLabels()["new"] != "1" || !n.GetDisabled() || n.GetIdentity() != "new" {
		t.Errorf("the tenant is %v, %v: a change was lost", n, err)
	}
}

func TestDeleteTenant_OnlyWhatNobodyNeeds(t *testing.T) {
	busy := ""
	c, v, _ := openWith(t, func(c *inventory.Config) {
		c.InUse = func(_ context.Context, tenant string) (string, error) {
			if tenant == "contoso" {
				return busy, nil
			}
			return "", nil
		}
	})
	imported(t, c, "contoso", "adatum")
	if err := v.SaveEndpoints(t.Context(), "contoso", []tenants.Seen{{Endpoint: rollover.Endpoint{Tenant: "contoso", ID: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"}}}); err != nil {
		t.Fatal(err)
	}
	remove := func(change func(*pb.DeleteTenantRequest)) error {
		req := &pb.DeleteTenantRequest{Name: "tenants/contoso"}
		change(req)
		_, err := c.DeleteTenant(t.Context(), req)
		return err
	}
	refused(t, remove(func(*pb.DeleteTenantRequest) {}), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	busy = "0198c0de-0000-7000-8000-000000000000"
	refused(t, remove(func(r *pb.DeleteTenantRequest) { r.Force = true }), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	busy = ""
	refused(t, remove(func(r *pb.DeleteTenantRequest) { r.Force, r.Etag = true, "x" }), codes.Aborted, "ETAG_MISMATCH")
	if err := remove(func(r *pb.DeleteTenantRequest) { r.Force, r.ValidateOnly = true, true }); err != nil {
		t.Errorf("only tried: %v", err)
	}
	left := func() (ids []string) {
		t.Helper()
		got, err := c.ListTenants(t.Context(), &pb.ListTenantsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range got.GetTenants() {
			ids = append(ids, n.GetName())
		}
		return ids
	}
	if got := left(); len(got) != 2 {
		t.Errorf("left are %v, want both: nothing was asked for", got)
	}
	if err := remove(func(r *pb.DeleteTenantRequest) { r.Force = true }); err != nil {
		t.Fatal(err)
	}
	if got := left(); !slices.Equal(got, []string{"tenants/adatum"}) {
		t.Errorf("left are %v", got)
	}
	es, err := c.ListEndpoints(t.Context(), &pb.ListEndpointsRequest{Parent: "tenants/-"})
	if err != nil || len(es.GetEndpoints()) != 0 {
		t.Errorf("endpoints left: %v, %v", es, err)
	}
	refused(t, remove(func(*pb.DeleteTenantRequest) {}), codes.NotFound, "NOT_FOUND")
	if err := remove(func(r *pb.DeleteTenantRequest) { r.AllowMissing = true }); err != nil {
		t.Errorf("with allow_missing: %v", err)
	}
	imported(t, c, "contoso") // It may come back.
	if got := left(); len(got) != 2 {
		t.Errorf("after it was imported again there are %v", got)
	}
}
