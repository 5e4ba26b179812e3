package main

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Whoever may see some tenants looks for the endpoints of those and of no other, and sees
// no job but their own.
func TestAccess_ADiscoveryIsWithinTheRightsOfWhoAsks(t *testing.T) {
	e := openEstate(t)
	c := e.inventory()
	for _, target := range []string{"tenants/apac-1", "tenants/none-1"} {
		_, err := c.DiscoverEndpoints(e.emea, &crossfadev1.DiscoverEndpointsRequest{Tenants: []string{"tenants/emea-1", target}})
		if status.Code(err) != codes.PermissionDenied || strings.Contains(err.Error(), target) {
			t.Errorf("a discovery of %s = %v, want PermissionDenied in the same words", target, err)
		}
	}
	_, err := c.DiscoverEndpoints(e.emea, &crossfadev1.DiscoverEndpointsRequest{Filter: `labels.region = "apac"`})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "none of the 2 tenants") {
		t.Errorf("a discovery by a filter over others' = %v, want that it selects none", err)
	}
	const request = "0190f3a2-7c1e-4b44-9d0a-2f5c8e6b1a37"
	theirs, err := c.DiscoverEndpoints(e.emea, &crossfadev1.DiscoverEndpointsRequest{RequestId: request})
	if err != nil || theirs.GetJob().GetExpectedRows() != 2 {
		t.Fatalf("a discovery of all = %v, %v, want the two that are theirs", theirs, err)
	}
	all, err := c.DiscoverEndpoints(e.admin, &crossfadev1.DiscoverEndpointsRequest{RequestId: request})
	if err != nil || all.GetJob().GetExpectedRows() != 3 || all.GetJob().GetName() == theirs.GetJob().GetName() {
		t.Fatalf("the same request of another = %v, %v, want one of three tenants of their own", all, err)
	}
	const nobodys = "inventoryJobs/0190f3a2-7c1e-4b44-9d0a-2f5c8e6b1a99"
	for what, call := range map[string]func(name string) error{
		"reading": func(n string) error {
			_, err := c.GetInventoryJob(e.emea, &crossfadev1.GetInventoryJobRequest{Name: n})
			return err
		},
		"reading what was not read": func(n string) error {
			_, err := c.ListInventoryJobErrors(e.emea, &crossfadev1.ListInventoryJobErrorsRequest{Parent: n})
			return err
		},
		"cancelling": func(n string) error {
			_, err := c.CancelInventoryJob(e.emea, &crossfadev1.CancelInventoryJobRequest{Name: n})
			return err
		},
	} {
		foreign, missing := call(all.GetJob().GetName()), call(nobodys)
		if status.Code(foreign) != codes.NotFound || !same(foreign, missing, all.GetJob().GetName(), nobodys) {
			t.Errorf("%s another's job: %v; one that is not there: %v", what, foreign, missing)
		}
	}
	names := func(jobs *crossfadev1.ListInventoryJobsResponse, err error) []string {
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, j := range jobs.GetJobs() {
			out = append(out, j.GetName())
		}
		slices.Sort(out)
		return out
	}
	if got := names(c.ListInventoryJobs(e.emea, &crossfadev1.ListInventoryJobsRequest{})); !slices.Equal(got, []string{theirs.GetJob().GetName()}) {
		t.Errorf("they are told of %q, want their own", got)
	}
	both := []string{theirs.GetJob().GetName(), all.GetJob().GetName()}
	slices.Sort(both)
	if got := names(c.ListInventoryJobs(e.admin, &crossfadev1.ListInventoryJobsRequest{})); !slices.Equal(got, both) {
		t.Errorf("who may see all is told of %q, want both", got)
	}
	// Nobody sees it as a rotation.
	id := strings.TrimPrefix(all.GetJob().GetName(), "inventoryJobs/")
	if _, err := e.rotations().GetRotation(e.admin, &crossfadev1.GetRotationRequest{Name: "rotations/" + id}); status.Code(err) != codes.NotFound {
		t.Errorf("GetRotation of a discovery = %v, want NotFound", err)
	}
	if _, err := e.rotations().CancelRotation(e.admin, &crossfadev1.CancelRotationRequest{Name: "rotations/" + id, Reason: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("CancelRotation of a discovery = %v, want NotFound", err)
	}
	list, err := e.rotations().ListRotations(e.admin, &crossfadev1.ListRotationsRequest{})
	if err != nil || len(list.GetRotations()) != 0 {
		t.Errorf("ListRotations = %v, %v, want none", list, err)
	}
	// With workers or without: who began it ends it.
	got, err := c.CancelInventoryJob(e.emea, &crossfadev1.CancelInventoryJobRequest{Name: theirs.GetJob().GetName()})
	if status.Code(err) == codes.NotFound || status.Code(err) == codes.PermissionDenied {
		t.Errorf("cancelling their own = %v, %v", got, err)
	}
}
