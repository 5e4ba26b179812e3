package rotation

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// GetRotation reads one rotation.
func (s *Service) GetRotation(ctx context.Context, req *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
	id, _ := edge.ParseRotation(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	l, err := s.lens(ctx, req.GetName(), id)
	if err != nil {
		return nil, err
	}
	return &pb.GetRotationResponse{Rotation: l.rotation(s.show(ctx, v))}, nil
}

func rotationFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"display_name", "kind"}, Maps: []string{"labels"},
		Enums: map[string]protoreflect.EnumType{
			"state": pb.Rotation_STATE_UNSPECIFIED.Type(), "phase": pb.Rotation_PHASE_UNSPECIFIED.Type(),
		},
		None: []string{"phase"}, // It is not running yet.
	}
}

// rotationValue returns the value of a field that filters know.
func rotationValue(r rollover.Rotation) func(string) any {
	return func(field string) any {
		switch field {
		case "display_name":
			return r.DisplayName
		case "kind":
			return r.Spec.Kind
		case "labels":
			return r.Labels
		case "state":
			return stateProto(r.State).String()
		case "phase":
			return phaseProto(r.Phase).String()
		default:
			return nil
		}
	}
}

// listLook is how many rotations a page looks at for a caller who may not see all of
// them: so many selections are read at most. A page may have fewer rotations, or none,
// and a token for the next all the same.
const listLook = 1000

// visible returns of a rotation what a filter may ask for.
func visible(r rollover.Rotation, e extent) rollover.Rotation {
	if e != wholly {
		r.DisplayName, r.Labels = "", nil
	}
	return r
}

// ListRotations lists rotations, newest first. A page token holds the id of the
// last one told: ids sort by age, so new rotations do not shift the pages.
func (s *Service) ListRotations(ctx context.Context, req *pb.ListRotationsRequest) (*pb.ListRotationsResponse, error) {
	filter, err := edge.ParseFilter(req.GetFilter(), rotationFields())
	if err != nil {
		return nil, err
	}
	if req.GetOrderBy() != "" {
		return s.orderedRotations(ctx, req)
	}
	args := []string{"ListRotations", req.GetFilter()}
	before, err := edge.Position(req.GetPageToken(), args...)
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
	room, looked := edge.NewRoom(edge.PageSize(req.GetPageSize(), 50, 1000)), 0
	resp := &pb.ListRotationsResponse{}
	last := ""
	for _, v := range s.c.Mirror.Rotations() {
		if before != "" && v.Rotation.ID >= before {
			continue
		}
		if looked == listLook {
			resp.NextPageToken = edge.PageToken(last, args...)
			break
		}
		if !in.All() {
			looked++
		}
		e, err := s.extent(ctx, in, v.Rotation.ID)
		if err != nil {
			return nil, err
		}
		// A filter must not tell what is not shown: it looks at the outline.
		if e != unseen && filter.Match(rotationValue(visible(v.Rotation, e))) {
			p := lens{in, e}.rotation(s.show(ctx, v))
			if !room.Takes(p) {
				resp.NextPageToken = edge.PageToken(last, args...)
				break
			}
			resp.Rotations = append(resp.Rotations, p)
		}
		last = v.Rotation.ID
	}
	return resp, nil
}

// GetRotationTask reads one task.
func (s *Service) GetRotationTask(ctx context.Context, req *pb.GetRotationTaskRequest) (*pb.GetRotationTaskResponse, error) {
	id, ord, _ := edge.ParseTask(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(edge.RotationName(id), err)
	}
	// Before the ordinal is looked at: a plan's size is told of what is in sight only.
	l, err := s.lens(ctx, edge.RotationName(id), id)
	if err != nil {
		return nil, err
	}
	if ord >= v.Rotation.Tasks {
		return nil, edge.Missing(req.GetName(), nil)
	}
	ks, err := s.c.Mirror.Tasks(ctx, id, ord, ord+1)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	if ks = l.tasks(ks); len(ks) == 0 {
		return nil, edge.Missing(req.GetName(), nil)
	}
	return &pb.GetRotationTaskResponse{Task: taskProto(ks[0])}, nil
}

func taskFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"tenant", "host", "identity"},
		Enums: map[string]protoreflect.EnumType{
			"outcome": pb.RotationTask_OUTCOME_UNSPECIFIED.Type(), "phase": pb.RotationTask_PHASE_UNSPECIFIED.Type(),
			"reason": pb.RotationTask_REASON_UNSPECIFIED.Type(),
		},
		None: []string{"reason"}, // It is still open.
	}
}

// taskValue returns the value of a field that filters know.
func taskValue(k rollover.Task) func(string) any {
	return func(field string) any {
		switch field {
		case "tenant":
			return edge.TenantName(k.Item.Tenant)
		case "host":
			return k.Item.Target.Host
		case "identity":
			return k.Item.Target.Identity
		case "outcome":
			return outcomeProto(k.Outcome).String()
		case "phase":
			return taskPhaseProto(k.Phase).String()
		case "reason":
			return reasonProto(k.Reason).String()
		default:
			return nil
		}
	}
}

// ListRotationTasks lists tasks in the order of the plan.
func (s *Service) ListRotationTasks(ctx context.Context, req *pb.ListRotationTasksRequest) (*pb.ListRotationTasksResponse, error) {
	filter, err := edge.ParseFilter(req.GetFilter(), taskFields())
	if err != nil {
		return nil, err
	}
	if req.GetOrderBy() != "" {
		return s.orderedTasks(ctx, req)
	}
	args := []string{"ListRotationTasks", req.GetParent(), req.GetFilter()}
	token, err := edge.Position(req.GetPageToken(), args...)
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
	size := edge.PageSize(req.GetPageSize(), 100, 2000)
	sc := scan{s: s, view: v, lens: l, filter: filter, room: edge.NewRoom(size), step: size + 1}
	if sc.from, sc.total, err = readPlace(token); err != nil {
		return nil, err
	}
	if err := sc.run(ctx); err != nil {
		return nil, edge.About(req.GetParent(), err)
	}
	resp := &pb.ListRotationTasksResponse{Tasks: sc.found, TotalSize: int32(sc.total)} //nolint:gosec // A plan has fewer than 2^31 tasks.
	if sc.next > 0 {
		resp.NextPageToken = edge.PageToken(fmt.Sprintf("%d/%d", sc.next, sc.total), args...)
	}
	return resp, nil
}

// readPlace reads where a page of tasks begins and how many match in all, which
// the first page counted. total is -1 where that is yet to be done.
func readPlace(token string) (from, total int, err error) {
	if token == "" {
		return 0, -1, nil
	}
	a, b, _ := strings.Cut(token, "/")
	from, err1 := strconv.Atoi(a)
	total, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || from < 0 || total < 0 {
		return 0, 0, edge.InvalidFor(pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			edge.Violated("page_token", "FORMAT", "is not one that was given out"))
	}
	return from, total, nil
}

// scanStep is how many tasks are read at once while looking for those that match.
const scanStep = 1000

// scan looks through the tasks of a rotation for one page of those that match.
type scan struct {
	s      *Service
	view   mirror.View
	lens   lens
	filter *edge.Filter
	from   int // position to begin at
	room   *edge.Room
	step   int // how many to read at once where all match
	total  int // how many match in all; -1: count them

	found []*pb.RotationTask
	next  int // position of the next page; 0: this is the last
}

func (sc *scan) run(ctx context.Context) error {
	n := sc.view.Rotation.Tasks
	count := sc.total < 0
	switch {
	case count && sc.filter == nil && sc.lens.whole():
		sc.total, count = n, false
	case count:
		sc.total = 0
	}
	for at := sc.from; at < n && (count || sc.next == 0); at += scanStep {
		step := scanStep
		if sc.filter == nil && sc.lens.whole() {
			step = min(step, sc.step)
		}
		ks, err := sc.s.c.Mirror.Tasks(ctx, sc.view.Rotation.ID, at, min(at+step, n))
		if err != nil {
			return err
		}
		for _, k := range sc.lens.tasks(ks) {
			if !sc.filter.Match(taskValue(k)) {
				continue
			}
			if count {
				sc.total++
			}
			if sc.next > 0 {
				continue // Only counted.
			}
			if p := taskProto(k); sc.room.Takes(p) {
				sc.found = append(sc.found, p)
			} else {
				sc.next = k.ID.Ord
			}
		}
	}
	return nil
}
