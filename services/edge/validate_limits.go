package edge

import (
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// maxLimit bounds each of the limits of a rotation.
const maxLimit = 10_000

// limits checks the lane and the limits of what is asked for.
func (v *violations) limits(at string, s *pb.RotationSpec) {
	if _, known := pb.Lane_name[int32(s.GetLane())]; !known {
		v.add(at+"lane", "UNKNOWN", "must be BULK or URGENT, or absent")
	}
	v.between(at+"limits.max_in_flight_per_tenant", s.GetLimits().GetMaxInFlightPerTenant(), maxLimit)
	v.between(at+"limits.max_starts_per_second", s.GetLimits().GetMaxStartsPerSecond(), maxLimit)
}
