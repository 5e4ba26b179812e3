package rotation

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/certs"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// unblocked returns a problem if the certificate, or its key, is on the block list,
// and an error if that cannot be found out.
func (s *Service) unblocked(ctx context.Context, c certs.Certificate) error {
	why, blocked, err := s.c.Blocks.Blocked(ctx, c.Credential)
	if err != nil {
		return fmt.Errorf("asking the block list: %w", err)
	}
	if !blocked {
		return nil
	}
	name, text := edge.CertificateName(c.SHA256), edge.Whole(ctx, why.Entry, why.Full)
	return edge.Refused(pb.ErrorReason_ERROR_REASON_CERTIFICATE_BLOCKED, "the certificate cannot be rotated to: "+text,
		&edge.Unmet{Type: "BLOCKED", Subject: name, Description: text})
}

// startable returns a problem if the certificate of that hash was blocked since its
// rotation was created.
func (s *Service) startable(ctx context.Context, sha string) error {
	c, err := s.c.Certificates.Certificate(ctx, sha)
	if err != nil {
		return edge.About(edge.CertificateName(sha), err)
	}
	return s.unblocked(ctx, c)
}
