package rollover

// LatestVersion is the newest version of a record that this program reads and
// writes. A program that meets a newer one refuses the record: it neither acts on
// it nor writes it back.
const LatestVersion = 2

// Version returns the lowest version that r may be stored with: 2 where it
// carries something that a program of version 1 must not ignore, or must not lose
// by writing the record back, else 1, so that programs of two builds can share the
// rotations that both understand. It never falls below the version that r was
// read with. What is not asked about here is for people, or is made again, or its
// loss makes a later change be refused.
func (r Rotation) Version() int {
	switch {
	case r.V > RecordVersion:
		return r.V
	case r.Spec.binds(), r.State == StateUndoing, r.State == StateUndone, r.Undo != nil:
	case r.RetryID != "", r.Retried != 0, r.WaveRetried != 0, r.Reopened != 0:
	case r.TenantHeld, r.AcceptedSeq != 0, r.Gate != (GateState{}):
	case r.Approval != (Approval{}), len(r.Approvals) > 0, !r.Early.IsZero(), !r.OverlapAt.IsZero(), r.Opening != (Opening{}):
	case r.CreatorProven != "", len(r.Clouds) > 0, len(r.Within) > 0: // Who is no second person, where more of them are needed, whose targets are left alone.
	default:
		return RecordVersion
	}
	return LatestVersion
}

// binds reports whether the request sets a bound or a choice of targets that a
// program of version 1 would not keep to.
func (s Spec) binds() bool {
	return s.EndpointFilter != "" || s.TargetSet != "" || s.TargetSetDigest != "" || s.DriftedOf != "" || s.FailedOf != "" || s.Purpose != ToRotate ||
		s.TenantTolerance != (Tolerance{}) || !s.Schedule.Empty() || s.Limits != (Limits{}) || s.Incident != nil ||
		len(s.Strategy.Order) > 0 || len(s.Strategy.Gates) > 0
}

// Version returns the lowest version that p may be stored with, as
// [Rotation.Version] does.
func (p Progress) Version() int {
	if p.V > RecordVersion {
		return p.V
	}
	if p.Undo != 0 || p.Retried != 0 || p.Named != 0 || p.NamedAt != 0 || p.RetryID != "" {
		return LatestVersion
	}
	return RecordVersion
}
