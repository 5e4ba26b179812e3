package inventory_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/inventory"
)

// scouts is a store of discoveries with a live copy that is never behind.
type scouts struct {
	*rollovertest.Memory
	ids []string
}

func (s *scouts) CreateRotation(ctx context.Context, r rollover.Rotation, tenants []string) (rollover.Rotation, error) {
	r, err := s.Memory.CreateRotation(ctx, r, tenants)
	if err == nil {
		s.ids = append(s.ids, r.ID)
	}
	return r, err
}

func (s *scouts) Rotation(ctx context.Context, id string) (rollover.Rotation, error) {
	r, err := s.Memory.Rotation(ctx, id)
	if err == nil && !r.Gone.IsZero() {
		err = rollover.ErrGone
	}
	return r, err
}

func (s *scouts) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (s *scouts) Discoveries() []mirror.View {
	var out []mirror.View
	for _, id := range s.ids {
		if r, err := s.Rotation(context.Background(), id); err == nil && r.Discovers() {
			out = append(out, mirror.View{Rotation: r})
		}
	}
	return out
}

// openDiscovery is open with a store of discoveries and the tenants a, b and c.
func openDiscovery(t *testing.T) (pb.InventoryServiceClient, *scouts) {
	t.Helper()
	s := &scouts{Memory: rollovertest.NewMemory()}
	c, _, _ := openWith(t, func(conf *inventory.Config) {
		conf.Discovery = inventory.Discovery{Store: s, Mirror: s, Kind: "acs-x509"}
	})
	imported(t, c, "a", "b", "c")
	return c, s
}

func discover(t *testing.T, c pb.InventoryServiceClient, req *pb.DiscoverEndpointsRequest) *pb.InventoryJob {
	t.Helper()
	resp, err := c.DiscoverEndpoints(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetJob()
}

func TestDiscoverEndpoints_StoresWhatIsAskedForOnce(t *testing.T) {
	c, s := openDiscovery(t)
	req := &pb.DiscoverEndpointsRequest{Tenants: []string{"tenants/c", "tenants/a"}, RequestId: jobID, ValidateOnly: true}
	j := discover(t, c, req)
	if j.GetName() != "" || !j.GetValidateOnly() || j.GetExpectedRows() != 2 || len(s.ids) != 0 {
		t.Errorf("validate_only: %v, stored are %v", j, s.ids)
	}
	req.ValidateOnly = false
	j = discover(t, c, req)
	if j.GetKind() != pb.InventoryJob_KIND_DISCOVERY || j.GetState() != pb.InventoryJob_STATE_RUNNING || j.GetExpectedRows() != 2 || j.GetCreateTime() == nil {
		t.Errorf("the job is %v", j)
	}
	ids, err := s.SelectedTenants(t.Context(), s.ids[0])
	if err != nil || !slices.Equal(ids, []string{"a", "c"}) {
		t.Errorf("selected are %q, %v", ids, err)
	}
	if again := discover(t, c, req); again.GetName() != j.GetName() || len(s.ids) != 1 {
		t.Errorf("the repeat is %v, stored are %v", again, s.ids)
	}
	req.Tenants = req.Tenants[:1]
	_, err = c.DiscoverEndpoints(t.Context(), req)
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	if all := discover(t, c, &pb.DiscoverEndpointsRequest{}); all.GetExpectedRows() != 3 {
		t.Errorf("of all: %v", all)
	}
	if some := discover(t, c, &pb.DiscoverEndpointsRequest{Filter: `id = "b"`}); some.GetExpectedRows() != 1 {
		t.Errorf("by a filter: %v", some)
	}
}

func TestDiscoverEndpoints_Refuses(t *testing.T) {
	c, s := openDiscovery(t)
	for name, tt := range map[string]struct {
		req    *pb.DiscoverEndpointsRequest
		code   codes.Code
		reason string
	}{
		"filter and names":  {&pb.DiscoverEndpointsRequest{Filter: "disabled", Tenants: []string{"tenants/a"}}, codes.InvalidArgument, "INVALID_FIELDS"},
		"a name twice":      {&pb.DiscoverEndpointsRequest{Tenants: []string{"tenants/a", "tenants/a"}}, codes.InvalidArgument, "INVALID_FIELDS"},
		"nobody":            {&pb.DiscoverEndpointsRequest{Filter: "disabled"}, codes.InvalidArgument, "INVALID_FIELDS"},
		"no filter":         {&pb.DiscoverEndpointsRequest{Filter: "shoe = 3"}, codes.InvalidArgument, "FILTER_INVALID"},
		"who is not there":  {&pb.DiscoverEndpointsRequest{Tenants: []string{"tenants/x"}}, codes.NotFound, "NOT_FOUND"},
		"no id of requests": {&pb.DiscoverEndpointsRequest{RequestId: "7"}, codes.InvalidArgument, "INVALID_FIELDS"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.DiscoverEndpoints(t.Context(), tt.req)
			refused(t, err, tt.code, tt.reason)
		})
	}
	for range 4 {
		discover(t, c, &pb.DiscoverEndpointsRequest{})
	}
	_, err := c.DiscoverEndpoints(t.Context(), &pb.DiscoverEndpointsRequest{})
	refused(t, err, codes.ResourceExhausted, "TOO_MANY_DISCOVERIES")
	if len(s.ids) != 4 {
		t.Errorf("%d are stored", len(s.ids))
	}
	plain, _ := open(t)
	_, err = plain.DiscoverEndpoints(t.Context(), &pb.DiscoverEndpointsRequest{})
	refused(t, err, codes.Unimplemented, "UNKNOWN_METHOD")
}

// found stores what a worker found of a tenant.
func (s *scouts) found(t *testing.T, ord int, f rollover.Finding) {
	t.Helper()
	if err := s.SaveFinding(t.Context(), s.ids[0], ord, f.Discovery()); err != nil {
		t.Fatal(err)
	}
}

func TestInventoryJob_OfADiscovery(t *testing.T) {
	c, s := openDiscovery(t)
	name := discover(t, c, &pb.DiscoverEndpointsRequest{}).GetName()
	s.found(t, 2, rollover.Finding{Tenant: "c", Items: []rollover.Item{{Tenant: "c", Outcome: rollover.HandedOver, Reason: rollover.NoAccess, Detail: "no login"}}})
	s.found(t, 0, rollover.Finding{Tenant: "a", Endpoints: make([]rollover.Endpoint, 2), Items: []rollover.Item{
		{Tenant: "a", Target: rollover.Target{Host: "h1"}}, {Tenant: "a", Target: rollover.Target{Host: "h2"}, Outcome: rollover.Failed, Reason: rollover.TriesUsedUp, Detail: "answer 500"},
	}})
	check := func(when string, state pb.InventoryJob_State, rows int64) {
		t.Helper()
		got, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: name})
		list, lerr := c.ListInventoryJobs(t.Context(), &pb.ListInventoryJobsRequest{Filter: "kind = KIND_DISCOVERY"})
		if err != nil || lerr != nil || len(list.GetJobs()) != 1 {
			t.Fatalf("%s: %v, list %v, %v", when, err, list, lerr)
		}
		for from, j := range map[string]*pb.InventoryJob{"get": got.GetJob(), "list": list.GetJobs()[0]} {
			if j.GetState() != state || j.GetRowCount() != rows || j.GetExpectedRows() != 3 || j.GetFailedCount() != 1 || j.GetEndpointCount() != 2 || j.GetTargetCount() != 2 ||
				j.GetReadCount() != 1 || !slices.Equal(j.GetUnreachable(), []string{"tenants/c"}) || (j.GetEndTime() != nil) != (state != pb.InventoryJob_STATE_RUNNING) {
				t.Errorf("%s: %s says %v", when, from, j)
			}
		}
	}
	check("under way", pb.InventoryJob_STATE_RUNNING, 2)
	errs, err := c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: name, PageSize: 1})
	if err != nil || len(errs.GetErrors()) != 1 || errs.GetNextPageToken() == "" {
		t.Fatalf("ListInventoryJobErrors = %v, %v", errs, err)
	}
	if e := errs.GetErrors()[0]; e.GetTenant() != "tenants/a" || e.GetHost() != "h2" || e.GetReason() != pb.RotationTask_REASON_TRIES_USED_UP || e.GetDescription() != "answer 500" {
		t.Errorf("the first that was not read is %v", e)
	}
	errs, err = c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: name, Filter: `tenant = "tenants/c"`, OrderBy: "host, row desc"})
	if err != nil || len(errs.GetErrors()) != 1 || errs.GetErrors()[0].GetRow() != 2 || errs.GetErrors()[0].GetReason() != pb.RotationTask_REASON_NO_ACCESS {
		t.Errorf("ListInventoryJobErrors of a tenant = %v, %v", errs, err)
	}
	s.found(t, 1, rollover.Finding{Tenant: "b"})
	s.change(t, func(r rollover.Rotation) (rollover.Rotation, error) {
		all, err := s.Findings(t.Context(), r.ID)
		if err != nil {
			return r, err
		}
		return r.Conclude(rollover.Tallied(all), time.Now())
	})
	check("at its end", pb.InventoryJob_STATE_PARTIALLY_SUCCEEDED, 3)
	_, err = c.CancelInventoryJob(t.Context(), &pb.CancelInventoryJobRequest{Name: name})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	s.change(t, func(r rollover.Rotation) (rollover.Rotation, error) { return r.Forget(time.Now()) })
	_, err = c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: name})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}

func (s *scouts) change(t *testing.T, f func(rollover.Rotation) (rollover.Rotation, error)) {
	t.Helper()
	r, err := s.Rotation(t.Context(), s.ids[0])
	if err == nil {
		r, err = f(r)
	}
	if err == nil {
		_, err = s.SaveRotation(t.Context(), r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCancelInventoryJob_OfADiscovery(t *testing.T) {
	c, s := openDiscovery(t)
	name := discover(t, c, &pb.DiscoverEndpointsRequest{RequestId: jobID}).GetName()
	s.found(t, 0, rollover.Finding{Tenant: "a"})
	for i := range 2 { // Twice is once.
		got, err := c.CancelInventoryJob(t.Context(), &pb.CancelInventoryJobRequest{Name: name})
		if j := got.GetJob(); err != nil || j.GetState() != pb.InventoryJob_STATE_CANCELLED || j.GetRowCount() != 1 || j.GetEndTime() == nil {
			t.Fatalf("CancelInventoryJob %d = %v, %v", i, j, err)
		}
	}
	if again := discover(t, c, &pb.DiscoverEndpointsRequest{RequestId: jobID}); again.GetName() != name || again.GetState() != pb.InventoryJob_STATE_CANCELLED {
		t.Errorf("the repeat of what was cancelled is %v", again)
	}
	// A rotation is no job, whatever its id.
	r, err := s.CreateRotation(t.Context(), rollover.Rotation{ID: "0192f0c1-0000-7000-8000-000000000001", State: rollover.StatePlanning, Creator: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CancelInventoryJob(t.Context(), &pb.CancelInventoryJobRequest{Name: fmt.Sprint("inventoryJobs/", r.ID)})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}
