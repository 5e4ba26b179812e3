package edge

import (
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// createRotation checks the whole of what is asked for. Whether the kind is
// known, the certificate and the tenants are there and the thumbprints can be
// read is found out by the service.
func (v *violations) createRotation(m *pb.CreateRotationRequest) {
	v.requestID(m.GetRequestId())
	r := m.GetRotation()
	if r == nil {
		v.add("rotation", "REQUIRED", "must be set")
		return
	}
	v.text("rotation.display_name", r.GetDisplayName(), maxDisplayName)
	v.labels("rotation.labels", r.GetLabels())
	s := r.GetSpec()
	if s == nil {
		v.add("rotation.spec", "REQUIRED", "must be set")
		return
	}
	v.spec(s)
}

func (v *violations) spec(s *pb.RotationSpec) {
	const at = "rotation.spec."
	v.required(at+"kind", s.GetKind())
	v.name(at+"certificate", s.GetCertificate(), isCertificate)
	if s.GetIncident() == nil || s.GetTarget().GetSelection() != nil { // An incident's is for all tenants.
		v.selector(at+"target", s.GetTarget())
	}
	if len(s.GetReplaces()) > maxReplaces {
		v.add(at+"replaces", "LENGTH", fmt.Sprintf("has %d, at most %d are allowed", len(s.GetReplaces()), maxReplaces))
	}
	if len(s.GetIdentity()) > maxIdentity {
		v.add(at+"identity", "LENGTH", fmt.Sprintf("must have at most %d bytes", maxIdentity))
	}
	v.text(at+"identity", s.GetIdentity(), maxIdentity)
	v.text(at+"reason", s.GetReason(), maxReason)
	v.between(at+"max_in_flight", s.GetMaxInFlight(), maxInFlight)
	v.between(at+"max_tries", s.GetMaxTries(), maxTries)

	v.tolerance(at+"tolerance", s.GetTolerance())
	v.strategy(at+"strategy", s.GetStrategy())
	v.limits(at, s)
	v.schedule(at+"schedule", s.GetSchedule())
	v.drift(at+"drift", s.GetDrift())
	v.undoWindow(at+"undo_window", s.GetUndoWindow(), s.GetReplacesSameSubject() || len(s.GetReplaces()) > 0 || s.GetIncident() != nil)
	v.tolerance(at+"tenant_tolerance", s.GetTenantTolerance())
	if s.GetTenantTolerance().GetMode() == pb.Tolerance_MODE_SOFT && s.GetTolerance().GetMode() != pb.Tolerance_MODE_SOFT {
		v.add(at+"tenant_tolerance.mode", "CONFLICT", "can be SOFT only where tolerance.mode is SOFT too")
	}
	v.order(at+"strategy.order", s.GetStrategy().GetOrder())
	v.gates(at+"strategy.gates", s.GetStrategy().GetGates())
	v.incident(at, s)

	if t := s.GetRetireNotBefore(); t != nil && t.CheckValid() != nil {
		v.add(at+"retire_not_before", "FORMAT", "must be an instant between the years 1 and 9999")
	}
	if _, known := pb.RotationSpec_RetirePolicy_name[int32(s.GetRetirePolicy())]; !known {
		v.add(at+"retire_policy", "UNKNOWN", "must be AUTOMATIC or ON_REQUEST, or absent")
	}
	if s.GetReplacesSameSubject() || len(s.GetReplaces()) > 0 || s.GetIncident() != nil {
		return
	}
	const nothing = "must be absent where neither replaces nor replaces_same_subject says what is to be removed"
	if s.GetRetireNotBefore() != nil {
		v.add(at+"retire_not_before", "CONFLICT", nothing)
	}
	if s.GetRetirePolicy() != pb.RotationSpec_RETIRE_POLICY_UNSPECIFIED {
		v.add(at+"retire_policy", "CONFLICT", nothing)
	}
}

func (v *violations) tolerance(path string, t *pb.Tolerance) {
	if t == nil {
		return
	}
	switch l := t.GetLimit().(type) {
	case *pb.Tolerance_Failures:
		v.between(path+".failures", l.Failures, maxFailures)
	case *pb.Tolerance_Percent:
		v.between(path+".percent", l.Percent, 100)
	default:
		v.add(path, "REQUIRED", "must say failures or percent")
	}
	if _, known := pb.Tolerance_Mode_name[int32(t.GetMode())]; !known {
		v.add(path+".mode", "UNKNOWN", "must be STRICT or SOFT, or absent")
	}
}

func (v *violations) strategy(path string, s *pb.Strategy) {
	if _, known := pb.Strategy_Start_name[int32(s.GetStart())]; !known {
		v.add(path+".start", "UNKNOWN", "must be SLOW or FULL, or absent")
	}
	if d := s.GetBakeTime(); d != nil && (d.CheckValid() != nil || d.AsDuration() < 0 || d.AsDuration() > maxBake) {
		v.add(path+".bake_time", "RANGE", "must be from 0 to 30 days")
	}
	v.count(path+".waves", len(s.GetWaves()), 0, maxWaves)
	for i, w := range s.GetWaves()[:min(len(s.GetWaves()), maxWaves)] {
		switch size := w.GetSize().(type) {
		case *pb.WaveSize_Tasks:
			if size.Tasks < 1 || size.Tasks > maxFailures {
				v.add(fmt.Sprintf("%s.waves[%d].tasks", path, i), "RANGE", "must be from 1 to 1,000,000")
			}
		case *pb.WaveSize_Percent:
			if size.Percent < 1 || size.Percent > 100 {
				v.add(fmt.Sprintf("%s.waves[%d].percent", path, i), "RANGE", "must be from 1 to 100")
			}
		default:
			v.add(fmt.Sprintf("%s.waves[%d]", path, i), "REQUIRED", "must say tasks or percent")
		}
	}
}

func (v *violations) drift(path string, d *pb.DriftPolicy) {
	if d == nil {
		return
	}
	every, span := d.GetEvery(), d.GetFor()
	most := rollover.MaxCheckFor
	switch {
	case every == nil:
		v.add(path+".every", "REQUIRED", "must be set")
	case every.CheckValid() != nil || every.AsDuration() < rollover.MinCheckEvery || every.AsDuration() > most:
		v.add(path+".every", "RANGE", "must be from 1 hour to 365 days")
	}
	switch {
	case span == nil:
		v.add(path+".for", "REQUIRED", "must be set")
	case span.CheckValid() != nil || span.AsDuration() < every.AsDuration() || span.AsDuration() > most:
		v.add(path+".for", "RANGE", "must be from every to 365 days")
	}
}

func (v *violations) selector(path string, t *pb.TargetSelector) {
	switch sel := t.GetSelection().(type) {
	case *pb.TargetSelector_AllTenants:
		if !sel.AllTenants {
			v.add(path+".all_tenants", "RANGE", "must be true, or tenants be set instead")
		}
	case *pb.TargetSelector_Tenants:
		v.tenantNames(path+".tenants.names", sel.Tenants.GetNames())
	case *pb.TargetSelector_Filter:
		v.required(path+".filter", sel.Filter)
	case *pb.TargetSelector_DriftedOf:
		v.name(path+".drifted_of", sel.DriftedOf, isRotation)
	case *pb.TargetSelector_TargetSet:
		v.name(path+".target_set", sel.TargetSet, isTargetSet)
	case *pb.TargetSelector_FailedOf:
		v.name(path+".failed_of", sel.FailedOf, isRotation)
	default:
		v.add(path, "REQUIRED", "must be set: all_tenants, tenants, filter, target_set, failed_of or drifted_of")
	}
}
