package certificate

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Blocks is what the service needs of a [certs.Blocks].
type Blocks interface {
	rollover.Blocks
	Block(ctx context.Context, e certs.Block, requestID string) (certs.Block, error)
	Unblock(ctx context.Context, id certs.BlockID, r certs.Removal, requestID string) (certs.Block, error)
	Entry(ctx context.Context, id certs.BlockID) (certs.Block, error)
	List(ctx context.Context) ([]certs.Block, error)
}

// judge says what is to be said about a certificate now, with the block list.
func (s *Service) judge(ctx context.Context, c certs.Certificate) ([]certs.Finding, error) {
	why, blocked, err := s.c.Blocks.Blocked(ctx, c.Credential)
	if err != nil {
		return nil, err
	}
	findings := certs.Judge(c, s.c.Now())
	if blocked {
		findings = append([]certs.Finding{{Severity: certs.Error, Code: certs.OnBlockList, Message: edge.Whole(ctx, why.Entry, why.Full)}}, findings...)
	}
	return findings, nil
}

// BlockCertificate puts an entry on the block list.
func (s *Service) BlockCertificate(ctx context.Context, req *pb.BlockCertificateRequest) (*pb.BlockCertificateResponse, error) {
	if !edge.Reach(ctx).All() { // It holds for all tenants.
		return nil, edge.Denied(edge.Scope(ctx))
	}
	id, _, _ := edge.BlockSubject(req) // Validate has seen to it.
	if _, err := edge.Claim(ctx, s.c.Requests, req, edge.BlockName(id)); err != nil {
		return nil, err
	}
	e, err := s.c.Blocks.Block(ctx, certs.Block{
		ID: id, Reason: strings.TrimSpace(req.GetReason()), By: edge.Caller(ctx), At: s.c.Now().UTC(),
	}, req.GetRequestId())
	if err != nil {
		return nil, edge.About(edge.BlockName(id), err)
	}
	return &pb.BlockCertificateResponse{Block: blockProto(e)}, nil
}

// UnblockCertificate takes an entry from the block list.
func (s *Service) UnblockCertificate(ctx context.Context, req *pb.UnblockCertificateRequest) (*pb.UnblockCertificateResponse, error) {
	if !edge.Reach(ctx).All() {
		return nil, edge.Denied(edge.Scope(ctx))
	}
	id, _ := edge.ParseBlock(req.GetName())
	// No request is noted for what there is not.
	if _, err := s.c.Blocks.Entry(ctx, id); err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	if _, err := edge.Claim(ctx, s.c.Requests, req, req.GetName()); err != nil {
		return nil, err
	}
	e, err := s.c.Blocks.Unblock(ctx, id, certs.Removal{
		Reason: strings.TrimSpace(req.GetReason()), By: edge.Caller(ctx), At: s.c.Now().UTC(),
	}, req.GetRequestId())
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	return &pb.UnblockCertificateResponse{Block: blockProto(e)}, nil
}

// blockFields are the fields by which entries are filtered.
func blockFields() edge.FilterFields {
	return edge.FilterFields{Strings: []string{"name", "creator", "reason"}, Times: []string{"create_time"}}
}

func blockValue(e certs.Block, field string) any {
	switch field {
	case "name":
		return edge.BlockName(e.ID)
	case "creator":
		return e.By
	case "reason":
		return e.Reason
	case "create_time":
		return e.At
	}
	return nil
}

// ListBlocks lists what is blocked.
func (s *Service) ListBlocks(ctx context.Context, req *pb.ListBlocksRequest) (*pb.ListBlocksResponse, error) {
	o, err := edge.ParseOrder(req.GetOrderBy(), "name", func(e certs.Block) string { return e.ID.String() }, blockValue, "name", "create_time")
	if err != nil {
		return nil, err
	}
	all, err := s.c.Blocks.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the block list: %w", err)
	}
	if !edge.Reach(ctx).All() {
		for i := range all { // People write names of tenants there: not told, and not asked for.
			all[i].Reason, all[i].By = "", ""
		}
	}
	page, token, err := edge.List(req, edge.Listing[certs.Block, *pb.Block]{
		Order: o, Fields: blockFields(), Value: blockValue, Show: blockProto, Default: 50, Most: 500, Args: []string{"ListBlocks"},
	}, edge.Each(all))
	if err != nil {
		return nil, err
	}
	return &pb.ListBlocksResponse{Blocks: page, NextPageToken: token}, nil
}

// blockProto returns an entry as callers see it.
func blockProto(e certs.Block) *pb.Block {
	p := &pb.Block{Name: edge.BlockName(e.ID), Reason: e.Reason, Creator: e.By, CreateTime: timestamppb.New(e.At)}
	switch e.ID.Sort {
	case certs.BlockSHA256:
		p.Subject = &pb.Block_Sha256{Sha256: e.ID.Hash}
	case certs.BlockSHA1:
		p.Subject = &pb.Block_Sha1{Sha1: e.ID.Hash}
	case certs.BlockKeyHash:
		p.Subject = &pb.Block_KeyHash{KeyHash: e.ID.Hash}
	}
	return p
}
