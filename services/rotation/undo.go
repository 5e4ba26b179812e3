package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// UndoRotation takes a rotation back, or a part of it. The conductor does it.
func (s *Service) UndoRotation(ctx context.Context, req *pb.UndoRotationRequest) (*pb.UndoRotationResponse, error) {
	if err := s.may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(req.GetName())
	if _, err := s.c.Store.Rotation(ctx, id); err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	if req.GetValidateOnly() {
		v, n, err := s.undoable(ctx, req)
		return &pb.UndoRotationResponse{Rotation: s.show(ctx, v), Covered: int64(n)}, err
	}
	q, err := s.begin(ctx, "UndoRotation", req, id)
	if err != nil {
		return nil, err
	}
	covered := 0
	if !q.Done {
		if covered, err = s.undo(ctx, req, q.Repeat); err != nil {
			return nil, err
		}
		s.finish(ctx, q)
	}
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	if u := v.Rotation.Undo; u != nil && covered == 0 {
		covered = v.Counts.Undos[u.N].Covered
	}
	return &pb.UndoRotationResponse{Rotation: s.show(ctx, v), Covered: int64(covered)}, nil
}

// undo orders the undo and returns how many tasks it is for.
func (s *Service) undo(ctx context.Context, req *pb.UndoRotationRequest, repeat bool) (int, error) {
	id, _ := edge.ParseRotation(req.GetName())
	key := strings.ToLower(req.GetRequestId())
	happened := func(r rollover.Rotation) bool {
		return r.ChangedBy(key) || key != "" && r.Undo != nil && r.Undo.RequestID == key
	}
	if repeat {
		r, err := s.c.Store.Rotation(ctx, id)
		if err != nil {
			return 0, edge.About(req.GetName(), err)
		}
		if happened(r) {
			return 0, nil
		}
	}
	v, n, err := s.undoable(ctx, req)
	if err != nil {
		return 0, err
	}
	need, err := s.needed(ctx, rollover.ActUndo, v, n)
	if err != nil {
		return 0, err
	}
	people := s.people(ctx, id)
	return n, s.apply(ctx, id, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: key, body: req, happened: happened,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			scope := undoScopeOf(req.GetScope())
			next, err := r.BeginUndo(scope, req.GetReason(), key, now)
			if err == nil && r.Phase != v.Rotation.Phase {
				err = movedOn(id)
			}
			if err == nil {
				err = people.approved(r, rollover.ActUndo, undoSubject(scope, mirror.View{Rotation: r, Counts: v.Counts}), need, now)
			}
			if err != nil {
				return r, err
			}
			return next, nil
		},
	}, repeat)
}

// undoable returns for how many tasks an undo would be, or why it is refused.
func (s *Service) undoable(ctx context.Context, req *pb.UndoRotationRequest) (mirror.View, int, error) {
	id, _ := edge.ParseRotation(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return v, 0, edge.About(req.GetName(), err)
	}
	now := s.c.Now().UTC()
	scope := undoScopeOf(req.GetScope())
	if _, err := v.Rotation.BeginUndo(scope, req.GetReason(), "", now); err != nil {
		return v, 0, explain(req.GetName(), v.Rotation, err)
	}
	if e := req.GetEtag(); e != "" && e != etagOf(v.Rotation) {
		return v, 0, edge.Stale(req.GetName(), etagOf(v.Rotation))
	}
	ks, err := scope.Covers(v.Rotation, v.Counts, func(from, to int) ([]rollover.Task, error) {
		return s.c.Mirror.Tasks(ctx, id, from, to)
	})
	if err != nil {
		return v, 0, edge.About(req.GetName(), err)
	}
	var unmet []*edge.Unmet
	over := 0
	for _, k := range ks {
		if why := k.NotUndoable(v.Rotation.Spec.UndoFor(), now); why != "" {
			if over++; over <= maxMissing {
				unmet = append(unmet, &edge.Unmet{Type: "UNDO_WINDOW", Subject: edge.TaskName(id, k.ID.Ord), Description: why})
			}
		}
	}
	switch {
	case len(ks) == 0:
		return v, 0, edge.About(req.GetName(), edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, "the scope has no task that could be undone",
			&edge.Unmet{Type: "SCOPE", Subject: req.GetName(), Description: "the scope has no task that the plan left to be worked on, or all are undone"}))
	case over > 0:
		what := "1 task"
		if over > 1 {
			what = fmt.Sprintf("%d tasks", over)
		}
		err := edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED,
			fmt.Sprintf("%s of the scope cannot be undone; the first, %s: %s", what, unmet[0].GetSubject(), unmet[0].GetDescription()), unmet...)
		return v, 0, edge.About(req.GetName(), edge.With(err, "not_undoable_count", strconv.Itoa(over)))
	default:
		return v, len(ks), nil
	}
}

// undoWindowOf reads for how long something can be undone. Nothing said is stored
// as nothing, so that a plan's digest is what it was before there was an undo.
func undoWindowOf(d *durationpb.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.AsDuration() == 0:
		return -1
	default:
		return d.AsDuration()
	}
}

// undoScopeOf reads a scope that was validated.
func undoScopeOf(p *pb.UndoScope) rollover.UndoScope {
	s := rollover.UndoScope{All: p.GetAll(), Wave: int(p.GetWave())}
	for _, n := range p.GetTenants().GetNames() {
		id, _ := edge.ParseTenant(n)
		s.Tenants = append(s.Tenants, id)
	}
	for _, n := range p.GetTasks().GetNames() {
		_, ord, _ := edge.ParseTask(n)
		s.Tasks = append(s.Tasks, ord)
	}
	return s
}

// undoProto says how far the last undo is; nothing where there was none.
func undoProto(r rollover.Rotation, c rollover.Counts) *pb.UndoStatus {
	u := r.Undo
	if u == nil {
		return nil
	}
	n := c.Undos[u.N]
	p := &pb.UndoStatus{
		Scope: &pb.UndoScope{}, Covered: int64(n.Covered), Done: int64(n.Undone), Failed: int64(n.Failed),
		RequestTime: instant(u.At), Reason: u.Reason, EndTime: instant(u.EndedAt),
	}
	switch s := u.Scope; {
	case s.All:
		p.Scope.Scope = &pb.UndoScope_All{All: true}
	case s.Wave > 0:
		p.Scope.Scope = &pb.UndoScope_Wave{Wave: int32(s.Wave)} //nolint:gosec // It was an int32 in the request.
	case len(s.Tenants) > 0:
		names := &pb.TenantNames{}
		for _, id := range s.Tenants {
			names.Names = append(names.Names, edge.TenantName(id))
		}
		p.Scope.Scope = &pb.UndoScope_Tenants{Tenants: names}
	default:
		names := &pb.TaskNames{}
		for _, ord := range s.Tasks {
			names.Names = append(names.Names, edge.TaskName(r.ID, ord))
		}
		p.Scope.Scope = &pb.UndoScope_Tasks{Tasks: names}
	}
	return p
}

// sorted returns the members of a set, sorted.
func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
