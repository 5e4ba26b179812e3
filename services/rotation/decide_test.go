package rotation_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// atGate returns a running rotation of three tasks that waits at the first of its
// gates, at the end of wave 1.
func (h *house) atGate(t *testing.T, gates ...*pb.Gate) *pb.Rotation {
	t.Helper()
	req := h.request()
	req.Rotation.Spec.Strategy = &pb.Strategy{Start: pb.Strategy_START_FULL, Gates: gates}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := h.start(t, h.plan(t, resp.GetRotation().GetName(), 3))
	h.write(t, r.GetName(), func(r *rollover.Rotation) {
		c := rollover.Counts{Workable: 3, Phases: map[rollover.Phase]int{rollover.Planned: 2, rollover.Activated: 1}}
		next, ok := r.NextWave(c, h.clock.Now())
		if !ok {
			t.Fatalf("NextWave(%+v) opens no gate", r)
		}
		*r = next
	})
	return h.get(t, r.GetName())
}

func manualGate() *pb.Gate { return &pb.Gate{Gate: &pb.Gate_Manual{Manual: true}} }

func pass(name string) *pb.DecideWaveRequest {
	return &pb.DecideWaveRequest{Name: name, Wave: 1, Result: pb.GateResult_GATE_RESULT_PASS, Reason: "no complaints", RequestId: requestID}
}

// The answer to a decision is lost; its repeat, at another server, changes nothing
// more, although another gate waits by then that it would fit.
func TestDecideWave_PassesOneGateHoweverOftenItIsAsked(t *testing.T) {
	h := open(t, nil)
	r := h.atGate(t, manualGate(), manualGate())
	if g := r.GetGate(); g.GetWave() != 1 || g.GetNumber() != 1 || g.GetName() != "manual" || g.GetResult() != pb.GateResult_GATE_RESULT_UNSPECIFIED || g.GetTime() == nil {
		t.Fatalf("gate = %v, want the first of wave 1, waited for", g)
	}
	h.store.loseNext(1)
	_, err := h.client().DecideWave(t.Context(), pass(r.GetName()))
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	for i := range 3 {
		resp, err := h.clients[i%2].DecideWave(t.Context(), pass(r.GetName()))
		if g := resp.GetRotation().GetGate(); err != nil || g.GetNumber() != 2 || g.GetResult() != pb.GateResult_GATE_RESULT_UNSPECIFIED ||
			resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING {
			t.Fatalf("DecideWave, time %d = %v, %v, want the second gate waited for", i+2, g, err)
		}
	}
	other := pass(r.GetName())
	other.Result = pb.GateResult_GATE_RESULT_FAIL
	_, err = h.client().DecideWave(t.Context(), other)
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	second := pass(r.GetName())
	second.RequestId, second.Etag = "", h.get(t, r.GetName()).GetEtag()
	resp, err := h.client().DecideWave(as(t, "ann"), second)
	g := resp.GetRotation().GetGate()
	if err != nil || g.GetNumber() != 2 || g.GetResult() != pb.GateResult_GATE_RESULT_PASS || g.GetReason() != "no complaints" || g.GetDecider() != "caller" || g.GetDeciderName() != "ann" {
		t.Errorf("DecideWave of the second = %v, %v, want it passed by ann", g, err)
	}
	for _, result := range []pb.GateResult{pb.GateResult_GATE_RESULT_FAIL, pb.GateResult_GATE_RESULT_PASS} {
		again := pass(r.GetName())
		again.RequestId, again.Result = "", result
		_, err = h.client().DecideWave(t.Context(), again)
		refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	}
	if got := h.get(t, r.GetName()); got.GetGate().GetResult() != pb.GateResult_GATE_RESULT_PASS || got.GetState() != pb.Rotation_STATE_RUNNING {
		t.Errorf("after a later FAIL the gate is %v, want it passed still", got.GetGate())
	}
}

func TestDecideWave_WhatDoesNotPassPauses(t *testing.T) {
	for result, why := range map[pb.GateResult]pb.ErrorReason{
		pb.GateResult_GATE_RESULT_FAIL: pb.ErrorReason_ERROR_REASON_GATE_FAILED, pb.GateResult_GATE_RESULT_INCONCLUSIVE: pb.ErrorReason_ERROR_REASON_GATE_INCONCLUSIVE,
	} {
		h := open(t, nil)
		r := h.atGate(t, manualGate())
		req := pass(r.GetName())
		req.Result = result
		resp, err := h.client().DecideWave(t.Context(), req)
		got := resp.GetRotation()
		if err != nil || got.GetState() != pb.Rotation_STATE_PAUSED || got.GetGate().GetResult() != result || got.GetStatusDetail().GetReason() != why ||
			!strings.Contains(got.GetStatusDetail().GetMessage(), "gate manual of wave 1") {
			t.Fatalf("DecideWave(%s) = %v, %v, want PAUSED", result, got, err)
		}
		_, err = h.client().ResumeRotation(t.Context(), &pb.ResumeRotationRequest{Name: r.GetName()})
		if result == pb.GateResult_GATE_RESULT_FAIL {
			refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
			accepted, err := h.client().ResumeRotation(as(t, "bob"), &pb.ResumeRotationRequest{Name: r.GetName(), AcceptGate: true})
			if g := accepted.GetRotation().GetGate(); err != nil || g.GetResult() != pb.GateResult_GATE_RESULT_PASS || g.GetDecider() != "accepted" || g.GetDeciderName() != "bob" {
				t.Errorf("ResumeRotation with accept_gate = %v, %v, want it accepted", g, err)
			}
			continue
		}
		if g := h.get(t, r.GetName()).GetGate(); err != nil || g.GetResult() != pb.GateResult_GATE_RESULT_UNSPECIFIED {
			t.Errorf("ResumeRotation after INCONCLUSIVE = %v, %v, want the gate waited for anew", g, err)
		}
	}
}

func TestDecideWave_Refusals(t *testing.T) {
	h := open(t, func(c *rotation.Config) { c.Checks = []string{"health"} })
	r := h.atGate(t, manualGate())
	decide := func(f func(*pb.DecideWaveRequest)) error {
		req := pass(r.GetName())
		req.RequestId = ""
		f(req)
		_, err := h.client().DecideWave(t.Context(), req)
		return err
	}
	wrong := decide(func(m *pb.DecideWaveRequest) { m.Wave = 2 })
	refused(t, wrong, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if !strings.Contains(wrong.Error(), "it waits at the gate of wave 1, not of wave 2") {
		t.Errorf("DecideWave of another wave = %v, want it to say which one waits", wrong)
	}
	refused(t, decide(func(m *pb.DecideWaveRequest) { m.Etag = "r1" }), codes.Aborted, "ETAG_MISMATCH")
	refused(t, decide(func(m *pb.DecideWaveRequest) { m.Name = "rotations/" + requestID }), codes.NotFound, "NOT_FOUND")
	refused(t, decide(func(m *pb.DecideWaveRequest) { m.Result = 0 }), codes.InvalidArgument, "INVALID_FIELDS")
	if g := h.get(t, r.GetName()).GetGate(); g.GetResult() != pb.GateResult_GATE_RESULT_UNSPECIFIED {
		t.Errorf("after what was refused the gate is %v, want it waited for", g)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	refused(t, decide(func(*pb.DecideWaveRequest) {}), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	r = h.atGate(t, &pb.Gate{Gate: &pb.Gate_Check{Check: "health"}})
	byHand := decide(func(*pb.DecideWaveRequest) {})
	refused(t, byHand, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if !strings.Contains(byHand.Error(), `waits for the check "health"`) {
		t.Errorf("DecideWave of a check's gate = %v, want it to say who answers", byHand)
	}
}
