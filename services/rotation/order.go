package rotation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// orderedRotations is ListRotations in another order than newest first.
func (s *Service) orderedRotations(ctx context.Context, req *pb.ListRotationsRequest) (*pb.ListRotationsResponse, error) {
	type seen struct {
		view   mirror.View
		extent extent
	}
	value := func(v seen, field string) any {
		switch r := v.view.Rotation; field {
		case "create_time":
			return r.CreatedAt
		case "update_time":
			if v.extent != wholly { // It would tell when something happens to others.
				return time.Time{}
			}
			return r.UpdatedAt
		default: // What is not shown does not order either.
			return rotationValue(visible(r, v.extent))(field)
		}
	}
	o, err := edge.ParseOrder(req.GetOrderBy(), "", func(v seen) string { return v.view.Rotation.ID }, value, "create_time", "update_time", "display_name")
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	in, err := s.sights.Of(ctx)
	if err != nil {
		return nil, err
	}
	each := func(yield func(seen, error) bool) {
		for i, v := range s.c.Mirror.Rotations() {
			if i == listLook && !in.All() {
				yield(seen{}, edge.Invalid(edge.Violated("order_by", "RANGE",
					fmt.Sprintf("there are more than %d rotations, and you may not see all tenants; leave the order out", listLook))))
				return
			}
			e, err := s.extent(ctx, in, v.Rotation.ID)
			if err == nil && e == unseen {
				continue
			}
			if !yield(seen{v, e}, err) {
				return
			}
		}
	}
	page, token, err := edge.List(req, edge.Listing[seen, *pb.Rotation]{
		Order: o, Fields: rotationFields(), Value: value, Default: 50, Most: 1000, Args: []string{"ListRotations"},
		Show: func(v seen) *pb.Rotation { return lens{in, v.extent}.rotation(s.show(ctx, v.view)) },
	}, each)
	if err != nil {
		return nil, err
	}
	return &pb.ListRotationsResponse{Rotations: page, NextPageToken: token}, nil
}

// orderedTasks is ListRotationTasks in another order than that of the plan.
func (s *Service) orderedTasks(ctx context.Context, req *pb.ListRotationTasksRequest) (*pb.ListRotationTasksResponse, error) {
	value := func(k rollover.Task, field string) any {
		switch field {
		case "name":
			return k.ID.Ord
		case "update_time":
			return k.UpdatedAt
		}
		return taskValue(k)(field)
	}
	o, err := edge.ParseOrder(req.GetOrderBy(), "", func(k rollover.Task) string { return fmt.Sprintf("%09d", k.ID.Ord) }, value, "name", "update_time", "tenant", "host")
	if err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(req.GetParent())
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(req.GetParent(), err)
	}
	l, err := s.lens(ctx, req.GetParent(), id)
	if err != nil {
		return nil, err
	}
	filter, err := edge.ParseFilter(req.GetFilter(), taskFields())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListRotationTasksResponse{}
	each := func(yield func(rollover.Task, error) bool) {
		for at := 0; at < v.Rotation.Tasks; at += scanStep {
			ks, err := s.c.Mirror.Tasks(ctx, id, at, min(at+scanStep, v.Rotation.Tasks))
			if err != nil {
				yield(rollover.Task{}, edge.About(req.GetParent(), err))
				return
			}
			for _, k := range l.tasks(ks) {
				if !filter.Match(taskValue(k)) {
					continue
				}
				resp.TotalSize++
				if !yield(k, nil) {
					return
				}
			}
		}
	}
	resp.Tasks, resp.NextPageToken, err = edge.List(req, edge.Listing[rollover.Task, *pb.RotationTask]{
		Order: o, Fields: taskFields(), Value: func(k rollover.Task, field string) any { return taskValue(k)(field) }, Show: taskProto,
		Default: 100, Most: 2000, Args: []string{"ListRotationTasks", req.GetParent()},
	}, each)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// orderedDrifts is ListDrifts in another order than newest rotation first.
func (s *Service) orderedDrifts(ctx context.Context, req *pb.ListDriftsRequest) (*pb.ListDriftsResponse, error) {
	type found struct {
		rotation string
		target   mirror.Seen
		n        int
	}
	value := func(f found, field string) any { return driftValue(f.target, f.target.Drifts[f.n])(field) }
	key := func(f found) string { return fmt.Sprintf("%s/%09d/%09d", f.rotation, f.target.Ord, f.n) }
	o, err := edge.ParseOrder(req.GetOrderBy(), "", key, value, "tenant", "host", "kind")
	if err != nil {
		return nil, err
	}
	ids, err := s.driftParents(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	in, err := s.sights.Of(ctx)
	if err != nil {
		return nil, err
	}
	each := func(yield func(found, error) bool) {
		for _, id := range ids {
			e, err := s.extent(ctx, in, id)
			if err != nil {
				yield(found{}, err)
				return
			}
			for _, t := range s.c.Mirror.Drifts(id) {
				for n := range t.Drifts {
					if (lens{in, e}).drift(t) && !yield(found{id, t, n}, nil) {
						return
					}
				}
			}
		}
	}
	page, token, err := edge.List(req, edge.Listing[found, *pb.Drift]{
		Order: o, Fields: driftFields(), Value: value, Default: 100, Most: 2000, Args: []string{"ListDrifts", req.GetParent()},
		Show: func(f found) *pb.Drift { return driftProto(f.rotation, f.target, f.target.Drifts[f.n]) },
	}, each)
	if err != nil {
		return nil, err
	}
	return &pb.ListDriftsResponse{Drifts: page, NextPageToken: token}, nil
}

// ordered is ListDeadLetters in another order than newest rotation first.
func (d *desk) ordered(ctx context.Context, req *pb.ListDeadLettersRequest) (*pb.ListDeadLettersResponse, error) {
	type found struct {
		letter
		superseded bool
	}
	key := func(f found) string { return edge.TaskName(f.view.Rotation.ID, f.task.ID.Ord) }
	value := func(f found, field string) any { return f.value(field) }
	o, err := edge.ParseOrder(req.GetOrderBy(), "", key, value, "since", "tenant", "host")
	if err != nil {
		return nil, err
	}
	q, err := d.s.search(ctx, req.GetFilter(), req.GetIncludeSuperseded())
	if err != nil {
		return nil, err
	}
	q.look = deskLook
	var all []found
	err = q.each(ctx, func(l letter, superseded bool) error {
		all = append(all, found{l, superseded})
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil, edge.Invalid(edge.Violated("order_by", "RANGE", fmt.Sprintf("more than %d tasks need a person; name a rotation in the filter, or leave the order out", deskLook)))
	}
	if err != nil {
		return nil, err
	}
	page, token, err := edge.List(req, edge.Listing[found, *pb.DeadLetter]{
		Order: o, Fields: letterFields(), Value: value, Show: func(f found) *pb.DeadLetter { return f.proto(f.superseded) },
		Default: 100, Most: 2000, Args: []string{"ListDeadLetters", strconv.FormatBool(req.GetIncludeSuperseded())},
	}, edge.Each(all))
	if err != nil {
		return nil, err
	}
	return &pb.ListDeadLettersResponse{DeadLetters: page, NextPageToken: token}, nil
}
