package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// recorder is a service that notes what it is sent, and answers with one rotation.
type recorder struct {
	crossfadev1.UnimplementedRotationServiceServer
	rotation *crossfadev1.Rotation
	got      chan proto.Message
}

func (s *recorder) CreateRotation(_ context.Context, m *crossfadev1.CreateRotationRequest) (*crossfadev1.CreateRotationResponse, error) {
	s.got <- m
	return &crossfadev1.CreateRotationResponse{Rotation: s.rotation}, nil
}

func (s *recorder) ListRotationTasks(context.Context, *crossfadev1.ListRotationTasksRequest) (*crossfadev1.ListRotationTasksResponse, error) {
	return &crossfadev1.ListRotationTasksResponse{}, nil
}

func (s *recorder) GetRotation(context.Context, *crossfadev1.GetRotationRequest) (*crossfadev1.GetRotationResponse, error) {
	return &crossfadev1.GetRotationResponse{Rotation: s.rotation}, nil
}

func (s *recorder) DecideWave(_ context.Context, m *crossfadev1.DecideWaveRequest) (*crossfadev1.DecideWaveResponse, error) {
	s.got <- m
	return &crossfadev1.DecideWaveResponse{Rotation: s.rotation}, nil
}

func (s *recorder) ResumeRotation(_ context.Context, m *crossfadev1.ResumeRotationRequest) (*crossfadev1.ResumeRotationResponse, error) {
	s.got <- m
	return &crossfadev1.ResumeRotationResponse{Rotation: s.rotation}, nil
}

// record serves r until the test ends. The returned function runs a command line
// against it.
func record(t *testing.T, r *crossfadev1.Rotation) (*recorder, func(args ...string) (string, error)) {
	t.Helper()
	s := &recorder{rotation: r, got: make(chan proto.Message, 1)}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	crossfadev1.RegisterRotationServiceServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(lis) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return s, func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"--address", lis.Addr().String()}, args...), &out, &out)
		return out.String(), err
	}
}

// took returns what the service was sent, or nil if it was sent nothing.
func (s *recorder) took() proto.Message {
	select {
	case m := <-s.got:
		return m
	default:
		return nil
	}
}

func labelled(name string, values ...string) *crossfadev1.OrderKey {
	return &crossfadev1.OrderKey{Key: &crossfadev1.OrderKey_Label{Label: name}, Values: values}
}

func failures(n int32) *crossfadev1.Tolerance {
	return &crossfadev1.Tolerance{Limit: &crossfadev1.Tolerance_Failures{Failures: n}}
}

func percentage(n int32) *crossfadev1.Tolerance {
	return &crossfadev1.Tolerance{Limit: &crossfadev1.Tolerance_Percent{Percent: n}}
}

var (
	manually = &crossfadev1.Gate{Gate: &crossfadev1.Gate_Manual{Manual: true}}
	byHealth = &crossfadev1.Gate{Gate: &crossfadev1.Gate_Check{Check: "health"}}
)

func TestRotate_OrderGatesAndTenantToleranceAreSent(t *testing.T) {
	s, crossfade := record(t, &crossfadev1.Rotation{Name: "rotations/r1", State: crossfadev1.Rotation_STATE_PLANNED})
	for _, c := range []struct {
		args      string
		strategy  *crossfadev1.Strategy
		tolerance *crossfadev1.Tolerance
	}{
		{"", nil, nil},
		{"--order region", &crossfadev1.Strategy{Order: []*crossfadev1.OrderKey{{Key: &crossfadev1.OrderKey_Region{Region: true}}}}, nil},
		{"--order tier=gold,silver --order cloud --order label:ring=canary --order label:a=b=c", &crossfadev1.Strategy{Order: []*crossfadev1.OrderKey{
			{Key: &crossfadev1.OrderKey_Tier{Tier: true}, Values: []string{"gold", "silver"}},
			{Key: &crossfadev1.OrderKey_Cloud{Cloud: true}}, labelled("ring", "canary"), labelled("a", "b=c"),
		}}, nil},
		{"--gate manual --gate check:health --start full", &crossfadev1.Strategy{
			Start: crossfadev1.Strategy_START_FULL, Gates: []*crossfadev1.Gate{manually, byHealth},
		}, nil},
		{"--tenant-tolerance 2", nil, failures(2)},
		{"--tenant-tolerance 0", nil, failures(0)},
		{"--tenant-tolerance 25%", nil, percentage(25)},
	} {
		out, err := crossfade(append([]string{"rotate", "--certificate", "certificates/ab", "--plan-only"}, strings.Fields(c.args)...)...)
		m, ok := s.took().(*crossfadev1.CreateRotationRequest)
		if err != nil || !ok {
			t.Fatalf("rotate %s = %v, sent %v:\n%s", c.args, err, m, out)
		}
		if got := m.GetRotation().GetSpec(); !proto.Equal(got.GetStrategy(), c.strategy) || !proto.Equal(got.GetTenantTolerance(), c.tolerance) {
			t.Errorf("rotate %s sends %v and %v, want %v and %v", c.args, got.GetStrategy(), got.GetTenantTolerance(), c.strategy, c.tolerance)
		}
	}
	for _, args := range []string{
		"--order colour", "--order label:", "--order label", "--order =gold", "--gate yes", "--gate check:", "--gate Manual",
		"--tenant-tolerance -1", "--tenant-tolerance many", "--tenant-tolerance 101%", "--tenant-tolerance 1.5", "--tenant-tolerance 99999999999",
	} {
		flags := strings.Fields(args)
		_, err := crossfade(append([]string{"rotate", "--certificate", "certificates/ab", "--plan-only"}, flags...)...)
		if m := s.took(); exitStatus(err) != exitUsage || m != nil || !strings.Contains(err.Error(), flags[0]) {
			t.Errorf("rotate %s = %v, sent %v; want wrong use that names the flag, and nothing sent", args, err, m)
		}
	}
}

func TestRotationGate_AndAcceptGate(t *testing.T) {
	const id = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	s, crossfade := record(t, &crossfadev1.Rotation{Name: "rotations/r1", State: crossfadev1.Rotation_STATE_RUNNING})
	decide := func(r crossfadev1.GateResult, request string) *crossfadev1.DecideWaveRequest {
		return &crossfadev1.DecideWaveRequest{Name: "rotations/r1", Wave: 2, Result: r, Reason: "fine", RequestId: request}
	}
	for args, want := range map[string]proto.Message{
		"gate r1 --wave 2 --reason fine --pass":                            decide(crossfadev1.GateResult_GATE_RESULT_PASS, ""),
		"gate rotations/r1 --wave 2 --reason fine --fail":                  decide(crossfadev1.GateResult_GATE_RESULT_FAIL, ""),
		"gate r1 --wave 2 --reason fine --inconclusive --request-id " + id: decide(crossfadev1.GateResult_GATE_RESULT_INCONCLUSIVE, id),
		"resume r1 --accept-gate":                                          &crossfadev1.ResumeRotationRequest{Name: "rotations/r1", AcceptGate: true},
		"resume r1 --accept-failures":                                      &crossfadev1.ResumeRotationRequest{Name: "rotations/r1", AcceptFailures: true},
		"resume r1":                                                        &crossfadev1.ResumeRotationRequest{Name: "rotations/r1"},
	} {
		out, err := crossfade(append([]string{"rotation"}, strings.Fields(args)...)...)
		if m := s.took(); err != nil || !proto.Equal(m, want) {
			t.Errorf("rotation %s = %v, sent %v, want %v:\n%s", args, err, m, want, out)
		}
	}
	for _, args := range []string{
		"gate r1 --reason fine --pass", "gate r1 --wave 2 --pass", "gate r1 --wave 2 --reason fine", "gate --wave 2 --reason fine --pass",
		"gate r1 --wave 2 --reason fine --pass --fail", "gate r1 --wave 2 --reason fine --pass=false", "gate r1 --wave two --reason fine --pass",
		"gate r1 --wave 0 --reason fine --pass", "resume r1 --accept-gates",
	} {
		_, err := crossfade(append([]string{"rotation"}, strings.Fields(args)...)...)
		if m := s.took(); exitStatus(err) != exitUsage || m != nil {
			t.Errorf("rotation %s = %v, sent %v; want wrong use and nothing sent", args, err, m)
		}
	}
}

// What was asked for is said in words, in the plan and afterwards.
func TestRotationShow_SaysTheRulesInWords(t *testing.T) {
	r := &crossfadev1.Rotation{
		Name: "rotations/r1", State: crossfadev1.Rotation_STATE_PLANNED, WaveSizes: []int64{1, 2, 4, 13},
		FailureBudget: &crossfadev1.FailureBudget{Workable: 20, Tolerated: 2},
		Spec: &crossfadev1.RotationSpec{
			Tolerance: percentage(10), TenantTolerance: failures(3),
			Strategy: &crossfadev1.Strategy{
				Start: crossfadev1.Strategy_START_SLOW, BakeTime: durationpb.New(time.Hour), Gates: []*crossfadev1.Gate{manually, byHealth},
				Order: []*crossfadev1.OrderKey{labelled("tier", "gold", "silver"), {Key: &crossfadev1.OrderKey_Region{Region: true}}},
			},
		},
	}
	_, crossfade := record(t, r)
	rules := map[string]string{
		"tolerance":        "new starts stop when more than 2 (10 %) of 20 tasks have failed; strict, so no more than one above that; the same holds within each wave",
		"tenant tolerance": "no more of a tenant's tasks are begun when more than 3 have failed; the others go on",
		"waves":            "1, 2, 4, 13 tasks, with 1h0m0s between them",
		"order":            "label tier (gold, silver first), then region",
		"gates":            "after each wave: manual, then check health",
	}
	says := func(args []string, rules map[string]string) {
		t.Helper()
		out, err := crossfade(args...)
		if err != nil {
			t.Fatalf("%s = %v\n%s", args, err, out)
		}
		lines := map[string]string{}
		for _, line := range strings.Split(out, "\n") {
			for name := range rules {
				if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
					lines[name] = strings.TrimSpace(text)
				}
			}
		}
		for name, want := range rules {
			if lines[name] != want {
				t.Errorf("%s says of %s:\n got %q\nwant %q", args, name, lines[name], want)
			}
		}
	}
	show := []string{"rotation", "show", "r1"}
	says([]string{"rotate", "--certificate", "certificates/ab", "--plan-only"}, rules)
	says(show, rules)
	r.State = crossfadev1.Rotation_STATE_RUNNING
	r.Wave = &crossfadev1.WaveStatus{Number: 2, Tasks: 2, Done: 1, Failed: 1, Tolerated: 0}
	r.Gate = &crossfadev1.GateStatus{Wave: 1, Number: 1, Name: "manual", Time: timestamppb.New(time.Date(2016, 11, 1, 1, 0, 0, 0, time.UTC))}
	r.Spec.TenantTolerance, r.Spec.Tolerance.Mode = percentage(25), crossfadev1.Tolerance_MODE_SOFT
	says(show, map[string]string{
		"tolerance":        "new starts stop when more than 2 (10 %) of 20 tasks have failed; soft, so those in hand may fail as well; the same holds within each wave",
		"tenant tolerance": "no more of a tenant's tasks are begun when more than 25 % of its have failed; the others go on",
		"wave":             "2 of 4: 1 of 2 done, 1 failed, 0 tolerated",
		"gate":             "manual, after wave 1: waits since 2016-11-01T01:00:00Z",
	})
	r.Gate.Result, r.Gate.Reason = crossfadev1.GateResult_GATE_RESULT_FAIL, "orders are lost"
	says(show, map[string]string{"gate": "manual, after wave 1: fail: orders are lost"})
}

// An undo marks its tasks when nothing is in hand any more; until then there is nothing to count.
func TestRotationShow_AnUndoThatIsAboutToBeginCountsNothing(t *testing.T) {
	r := &crossfadev1.Rotation{
		Name: "rotations/r1", State: crossfadev1.Rotation_STATE_UNDOING, WaveSizes: []int64{1, 2},
		FailureBudget: &crossfadev1.FailureBudget{}, Spec: &crossfadev1.RotationSpec{Tolerance: percentage(10)},
		Undo: &crossfadev1.UndoStatus{Scope: &crossfadev1.UndoScope{Scope: &crossfadev1.UndoScope_Wave{Wave: 1}}, Reason: "its gate failed"},
	}
	_, crossfade := record(t, r)
	out, err := crossfade("rotation", "show", "r1")
	if err != nil || !strings.Contains(out, "wave 1: about to begin: its gate failed") || strings.Contains(out, "of 0") || strings.Contains(out, "budget") {
		t.Errorf("rotation show = %v\n%s\nwant it about to begin, and nothing of no tasks", err, out)
	}
}

func TestRotate_LabelsAreSent(t *testing.T) {
	s, crossfade := record(t, &crossfadev1.Rotation{Name: "rotations/r1", State: crossfadev1.Rotation_STATE_PLANNED})
	flags := []string{"rotate", "--certificate", "certificates/ab", "--plan-only", "--label", "env=prod"}
	out, err := crossfade(append(flags, "--label", "a=b=c")...)
	m, ok := s.took().(*crossfadev1.CreateRotationRequest)
	if got := m.GetRotation().GetLabels(); err != nil || !ok || len(got) != 2 || got["env"] != "prod" || got["a"] != "b=c" {
		t.Errorf("rotate = %v, sent %v, want two labels:\n%s", err, m, out)
	}
	for _, wrong := range []string{"env", "env=test"} {
		_, err := crossfade(append(flags, "--label", wrong)...)
		if m := s.took(); exitStatus(err) != exitUsage || m != nil {
			t.Errorf("rotate --label env=prod --label %s = %v, sent %v; want wrong use and nothing sent", wrong, err, m)
		}
	}
}
