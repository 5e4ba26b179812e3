package rotation

import (
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// defaultTolerance holds where the caller says nothing, as the contract states.
func defaultTolerance() rollover.Tolerance {
	return rollover.Tolerance{Mode: rollover.Strict, Limit: 10, Percent: true}
}

// toleranceOf reads a tolerance.
func toleranceOf(p *pb.Tolerance) rollover.Tolerance {
	if p == nil {
		return defaultTolerance()
	}
	t := rollover.Tolerance{Mode: rollover.Strict, Limit: int(p.GetFailures())}
	if l, ok := p.GetLimit().(*pb.Tolerance_Percent); ok {
		t.Limit, t.Percent = int(l.Percent), true
	}
	if p.GetMode() == pb.Tolerance_MODE_SOFT {
		t.Mode = rollover.Soft
	}
	return t
}

// toleranceProto is the way back; nothing for rotations that have none.
func toleranceProto(t rollover.Tolerance) *pb.Tolerance {
	p := &pb.Tolerance{Limit: &pb.Tolerance_Failures{Failures: int32(t.Limit)}} //nolint:gosec // Bounded by Validate.
	if t.Percent {
		p.Limit = &pb.Tolerance_Percent{Percent: int32(t.Limit)} //nolint:gosec // As above.
	}
	switch t.Mode {
	case rollover.Strict:
		p.Mode = pb.Tolerance_MODE_STRICT
	case rollover.Soft:
		p.Mode = pb.Tolerance_MODE_SOFT
	default:
		return nil
	}
	return p
}

// budgetProto says how the tolerance stands; nothing where there is none.
func budgetProto(r rollover.Rotation, c rollover.Counts) *pb.FailureBudget {
	b := r.Budget(c)
	if b.Mode == "" {
		return nil
	}
	return &pb.FailureBudget{
		Workable: int64(b.Total), Tolerated: int64(b.Allowed(b.Total)), Failed: int64(b.Failed), Accepted: int64(r.Accepted),
	}
}
