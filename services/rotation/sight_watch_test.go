package rotation_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// What a grant matches changes with the inventory, and a watch must not go on telling of
// a tenant that is another's by now, although the grant is word for word the same.
func TestSight_AWatchEndsWhenATenantIsMovedAway(t *testing.T) {
	g := openGuarded(t, func(c *rotation.Config) { c.LookAgain = 10 * time.Millisecond })
	move := func(region string) {
		t.Helper()
		contoso := tenant("contoso")
		contoso.Labels = map[string]string{"region": region}
		if _, _, err := g.inventory.(*tenants.Inventory).Put(t.Context(), contoso); err != nil {
			t.Fatal(err)
		}
	}
	move("east")
	req := &pb.WatchRotationRequest{Name: g.mixed(t), IncludeTasks: true}
	s, err := g.rotations.WatchRotation(by(t, "east"), req)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err != nil || !m.GetSnapshot().GetRotation().GetPartial() {
		t.Fatalf("the first message = %v, %v, want an outline", m, err)
	}
	move("west")
	for {
		if _, err = s.Recv(); err != nil {
			break
		}
	}
	refused(t, err, codes.Unavailable, "RIGHTS_CHANGED")
	s, err = g.rotations.WatchRotation(by(t, "east"), req)
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.NotFound {
		t.Errorf("watching again = %v, want NotFound", err)
	}
}

// Whoever sees more tenants than when the watch began goes on with the tasks of those,
// which were told to nobody then; whoever sees the same goes on where the watch stood.
func TestSight_AWatchGoesOnWithTenantsThatCame(t *testing.T) {
	g := openGuarded(t, func(c *rotation.Config) { c.LookAgain = 10 * time.Millisecond })
	move := func(id, region string) {
		t.Helper()
		x := tenant(id)
		x.Labels = map[string]string{"region": region}
		if _, _, err := g.inventory.(*tenants.Inventory).Put(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	move("contoso", "east")
	req := &pb.WatchRotationRequest{Name: g.mixed(t), IncludeTasks: true}
	// told reads until a task of each owner was told, or the watch ends.
	told := func(owners ...string) (reset bool, err error) {
		t.Helper()
		s, err := g.rotations.WatchRotation(by(t, "east"), req)
		for err == nil && len(owners) > 0 {
			var m *pb.WatchRotationResponse
			if m, err = s.Recv(); err != nil {
				break
			}
			req.Cursor, reset = m.GetCursor(), reset || m.GetSnapshot().GetReset_()
			for _, k := range m.GetTasks().GetTasks() {
				owners = slices.DeleteFunc(owners, func(o string) bool { return k.GetTenant() == edge.TenantName(o) })
			}
		}
		if err == nil {
			return reset, nil
		}
		return reset, err
	}
	if reset, err := told("contoso"); err != nil || reset {
		t.Fatalf("the first watch: reset %t, %v", reset, err)
	}
	s, err := g.rotations.WatchRotation(by(t, "east"), req)
	if err != nil {
		t.Fatal(err)
	}
	move("adatum", "east")
	for err == nil {
		var m *pb.WatchRotationResponse
		if m, err = s.Recv(); err == nil && m.GetSnapshot() != nil {
			t.Error("a snapshot, though nothing but what is in sight changed")
		}
	}
	refused(t, err, codes.Unavailable, "RIGHTS_CHANGED")
	if reset, err := told("contoso", "adatum"); err != nil || !reset {
		t.Errorf("with another's tenant: reset %t, %v, want a new snapshot with the tasks of both", reset, err)
	}
}
