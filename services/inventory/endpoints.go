package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// GetEndpoint reads what planning last saw of one endpoint. One of a tenant that the
// caller may not see is not there, word for word.
func (s *Service) GetEndpoint(ctx context.Context, req *pb.GetEndpointRequest) (*pb.GetEndpointResponse, error) {
	of, id, _ := edge.ParseEndpoint(req.GetName())
	t, err := s.inventory.Tenant(ctx, of)
	if errors.Is(err, rollover.ErrNotFound) || err == nil && !edge.Reach(ctx).Has(t) {
		return nil, edge.Missing(req.GetName(), nil)
	}
	if err != nil {
		return nil, err
	}
	es, err := s.endpoints(ctx, of)
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		if e.ID == id {
			return &pb.GetEndpointResponse{Endpoint: endpointProto(e)}, nil
		}
	}
	return nil, edge.Missing(req.GetName(), nil)
}

// ListEndpoints lists what planning last saw, tenant by tenant. A page token is
// tenant/endpoint of the last one told.
func (s *Service) ListEndpoints(ctx context.Context, req *pb.ListEndpointsRequest) (*pb.ListEndpointsResponse, error) {
	wanted, err := edge.ParseFilter(req.GetFilter(), filter.SeenFields())
	if err != nil {
		return nil, err
	}
	if req.GetOrderBy() != "" {
		return s.orderedEndpoints(ctx, req)
	}
	args := []string{"ListEndpoints", req.GetParent()}
	if req.GetFilter() != "" {
		args = append(args, req.GetFilter())
	}
	after, err := edge.Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, err
	}
	of, err := s.parents(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	look, err := s.look(ctx, req)
	if err != nil {
		return nil, err
	}
	room := edge.NewRoom(edge.PageSize(req.GetPageSize(), 100, 1000))
	afterTenant, afterID, _ := strings.Cut(after, "/")
	resp := &pb.ListEndpointsResponse{}
	last := ""
	for _, t := range of {
		if t.ID < afterTenant {
			continue
		}
		es, err := look(t.ID)
		if err != nil {
			return nil, err
		}
		for i, e := range es {
			if t.ID == afterTenant && e.ID <= afterID || !wanted.Match(filter.Endpoint{Tenant: t, Seen: &es[i]}.Value) {
				continue
			}
			p := endpointProto(e)
			if !room.Takes(p) {
				resp.NextPageToken = edge.PageToken(last, args...)
				return resp, nil
			}
			resp.Endpoints, last = append(resp.Endpoints, p), t.ID+"/"+e.ID
		}
	}
	return resp, nil
}

// parents returns the tenants that parent names, sorted.
func (s *Service) parents(ctx context.Context, parent string) ([]tenants.Tenant, error) {
	if parent == edge.AllTenants {
		all, err := s.inventory.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing tenants: %w", err)
		}
		r := edge.Reach(ctx)
		return slices.DeleteFunc(all, func(t tenants.Tenant) bool { return !r.Has(t) }), nil
	}
	t, err := s.tenant(ctx, parent)
	if err != nil {
		return nil, err
	}
	return []tenants.Tenant{t}, nil
}

// look returns a function that finds what was last seen of a tenant, sorted by id. A
// filter over all tenants may let few through, so that all are read in one pass.
func (s *Service) look(ctx context.Context, req *pb.ListEndpointsRequest) (func(tenant string) ([]tenants.Seen, error), error) {
	if req.GetParent() != edge.AllTenants || req.GetFilter() == "" {
		return func(tenant string) ([]tenants.Seen, error) { return s.endpoints(ctx, tenant) }, nil
	}
	all, err := s.inventory.AllEndpoints(ctx)
	return func(tenant string) ([]tenants.Seen, error) { return sorted(all[tenant]), nil }, err
}

// endpoints returns what was last found of a tenant, sorted by id; nothing where
// nobody has looked.
func (s *Service) endpoints(ctx context.Context, tenant string) ([]tenants.Seen, error) {
	es, err := s.inventory.Endpoints(ctx, tenant)
	if errors.Is(err, rollover.ErrNotFound) {
		return nil, nil
	}
	return sorted(es), err
}

func sorted(es []tenants.Seen) []tenants.Seen {
	slices.SortFunc(es, func(a, b tenants.Seen) int { return cmp.Compare(a.ID, b.ID) })
	return es
}

func endpointProto(e tenants.Seen) *pb.Endpoint {
	p := &pb.Endpoint{
		Name: edge.EndpointName(e.Tenant, e.ID), DisplayName: e.Name, AuthType: e.AuthType, Contract: e.Contract,
		Path: e.Path, Namespace: e.Namespace, Federated: e.Federated, Version: e.Version,
	}
	for _, t := range e.Targets {
		on := &pb.EndpointTarget{Host: t.Host, Identity: t.Identity, Observed: t.Observed}
		for _, c := range t.Carries {
			k := &pb.EndpointCertificate{Sha1Thumbprint: c.SHA1, Sha256: c.SHA256, KeyHash: c.KeyHash}
			if !c.NotAfter.IsZero() {
				k.NotAfterTime = timestamppb.New(c.NotAfter)
			}
			on.Certificates = append(on.Certificates, k)
		}
		p.Targets = append(p.Targets, on)
	}
	return p
}
