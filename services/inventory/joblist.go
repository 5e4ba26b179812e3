package inventory

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// job reads a job that the caller may know of. Another is not there, word for word.
func (s *Service) job(ctx context.Context, name string) (job, error) {
	id, _ := edge.ParseJob(name)
	j, err := s.read(ctx, id)
	if err == nil && !edge.Reach(ctx).All() && j.By != edge.Caller(ctx) {
		err = rollover.ErrNotFound
	}
	if err != nil {
		return j, edge.About(name, err)
	}
	return j.asOf(s.c.Now()), nil
}

// GetInventoryJob reads one job.
func (s *Service) GetInventoryJob(ctx context.Context, req *pb.GetInventoryJobRequest) (*pb.GetInventoryJobResponse, error) {
	j, err := s.job(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.GetInventoryJobResponse{Job: j.proto()}, nil
}

func jobFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"creator"}, Bools: []string{"validate_only"}, Times: []string{"create_time"},
		Enums: map[string]protoreflect.EnumType{"state": pb.InventoryJob_STATE_UNSPECIFIED.Type(), "kind": pb.InventoryJob_KIND_UNSPECIFIED.Type()},
	}
}

func jobValue(j job, field string) any {
	switch field {
	case "name":
		return edge.JobName(j.ID)
	case "creator":
		return j.By
	case "validate_only":
		return j.ValidateOnly
	case "create_time":
		return j.At
	case "state":
		return j.State
	case "kind":
		return j.kind().String()
	}
	return nil
}

// ListInventoryJobs lists jobs.
func (s *Service) ListInventoryJobs(ctx context.Context, req *pb.ListInventoryJobsRequest) (*pb.ListInventoryJobsResponse, error) {
	o, err := edge.ParseOrder(req.GetOrderBy(), "create_time desc", func(j job) string { return j.ID }, jobValue, "name", "create_time")
	if err != nil {
		return nil, err
	}
	stored, err := s.c.Jobs.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	var all []job
	for _, b := range stored {
		j, err := decodeJob(b, 0)
		if err != nil {
			return nil, err
		}
		if edge.Reach(ctx).All() || j.By == edge.Caller(ctx) {
			all = append(all, j.asOf(s.c.Now()))
		}
	}
	found, err := s.discoveries(ctx)
	if err != nil {
		return nil, err
	}
	page, token, err := edge.List(req, edge.Listing[job, *pb.InventoryJob]{
		Order: o, Fields: jobFields(), Value: jobValue, Show: job.proto, Default: 50, Most: 500, Args: []string{"ListInventoryJobs"},
	}, edge.Each(append(all, found...)))
	if err != nil {
		return nil, err
	}
	if err := s.count(ctx, page, found); err != nil {
		return nil, err
	}
	return &pb.ListInventoryJobsResponse{Jobs: page, NextPageToken: token}, nil
}

// ListInventoryJobErrors lists what is wrong with rows of a job.
func (s *Service) ListInventoryJobErrors(ctx context.Context, req *pb.ListInventoryJobErrorsRequest) (*pb.ListInventoryJobErrorsResponse, error) {
	j, err := s.job(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	if j.discovery != nil {
		return s.unread(ctx, req, j)
	}
	type placed struct {
		jobError
		n int
	}
	value := func(e placed, field string) any {
		switch field {
		case "row":
			return int(e.Row)
		case "tenant":
			return e.Tenant
		case "field":
			return e.Field
		}
		return nil
	}
	o, err := edge.ParseOrder(req.GetOrderBy(), "row", func(e placed) string { return fmt.Sprintf("%09d", e.n) }, value, "row", "tenant", "field")
	if err != nil {
		return nil, err
	}
	each := func(yield func(placed, error) bool) {
		n := 0
		for e, err := range s.jobErrors(ctx, j) {
			if n++; !yield(placed{e, n}, err) {
				return
			}
		}
	}
	fields := edge.FilterFields{Strings: []string{"tenant", "field"}, Ints: []string{"row"}}
	page, token, err := edge.List(req, edge.Listing[placed, *pb.ImportError]{
		Order: o, Fields: fields, Value: value, Show: func(e placed) *pb.ImportError { return e.proto() }, Default: 100, Most: 1000,
		Args: []string{"ListInventoryJobErrors", req.GetParent()},
	}, each)
	if err != nil {
		return nil, err
	}
	return &pb.ListInventoryJobErrorsResponse{Errors: page, NextPageToken: token}, nil
}

// CancelInventoryJob ends a job that is running.
func (s *Service) CancelInventoryJob(ctx context.Context, req *pb.CancelInventoryJobRequest) (*pb.CancelInventoryJobResponse, error) {
	for range maxRaces {
		j, err := s.job(ctx, req.GetName())
		if err != nil {
			return nil, err
		}
		switch {
		case j.is(pb.InventoryJob_STATE_CANCELLED):
			return &pb.CancelInventoryJobResponse{Job: j.proto()}, nil
		case j.over():
			why := "it has ended; what it stored stays"
			return nil, edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, req.GetName()+" cannot be cancelled: "+why,
				&edge.Unmet{Type: "STATE", Subject: j.State, Description: why})
		}
		now := s.c.Now().UTC()
		j.State, j.ChangedAt, j.EndedAt = pb.InventoryJob_STATE_CANCELLED.String(), now, now
		err = s.save(ctx, &j)
		if err == nil {
			return &pb.CancelInventoryJobResponse{Job: j.proto()}, nil
		}
		if !errors.Is(err, rollover.ErrConflict) {
			return nil, err
		}
	}
	return nil, edge.About(req.GetName(), rollover.ErrConflict)
}

// maxRaces bounds how often a cancellation is tried while chunks come in.
const maxRaces = 20
