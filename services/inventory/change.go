package inventory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.einride.tech/aip/fieldmask"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// errTried ends a change of which only was to be said what it would do.
var errTried = errors.New("only tried")

// UpdateTenant changes the fields of a tenant that the mask names.
func (s *Service) UpdateTenant(ctx context.Context, req *pb.UpdateTenantRequest) (*pb.UpdateTenantResponse, error) {
	name := req.GetTenant().GetName()
	id, _ := edge.ParseTenant(name)
	if err := maskable(req.GetUpdateMask()); err != nil {
		return nil, err
	}
	others, err := s.belongings(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.UpdateTenantResponse{}
	var would tenants.Tenant
	stored, err := s.inventory.Change(ctx, id, func(old, former *tenants.Tenant) (*tenants.Tenant, error) {
		hidden := old != nil && !edge.Reach(ctx).Has(*old)
		if hidden {
			old = nil // It is not there, word for word.
		}
		if old == nil && (!req.GetAllowMissing() || req.GetEtag() != "") {
			return nil, edge.Missing(name, nil)
		}
		if old != nil && req.GetEtag() != "" && req.GetEtag() != old.Etag() {
			return nil, edge.Stale(name, old.Etag())
		}
		resp.Created = old == nil
		p := &pb.Tenant{Name: name}
		if old != nil {
			p = tenantProto(*old)
			fieldmask.Update(req.GetUpdateMask(), p, req.GetTenant())
		} else {
			proto.Merge(p, req.GetTenant())
		}
		p.Name = name
		t, problems := checked(p)
		if len(problems) == 0 && (hidden || !mayBring(ctx, t, old, former)) {
			problems = notTheirs()
		}
		if len(problems) == 0 {
			problems = others.refuse(t)
		}
		if len(problems) > 0 {
			return nil, wrong(problems)
		}
		if would = t; req.GetValidateOnly() {
			return nil, errTried
		}
		return &t, nil
	})
	switch {
	case errors.Is(err, errTried):
		stored = &would
	case err != nil:
		return nil, edge.About(name, err)
	}
	resp.Tenant = tenantProto(*stored)
	return resp, nil
}

// maskable refuses masks of fields that there are not, that are ours to set, or that are
// within a list or a map: such a path would be taken and change nothing.
func maskable(m *fieldmaskpb.FieldMask) error {
	for _, path := range m.GetPaths() {
		head, _, within := strings.Cut(path, ".")
		if head == "name" || head == "etag" {
			return edge.Invalid(edge.Violated("update_mask", "FORMAT", head+" cannot be changed"))
		}
		f := (&pb.Tenant{}).ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(head))
		if f != nil && within && (f.IsList() || f.IsMap()) {
			return edge.Invalid(edge.Violated("update_mask", "FORMAT", head+" is changed as a whole; name it alone"))
		}
	}
	if err := fieldmask.Validate(m, &pb.Tenant{}); err != nil {
		return edge.Invalid(edge.Violated("update_mask", "UNKNOWN", "want fields of Tenant, such as labels or login.secret, or * alone"))
	}
	return nil
}

// wrong says what is wrong with the tenant of a request.
func wrong(problems []tenants.FieldError) error {
	var vs []*edge.Violation
	for _, f := range problems {
		path := strings.TrimSuffix("tenant."+f.Field, ".") // Of the whole there is no field.
		vs = append(vs, edge.Violated(path, "FORMAT", f.Problem+"; "+f.Fix))
	}
	return edge.Invalid(vs...)
}

// DeleteTenant removes a tenant that no rotation needs.
func (s *Service) DeleteTenant(ctx context.Context, req *pb.DeleteTenantRequest) (*pb.DeleteTenantResponse, error) {
	name := req.GetName()
	id, _ := edge.ParseTenant(name)
	_, err := s.inventory.Change(ctx, id, func(old, _ *tenants.Tenant) (*tenants.Tenant, error) {
		if old == nil || !edge.Reach(ctx).Has(*old) {
			if req.GetAllowMissing() {
				return nil, errTried
			}
			return nil, edge.Missing(name, nil)
		}
		if req.GetEtag() != "" && req.GetEtag() != old.Etag() {
			return nil, edge.Stale(name, old.Etag())
		}
		if err := s.unused(ctx, name, id, req.GetForce()); err != nil {
			return nil, err
		}
		if req.GetValidateOnly() {
			return nil, errTried
		}
		return nil, nil
	})
	if err != nil && !errors.Is(err, errTried) {
		return nil, edge.About(name, err)
	}
	return &pb.DeleteTenantResponse{}, nil
}

// unused refuses to delete what is needed: by a rotation, always; for endpoints that were
// seen, unless it is forced.
func (s *Service) unused(ctx context.Context, name, id string, force bool) error {
	by, err := s.c.InUse(ctx, id)
	if err != nil {
		return err
	}
	if by != "" {
		why := edge.RotationName(by) + " is for it and has not ended; wait for its end, or cancel it"
		return edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, name+" is in use: "+why,
			&edge.Unmet{Type: "IN_USE", Subject: edge.RotationName(by), Description: why})
	}
	es, err := s.inventory.Endpoints(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) || err == nil && (force || len(es) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	why := fmt.Sprintf("planning saw %d endpoints of it, which nobody will rotate any more; set force to delete it all the same", len(es))
	return edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, name+" has endpoints: "+why,
		&edge.Unmet{Type: "HAS_ENDPOINTS", Subject: name, Description: why})
}
