package rotation

import (
	"strings"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// taskProto returns a task as callers see it.
func taskProto(k rollover.Task) *pb.RotationTask {
	p := &pb.RotationTask{
		Name: edge.TaskName(k.ID.Rotation, k.ID.Ord), Tenant: edge.TenantName(k.Item.Tenant),
		Kind: k.Item.Target.Kind, Host: k.Item.Target.Host, Identity: k.Item.Target.Identity,
		Phase: taskPhaseProto(k.Phase), Outcome: outcomeProto(k.Outcome), Reason: reasonProto(k.Reason),
		Hint: k.Reason.Hint(), Detail: k.Detail,
		WillAdd: !k.Item.Present && k.Item.Outcome == rollover.Open,
		Removed: k.Removed, AddedByUs: k.Added, Tries: int32(k.Tries), //nolint:gosec // At most MaxTries.
		NextAttemptTime: instant(k.NextAt), UpdateTime: instant(k.UpdatedAt),
		Revision: int64(k.Rev), //nolint:gosec // A stream's sequence stays below 2^63.
	}
	for _, e := range k.Item.Endpoints {
		p.Endpoints = append(p.Endpoints, &pb.TaskEndpoint{
			Name: edge.EndpointName(e.Tenant, e.ID), DisplayName: e.Name, Federated: e.Federated,
		})
	}
	for _, c := range k.Item.Retire {
		p.WillRetire = append(p.WillRetire, &pb.CredentialName{Sha1Thumbprint: c.SHA1, Sha256: c.SHA256, Subject: c.Subject})
	}
	for _, a := range k.Item.Advice {
		p.Advice = append(p.Advice, adviceProto(a))
	}
	if e := k.Evidence; e != nil {
		p.Evidence = &pb.Evidence{Kind: e.Kind, Time: instant(e.At), Detail: e.Detail}
	}
	return p
}

func taskPhaseProto(p rollover.Phase) pb.RotationTask_Phase {
	return pb.RotationTask_Phase(pb.RotationTask_Phase_value["PHASE_"+strings.ToUpper(string(p))])
}

func outcomeProto(o rollover.Outcome) pb.RotationTask_Outcome {
	if o == rollover.Open {
		return pb.RotationTask_OUTCOME_OPEN
	}
	return pb.RotationTask_Outcome(pb.RotationTask_Outcome_value["OUTCOME_"+strings.ToUpper(string(o))])
}

func reasonProto(r rollover.Reason) pb.RotationTask_Reason {
	return pb.RotationTask_Reason(pb.RotationTask_Reason_value["REASON_"+strings.ToUpper(string(r))])
}

func adviceProto(a rollover.Advice) pb.RotationTask_Advice {
	return pb.RotationTask_Advice(pb.RotationTask_Advice_value["ADVICE_"+strings.ToUpper(string(a))])
}
