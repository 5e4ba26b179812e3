package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// DecideWave answers the manual gate at which a wave waits.
func (s *Service) DecideWave(ctx context.Context, req *pb.DecideWaveRequest) (*pb.DecideWaveResponse, error) {
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			return r.Decide(rollover.GateAnswer{
				Wave: int(req.GetWave()), Result: resultOf(req.GetResult()), Reason: req.GetReason(),
				By: rollover.ByCaller, Who: edge.Caller(ctx), RequestID: strings.ToLower(req.GetRequestId()),
			}, now)
		},
		happened: func(r rollover.Rotation) bool { return strings.EqualFold(r.Gate.RequestID, req.GetRequestId()) },
	})
	return &pb.DecideWaveResponse{Rotation: r}, err
}

// unknownChecks says which gates name a check that this server does not have.
func (s *Service) unknownChecks(gates []rollover.Gate) []*edge.Violation {
	var vs []*edge.Violation
	for i, g := range gates {
		if g.Kind != rollover.CheckGate || slices.Contains(s.c.Checks, g.Check) {
			continue
		}
		known := "the configuration of the server has none"
		if len(s.c.Checks) > 0 {
			known = "must be one of " + strings.Join(slices.Sorted(slices.Values(s.c.Checks)), ", ")
		}
		vs = append(vs, edge.Violated(fmt.Sprintf("rotation.spec.strategy.gates[%d].check", i), "UNKNOWN", known))
	}
	return vs
}

// tierLabel is the label that OrderKey.tier stands for.
const tierLabel = "tier"

func orderOf(keys []*pb.OrderKey) []rollover.OrderKey {
	var out []rollover.OrderKey
	for _, k := range keys {
		key := rollover.OrderKey{By: rollover.ByLabel, Values: k.GetValues()}
		switch by := k.GetKey().(type) {
		case *pb.OrderKey_Label:
			key.Label = by.Label
		case *pb.OrderKey_Tier:
			key.Label = tierLabel
		case *pb.OrderKey_Region:
			key.By = rollover.ByRegion
		case *pb.OrderKey_Cloud:
			key.By = rollover.ByCloud
		}
		out = append(out, key)
	}
	return out
}

func orderProto(keys []rollover.OrderKey) []*pb.OrderKey {
	var out []*pb.OrderKey
	for _, k := range keys {
		p := &pb.OrderKey{Values: k.Values}
		switch k.By {
		case rollover.ByRegion:
			p.Key = &pb.OrderKey_Region{Region: true}
		case rollover.ByCloud:
			p.Key = &pb.OrderKey_Cloud{Cloud: true}
		default:
			p.Key = &pb.OrderKey_Label{Label: k.Label}
		}
		out = append(out, p)
	}
	return out
}

func gatesOf(gates []*pb.Gate) []rollover.Gate {
	var out []rollover.Gate
	for _, g := range gates {
		if check, ok := g.GetGate().(*pb.Gate_Check); ok {
			out = append(out, rollover.Gate{Kind: rollover.CheckGate, Check: check.Check})
			continue
		}
		out = append(out, rollover.Gate{Kind: rollover.ManualGate})
	}
	return out
}

func gatesProto(gates []rollover.Gate) []*pb.Gate {
	var out []*pb.Gate
	for _, g := range gates {
		p := &pb.Gate{Gate: &pb.Gate_Manual{Manual: true}}
		if g.Kind == rollover.CheckGate {
			p.Gate = &pb.Gate_Check{Check: g.Check}
		}
		out = append(out, p)
	}
	return out
}

// resultOf returns what is said, and no pass for a word that is not known.
func resultOf(p pb.GateResult) rollover.GateResult {
	switch p {
	case pb.GateResult_GATE_RESULT_PASS:
		return rollover.GatePass
	case pb.GateResult_GATE_RESULT_FAIL:
		return rollover.GateFail
	default:
		return rollover.GateInconclusive
	}
}

// gateProto says at which gate a rotation stands; nothing before the first.
func gateProto(r rollover.Rotation) *pb.GateStatus {
	g := r.Gate
	if g.Wave == 0 || g.Index >= len(r.Spec.Strategy.Gates) {
		return nil
	}
	return &pb.GateStatus{
		Wave: int32(g.Wave), Number: int32(g.Index + 1), Name: r.Spec.Strategy.Gates[g.Index].String(), //nolint:gosec // Few.
		Result: pb.GateResult(pb.GateResult_value["GATE_RESULT_"+strings.ToUpper(string(g.Result))]),
		Reason: g.Reason, Time: instant(g.At), Decider: g.By, DeciderName: g.Who,
	}
}
