package inventory_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/inventory"
)

func named(ctx context.Context, caller string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, edge.CallerHeader, caller)
}

// What is no name is not remembered, and of one row little is said and kept.
func TestImportInventory_ARowTakesLittle(t *testing.T) {
	c, _ := open(t)
	long, many, large := tenant("x"), tenant("many"), tenant("large")
	long.Name = strings.Repeat("x", 1<<20)
	many.Namespaces = make([]*pb.Namespace, tenants.MaxNamespaces)
	for i := range many.Namespaces {
		many.Namespaces[i] = &pb.Namespace{}
	}
	large.DisplayName = strings.Repeat("x", 7<<19)
	s := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	s.rows(long, proto.Clone(long).(*pb.Tenant))
	s.rows(many)
	s.rows(large)
	got, err := s.done()
	if err != nil || got.GetJob().GetFailedCount() != 4 {
		t.Fatalf("ImportInventory = %v, %v, want that all four are refused", got.GetJob(), err)
	}
	rows := map[int32]int{}
	for _, e := range got.GetErrors() {
		if rows[e.GetRow()]++; strings.Contains(e.GetDescription(), "is also that of") || len(e.GetTenant()) > 100 || len(e.GetDescription()) > 400 {
			t.Errorf("told of a row: %.500v", e)
		}
	}
	if rows[0] != 1 || rows[1] != 1 || rows[2] != 21 || rows[3] != 1 {
		t.Errorf("of the rows so much is told: %v, want 20 and that there is more of the third, and one thing of the others", rows)
	}
}

// The jobs of one caller do not fill the store: the oldest go, with all that is kept.
func TestImportInventory_OldJobsOfTheSameCallerGo(t *testing.T) {
	errs := tenantstest.NewBucket()
	c, _, jobs := openWith(t, func(c *inventory.Config) { c.JobErrors = errs })
	run := func(caller string) string {
		t.Helper()
		s := send(named(t.Context(), caller), t, c, &pb.ImportHeader{})
		s.rows(bad("wrong"))
		got, err := s.done()
		if err != nil {
			t.Fatal(err)
		}
		return got.GetJob().GetName()
	}
	other, first := run("other"), run("portal")
	for range 50 {
		run("portal")
	}
	if _, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: other}); err != nil {
		t.Errorf("the job of another caller = %v", err)
	}
	_, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: first})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	for name, b := range map[string]*tenantstest.Bucket{"jobs": jobs, "errors": errs} {
		if keys, err := b.Keys(t.Context()); err != nil || len(keys) != 51 {
			t.Errorf("%d %s are kept, %v, want 50 of the one and one of the other", len(keys), name, err)
		}
	}
	list, err := c.ListInventoryJobs(t.Context(), &pb.ListInventoryJobsRequest{PageSize: 500})
	if err != nil || len(list.GetJobs()) != 51 {
		t.Errorf("%d jobs are listed, %v", len(list.GetJobs()), err)
	}
}

func TestImportInventory_AtMostEightAtOnce(t *testing.T) {
	c, _, jobs := openWith(t, func(*inventory.Config) {})
	begun := make(chan struct{}, 100)
	jobs.After = func(call, _ string) error {
		if call == "Create" {
			begun <- struct{}{}
		}
		return nil
	}
	var open []*sending
	for range 8 {
		open = append(open, send(t.Context(), t, c, &pb.ImportHeader{}))
		<-begun
	}
	_, err := send(t.Context(), t, c, &pb.ImportHeader{}).done()
	refused(t, err, codes.ResourceExhausted, "TOO_MANY_UPLOADS")
	if _, err := send(named(t.Context(), "other"), t, c, &pb.ImportHeader{}).done(); err != nil {
		t.Errorf("an import of another caller = %v", err)
	}
	for _, s := range open {
		if _, err := s.done(); err != nil {
			t.Error(err)
		}
	}
	if _, err := send(t.Context(), t, c, &pb.ImportHeader{}).done(); err != nil {
		t.Errorf("an import after the others ended = %v", err)
	}
}

// A stream whose import a repeat has taken over does not answer for it.
func TestImportInventory_TakenOverByARepeat(t *testing.T) {
	c, _, jobs := openWith(t, func(*inventory.Config) {})
	saved := make(chan struct{}, 100)
	jobs.After = func(call, _ string) error {
		if call == "Update" {
			saved <- struct{}{}
		}
		return nil
	}
	first := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	first.rows(tenant("a"))
	<-saved
	second := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	<-saved // The second has it.
	first.rows(tenant("b"))
	_, err := first.done()
	refused(t, err, codes.Aborted, "CONFLICT")
	_, err = c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/b"})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	second.rows(tenant("a"), tenant("c"))
	got, err := second.done()
	if j := got.GetJob(); err != nil || j.GetState() != pb.InventoryJob_STATE_SUCCEEDED || j.GetUnchangedCount() != 1 || j.GetCreatedCount() != 1 {
		t.Errorf("the repeat ended as %v, %v", j, err)
	}
}

// Where there is no room for what is wrong, the rows that are right are stored all the same.
func TestImportInventory_NoRoomForErrors(t *testing.T) {
	errs := tenantstest.NewBucket()
	errs.Before = func(call, _ string) error {
		if call == "Put" {
			return fmt.Errorf("storing: %w", rollover.ErrFull)
		}
		return nil
	}
	c, v, _ := openWith(t, func(c *inventory.Config) { c.JobErrors = errs })
	s := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	s.rows(bad("wrong"), tenant("right"))
	got, err := s.done()
	if j := got.GetJob(); err != nil || j.GetState() != pb.InventoryJob_STATE_PARTIALLY_SUCCEEDED || j.GetFailedCount() != 1 || len(got.GetErrors()) != 1 {
		t.Errorf("ImportInventory = %v, %v", got, err)
	}
	if _, err := v.Tenant(t.Context(), "right"); err != nil {
		t.Error(err)
	}
	list, err := c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: "inventoryJobs/" + jobID})
	if err != nil || len(list.GetErrors()) != 0 {
		t.Errorf("ListInventoryJobErrors = %v, %v, want none", list, err)
	}
}

// A page of endpoints fits a message, in either order, and nothing is left out.
func TestListEndpoints_PagesAreBoundedInBytes(t *testing.T) {
	c, v := open(t)
	imported(t, c, "contoso")
	var seen []tenants.Seen
	for i := range 30 {
		seen = append(seen, tenants.Seen{Endpoint: rollover.Endpoint{
			Tenant: "contoso", ID: fmt.Sprintf("0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a%02d", i), Name: "e", Path: strings.Repeat("p", 100_000),
		}})
	}
	if err := v.SaveEndpoints(t.Context(), "contoso", seen); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"", "name desc"} {
		got, pages := map[string]bool{}, 0
		for token := ""; ; pages++ {
			list, err := c.ListEndpoints(t.Context(), &pb.ListEndpointsRequest{Parent: "tenants/-", PageSize: 1000, OrderBy: order, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if n := proto.Size(list); n > 1<<20+1000 {
				t.Errorf("order_by %q: a page has %d bytes", order, n)
			}
			for _, e := range list.GetEndpoints() {
				got[e.GetName()] = true
			}
			if token = list.GetNextPageToken(); token == "" {
				break
			}
		}
		if len(got) != 30 || pages < 2 {
			t.Errorf("order_by %q: %d endpoints on %d pages, want all 30 on several", order, len(got), pages+1)
		}
	}
}
