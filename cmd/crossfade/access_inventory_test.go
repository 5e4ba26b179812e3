package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

const anEndpoint = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"

// find lets planning have seen an endpoint of a tenant.
func (e *estate) find(t *testing.T, tenant string) {
	t.Helper()
	seen := tenants.Seen{Endpoint: rollover.Endpoint{Tenant: tenant, ID: anEndpoint, Name: "of " + tenant}}
	if err := e.node.inventory.SaveEndpoints(t.Context(), tenant, []tenants.Seen{seen}); err != nil {
		t.Fatal(err)
	}
}

// stream imports rows by a job.
func (e *estate) stream(ctx context.Context, h *crossfadev1.ImportHeader, rows ...*crossfadev1.Tenant) (*crossfadev1.ImportInventoryResponse, error) {
	s, err := e.inventory().ImportInventory(ctx)
	if err != nil {
		return nil, err
	}
	err = s.Send(&crossfadev1.ImportInventoryRequest{Part: &crossfadev1.ImportInventoryRequest_Header{Header: h}})
	if err == nil && len(rows) > 0 {
		err = s.Send(&crossfadev1.ImportInventoryRequest{Part: &crossfadev1.ImportInventoryRequest_Chunk{Chunk: &crossfadev1.ImportChunk{Tenants: rows}}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s.CloseAndRecv()
}

// By no call that names a tenant does a limited caller learn whether others have it.
func TestAccess_ATenantOfOthersCannotBeProbedFor(t *testing.T) {
	e := openEstate(t)
	e.find(t, "apac-1")
	theirs := func(id string) *crossfadev1.Tenant { return tenantOf(id, "emea") } // What they would make of it.
	update := func(change func(*crossfadev1.UpdateTenantRequest)) func(string) error {
		return func(id string) error {
			req := &crossfadev1.UpdateTenantRequest{Tenant: theirs(id)}
			change(req)
			return second(e.inventory().UpdateTenant(e.emea, req))
		}
	}
	remove := func(change func(*crossfadev1.DeleteTenantRequest)) func(string) error {
		return func(id string) error {
			req := &crossfadev1.DeleteTenantRequest{Name: "tenants/" + id}
			change(req)
			return second(e.inventory().DeleteTenant(e.emea, req))
		}
	}
	now, err := e.inventory().GetTenant(e.admin, &crossfadev1.GetTenantRequest{Name: "tenants/apac-1"})
	if err != nil {
		t.Fatal(err)
	}
	etag := now.GetTenant().GetEtag()
	for name, f := range map[string]func(id string) error{
		"update":                     update(func(*crossfadev1.UpdateTenantRequest) {}),
		"update, only tried":         update(func(r *crossfadev1.UpdateTenantRequest) { r.ValidateOnly = true }),
		"update with its etag":       update(func(r *crossfadev1.UpdateTenantRequest) { r.Etag = etag }),
		"update with another etag":   update(func(r *crossfadev1.UpdateTenantRequest) { r.Etag = "x" }),
		"update or add":              update(func(r *crossfadev1.UpdateTenantRequest) { r.AllowMissing = true }),
		"update or add, only tried":  update(func(r *crossfadev1.UpdateTenantRequest) { r.AllowMissing, r.ValidateOnly = true, true }),
		"update or add with an etag": update(func(r *crossfadev1.UpdateTenantRequest) { r.AllowMissing, r.Etag = true, etag }),
		"update or add by a mask": update(func(r *crossfadev1.UpdateTenantRequest) {
			r.AllowMissing, r.UpdateMask = true, &fieldmaskpb.FieldMask{Paths: []string{"labels"}}
		}),
		"update or add what is wrong": update(func(r *crossfadev1.UpdateTenantRequest) { r.AllowMissing, r.Tenant.Organization = true, "x" }),
		"delete":                      remove(func(*crossfadev1.DeleteTenantRequest) {}),
		"delete, forced":              remove(func(r *crossfadev1.DeleteTenantRequest) { r.Force = true }),
		"delete, only tried":          remove(func(r *crossfadev1.DeleteTenantRequest) { r.ValidateOnly = true }),
		"delete with its etag":        remove(func(r *crossfadev1.DeleteTenantRequest) { r.Etag = etag }),
		"delete with another etag":    remove(func(r *crossfadev1.DeleteTenantRequest) { r.Etag = "x" }),
		"delete if it is there":       remove(func(r *crossfadev1.DeleteTenantRequest) { r.AllowMissing = true }),
		"get an endpoint": func(id string) error {
			return second(e.inventory().GetEndpoint(e.emea, &crossfadev1.GetEndpointRequest{Name: "tenants/" + id + "/endpoints/" + anEndpoint}))
		},
	} {
		foreign, missing := f("apac-1"), f("none-1")
		if name == "delete if it is there" {
			if foreign != nil || missing != nil {
				t.Errorf("%s: of others: %v; of nobody: %v", name, foreign, missing)
			}
			continue
		}
		if foreign == nil || missing == nil || !same(foreign, missing, "apac-1", "none-1") {
			t.Errorf("%s: of others: %v; of nobody: %v", name, foreign, missing)
		}
	}
	for _, check := range []bool{true, false} {
		unary, err := e.inventory().ImportTenants(e.emea, &crossfadev1.ImportTenantsRequest{ValidateOnly: check, Tenants: []*crossfadev1.Tenant{theirs("apac-1"), theirs("none-1"), theirs("emea-1")}})
		if err != nil || unary.GetFailedCount() != 2 || unary.GetUnchangedCount() != 1 || unary.GetErrors()[0].GetDescription() != unary.GetErrors()[1].GetDescription() {
			t.Errorf("ImportTenants, only tried %t = %v, %v, want the same of both", check, unary, err)
		}
		job, err := e.stream(e.emea, &crossfadev1.ImportHeader{ValidateOnly: check}, theirs("apac-1"), theirs("none-1"), theirs("emea-1"))
		if es := job.GetErrors(); err != nil || job.GetJob().GetFailedCount() != 2 || es[0].GetDescription() != es[1].GetDescription() || es[0].GetField() != es[1].GetField() {
			t.Errorf("ImportInventory, only tried %t = %v, %v, want the same of both", check, job, err)
		}
	}
	after, err := e.inventory().GetTenant(e.admin, &crossfadev1.GetTenantRequest{Name: "tenants/apac-1"})
	if err != nil || after.GetTenant().GetEtag() != etag {
		t.Errorf("the tenant of others is now %v, %v", after, err)
	}
	got, err := e.inventory().GetEndpoint(e.admin, &crossfadev1.GetEndpointRequest{Name: "tenants/apac-1/endpoints/" + anEndpoint})
	if err != nil || got.GetEndpoint().GetDisplayName() != "of apac-1" {
		t.Errorf("GetEndpoint of an admin = %v, %v", got, err)
	}
}

// A deleted tenant's id, and the rotations under it, do not pass to others.
func TestAccess_AnIDDoesNotPassToOthers(t *testing.T) {
	e := openEstate(t)
	// This one may give out ids that begin with north-, and sees what is labelled south.
	north := e.as(t, "north")
	add := func(ctx context.Context, of *crossfadev1.Tenant) error {
		return second(e.inventory().UpdateTenant(ctx, &crossfadev1.UpdateTenantRequest{Tenant: of, AllowMissing: true}))
	}
	remove := func(ctx context.Context, id string) {
		t.Helper()
		if _, err := e.inventory().DeleteTenant(ctx, &crossfadev1.DeleteTenantRequest{Name: "tenants/" + id, Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(north, tenantOf("north-1", "south")); err != nil {
		t.Errorf("a tenant whose id the grant decides = %v", err)
	}
	if err := add(north, tenantOf("elsewhere", "south")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a tenant whose id the grant does not decide = %v, want that it is refused", err)
	}
	if err := add(e.admin, tenantOf("elsewhere", "apac")); err != nil {
		t.Fatal(err)
	}
	r, err := e.rotate(e.admin, named("elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	e.find(t, "elsewhere")
	if _, err := e.rotations().CancelRotation(e.admin, &crossfadev1.CancelRotationRequest{Name: r.GetName(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	e.ended(t, r.GetName())
	remove(e.admin, "elsewhere")
	for name, try := range map[string]func() error{
		"update or add": func() error { return add(e.emea, tenantOf("elsewhere", "emea")) },
		"import": func() error {
			resp, err := e.inventory().ImportTenants(e.emea, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{tenantOf("elsewhere", "emea")}})
			if err == nil && resp.GetFailedCount() == 1 {
				return status.Error(codes.InvalidArgument, "the row is refused")
			}
			return err
		},
	} {
		if err := try(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of an id that was another's = %v, want that it is refused", name, err)
		}
	}
	if _, err := e.rotations().GetRotation(e.emea, &crossfadev1.GetRotationRequest{Name: r.GetName()}); status.Code(err) != codes.NotFound {
		t.Errorf("the rotation of the deleted tenant = %v, want that it is not there", err)
	}
	// Whoever may see all decides that it is another's now.
	if err := add(e.admin, tenantOf("elsewhere", "emea")); err != nil {
		t.Errorf("the id anew, by who may see all = %v", err)
	}
	es, err := e.inventory().ListEndpoints(e.emea, &crossfadev1.ListEndpointsRequest{Parent: "tenants/elsewhere"})
	if err != nil || len(es.GetEndpoints()) != 0 {
		t.Errorf("the new tenant has the endpoints %v of the old one, %v", es, err)
	}
}

// ended waits until a rotation has ended.
func (e *estate) ended(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(e.admin, 20*time.Second)
	defer cancel()
	s, err := e.rotations().WatchRotation(ctx, &crossfadev1.WatchRotationRequest{Name: name})
	for err == nil {
		_, err = s.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("watching until the end = %v", err)
	}
}

// The imports of others are not there.
func TestAccess_AnImportOfOthers(t *testing.T) {
	e := openEstate(t)
	c := e.inventory()
	const id, none = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a38"
	if _, err := e.stream(e.admin, &crossfadev1.ImportHeader{RequestId: id}, tenantOf("apac-1", "apac"), tenantOf("X", "apac")); err != nil {
		t.Fatal(err)
	}
	own, err := e.stream(e.emea, &crossfadev1.ImportHeader{}, tenantOf("emea-1", "emea"))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(name string) error{
		"get": func(n string) error {
			return second(c.GetInventoryJob(e.emea, &crossfadev1.GetInventoryJobRequest{Name: n}))
		},
		"cancel": func(n string) error {
			return second(c.CancelInventoryJob(e.emea, &crossfadev1.CancelInventoryJobRequest{Name: n}))
		},
		"errors": func(n string) error {
			return second(c.ListInventoryJobErrors(e.emea, &crossfadev1.ListInventoryJobErrorsRequest{Parent: n}))
		},
	} {
		foreign, missing := f("inventoryJobs/"+id), f("inventoryJobs/"+none)
		if status.Code(foreign) != codes.NotFound || !same(foreign, missing, id, none) {
			t.Errorf("%s: another's job: %v; one that is not there: %v", name, foreign, missing)
		}
		if code := status.Code(f(own.GetJob().GetName())); code == codes.NotFound || code == codes.PermissionDenied {
			t.Errorf("%s: their own job: %v", name, code)
		}
	}
	list, err := c.ListInventoryJobs(e.emea, &crossfadev1.ListInventoryJobsRequest{})
	if err != nil || len(list.GetJobs()) != 1 || list.GetJobs()[0].GetName() != own.GetJob().GetName() {
		t.Errorf("ListInventoryJobs = %v, %v, want their own", list, err)
	}
	if list, err = c.ListInventoryJobs(e.admin, &crossfadev1.ListInventoryJobsRequest{}); err != nil || len(list.GetJobs()) != 2 {
		t.Errorf("ListInventoryJobs of who may see all = %v, %v, want two", list, err)
	}
	taken, err := e.stream(e.emea, &crossfadev1.ImportHeader{RequestId: id}, tenantOf("emea-1", "emea"))
	if status.Code(err) != codes.AlreadyExists || strings.Contains(err.Error(), "apac") {
		t.Errorf("an import by another's request id = %v, %v, want that the id is used", taken, err)
	}
}

// A watch of many rotations tells of those that are theirs, and nothing of others' tenants.
func TestAccess_AWatchOfManyRotations(t *testing.T) {
	e := openEstate(t)
	others, err := e.rotate(e.admin, named("apac-1"))
	if err != nil {
		t.Fatal(err)
	}
	both, err := e.rotate(e.admin, named("apac-1", "emea-1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(e.emea, 30*time.Second)
	defer cancel()
	s, err := e.rotations().WatchRotations(ctx, &crossfadev1.WatchRotationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	told := func(until string) {
		t.Helper()
		for {
			m, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			text := m.String()
			if strings.Contains(text, others.GetName()) || strings.Contains(text, "apac") && m.GetRotation().GetCreator() != "corp:emea" {
				t.Errorf("the watch tells %v", m)
			}
			if strings.Contains(text, until) {
				return
			}
		}
	}
	told(both.GetName())
	for _, name := range []string{others.GetName(), both.GetName()} {
		if _, err := e.rotations().CancelRotation(e.admin, &crossfadev1.CancelRotationRequest{Name: name, Reason: "for apac-1"}); err != nil {
			t.Fatal(err)
		}
	}
	later, err := e.rotate(e.emea, named("emea-2"))
	if err != nil {
		t.Fatal(err)
	}
	told(later.GetName())
}
