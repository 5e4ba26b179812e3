package rotation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

func TestCreateRotation_EndpointFilterIsCheckedAndKept(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.Rotation.Spec.Target.EndpointFilter = `thumbprint:"nonsense"`
	_, err := h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.InvalidArgument, "FILTER_INVALID")
	if !strings.Contains(err.Error(), "rotation.spec.target.endpoint_filter") {
		t.Errorf("CreateRotation = %v, want the field named", err)
	}

	const text = `expires < "2016-11-05T00:00:00Z" AND NOT has_new`
	req.Rotation.Spec.Target.EndpointFilter = text
	got, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := h.get(t, got.GetRotation().GetName())
	if r.GetSpec().GetTarget().GetEndpointFilter() != text {
		t.Errorf("endpoint_filter = %q, want %q", r.GetSpec().GetTarget().GetEndpointFilter(), text)
	}
	id := strings.TrimPrefix(r.GetName(), "rotations/")
	stored, err := h.store.Rotation(t.Context(), id)
	if err != nil || stored.Spec.EndpointFilter != text {
		t.Errorf("stored filter = %q, %v", stored.Spec.EndpointFilter, err)
	}
}

func TestCreateRotation_TargetSetIsResolvedOnce(t *testing.T) {
	sets := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
	inventory := tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket())
	h := open(t, func(c *rotation.Config) { c.TargetSets, c.Tenants = sets, inventory })
	req := h.request()
	req.Rotation.Spec.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_TargetSet{TargetSet: "targetSets/november"}}
	_, err := h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.NotFound, "NOT_FOUND")

	if _, err := sets.Create(t.Context(), targetset.Set{ID: "november", Expected: 3}, ""); err != nil {
		t.Fatal(err)
	}
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")

	set, err := sets.Add(t.Context(), "november", 0, []targetset.Row{{Tenant: "fabrikam"}, {Tenant: "contoso", Endpoint: "e"}, {Tenant: "fabrikam"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := got.GetRotation()
	if r.GetTenantCount() != 2 || r.GetSpec().GetTarget().GetTargetSet() != "targetSets/november" {
		t.Errorf("rotation over %d tenants of %q, want 2 of the set", r.GetTenantCount(), r.GetSpec().GetTarget().GetTargetSet())
	}
	id := strings.TrimPrefix(r.GetName(), "rotations/")
	ids, err := h.store.SelectedTenants(t.Context(), id)
	if err != nil || !slices.Equal(ids, []string{"contoso", "fabrikam"}) {
		t.Errorf("selected %q, %v", ids, err)
	}
	stored, err := h.store.Rotation(t.Context(), id)
	if err != nil || stored.Spec.TargetSetDigest != set.Digest {
		t.Errorf("the set's digest is not in the spec: %q, %v", stored.Spec.TargetSetDigest, err)
	}
}

// block puts the house's certificate on the block list.
func (h *house) block(t *testing.T) {
	t.Helper()
	e := certs.Block{ID: certs.BlockID{Sort: certs.BlockKeyHash, Hash: h.cert.SPKI}, Reason: "leaked", By: "ada", At: time.Now()}
	if _, err := h.blocks.Block(t.Context(), e, ""); err != nil {
		t.Fatal(err)
	}
}

func TestCreateRotation_BlockedIsRefused(t *testing.T) {
	h := open(t, nil)
	h.block(t)
	_, err := h.client().CreateRotation(t.Context(), h.request())
	refused(t, err, codes.FailedPrecondition, "CERTIFICATE_BLOCKED")
	if !strings.Contains(err.Error(), "leaked") || !strings.Contains(err.Error(), "ada") {
		t.Errorf("CreateRotation = %v, want who blocked it and why", err)
	}
}

func TestStartRotation_BlockedSinceIsRefused(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 3)
	h.block(t)
	req := &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()}
	_, err := h.client().StartRotation(t.Context(), req)
	refused(t, err, codes.FailedPrecondition, "CERTIFICATE_BLOCKED")
	if got := h.get(t, r.GetName()); got.GetState() != pb.Rotation_STATE_PLANNED {
		t.Errorf("state = %s, want it still planned", got.GetState())
	}

	id := certs.BlockID{Sort: certs.BlockKeyHash, Hash: h.cert.SPKI}
	if _, err := h.blocks.Unblock(t.Context(), id, certs.Removal{Reason: "it was another key", By: "ada"}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client().StartRotation(t.Context(), req); err != nil {
		t.Fatalf("StartRotation after the block was removed = %v", err)
	}
	h.block(t) // Started again, nothing is begun: that it runs is told.
	if _, err := h.client().StartRotation(t.Context(), req); err != nil {
		t.Errorf("StartRotation of a running one = %v", err)
	}
}

func TestCreateRotation_BlockListThatIsAwayRefuses(t *testing.T) {
	bucket := tenantstest.NewBucket()
	bucket.Before = func(string, string) error { return rollover.ErrUnavailable }
	h := open(t, func(c *rotation.Config) { c.Blocks = certs.NewBlocks(bucket, time.Now) })
	_, err := h.client().CreateRotation(t.Context(), h.request())
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
}

// Tenants that are added later are not in a rotation, however it was selected.
func TestCreateRotation_TenantsAddedLaterAreNotIn(t *testing.T) {
	inventory := tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket())
	put := func(id string) {
		t.Helper()
		if _, _, err := inventory.Put(t.Context(), tenant(id)); err != nil {
			t.Fatal(err)
		}
	}
	put("contoso")
	h := open(t, func(c *rotation.Config) { c.Tenants = inventory })
	var names []string
	for _, target := range []*pb.TargetSelector{
		{Selection: &pb.TargetSelector_AllTenants{AllTenants: true}, EndpointFilter: "NOT has_new"},
		{Selection: &pb.TargetSelector_Filter{Filter: `cloud = "commercial"`}},
	} {
		req := h.request()
		req.RequestId, req.Rotation.Spec.Target = "", target
		got, err := h.client().CreateRotation(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, got.GetRotation().GetName())
	}
	put("fabrikam")
	for _, n := range names {
		ids, err := h.store.SelectedTenants(t.Context(), strings.TrimPrefix(n, "rotations/"))
		if err != nil || !slices.Equal(ids, []string{"contoso"}) {
			t.Errorf("%s is for %q, %v, want contoso alone", n, ids, err)
		}
	}
}
