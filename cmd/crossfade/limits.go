package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// limitFlags adds the flags about lane and limits.
func (f *rotateFlags) limitFlags(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.lane, "lane", "", "`LANE`: \"bulk\", or \"urgent\" to pass all bulk rotations (default bulk)")
	fl.Int32Var(&f.perTenant, "max-in-flight-per-tenant", 0, "tasks of one tenant worked on at once (default no limit)")
	fl.Int32Var(&f.perSecond, "max-starts-per-second", 0, "tasks sent to workers in a second (default no limit)")
}

// laneOf reads the lane; nothing said is the service's default.
func (f rotateFlags) laneOf() (crossfadev1.Lane, error) {
	switch f.lane {
	case "":
		return crossfadev1.Lane_LANE_UNSPECIFIED, nil
	case "bulk":
		return crossfadev1.Lane_LANE_BULK, nil
	case "urgent":
		return crossfadev1.Lane_LANE_URGENT, nil
	default:
		return 0, usage("--lane %q: want bulk or urgent", f.lane)
	}
}

// limits reads the limits. What is out of bounds the service refuses, by name.
func (f rotateFlags) limits() *crossfadev1.Limits {
	if f.perTenant == 0 && f.perSecond == 0 {
		return nil
	}
	return &crossfadev1.Limits{MaxInFlightPerTenant: f.perTenant, MaxStartsPerSecond: f.perSecond}
}

// laneText is the lane and the limits of a rotation, or empty for a bulk one
// without limits.
func laneText(r *crossfadev1.Rotation) string {
	var parts []string
	if r.GetSpec().GetLane() == crossfadev1.Lane_LANE_URGENT {
		parts = append(parts, "urgent")
	}
	l := r.GetSpec().GetLimits()
	if n := l.GetMaxInFlightPerTenant(); n > 0 {
		parts = append(parts, fmt.Sprintf("at most %d of a tenant at once", n))
	}
	if n := l.GetMaxStartsPerSecond(); n > 0 {
		parts = append(parts, fmt.Sprintf("at most %d starts a second", n))
	}
	return strings.Join(parts, ", ")
}

// throttleText says what holds a rotation up besides its targets, or is empty.
func throttleText(r *crossfadev1.Rotation) string {
	t := r.GetThrottle()
	if t == nil {
		return ""
	}
	var parts []string
	if n := t.GetThrottled(); n > 0 {
		parts = append(parts, "waiting for hosts that want fewer calls: "+amount(n, "task"))
	}
	if n := t.GetUnreachable(); n > 0 {
		parts = append(parts, "waiting for hosts, or stores of secrets, that do not answer: "+amount(n, "task"))
	}
	if p := t.GetPacePercent(); p < 100 {
		parts = append(parts, fmt.Sprintf("all goes at %d %% of full speed", p))
	}
	return strings.Join(parts, ", ")
}
