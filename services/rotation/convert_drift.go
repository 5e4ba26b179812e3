package rotation

import (
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// driftPolicyOf reads a policy; without one it is the server's.
func (s *Service) driftPolicyOf(p *pb.DriftPolicy) rollover.DriftPolicy {
	if p == nil {
		return s.c.Drift
	}
	return rollover.DriftPolicy{Every: p.GetEvery().AsDuration(), For: p.GetFor().AsDuration()}
}

// driftPolicyProto is the way back.
func driftPolicyProto(p rollover.DriftPolicy) *pb.DriftPolicy {
	if p.Every <= 0 {
		return nil
	}
	return &pb.DriftPolicy{Every: durationpb.New(p.Every), For: durationpb.New(p.For)}
}

// checkProto says how the checks of a rotation stand, or nothing where there are
// none.
func checkProto(r rollover.Rotation, c rollover.Counts) *pb.CheckStatus {
	k, next := r.Check, r.NextCheck()
	if k.Number == 0 && next.IsZero() {
		return nil
	}
	// What was undone since is no target to check any more, but the last check did look at it.
	looked := c.Drift.Looked(k.Number)
	p := &pb.CheckStatus{
		State:  pb.CheckStatus_State(pb.CheckStatus_State_value["STATE_"+strings.ToUpper(string(k.State))]),
		Number: int32(k.Number), Scheduled: k.Scheduled, //nolint:gosec // Checks are an hour apart.
		Targets: int64(max(c.Checkable(), looked)), Checked: int64(looked),
		Drifted: int64(c.Drift.Drifted), Unreadable: int64(c.Drift.Unreadable),
		StartTime: instant(k.StartedAt), EndTime: instant(k.EndedAt), NextTime: instant(next), Detail: k.Detail,
	}
	for _, kind := range rollover.DriftKinds() {
		if n := c.Drift.Kinds[kind]; n > 0 {
			p.Counts = append(p.Counts, &pb.DriftCount{Kind: driftKindProto(kind), Count: int64(n)})
		}
	}
	return p
}

func driftKindProto(k rollover.DriftKind) pb.Drift_Kind {
	return pb.Drift_Kind(pb.Drift_Kind_value["KIND_"+strings.ToUpper(string(k))])
}

// driftProto returns one drift of a target as callers see it.
func driftProto(rotation string, t mirror.Seen, d rollover.Drift) *pb.Drift {
	return &pb.Drift{
		Task: edge.TaskName(rotation, t.Ord), Tenant: edge.TenantName(t.Tenant), Host: t.Target.Host, Identity: t.Target.Identity,
		Kind: driftKindProto(d.Kind), Sha1Thumbprint: d.SHA1, Sha256: d.SHA256, Subject: d.Subject,
		Detail: d.Detail, Hint: d.Kind.Hint(), Repairable: d.Kind.Repairable(),
		FirstSeenTime: instant(d.Since), LastSeenTime: instant(t.At),
	}
}
