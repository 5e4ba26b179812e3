package rotation_test

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestRotation_ShowsItsWaves(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	want := &pb.Strategy{
		Start: pb.Strategy_START_FULL, BakeTime: durationpb.New(time.Hour),
		Waves: []*pb.WaveSize{{Size: &pb.WaveSize_Tasks{Tasks: 3}}, {Size: &pb.WaveSize_Percent{Percent: 50}}},
	}
	req.Rotation.Spec.Strategy = want
	req.Rotation.Spec.Tolerance = &pb.Tolerance{Limit: &pb.Tolerance_Failures{Failures: 2}, Mode: pb.Tolerance_MODE_SOFT}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetRotation().GetSpec(); !proto.Equal(got.GetStrategy(), want) || !proto.Equal(got.GetTolerance(), req.GetRotation().GetSpec().GetTolerance()) {
		t.Errorf("spec = %v, want strategy and tolerance as they were sent", got)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 20)
	if got := r.GetWaveSizes(); !reflect.DeepEqual(got, []int64{1, 3, 10, 6}) || r.GetWave() != nil {
		t.Errorf("planned: wave_sizes = %v, wave = %v, want 1, 3, 10, 6 and none yet", got, r.GetWave())
	}
	h.start(t, r)
	h.save(t, r.GetName(), 0, rollover.Planned, rollover.Failed)
	for range 1000 { // The mirror is behind by a moment.
		if h.get(t, r.GetName()).GetCounts().GetFailed() == 1 {
			break
		}
	}
	got := h.get(t, r.GetName()).GetWave()
	if !proto.Equal(got, &pb.WaveStatus{Number: 1, Tasks: 1, Done: 1, Failed: 1, Tolerated: 2}) {
		t.Errorf("wave = %v, want the first, done with one failure of two tolerated", got)
	}
}
