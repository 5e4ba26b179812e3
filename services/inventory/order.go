package inventory

import (
	"context"

	"google.golang.org/protobuf/proto"

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
	resp, bytes := &pb.ListTenantsResponse{}, 0
	args := []string{"ListTenants", req.GetFilter(), req.GetOrderBy()}
	after, err := edge.Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, err
	}
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
	page, next, err := o.Page(theirs, after, edge.PageSize(req.GetPageSize(), 100, 1000))
	if err != nil {
		return nil, err
	}
	for i, t := range page {
		p := tenantProto(t)
		if bytes += proto.Size(p); bytes > maxPage && i > 0 {
			next = o.Position(page[i-1])
			break
		}
		resp.Tenants = append(resp.Tenants, p)
	}
	if next != "" {
		resp.NextPageToken = edge.PageToken(next, args...)
	}
	return resp, nil
}

// found is an endpoint and whose it is.
type found struct {
	of   tenants.Tenant
	seen tenants.Seen
}

// orderedEndpoints is ListEndpoints in another order than by name.
func (s *Service) orderedEndpoints(ctx context.Context, req *pb.ListEndpointsRequest) (*pb.ListEndpointsResponse, error) {
	value := func(f found, field string) any {
		switch field {
		case "name":
			return edge.EndpointName(f.seen.Tenant, f.seen.ID)
		case "display_name":
			return f.seen.Name
		}
		return filter.Endpoint{Tenant: f.of, Seen: &f.seen}.Value(field)
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
	page, token, err := edge.List(req, o, filter.SeenFields(), 100, 1000, each, "ListEndpoints", req.GetParent())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListEndpointsResponse{NextPageToken: token}
	for _, f := range page {
		resp.Endpoints = append(resp.Endpoints, endpointProto(f.seen))
	}
	return resp, nil
}
