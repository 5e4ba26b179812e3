package rotation_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestGate_UnknownCheckIsRefusedAndTheOthersAreShown(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.Rotation.Spec.Strategy = &pb.Strategy{Gates: []*pb.Gate{{Gate: &pb.Gate_Check{Check: "nobody"}}}}
	if _, err := h.client().CreateRotation(t.Context(), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("CreateRotation with an unknown check = %v, want INVALID_ARGUMENT", err)
	}
	req = h.request()
	want := &pb.Strategy{
		Start: pb.Strategy_START_SLOW, Gates: []*pb.Gate{{Gate: &pb.Gate_Manual{Manual: true}}},
		Order: []*pb.OrderKey{{Key: &pb.OrderKey_Label{Label: "tier"}, Values: []string{"gold"}}, {Key: &pb.OrderKey_Region{Region: true}}},
	}
	req.Rotation.Spec.Strategy = want
	req.Rotation.Spec.TenantTolerance = &pb.Tolerance{Mode: pb.Tolerance_MODE_STRICT, Limit: &pb.Tolerance_Failures{Failures: 2}}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetRotation().GetSpec(); !proto.Equal(got.GetStrategy(), want) || !proto.Equal(got.GetTenantTolerance(), req.Rotation.Spec.TenantTolerance) {
		t.Errorf("spec = %v, want it as it was sent", got)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 3)
	h.start(t, r)
	_, err = h.client().DecideWave(t.Context(), &pb.DecideWaveRequest{Name: r.GetName(), Wave: 1, Result: pb.GateResult_GATE_RESULT_PASS, Reason: "fine"})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("DecideWave before the gate = %v, want FAILED_PRECONDITION", err)
	}
}
