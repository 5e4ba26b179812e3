package rotation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// many reads a watch of many rotations.
type many struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[pb.WatchRotationsResponse]
}

func (h *house) many(t *testing.T, req *pb.WatchRotationsRequest) *many {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := h.client().WatchRotations(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return &many{t, s}
}

// next returns the next message that is no checkpoint.
func (m *many) next() *pb.WatchRotationsResponse {
	m.t.Helper()
	for {
		got, err := m.stream.Recv()
		if err != nil {
			m.t.Fatalf("the watch ended: %v", err)
		}
		if got.GetEventTime() == nil {
			m.t.Errorf("%v has no time", got)
		}
		if got.GetCheckpoint() == nil {
			return got
		}
	}
}

// all reads a whole snapshot and returns the names in it, in its order.
func (m *many) all() (names []string, parts int) {
	m.t.Helper()
	for {
		s := m.next().GetSnapshot()
		if s == nil {
			m.t.Fatal("the watch does not begin with a snapshot")
		}
		parts++
		for _, r := range s.GetRotations() {
			names = append(names, r.GetName())
		}
		if !s.GetMore() {
			return names, parts
		}
	}
}

func TestWatchRotations_TellsWhatStandsAndWhatChanges(t *testing.T) {
	h := open(t, nil)
	old := h.create(t)
	h.write(t, old.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	h.get(t, old.GetName())
	var want []string
	for range 3 {
		want = append([]string{h.create(t).GetName()}, want...)
	}
	h.get(t, want[0])
	m := h.many(t, &pb.WatchRotationsRequest{})
	if got, parts := m.all(); fmt.Sprint(got) != fmt.Sprint(want) || parts != 1 {
		t.Fatalf("the snapshot has %v in %d parts, want %v, newest first and without what has ended", got, parts, want)
	}
	h.plan(t, want[1], 2)
	for {
		r := m.next().GetRotation()
		if r.GetName() != want[1] {
			t.Fatalf("told of %v, want %s", r, want[1])
		}
		if r.GetState() == pb.Rotation_STATE_PLANNED {
			break
		}
	}
	fresh := h.create(t)
	if r := m.next().GetRotation(); r.GetName() != fresh.GetName() {
		t.Errorf("told of %v, want the new %s", r, fresh.GetName())
	}
	// One that ends is told with its end.
	h.write(t, want[2], func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	if r := m.next().GetRotation(); r.GetName() != want[2] || r.GetState() != pb.Rotation_STATE_CANCELLED {
		t.Errorf("told of %v, want the end of %s", r, want[2])
	}
	with := h.many(t, &pb.WatchRotationsRequest{IncludeEnded: true})
	if got, _ := with.all(); len(got) != 5 {
		t.Errorf("with ended ones there are %v, want five", got)
	}
}

// What matches no more is to be forgotten.
func TestWatchRotations_TellsWhatMatchesNoMore(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	h.get(t, r.GetName())
	m := h.many(t, &pb.WatchRotationsRequest{Filter: "state = STATE_PLANNING"})
	if got, _ := m.all(); len(got) != 1 {
		t.Fatalf("the snapshot has %v", got)
	}
	h.plan(t, r.GetName(), 1)
	if got := m.next(); got.GetGone() != r.GetName() {
		t.Errorf("told %v, want that %s is gone", got, r.GetName())
	}
	_, err := h.many(t, &pb.WatchRotationsRequest{Filter: "nonsense = 1"}).stream.Recv()
	refused(t, err, codes.InvalidArgument, "FILTER_INVALID")
}

// A snapshot that is long comes in parts.
func TestWatchRotations_LongSnapshotsComeInParts(t *testing.T) {
	h := open(t, nil)
	last := ""
	for range 130 {
		last = h.create(t).GetName()
	}
	h.get(t, last)
	got, parts := h.many(t, &pb.WatchRotationsRequest{}).all()
	if len(got) != 130 || parts != 2 {
		t.Errorf("%d rotations in %d parts, want 130 in two", len(got), parts)
	}
}

// A watch without news says that it is alive, and ends when the server stops.
func TestWatchRotations_IsAliveUntilTheServerStops(t *testing.T) {
	h := open(t, func(c *rotation.Config) { c.Checkpoint = 10 * time.Millisecond })
	r := h.create(t)
	h.get(t, r.GetName())
	m := h.many(t, &pb.WatchRotationsRequest{})
	m.all()
	for {
		got, err := m.stream.Recv()
		if err != nil {
			t.Fatalf("the watch ended: %v", err)
		}
		if got.GetCheckpoint() != nil {
			break
		}
	}
	h.stop()
	for {
		_, err := m.stream.Recv()
		if err == nil {
			continue
		}
		refused(t, err, codes.Unavailable, "DRAINING")
		for _, d := range status.Convert(err).Details() {
			if r, ok := d.(*errdetails.RetryInfo); ok && r.GetRetryDelay().AsDuration() > 0 {
				return
			}
		}
		t.Fatalf("%v has no RetryInfo", err)
	}
}

func TestWatchRotations_SlowReaderIsSentAway(t *testing.T) {
	const slow = 500 * time.Millisecond
	h := open(t, func(c *rotation.Config) { c.SlowAfter = slow })
	req := h.request()
	req.Rotation.Labels = map[string]string{}
	for i := range 32 {
		req.Rotation.Labels[fmt.Sprintf("l%d", i)] = strings.Repeat("x", 128)
	}
	last := ""
	for range 150 { // Far more than a stream's window takes.
		resp, err := h.client().CreateRotation(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		last = resp.GetRotation().GetName()
	}
	h.get(t, last)
	m := h.many(t, &pb.WatchRotationsRequest{})
	<-time.After(slow * 2) // Time itself is what is tested: nothing is read for so long.
	for {
		if _, err := m.stream.Recv(); err != nil {
			refused(t, err, codes.ResourceExhausted, "SLOW_CONSUMER")
			return
		}
	}
}

// A new state of a task that changes nothing of the rotation as it is shown is no news.
func TestWatchRotations_WhatIsShownTheSameIsNoNews(t *testing.T) {
	h := open(t, nil)
	r, other := h.plan(t, h.create(t).GetName(), 2), h.create(t)
	h.get(t, other.GetName())
	m := h.many(t, &pb.WatchRotationsRequest{})
	m.all()
	id, _ := edge.ParseRotation(r.GetName())
	k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	h.write(t, other.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	if got := m.next().GetRotation(); got.GetName() != other.GetName() {
		t.Errorf("told of %v, want %s alone", got, other.GetName())
	}
}

// Who may see some of the tenants is shown the outline, and from the moment at which that
// changes nobody is told by what held before.
func TestWatchRotations_FollowsTheCallersRights(t *testing.T) {
	g := openGuarded(t)
	name := g.mixed(t)
	snapshot := func(who string) (*pb.RotationsSnapshot, grpc.ServerStreamingClient[pb.WatchRotationsResponse]) {
		t.Helper()
		s, err := g.rotations.WatchRotations(by(t, who), &pb.WatchRotationsRequest{IncludeEnded: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m.GetSnapshot(), s
	}
	got, theirs := snapshot("contoso")
	if rs := got.GetRotations(); len(rs) != 1 || rs[0].GetName() != name || !rs[0].GetPartial() || tellsOthers(got) {
		t.Errorf("contoso is told %v, want an outline", got)
	}
	if got, _ := snapshot("nobody"); len(got.GetRotations()) != 0 {
		t.Errorf("who may see no tenant of it is told %v", got)
	}
	g.grant(t, `
grants:
  - {subjects: ["corp:contoso"], role: operator, tenants: 'id = "none"'}
`)
	for {
		if _, err := theirs.Recv(); err != nil {
			refused(t, err, codes.Unavailable, "RIGHTS_CHANGED")
			break
		}
	}
	if got, _ := snapshot("contoso"); len(got.GetRotations()) != 0 {
		t.Errorf("without the right contoso is told %v", got)
	}
}

func TestListRotations_InAnyOrder(t *testing.T) {
	h := open(t, nil)
	var names []string
	for _, title := range []string{"b", "a", "c", "a"} {
		h.clock.set(h.clock.Now().Add(time.Second))
		req := h.request()
		req.Rotation.DisplayName = title
		resp, err := h.client().CreateRotation(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, resp.GetRotation().GetName())
	}
	h.get(t, names[3])
	list := func(order string) (got []string) {
		t.Helper()
		for token := ""; ; {
			resp, err := h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{OrderBy: order, PageSize: 1, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resp.GetRotations() {
				got = append(got, r.GetName())
			}
			if token = resp.GetNextPageToken(); token == "" {
				return got
			}
		}
	}
	for order, want := range map[string][]int{
		"":                              {3, 2, 1, 0},
		"create_time":                   {0, 1, 2, 3},
		"display_name":                  {1, 3, 0, 2},
		"display_name desc":             {2, 0, 1, 3},
		"display_name, create_time":     {1, 3, 0, 2},
		"display_name,create_time desc": {3, 1, 0, 2},
	} {
		var wanted []string
		for _, i := range want {
			wanted = append(wanted, names[i])
		}
		if got := list(order); fmt.Sprint(got) != fmt.Sprint(wanted) {
			t.Errorf("order_by %q lists %v, want %v", order, got, wanted)
		}
	}
	for _, wrong := range []string{"state", "name;drop", "display_name up", "display_name, display_name"} {
		_, err := h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{OrderBy: wrong})
		refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	}
	resp, err := h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{OrderBy: "display_name", PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{OrderBy: "create_time", PageSize: 1, PageToken: resp.GetNextPageToken()})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
}
