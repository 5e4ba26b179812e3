package rotation_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

func TestRotation_HasALaneAndLimits(t *testing.T) {
	h := open(t, nil)
	plain := h.create(t).GetSpec()
	if plain.GetLane() != pb.Lane_LANE_BULK || plain.GetLimits() != nil {
		t.Errorf("without wishes: lane %v, limits %v, want bulk and none", plain.GetLane(), plain.GetLimits())
	}
	req := h.request()
	req.Rotation.Spec.Lane = pb.Lane_LANE_URGENT
	req.Rotation.Spec.Limits = &pb.Limits{MaxInFlightPerTenant: 3, MaxStartsPerSecond: 10_000}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetRotation().GetSpec(); got.GetLane() != pb.Lane_LANE_URGENT || !proto.Equal(got.GetLimits(), req.GetRotation().GetSpec().GetLimits()) {
		t.Errorf("spec = %v, want lane and limits as they were sent", got)
	}
	for _, change := range []func(*pb.RotationSpec){
		func(s *pb.RotationSpec) { s.Lane = 7 },
		func(s *pb.RotationSpec) { s.Limits = &pb.Limits{MaxInFlightPerTenant: -1} },
		func(s *pb.RotationSpec) { s.Limits = &pb.Limits{MaxStartsPerSecond: 10_001} },
	} {
		req := h.request()
		change(req.GetRotation().GetSpec())
		if _, err := h.client().CreateRotation(t.Context(), req); err == nil {
			t.Errorf("CreateRotation with lane %v and limits %v = nil, want it refused", req.GetRotation().GetSpec().GetLane(), req.GetRotation().GetSpec().GetLimits())
		}
	}
}

// A rotation tells what holds it up, while something does.
func TestRotation_ShowsWhatThrottlesIt(t *testing.T) {
	h := open(t, nil)
	r := h.plan(t, h.create(t).GetName(), 4)
	h.start(t, r)
	if got := h.get(t, r.GetName()).GetThrottle(); got != nil {
		t.Errorf("throttle = %v, want none", got)
	}
	h.throttle(t, r.GetName(), 0, rollover.ByHost)
	h.throttle(t, r.GetName(), 1, rollover.ByService)
	h.throttle(t, r.GetName(), 2, rollover.BreakerOpen)
	var got *pb.Throttle
	for range 1000 { // The mirror is behind by a moment.
		if got = h.get(t, r.GetName()).GetThrottle(); got.GetThrottled() == 2 && got.GetUnreachable() == 1 {
			break
		}
	}
	if !proto.Equal(got, &pb.Throttle{Throttled: 2, Unreachable: 1, PacePercent: 100}) {
		t.Errorf("throttle = %v, want two tasks throttled and one held by a breaker", got)
	}
}

// throttle stores that a task was held up.
func (h *house) throttle(t *testing.T, name string, ord int, by rollover.Throttle) {
	t.Helper()
	id, _ := edge.ParseRotation(name)
	k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id, Ord: ord})
	if err != nil {
		t.Fatal(err)
	}
	k.Throttle = by
	if _, err := h.store.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}
