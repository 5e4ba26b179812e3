package main

import (
	"strings"
	"testing"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestLane_IsReadAndShown(t *testing.T) {
	for text, want := range map[string]crossfadev1.Lane{
		"": crossfadev1.Lane_LANE_UNSPECIFIED, "bulk": crossfadev1.Lane_LANE_BULK, "urgent": crossfadev1.Lane_LANE_URGENT,
	} {
		if got, err := (rotateFlags{lane: text}).laneOf(); err != nil || got != want {
			t.Errorf("--lane %q = %v, %v, want %v", text, got, err, want)
		}
	}
	if _, err := (rotateFlags{lane: "fast"}).laneOf(); err == nil || !strings.Contains(err.Error(), "bulk or urgent") {
		t.Errorf("--lane fast = %v, want it refused with what there is", err)
	}
	r := &crossfadev1.Rotation{Spec: &crossfadev1.RotationSpec{}}
	if s := laneText(r) + throttleText(r); s != "" {
		t.Errorf("a bulk rotation without limits and throttle shows %q", s)
	}
	r.Spec.Lane, r.Spec.Limits = crossfadev1.Lane_LANE_URGENT, rotateFlags{perTenant: 2, perSecond: 50}.limits()
	if got, want := laneText(r), "urgent, at most 2 of a tenant at once, at most 50 starts a second"; got != want {
		t.Errorf("lane is shown as %q, want %q", got, want)
	}
	r.Throttle = &crossfadev1.Throttle{Throttled: 3, Unreachable: 1, PacePercent: 25}
	want := "waiting for hosts that want fewer calls: 3 tasks, waiting for hosts, or stores of secrets, that do not answer: 1 task, all goes at 25 % of full speed"
	if got := throttleText(r); got != want {
		t.Errorf("throttle is shown as %q, want %q", got, want)
	}
}
