package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Blocks is the block list as the service needs it. An incident adds to it.
type Blocks interface {
	rollover.Blocks
	// Block puts an entry on the list, unless it is there; see [certs.Blocks.Block].
	Block(ctx context.Context, e certs.Block, requestID string) (certs.Block, error)
}

// aimed returns what is asked for with all tenants as its target where an incident
// names none.
func aimed(spec *pb.RotationSpec) *pb.RotationSpec {
	if spec.GetIncident() == nil || spec.GetTarget().GetSelection() != nil {
		return spec
	}
	spec = proto.CloneOf(spec)
	if spec.Target == nil {
		spec.Target = &pb.TargetSelector{}
	}
	spec.Target.Selection = &pb.TargetSelector_AllTenants{AllTenants: true}
	return spec
}

// incidentOf reads an incident, nil where there is none.
func incidentOf(p *pb.Incident) *rollover.Incident {
	if p == nil {
		return nil
	}
	i := &rollover.Incident{ShortenedOverlap: p.GetShortenedOverlap().AsDuration(), Summary: strings.TrimSpace(p.GetSummary())}
	for _, x := range p.GetCompromised() {
		id, _ := edge.CompromisedSubject(x) // Validate has seen to it.
		i.Compromised = append(i.Compromised, rollover.Compromised{Sort: rollover.CompromisedSort(id.Sort), Hash: id.Hash})
	}
	return i
}

// incidentProto is the way back.
func incidentProto(i *rollover.Incident) *pb.Incident {
	if i == nil {
		return nil
	}
	p := &pb.Incident{Summary: i.Summary}
	if i.ShortenedOverlap > 0 {
		p.ShortenedOverlap = durationpb.New(i.ShortenedOverlap)
	}
	for _, x := range i.Compromised {
		c := &pb.Compromised{}
		switch x.Sort {
		case rollover.CompromisedSHA256:
			c.Subject = &pb.Compromised_Sha256{Sha256: x.Hash}
		case rollover.CompromisedSHA1:
			c.Subject = &pb.Compromised_Sha1{Sha1: x.Hash}
		case rollover.CompromisedKeyHash:
			c.Subject = &pb.Compromised_KeyHash{KeyHash: x.Hash}
		}
		p.Compromised = append(p.Compromised, c)
	}
	return p
}

// containmentProto says how far an incident is contained at now, nil where there is
// none.
func containmentProto(r rollover.Rotation, counts rollover.Counts, now time.Time) *pb.Containment {
	if r.Spec.Incident == nil {
		return nil
	}
	c := r.Containment(counts, now)
	p := &pb.Containment{
		Carriers: int64(c.All), Contained: int64(c.Rid), Left: int64(c.Lost), Unknown: int64(c.Dark),
		BeginTime: instant(c.Begun), ContainedTime: instant(c.At), Elapsed: durationpb.New(c.Elapsed), RetireNotBefore: instant(c.NotBefore),
	}
	if a := c.Approval; !a.At.IsZero() {
		p.Approval = &pb.Approval{Approver: a.By, ApproveTime: instant(a.At), Reason: a.Reason, PlanDigest: a.Digest}
	}
	return p
}

// usable says what in an incident stands against the new certificate, or against
// who asks.
func (s *Service) usable(ctx context.Context, i *rollover.Incident, cert certs.Certificate, now time.Time) ([]*edge.Violation, error) {
	if i == nil {
		return nil, nil
	}
	if rollover.Nobody(edge.Caller(ctx)) {
		return nil, &edge.Problem{
			Code: codes.PermissionDenied, Reason: pb.ErrorReason_ERROR_REASON_SECOND_PERSON_NEEDED,
			Message: "say who you are, in the metadata " + edge.CallerHeader + ": a second person is to approve an incident's rotation, and must be another",
		}
	}
	name := edge.CertificateName(cert.SHA256)
	if now.Before(cert.NotBefore) {
		why := fmt.Sprintf("the new certificate is not valid before %s: until then nothing that is compromised can be removed; rotate to one that is valid now",
			cert.NotBefore.UTC().Format(time.RFC3339))
		return nil, edge.Refused(pb.ErrorReason_ERROR_REASON_CERTIFICATE_UNUSABLE, why, &edge.Unmet{Type: "NOT_YET_VALID", Subject: name, Description: why})
	}
	key, err := rollover.KeyHash(cert.DER)
	if err != nil {
		return nil, fmt.Errorf("reading the key of %s: %w", name, err)
	}
	var vs []*edge.Violation
	for n, x := range i.Compromised {
		one := &rollover.Incident{Compromised: []rollover.Compromised{x}}
		if one.Judge(cert.SHA256, cert.SHA1, key) != rollover.Clean {
			vs = append(vs, edge.Violated(fmt.Sprintf("rotation.spec.incident.compromised[%d]", n), "CONFLICT",
				"is the new certificate itself, or its key; rotate to a certificate for a new key"))
		}
	}
	return vs, nil
}

// block puts what is compromised on the block list before the rotation is there, so
// that nobody puts it in place meanwhile. A repeat blocks nothing anew: an entry that
// someone has removed since stays removed, and then the rotation is not created.
func (s *Service) block(ctx context.Context, r rollover.Rotation) error {
	if r.Spec.Incident == nil {
		return nil
	}
	reason := "compromised; " + edge.RotationName(r.ID) + " replaces it"
	if r.Spec.Incident.Summary != "" {
		reason += ": " + r.Spec.Incident.Summary
	}
	for _, x := range r.Spec.Incident.Compromised {
		id := certs.BlockID{Sort: certs.BlockSort(x.Sort), Hash: x.Hash}
		e, err := s.c.Blocks.Block(ctx, certs.Block{ID: id, Reason: reason, By: r.Creator, At: s.c.Now().UTC()}, r.ID)
		if err != nil {
			return edge.About(edge.BlockName(id), fmt.Errorf("blocking %s: %w", x, err))
		}
		if e.Removal != nil {
			why := fmt.Sprintf("%s was taken off the block list by %s meanwhile; create the rotation anew, under another request_id", x, e.Removal.By)
			return edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, why, &edge.Unmet{Type: "STATE", Subject: edge.BlockName(id), Description: why})
		}
	}
	return nil
}
