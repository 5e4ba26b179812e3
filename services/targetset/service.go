// Package targetset is TargetSetService: it takes explicit lists of tenants and
// endpoints in, for rotations.
package targetset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	sets "github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Store is what the service needs of a [sets.Store].
type Store interface {
	Create(ctx context.Context, set sets.Set, requestID string) (sets.Set, error)
	Add(ctx context.Context, id string, first int, rows []sets.Row) (sets.Set, error)
	Set(ctx context.Context, id string) (sets.Set, error)
	List(ctx context.Context) ([]sets.Set, error)
	Delete(ctx context.Context, id string) error
}

// Tenants finds tenants.
type Tenants interface {
	Tenant(ctx context.Context, id string) (tenants.Tenant, error)
	List(ctx context.Context) ([]tenants.Tenant, error)
}

// Mirror tells which rotations there are.
type Mirror interface {
	Ready() <-chan struct{}
	Rotations() []mirror.View
}

// Config is what a [Service] is made of. All fields are required.
type Config struct {
	Store    Store
	Tenants  Tenants
	Mirror   Mirror
	Requests edge.RequestBucket // forgets after 24 hours
	Now      func() time.Time
}

// Service answers the calls of TargetSetService.
type Service struct {
	pb.UnimplementedTargetSetServiceServer
	c      Config
	sights *edge.Sights
}

// New returns the service.
func New(c Config) *Service { return &Service{c: c, sights: edge.NewSights(c.Tenants)} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { pb.RegisterTargetSetServiceServer(r, s) }

// CreateTargetSet begins an empty set.
func (s *Service) CreateTargetSet(ctx context.Context, req *pb.CreateTargetSetRequest) (*pb.CreateTargetSetResponse, error) {
	want := req.GetTargetSet()
	id, _ := edge.ParseTargetSet(want.GetName())
	var set sets.Set
	repeat, err := edge.Once(ctx, s.c.Requests, req, want.GetName(), func() (err error) {
		set, err = s.c.Store.Create(ctx, sets.Set{
			ID: id, DisplayName: want.GetDisplayName(), Expected: int(want.GetExpectedRows()), By: edge.Caller(ctx), At: s.c.Now().UTC(),
		}, req.GetRequestId())
		return err
	})
	if err == nil && repeat { // It was made, and is not made twice: it may have been deleted since.
		set, err = s.set(ctx, want.GetName())
	}
	if err != nil {
		return nil, edge.About(want.GetName(), err)
	}
	return &pb.CreateTargetSetResponse{TargetSet: setProto(set)}, nil
}

// GetTargetSet reads one set.
func (s *Service) GetTargetSet(ctx context.Context, req *pb.GetTargetSetRequest) (*pb.GetTargetSetResponse, error) {
	set, err := s.set(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.GetTargetSetResponse{TargetSet: setProto(set)}, nil
}

// theirs reports whether a set is one that the caller may know of: its own, where its
// rights do not reach all tenants.
func theirs(ctx context.Context, set sets.Set) bool {
	return edge.Reach(ctx).All() || set.By == edge.Caller(ctx)
}

// set reads a set that the caller may know of. Another is not there, word for word.
func (s *Service) set(ctx context.Context, name string) (sets.Set, error) {
	id, _ := edge.ParseTargetSet(name)
	set, err := s.c.Store.Set(ctx, id)
	if err == nil && !theirs(ctx, set) {
		err = rollover.ErrNotFound
	}
	if err != nil {
		return sets.Set{}, edge.About(name, err)
	}
	return set, nil
}

// listed are the fields by which sets are filtered.
func listed() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"display_name", "creator"}, Times: []string{"create_time"},
		Enums: map[string]protoreflect.EnumType{"state": pb.TargetSet_STATE_UNSPECIFIED.Type()},
	}
}

func value(set sets.Set, field string) any {
	switch field {
	case "name":
		return edge.TargetSetName(set.ID)
	case "display_name":
		return set.DisplayName
	case "creator":
		return set.By
	case "create_time":
		return set.At
	case "state":
		return setProto(set).GetState().String()
	}
	return nil
}

// ListTargetSets lists sets.
func (s *Service) ListTargetSets(ctx context.Context, req *pb.ListTargetSetsRequest) (*pb.ListTargetSetsResponse, error) {
	o, err := edge.ParseOrder(req.GetOrderBy(), "name", func(s sets.Set) string { return s.ID }, value, "name", "display_name", "create_time")
	if err != nil {
		return nil, err
	}
	all, err := s.c.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(set sets.Set) bool { return !theirs(ctx, set) })
	page, token, err := edge.List(req, edge.Listing[sets.Set, *pb.TargetSet]{
		Order: o, Fields: listed(), Value: value, Show: setProto, Default: 50, Most: 500, Args: []string{"ListTargetSets"},
	}, edge.Each(all))
	if err != nil {
		return nil, err
	}
	return &pb.ListTargetSetsResponse{TargetSets: page, NextPageToken: token}, nil
}

// catchUp bounds how long a call waits for the mirror.
const catchUp = 5 * time.Second

// DeleteTargetSet removes a set that no planning needs.
func (s *Service) DeleteTargetSet(ctx context.Context, req *pb.DeleteTargetSetRequest) (*pb.DeleteTargetSetResponse, error) {
	id, _ := edge.ParseTargetSet(req.GetName())
	if !edge.Reach(ctx).All() {
		_, err := s.set(ctx, req.GetName())
		if p := edge.ProblemOf(err); err != nil && (p.Code != codes.NotFound || !req.GetAllowMissing()) {
			return nil, err
		} else if err != nil {
			return &pb.DeleteTargetSetResponse{}, nil
		}
	}
	if err := s.unused(ctx, id, req.GetName()); err != nil {
		return nil, err
	}
	err := s.c.Store.Delete(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) && req.GetAllowMissing() {
		err = nil
	}
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	return &pb.DeleteTargetSetResponse{}, nil
}

// unused returns a problem if a rotation that is for the set is being planned. One
// that is created at the same time finds the set gone and plans nothing.
func (s *Service) unused(ctx context.Context, id, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, catchUp, fmt.Errorf("the live copy has not caught up with the store: %w", rollover.ErrUnavailable))
	defer cancel()
	select {
	case <-s.c.Mirror.Ready():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, v := range s.c.Mirror.Rotations() {
		if v.Rotation.State == rollover.StatePlanning && v.Rotation.Spec.TargetSet == id {
			why := edge.RotationName(v.Rotation.ID) + " is being planned for it; wait until it is planned, or cancel it"
			return edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, name+" is in use: "+why,
				&edge.Unmet{Type: "IN_USE", Subject: name, Description: why})
		}
	}
	return nil
}

// setProto returns a set as callers see it.
func setProto(s sets.Set) *pb.TargetSet {
	p := &pb.TargetSet{
		Name: edge.TargetSetName(s.ID), DisplayName: s.DisplayName, Creator: s.By, CreateTime: timestamppb.New(s.At),
		State: pb.TargetSet_STATE_FILLING, Digest: s.Digest,
		ExpectedRows: int32(s.Expected), RowCount: int32(s.Rows), TenantCount: int32(s.Tenants), //nolint:gosec // At most 100,000.
	}
	if s.Ready() {
		p.State = pb.TargetSet_STATE_READY
	}
	return p
}
