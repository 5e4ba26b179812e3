package certificate

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// certificateProto returns a certificate as callers see it.
func certificateProto(c certs.Certificate) *pb.Certificate {
	return &pb.Certificate{
		Name: edge.CertificateName(c.SHA256), Der: c.DER, Sha1Thumbprint: c.SHA1, SpkiSha256: c.SPKI,
		Subject: c.Subject, Issuer: c.Issuer, SerialNumber: c.Serial,
		NotBeforeTime: timestamppb.New(c.NotBefore), NotAfterTime: timestamppb.New(c.NotAfter),
		KeyAlgorithm: c.KeyAlgorithm, KeyBits: int32(c.KeyBits), SubjectAltNames: c.Names, //nolint:gosec // A key has fewer than 2^31 bits.
	}
}

func findingsProto(fs []certs.Finding) []*pb.CertificateFinding {
	out := make([]*pb.CertificateFinding, len(fs))
	for i, f := range fs {
		out[i] = &pb.CertificateFinding{Code: f.Code, Severity: severityProto(f.Severity), Message: f.Message}
	}
	return out
}

func severityProto(s certs.Severity) pb.CertificateFinding_Severity {
	switch s {
	case certs.Error:
		return pb.CertificateFinding_SEVERITY_ERROR
	case certs.Warning:
		return pb.CertificateFinding_SEVERITY_WARNING
	default:
		return pb.CertificateFinding_SEVERITY_INFO
	}
}
