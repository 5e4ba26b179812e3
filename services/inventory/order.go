package inventory

import (
	"context"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// orderedTenants is ListTenants in another order than by name.
func (s *Service) orderedTenants(ctx context.Context, req *pb.ListTenantsRequest, wanted *edge.Filter) (*pb.ListTenantsResponse, error) {
	value := func(t tenants.Tenant, field string) any {
		if field == "name" {
			return edge.TenantName(t.ID)
		}
		return filter.TenantValue(t)(field)
	}
	o, err := edge.ParseOrder(req.GetOrderBy(), "", func(t tenants.Tenant) string { return t.ID }, value, "name", "display_name")
	if err != nil {
		return nil, err
	}
	all, err := s.inventory.List(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.ListTenantsResponse{}
	theirs := func(yield func(tenants.Tenant, error) bool) {
		for _, t := range all {
			if !edge.Reach(ctx).Has(t) || !wanted.Match(filter.TenantValue(t)) {
				continue
			}
			resp.TotalSize++
			if !yield(t, nil) {
				return
			}
		}
	}
	resp.Tenants, resp.NextPageToken, err = edge.List(req, edge.Listing[tenants.Tenant, *pb.Tenant]{
		Order: o, Fields: filter.TenantFields(), Value: func(t tenants.Tenant, field string) any { return filter.TenantValue(t)(field) },
		Show: tenantProto, Default: 100, Most: 1000, Args: []string{"ListTenants"},
	}, theirs)
	return resp, err
}

// found is an endpoint and whose it is.
type found struct {
	of   tenants.Tenant
	seen tenants.Seen
}

// orderedEndpoints is ListEndpoints in another order than by name.
func (s *Service) orderedEndpoints(ctx context.Context, req *pb.ListEndpointsRequest) (*pb.ListEndpointsResponse, error) {
	value := func(f found, field string) any {
		if field == "display_name" {
			return f.seen.Name
		}
		return edge.EndpointName(f.seen.Tenant, f.seen.ID) // A filter's name is what the organisation gave.
	}
	o, err := edge.ParseOrder(req.GetOrderBy(), "", func(f found) string { return f.seen.Tenant + "/" + f.seen.ID }, value, "name", "display_name")
	if err != nil {
		return nil, err
	}
	of, err := s.parents(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	look := func(tenant string) ([]tenants.Seen, error) { return s.endpoints(ctx, tenant) }
	if req.GetParent() == edge.AllTenants {
		all, err := s.inventory.AllEndpoints(ctx)
		if err != nil {
			return nil, err
		}
		look = func(tenant string) ([]tenants.Seen, error) { return all[tenant], nil }
	}
	each := func(yield func(found, error) bool) {
		for _, t := range of {
			es, err := look(t.ID)
			if err != nil {
				yield(found{}, err)
				return
			}
			for _, e := range es {
				if !yield(found{t, e}, nil) {
					return
				}
			}
		}
	}
	page, token, err := edge.List(req, edge.Listing[found, *pb.Endpoint]{
		Order: o, Fields: filter.SeenFields(), Value: func(f found, field string) any { return filter.Endpoint{Tenant: f.of, Seen: &f.seen}.Value(field) },
		Show: func(f found) *pb.Endpoint { return endpointProto(f.seen) }, Default: 100, Most: 1000, Args: []string{"ListEndpoints", req.GetParent()},
	}, each)
	if err != nil {
		return nil, err
	}
	return &pb.ListEndpointsResponse{Endpoints: page, NextPageToken: token}, nil
}
