package rotation

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// What a rotation gets where the caller says nothing, as the contract states.
const (
	defaultInFlight = 256
	defaultTries    = 5
)

// specOf reads what is asked for, and says which thumbprints are none. The
// certificate is joined by the caller.
func specOf(p *pb.RotationSpec) (rollover.Spec, []*edge.Violation) {
	s := rollover.Spec{
		Kind: p.GetKind(), ReplacesSubject: p.GetReplacesSameSubject(), AllTenants: p.GetTarget().GetAllTenants(),
		Filter: p.GetTarget().GetFilter(), EndpointFilter: p.GetTarget().GetEndpointFilter(),
		Identity: p.GetIdentity(), MaxInFlight: int(p.GetMaxInFlight()), MaxTries: int(p.GetMaxTries()), Reason: p.GetReason(),
		Tolerance: toleranceOf(p.GetTolerance()), Strategy: strategyOf(p.GetStrategy()),
		Lane: laneOf(p.GetLane()), Limits: limitsOf(p.GetLimits()),
		Incident: incidentOf(p.GetIncident()),
	}
	if s.Incident != nil {
		s.Lane = rollover.Urgent
	}
	s.StageDeadline, s.Schedule = scheduleOf(p.GetSchedule())
	s.FailedOf, _ = edge.ParseRotation(p.GetTarget().GetFailedOf())
	if p.GetTenantTolerance() != nil {
		s.TenantTolerance = toleranceOf(p.GetTenantTolerance())
	}
	if s.MaxInFlight == 0 {
		s.MaxInFlight = defaultInFlight
	}
	if s.MaxTries == 0 {
		s.MaxTries = defaultTries
	}
	var vs []*edge.Violation
	for i, text := range p.GetReplaces() {
		sha, err := certs.ParseThumbprint(text)
		if err != nil {
			vs = append(vs, edge.Violated(fmt.Sprintf("rotation.spec.replaces[%d]", i), "FORMAT", err.Error()))
			continue
		}
		s.Replaces = append(s.Replaces, sha)
	}
	if !s.Retires() {
		return s, vs
	}
	s.RetirePolicy = rollover.RetireAutomatic
	if p.GetRetirePolicy() == pb.RotationSpec_RETIRE_POLICY_ON_REQUEST {
		s.RetirePolicy = rollover.RetireOnRequest
	}
	s.UndoWindow = undoWindowOf(p.GetUndoWindow())
	if t := p.GetRetireNotBefore(); t != nil {
		s.RetireNotBefore = t.AsTime()
	}
	return s, vs
}

// specProto is the way back.
func specProto(s rollover.Spec) *pb.RotationSpec {
	p := &pb.RotationSpec{
		Kind: s.Kind, Certificate: edge.CertificateName(s.New.SHA256), Replaces: s.Replaces, ReplacesSameSubject: s.ReplacesSubject,
		Target:   &pb.TargetSelector{Selection: &pb.TargetSelector_Tenants{Tenants: &pb.TenantNames{}}},
		Identity: s.Identity, RetireNotBefore: instant(s.RetireNotBefore),
		MaxInFlight: int32(s.MaxInFlight), MaxTries: int32(s.MaxTries), Reason: s.Reason, //nolint:gosec // Bounded by Validate.
		Tolerance: toleranceProto(s.Tolerance), Strategy: strategyProto(s.Strategy), Schedule: scheduleProto(s), TenantTolerance: toleranceProto(s.TenantTolerance),
		Lane: laneProto(s.Lane), Limits: limitsProto(s.Limits),
		Incident: incidentProto(s.Incident),
	}
	if s.Filter != "" {
		p.Target.Selection = &pb.TargetSelector_Filter{Filter: s.Filter}
	}
	if s.DriftedOf != "" {
		p.Target.Selection = &pb.TargetSelector_DriftedOf{DriftedOf: edge.RotationName(s.DriftedOf)}
	}
	if s.FailedOf != "" {
		p.Target.Selection = &pb.TargetSelector_FailedOf{FailedOf: edge.RotationName(s.FailedOf)}
	}
	if s.Retires() {
		p.UndoWindow = durationpb.New(s.UndoFor())
	}
	if s.AllTenants {
		p.Target.Selection = &pb.TargetSelector_AllTenants{AllTenants: true}
	}
	p.Drift = driftPolicyProto(s.Drift)
	if s.TargetSet != "" {
		p.Target.Selection = &pb.TargetSelector_TargetSet{TargetSet: edge.TargetSetName(s.TargetSet)}
	}
	p.Target.EndpointFilter = s.EndpointFilter
	switch s.RetirePolicy {
	case rollover.RetireAutomatic:
		p.RetirePolicy = pb.RotationSpec_RETIRE_POLICY_AUTOMATIC
	case rollover.RetireOnRequest:
		p.RetirePolicy = pb.RotationSpec_RETIRE_POLICY_ON_REQUEST
	}
	return p
}

// rotationProto returns a rotation as callers see it.
func rotationProto(r rollover.Rotation, c rollover.Counts) *pb.Rotation {
	p := &pb.Rotation{
		DisplayName: r.DisplayName, Labels: r.Labels, Spec: specProto(r.Spec),
		State: stateProto(r.State), Phase: phaseProto(r.Phase), StatusDetail: statusDetail(r),
		PlanDigest: r.Digest, TenantCount: int32(r.Tenants), Creator: r.Creator, //nolint:gosec // An inventory has fewer than 2^31 tenants.
		CreateTime: instant(r.CreatedAt), UpdateTime: instant(r.UpdatedAt), PlanTime: instant(r.PlannedAt),
		StartTime: instant(r.StartedAt), EndTime: instant(r.EndedAt),
	}
	if r.ID != "" {
		p.Name, p.Etag = edge.RotationName(r.ID), etagOf(r)
	}
	p.Gate = gateProto(r)
	p.Approvals = approvalsProto(r)
	if r.Spec.Retires() {
		p.RetireNotBefore = instant(r.RetireNotBefore())
	}
	if r.Digest != "" {
		p.Counts = countsProto(c)
		p.FailureBudget = budgetProto(r, c)
		p.WaveSizes, p.Wave = wavesProto(r, c)
		p.Throttle = throttleProto(r, c)
		p.Check = checkProto(r, c)
		p.Undo = undoProto(r, c)
	}
	p.Containment = containmentProto(r, c, r.CreatedAt) // What time passes is no news.
	return p
}

// etagOf names the version of the record. Counts are not in it, or no etag would
// ever match on a running rotation.
func etagOf(r rollover.Rotation) string { return fmt.Sprintf("r%d", r.Rev) }

func statusDetail(r rollover.Rotation) *pb.OperationError {
	switch r.State {
	case rollover.StateFailed:
		return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_TASKS_FAILED, Message: r.Detail}
	case rollover.StatePaused:
		if r.Exceeded {
			return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_TOLERANCE_EXCEEDED, Message: r.Detail}
		}
		switch r.Gate.Result {
		case rollover.GateFail:
			return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_GATE_FAILED, Message: r.Detail}
		case rollover.GateInconclusive:
			return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_GATE_INCONCLUSIVE, Message: r.Detail}
		}
		return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_PAUSED_BY_REQUEST, Message: r.Detail}
	case rollover.StateCancelling, rollover.StateCancelled:
		return &pb.OperationError{Reason: pb.ErrorReason_ERROR_REASON_CANCELLED_BY_REQUEST, Message: r.Detail}
	default:
		return nil
	}
}

func countsProto(c rollover.Counts) *pb.TaskCounts {
	return &pb.TaskCounts{
		Total:   int64(c.Total),
		Planned: int64(c.Phases[rollover.Planned]), Staged: int64(c.Phases[rollover.Staged]),
		Verified: int64(c.Phases[rollover.Verified]), Activated: int64(c.Phases[rollover.Activated]),
		Retrying: int64(c.Retrying), AlreadyPresent: int64(c.Present), Retired: int64(c.Retired), Advised: int64(c.Advised),
		Succeeded: int64(c.Outcome(rollover.Succeeded)), Skipped: int64(c.Outcome(rollover.Skipped)),
		HandedOver: int64(c.Outcome(rollover.HandedOver)), Conflict: int64(c.Outcome(rollover.Conflict)),
		Failed: int64(c.Outcome(rollover.Failed)), Cancelled: int64(c.Outcome(rollover.Cancelled)),
		Undone: int64(c.Outcome(rollover.Undone)),
	}
}

// The values of our enums are the room's words in capitals, with the prefix that
// the contract's style asks for. The tests hold both to it.

func stateProto(s rollover.RotationState) pb.Rotation_State {
	return pb.Rotation_State(pb.Rotation_State_value["STATE_"+strings.ToUpper(string(s))])
}

func phaseProto(p rollover.RotationPhase) pb.Rotation_Phase {
	return pb.Rotation_Phase(pb.Rotation_Phase_value["PHASE_"+strings.ToUpper(string(p))])
}

// instant returns t, or nothing for a time that is not known.
func instant(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
