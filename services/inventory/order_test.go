package inventory_test

import (
	"fmt"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge/edgetest"
)

// An order changes how a list is told, and never what a filter means.
func TestLists_OrderChangesNoSet(t *testing.T) {
	c, v := open(t)
	imported(t, c, "contoso", "adatum", "fabrikam")
	for i, id := range []string{"contoso", "adatum", "fabrikam"} {
		var seen []tenants.Seen
		for n := range 3 {
			seen = append(seen, tenants.Seen{Endpoint: rollover.Endpoint{
				Tenant: id, ID: fmt.Sprintf("0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a%d%d", i, n), Name: fmt.Sprintf("bus %d", (i+n)%3), Contract: "queue",
			}})
		}
		if err := v.SaveEndpoints(t.Context(), id, seen); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		s := send(t.Context(), t, c, &pb.ImportHeader{ValidateOnly: n == 0, RequestId: fmt.Sprintf("0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a3%d", n)})
		for _, id := range []string{"wrong", "other", "last"} {
			s.rows(bad(id))
		}
		if _, err := s.done(); err != nil {
			t.Fatal(err)
		}
	}
	type page = func(order, token string) ([]edgetest.Item, string, error)
	endpoints := func(filter string, by func(*pb.Endpoint) string) page {
		return func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListEndpoints(t.Context(), &pb.ListEndpointsRequest{Parent: "tenants/-", Filter: filter, OrderBy: order, PageToken: token, PageSize: 2})
			for _, e := range list.GetEndpoints() {
				out = append(out, edgetest.Item{Name: e.GetName(), By: by(e)})
			}
			return out, list.GetNextPageToken(), err
		}
	}
	for _, k := range []struct {
		name, by string
		want     int
		page     page
	}{
		{"tenants", "display_name", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListTenants(t.Context(), &pb.ListTenantsRequest{Filter: "display_name:\"a\" AND id != \"contoso\"", OrderBy: order, PageToken: token, PageSize: 1})
			for _, n := range list.GetTenants() {
				out = append(out, edgetest.Item{Name: n.GetName(), By: n.GetDisplayName()})
			}
			return out, list.GetNextPageToken(), err
		}},
		{"endpoints by a name of theirs", "name", 3, endpoints(`name = "bus 1"`, (*pb.Endpoint).GetName)},
		{"endpoints by another field", "display_name", 6, endpoints(`contract = "queue" AND NOT name:"2"`, (*pb.Endpoint).GetDisplayName)},
		{"endpoints by their id", "display_name", 3, endpoints(`id:"1a1"`, (*pb.Endpoint).GetDisplayName)},
		{"jobs", "create_time", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListInventoryJobs(t.Context(), &pb.ListInventoryJobsRequest{Filter: "state = STATE_PARTIALLY_SUCCEEDED AND NOT validate_only", OrderBy: order, PageToken: token, PageSize: 1})
			for _, j := range list.GetJobs() {
				out = append(out, edgetest.Item{Name: j.GetName(), By: j.GetCreateTime().AsTime().Format(edgetest.Instant)})
			}
			return out, list.GetNextPageToken(), err
		}},
		{"errors of a job", "tenant", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{
				Parent: "inventoryJobs/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a31", Filter: `field = "organization" AND tenant != "tenants/other"`, OrderBy: order, PageToken: token, PageSize: 1,
			})
			for _, e := range list.GetErrors() {
				out = append(out, edgetest.Item{Name: fmt.Sprint(e.GetRow()), By: e.GetTenant()})
			}
			return out, list.GetNextPageToken(), err
		}},
	} {
		t.Run(k.name, func(t *testing.T) { edgetest.OrderChangesNoSet(t, k.by, k.want, k.page) })
	}
}
