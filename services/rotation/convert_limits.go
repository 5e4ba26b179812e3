package rotation

import (
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func laneOf(p pb.Lane) rollover.Lane {
	if p == pb.Lane_LANE_URGENT {
		return rollover.Urgent
	}
	return rollover.Bulk
}

func laneProto(l rollover.Lane) pb.Lane {
	if l == rollover.Urgent {
		return pb.Lane_LANE_URGENT
	}
	return pb.Lane_LANE_BULK
}

func limitsOf(p *pb.Limits) rollover.Limits {
	return rollover.Limits{PerTenant: int(p.GetMaxInFlightPerTenant()), StartsPerSecond: int(p.GetMaxStartsPerSecond())}
}

// limitsProto is the way back; nothing where there are none.
func limitsProto(l rollover.Limits) *pb.Limits {
	if l == (rollover.Limits{}) {
		return nil
	}
	return &pb.Limits{MaxInFlightPerTenant: int32(l.PerTenant), MaxStartsPerSecond: int32(l.StartsPerSecond)} //nolint:gosec // Bounded by Validate.
}

// throttleProto says what holds a rotation up; nothing while nothing does.
func throttleProto(r rollover.Rotation, c rollover.Counts) *pb.Throttle {
	running := r.State == rollover.StateRunning || r.State == rollover.StatePaused
	if !running || c.Throttled+c.Down+c.Slowed == 0 {
		return nil
	}
	return &pb.Throttle{Throttled: int64(c.Throttled), Unreachable: int64(c.Down), PacePercent: int32(100 - c.Slowed)} //nolint:gosec // 1 to 100.
}
