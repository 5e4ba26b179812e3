package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// maxRaces bounds how often a change is begun anew because the record was
// changed in between: by the conductor, mostly, which writes a handful of times
// in a rotation's life.
const maxRaces = 8

// transition is a change of a rotation that a caller asks for.
type transition struct {
	name, etag, requestID string
	body                  proto.Message // what is hashed for the request id
	// rule is the room's. It returns its argument where there is nothing to do.
	rule func(r rollover.Rotation, now time.Time) (rollover.Rotation, error)
	// happened reports whether r went through the transition before.
	happened func(r rollover.Rotation) bool
}

// StartRotation begins the plan that the digest names.
func (s *Service) StartRotation(ctx context.Context, req *pb.StartRotationRequest) (*pb.StartRotationResponse, error) {
	if err := s.may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	workable, err := s.workable(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	approved, err := s.approvedStart(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(req.GetName())
	people := s.people(ctx, id)
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			next, err := r.Reconsider(people.People).Start(req.GetPlanDigest(), now)
			if err == nil {
				err = people.err
			}
			if err == nil && r.State != next.State {
				err = s.startable(ctx, r.Spec.New.SHA256)
			}
			if err == nil && r.State != next.State {
				err = s.inTime(r.Spec, workable, now)
			}
			if err == nil && r.State != next.State {
				err = approved(r, now)
			}
			return next, err
		},
		happened: func(r rollover.Rotation) bool { return !r.StartedAt.IsZero() && r.Digest == req.GetPlanDigest() },
	})
	return &pb.StartRotationResponse{Rotation: r}, err
}

// PauseRotation holds a rotation until it is resumed.
func (s *Service) PauseRotation(ctx context.Context, req *pb.PauseRotationRequest) (*pb.PauseRotationResponse, error) {
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			return r.Pause(req.GetReason(), now)
		},
		// Records of before Rotation.Changes have PauseID.
		happened: func(r rollover.Rotation) bool {
			return r.State == rollover.StatePaused || strings.EqualFold(r.PauseID, req.GetRequestId())
		},
	})
	return &pb.PauseRotationResponse{Rotation: r}, err
}

// ResumeRotation lets a paused rotation go on.
func (s *Service) ResumeRotation(ctx context.Context, req *pb.ResumeRotationRequest) (*pb.ResumeRotationResponse, error) {
	if err := s.may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	var known rollover.Counts
	if req.GetAcceptFailures() {
		id, _ := edge.ParseRotation(req.GetName())
		v, err := s.view(ctx, id)
		if err != nil {
			return nil, edge.About(req.GetName(), err)
		}
		known = v.Counts
	}
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			next := r
			if req.GetAcceptGate() {
				next = r.AcceptGate(edge.Caller(ctx), now)
			}
			next, err := next.Resume(req.GetAcceptFailures(), known, now)
			if err != nil {
				return r, err
			}
			if req.GetAcceptGate() && next.Gate != r.Gate {
				s.c.Log.Warn("gate accepted without a pass", "rotation", r.ID, "wave", r.Gate.Wave, "said", r.Gate.Result, "reason", r.Gate.Reason)
			}
			return next, nil
		},
		happened: func(r rollover.Rotation) bool {
			return r.State == rollover.StateRunning || r.State == rollover.StateUndoing || strings.EqualFold(r.ResumeID, req.GetRequestId())
		},
	})
	return &pb.ResumeRotationResponse{Rotation: r}, err
}

// CancelRotation stops a rotation for good.
func (s *Service) CancelRotation(ctx context.Context, req *pb.CancelRotationRequest) (*pb.CancelRotationResponse, error) {
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			return r.Cancel(req.GetReason(), now)
		},
		happened: func(r rollover.Rotation) bool {
			return r.State == rollover.StateCancelling || r.State == rollover.StateCancelled
		},
	})
	return &pb.CancelRotationResponse{Rotation: r}, err
}

// RetireRotation begins to remove the old credentials.
func (s *Service) RetireRotation(ctx context.Context, req *pb.RetireRotationRequest) (*pb.RetireRotationResponse, error) {
	t := transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule:     rollover.Rotation.BeginRetire,
		happened: func(r rollover.Rotation) bool { return r.Phase == rollover.PhaseRetire },
	}
	if req.GetRetireNotBefore() != nil {
		if err := s.bringForward(ctx, req, &t); err != nil {
			return nil, err
		}
	}
	r, err := s.change(ctx, t)
	return &pb.RetireRotationResponse{Rotation: r}, err
}

// bringForward makes t one that moves the instant before which nothing is removed, and
// begins to remove where that has come.
func (s *Service) bringForward(ctx context.Context, req *pb.RetireRotationRequest, t *transition) error {
	if err := s.may(ctx, req.GetName()); err != nil {
		return err
	}
	id, _ := edge.ParseRotation(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return edge.About(req.GetName(), err)
	}
	need, err := s.needed(ctx, rollover.ActRetireEarly, v, v.Counts.Workable)
	if err != nil {
		return err
	}
	at, people := req.GetRetireNotBefore().AsTime(), s.people(ctx, id)
	t.happened = func(r rollover.Rotation) bool {
		return r.Phase == rollover.PhaseRetire || !r.Early.IsZero() && !r.Early.After(at)
	}
	t.rule = func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
		next, err := r.BringForward(at, now)
		if err != nil {
			return r, err
		}
		if !next.Early.Equal(r.Early) {
			if err := people.approved(r, rollover.ActRetireEarly, earlySubject(at), need, now); err != nil {
				return r, err
			}
		}
		if begun, err := next.BeginRetire(now); err == nil {
			return begun, nil
		}
		return next, nil // It follows by itself, or by request, from then on.
	}
	return nil
}

// change does a transition once, however often it is asked for under one request
// id, and returns the rotation as it is then.
func (s *Service) change(ctx context.Context, t transition) (*pb.Rotation, error) {
	if err := s.may(ctx, t.name); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(t.name)
	if t.requestID != "" { // No request is noted for what there is not.
		if _, err := s.c.Store.Rotation(ctx, id); err != nil {
			return nil, edge.About(t.name, err)
		}
	}
	q, err := s.begin(ctx, string(t.body.ProtoReflect().Descriptor().Name()), t.body, id)
	if err != nil {
		return nil, err
	}
	if !q.Done {
		if err := s.apply(ctx, id, t, q.Repeat); err != nil {
			return nil, err
		}
		s.finish(ctx, q)
	}
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(t.name, err)
	}
	return s.show(ctx, v), nil
}

// apply stores what the rule makes of the rotation. It begins anew where it lost
// a race, unless the caller said which version it means.
func (s *Service) apply(ctx context.Context, id string, t transition, repeat bool) error {
	for range maxRaces {
		r, err := s.c.Store.Rotation(ctx, id)
		if err != nil {
			return edge.About(t.name, err)
		}
		next, err := t.rule(r, s.c.Now().UTC())
		switch {
		// It may have been taken back since, as a pause by a resumption: a repeat
		// must not do it again. A repeat may also overtake the first call.
		case r.ChangedBy(t.requestID) || repeat && t.happened(r):
			return nil
		case t.etag != "" && t.etag != etagOf(r):
			return edge.Stale(t.name, etagOf(r))
		case err != nil:
			return explain(t.name, r, err)
		case next.State == r.State && next.Phase == r.Phase && next.Check == r.Check && next.Reopened == r.Reopened &&
			next.Gate == r.Gate && next.Approval == r.Approval && slices.Equal(next.Approvals, r.Approvals) && next.Early.Equal(r.Early):
			return nil
		}
		_, err = s.c.Store.SaveRotation(ctx, next.Noted(t.requestID))
		if err == nil {
			return nil
		}
		if !errors.Is(err, rollover.ErrConflict) {
			return fmt.Errorf("saving rotation %s: %w", id, err)
		}
	}
	return edge.About(t.name, fmt.Errorf("saving rotation %s: lost %d races: %w", id, maxRaces, rollover.ErrConflict))
}

// explain adds to a refusal what the caller needs to go on.
func explain(name string, r rollover.Rotation, err error) error {
	err = edge.About(name, unapproved(name, err))
	switch p := edge.ProblemOf(err); p.Reason {
	case pb.ErrorReason_ERROR_REASON_TOO_EARLY:
		return edge.With(err, "not_before", r.RetireNotBefore().Add(rollover.Margin).UTC().Format(time.RFC3339))
	case pb.ErrorReason_ERROR_REASON_PLAN_CHANGED:
		return edge.With(err, "current_plan_digest", r.Digest)
	case pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED:
		return edge.With(err, "state", stateProto(r.State).String())
	default:
		return err
	}
}
