package rotation_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// selection returns a house with four tenants that differ.
func selection(t *testing.T) *house {
	t.Helper()
	inventory := tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket())
	for id, change := range map[string]func(*tenants.Tenant){
		"adatum":   func(t *tenants.Tenant) { t.Labels = map[string]string{"tier": "gold"} },
		"contoso":  func(t *tenants.Tenant) { t.Organization = "https://contoso.crm4.dynamics.com" },
		"fabrikam": func(t *tenants.Tenant) { t.Organization = "https://fabrikam.crm9.dynamics.com" },
		"tailspin": func(t *tenants.Tenant) {
			t.Organization, t.Disabled, t.DisplayName = "https://tailspin.crm.dynamics.cn", true, "Tailspin Toys"
		},
	} {
		tn := tenant(id)
		change(&tn)
		if _, _, err := inventory.Put(t.Context(), tn); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, func(c *rotation.Config) { c.Tenants = inventory })
}

func selecting(h *house, filter string) *pb.CreateRotationRequest {
	req := h.request()
	req.Rotation.Spec.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_Filter{Filter: filter}}
	return req
}

func TestCreateRotation_FilterSelectsTenants(t *testing.T) {
	h := selection(t)
	for filter, want := range map[string][]string{
		`labels.tier = "gold"`:                  {"adatum"},
		`id = "contoso" OR labels:tier`:         {"adatum", "contoso"},
		`region = "crm4"`:                       {"contoso"},
		`cloud = "commercial"`:                  {"adatum", "contoso"},
		`cloud = "gcc"`:                         {"fabrikam"},
		`cloud = "china" AND disabled`:          {"tailspin"},
		`NOT disabled`:                          {"adatum", "contoso", "fabrikam"},
		`display_name:"toys"`:                   {"tailspin"},
		`organization:".crm9."`:                 {"fabrikam"},
		`entra_tenant = "fabrikam.example.com"`: {"fabrikam"},
	} {
		resp, err := h.client().CreateRotation(t.Context(), selecting(h, filter))
		if err != nil {
			t.Errorf("CreateRotation(%s) = %v, want %v", filter, err, want)
			continue
		}
		r := resp.GetRotation()
		got, err := h.store.SelectedTenants(t.Context(), r.GetName()[len("rotations/"):])
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("CreateRotation(%s) selected %v, %v, want %v", filter, got, err, want)
		}
		if f := r.GetSpec().GetTarget().GetFilter(); f != filter || int(r.GetTenantCount()) != len(want) {
			t.Errorf("CreateRotation(%s) answers filter %q and %d tenants, want %d", filter, f, r.GetTenantCount(), len(want))
		}
	}
}

func TestCreateRotation_RefusesAFilterThatSelectsNobodyOrCannotBeRead(t *testing.T) {
	h := selection(t)
	for filter, reason := range map[string]string{
		`labels.tier = "lead"`:   "INVALID_FIELDS",
		`crm_version = "9.1"`:    "FILTER_INVALID",
		`labels.tier = "gold" (`: "FILTER_INVALID",
	} {
		for _, validateOnly := range []bool{true, false} {
			req := selecting(h, filter)
			req.ValidateOnly = validateOnly
			_, err := h.client().CreateRotation(t.Context(), req)
			refused(t, err, codes.InvalidArgument, reason)
		}
	}
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
}
