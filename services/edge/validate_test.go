package edge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// requests returns an empty request of every method of the contract.
func requests(t testing.TB) []proto.Message {
	t.Helper()
	var out []proto.Message
	for _, file := range []protoreflect.FileDescriptor{
		pb.File_crossfade_v1_rotation_proto, pb.File_crossfade_v1_inventory_proto, pb.File_crossfade_v1_certificate_proto,
		pb.File_crossfade_v1_target_set_proto, pb.File_crossfade_v1_desk_proto,
	} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				mt, err := protoregistry.GlobalTypes.FindMessageByName(methods.Get(j).Input().FullName())
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, mt.New().Interface())
			}
		}
	}
	return out
}

// Every request is looked at: an empty one lacks something, or a page size below
// zero is refused.
func TestValidate_KnowsEveryRequest(t *testing.T) {
	all := requests(t)
	if len(all) != 45 {
		t.Errorf("the contract has %d methods, want 45", len(all))
	}
	for _, m := range all {
		if f := m.ProtoReflect().Descriptor().Fields().ByName("page_size"); f != nil {
			m.ProtoReflect().Set(f, protoreflect.ValueOfInt32(-1))
		}
		switch m.(type) {
		case *pb.SummarizeDeadLettersRequest, *pb.WatchRotationsRequest, *pb.DiscoverEndpointsRequest:
			continue // Nothing in it is wrong before its filter is read.
		}
		if vs := edge.Validate(m); len(vs) == 0 {
			t.Errorf("Validate(%s) has nothing against %v", m.ProtoReflect().Descriptor().Name(), m)
		}
	}
}

// fine returns a request with nothing wrong.
func fine() *pb.CreateRotationRequest {
	return &pb.CreateRotationRequest{
		RequestId: id,
		Rotation: &pb.Rotation{
			DisplayName: "November", Labels: map[string]string{"wave": "1"},
			Spec: &pb.RotationSpec{
				Kind: "acs-x509", Certificate: "certificates/" + sha, ReplacesSameSubject: true,
				Target: &pb.TargetSelector{Selection: &pb.TargetSelector_AllTenants{AllTenants: true}},
			},
		},
	}
}

// goodWindow is a window with nothing wrong.
func goodWindow() *pb.MaintenanceWindow {
	return &pb.MaintenanceWindow{Rrule: "FREQ=DAILY", Start: "2026-01-01T01:00", TimeZone: "UTC", Duration: durationpb.New(time.Hour)}
}

func TestValidate_CreateRotation(t *testing.T) {
	if vs := edge.Validate(fine()); len(vs) > 0 {
		t.Fatalf("Validate(a good request) = %v", vs)
	}
	names := func(n int) *pb.TargetSelector {
		out := &pb.TenantNames{}
		for i := range n {
			out.Names = append(out.Names, fmt.Sprintf("tenants/t%d", i))
		}
		return &pb.TargetSelector{Selection: &pb.TargetSelector_Tenants{Tenants: out}}
	}
	for path, spoil := range map[string]func(r *pb.CreateRotationRequest, s *pb.RotationSpec){
		"request_id":    func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) { r.RequestId = "1" },
		"rotation":      func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) { r.Rotation = nil },
		"rotation.spec": func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) { r.Rotation.Spec = nil },
		"rotation.display_name": func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) {
			r.Rotation.DisplayName = strings.Repeat("ü", 64)
		},
		"rotation.labels": func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) {
			r.Rotation.Labels = map[string]string{"Wave": "1"}
		},
		"rotation.labels.wave": func(r *pb.CreateRotationRequest, _ *pb.RotationSpec) {
			r.Rotation.Labels["wave"] = strings.Repeat("x", 129)
		},
		"rotation.spec.kind":        func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Kind = " " },
		"rotation.spec.certificate": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Certificate = "certificates/ab" },
		"rotation.spec.target":      func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Target = nil },
		"rotation.spec.target.all_tenants": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_AllTenants{}}
		},
		"rotation.spec.target.filter": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_Filter{}}
		},
		"rotation.spec.target.drifted_of": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_DriftedOf{DriftedOf: "rotations/1"}}
		},
		"rotation.spec.drift.every": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Drift = &pb.DriftPolicy{Every: durationpb.New(time.Hour - 1), For: durationpb.New(24 * time.Hour)}
		},
		"rotation.spec.drift.for": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Drift = &pb.DriftPolicy{Every: durationpb.New(24 * time.Hour), For: durationpb.New(23 * time.Hour)}
		},
		"rotation.spec.target.tenants.names": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Target = names(1001) },
		"rotation.spec.target.tenants.names[2]": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Target = names(3)
			s.Target.GetTenants().Names[2] = "tenants/t0"
		},
		"rotation.spec.replaces":      func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Replaces = make([]string, 21) },
		"rotation.spec.identity":      func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Identity = "a\x00b" },
		"rotation.spec.reason":        func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Reason = strings.Repeat("x", 1001) },
		"rotation.spec.max_in_flight": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.MaxInFlight = 10_001 },
		"rotation.spec.max_tries":     func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.MaxTries = -1 },
		"rotation.spec.tolerance":     func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Tolerance = &pb.Tolerance{} },
		"rotation.spec.tolerance.percent": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Tolerance = &pb.Tolerance{Limit: &pb.Tolerance_Percent{Percent: 101}}
		},
		"rotation.spec.tolerance.failures": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Tolerance = &pb.Tolerance{Limit: &pb.Tolerance_Failures{Failures: -1}}
		},
		"rotation.spec.tolerance.mode": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Tolerance = &pb.Tolerance{Limit: &pb.Tolerance_Failures{}, Mode: 9}
		},
		"rotation.spec.strategy.start": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Strategy = &pb.Strategy{Start: 9} },
		"rotation.spec.strategy.bake_time": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Strategy = &pb.Strategy{BakeTime: durationpb.New(-1)}
		},
		"rotation.spec.strategy.waves": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Strategy = &pb.Strategy{}
			for range 101 {
				s.Strategy.Waves = append(s.Strategy.Waves, &pb.WaveSize{Size: &pb.WaveSize_Tasks{Tasks: 1}})
			}
		},
		"rotation.spec.strategy.waves[0]": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Strategy = &pb.Strategy{Waves: []*pb.WaveSize{{}}}
		},
		"rotation.spec.strategy.waves[0].percent": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Strategy = &pb.Strategy{Waves: []*pb.WaveSize{{Size: &pb.WaveSize_Percent{Percent: 101}}}}
		},
		"rotation.spec.strategy.waves[0].tasks": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Strategy = &pb.Strategy{Waves: []*pb.WaveSize{{Size: &pb.WaveSize_Tasks{}}}}
		},
		"rotation.spec.schedule.policy": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.Schedule = &pb.Schedule{Policy: 9} },
		"rotation.spec.schedule.stage_deadline": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Schedule = &pb.Schedule{Policy: pb.Schedule_POLICY_DEADLINE_WINS}
		},
		"rotation.spec.schedule.windows": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Schedule = &pb.Schedule{}
			for range 21 {
				s.Schedule.Windows = append(s.Schedule.Windows, goodWindow())
			}
		},
		"rotation.spec.schedule.windows[0].duration": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			w := goodWindow()
			w.Duration = nil
			s.Schedule = &pb.Schedule{Windows: []*pb.MaintenanceWindow{w}}
		},
		"rotation.spec.schedule.windows[1].time_zone": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			w := goodWindow()
			w.TimeZone = ""
			s.Schedule = &pb.Schedule{Windows: []*pb.MaintenanceWindow{goodWindow(), w}}
		},
		"rotation.spec.schedule.freezes": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			half := &pb.Freeze{Calendar: strings.Repeat("x", 40<<10)}
			s.Schedule = &pb.Schedule{Freezes: []*pb.Freeze{half, half}}
		},
		"rotation.spec.schedule.freezes[0].calendar": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Schedule = &pb.Schedule{Freezes: []*pb.Freeze{{}}}
		},
		"rotation.spec.schedule.freezes[0].display_name": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.Schedule = &pb.Schedule{Freezes: []*pb.Freeze{{Calendar: "x", DisplayName: strings.Repeat("x", 64)}}}
		},
		"rotation.spec.retire_policy": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) { s.RetirePolicy = 9 },
		"rotation.spec.retire_not_before": func(_ *pb.CreateRotationRequest, s *pb.RotationSpec) {
			s.ReplacesSameSubject, s.RetireNotBefore = false, timestamppb.Now()
		},
	} {
		r := fine()
		spoil(r, r.GetRotation().GetSpec())
		vs := edge.Validate(r)
		if !slices.ContainsFunc(vs, func(v *edge.Violation) bool { return v.GetField() == path }) {
			t.Errorf("Validate has nothing against %s: %v", path, vs)
		}
		if len(vs) > 1 {
			t.Errorf("Validate says more than that %s is wrong: %v", path, vs)
		}
		for _, v := range vs {
			if v.GetReason() == "" || v.GetDescription() == "" {
				t.Errorf("violation without reason or description: %v", v)
			}
		}
	}
}
