// Package certificate is CertificateService: it takes public certificates in and
// shows them.
package certificate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/crossfade-project/crossfade/internal/certs"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Store is what the service needs of a [certs.Store].
type Store interface {
	Add(ctx context.Context, c certs.Certificate) (created bool, err error)
	Certificate(ctx context.Context, thumbprint string) (certs.Certificate, error)
	List(ctx context.Context) ([]certs.Certificate, error)
}

// Config is what a [Service] is made of. All fields are required.
type Config struct {
	Store    Store
	Blocks   Blocks
	Requests edge.RequestBucket // forgets after 24 hours
	Now      func() time.Time
}

// Service answers the calls of CertificateService.
type Service struct {
	pb.UnimplementedCertificateServiceServer
	c Config
}

// New returns the service.
func New(c Config) *Service { return &Service{c: c} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { pb.RegisterCertificateServiceServer(r, s) }

// UploadCertificate reads a file, judges the certificate in it and stores it. The
// bytes that were sent are wiped, whatever they were.
func (s *Service) UploadCertificate(ctx context.Context, req *pb.UploadCertificateRequest) (*pb.UploadCertificateResponse, error) {
	c, err := certs.Read(req.GetContent())
	clear(req.GetContent())
	if err != nil {
		return nil, unreadable(err)
	}
	if !req.GetValidateOnly() {
		if _, err := s.c.Store.Add(ctx, c); err != nil {
			return nil, edge.About(edge.CertificateName(c.SHA256), fmt.Errorf("storing certificate: %w", err))
		}
	}
	findings, err := s.judge(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.UploadCertificateResponse{Certificate: certificateProto(c), Findings: findingsProto(findings)}, nil
}

// unreadable says why a file was not taken. The errors of certs repeat nothing of
// a file but names and thumbprints of certificates.
func unreadable(err error) error {
	reason := pb.ErrorReason_ERROR_REASON_CERTIFICATE_UNREADABLE
	if errors.Is(err, certs.ErrPrivateKey) {
		reason = pb.ErrorReason_ERROR_REASON_PRIVATE_KEY_REJECTED
	}
	return edge.InvalidFor(reason, edge.Violated("content", "FORMAT", err.Error()))
}

// GetCertificate reads one certificate.
func (s *Service) GetCertificate(ctx context.Context, req *pb.GetCertificateRequest) (*pb.GetCertificateResponse, error) {
	sha, _ := edge.ParseCertificate(req.GetName())
	c, err := s.c.Store.Certificate(ctx, sha)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	findings, err := s.judge(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.GetCertificateResponse{Certificate: certificateProto(c), Findings: findingsProto(findings)}, nil
}

// listed are the fields by which certificates are filtered.
func listed() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"subject", "issuer", "sha1_thumbprint", "key_algorithm"}, Times: []string{"not_before_time", "not_after_time"},
	}
}

func value(c certs.Certificate, field string) any {
	switch p := certificateProto(c); field {
	case "name":
		return p.GetName()
	case "subject":
		return p.GetSubject()
	case "issuer":
		return p.GetIssuer()
	case "sha1_thumbprint":
		return p.GetSha1Thumbprint()
	case "key_algorithm":
		return p.GetKeyAlgorithm()
	case "not_before_time":
		return c.NotBefore
	case "not_after_time":
		return c.NotAfter
	}
	return nil
}

// ListCertificates lists certificates.
func (s *Service) ListCertificates(ctx context.Context, req *pb.ListCertificatesRequest) (*pb.ListCertificatesResponse, error) {
	o, err := edge.ParseOrder(req.GetOrderBy(), "name", func(c certs.Certificate) string { return c.SHA256 }, value,
		"name", "subject", "not_before_time", "not_after_time")
	if err != nil {
		return nil, err
	}
	all, err := s.c.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	page, token, err := edge.List(req, edge.Listing[certs.Certificate, *pb.Certificate]{
		Order: o, Fields: listed(), Value: value, Show: certificateProto, Default: 50, Most: 500, Args: []string{"ListCertificates"},
	}, edge.Each(all))
	if err != nil {
		return nil, err
	}
	return &pb.ListCertificatesResponse{Certificates: page, NextPageToken: token}, nil
}
