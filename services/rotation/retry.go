package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// retrying is one call of RetryRotationTasks on its way.
type retrying struct {
	s      *Service
	req    *pb.RetryRotationTasksRequest
	filter *edge.Filter
	named  map[int]bool // nil: none is named
	id     string       // of the rotation
	repeat bool         // the request id was used before

	opened int    // tasks that this call opened again
	last   uint64 // version of the newest task that this request opened, by any call
}

// RetryRotationTasks opens tasks again that failed. The tasks come first and the
// rotation after them: were it the other way round, it would end before its
// tasks are open.
func (s *Service) RetryRotationTasks(ctx context.Context, req *pb.RetryRotationTasksRequest) (*pb.RetryRotationTasksResponse, error) {
	if err := s.may(ctx, req.GetParent()); err != nil {
		return nil, err
	}
	rt := &retrying{s: s, req: req}
	rt.id, _ = edge.ParseRotation(req.GetParent())
	var err error
	if rt.filter, err = edge.ParseFilter(req.GetFilter(), taskFields()); err != nil {
		return nil, err
	}
	if _, err := s.c.Store.Rotation(ctx, rt.id); err != nil {
		return nil, edge.About(req.GetParent(), err)
	}
	q, err := s.begin(ctx, "RetryRotationTasks", req, rt.id)
	if err != nil {
		return nil, err
	}
	rt.repeat = q.Repeat
	if !q.Done {
		if err := rt.run(ctx); err != nil {
			return nil, err
		}
		s.finish(ctx, q)
	}
	v, err := s.view(ctx, rt.id)
	if err != nil {
		return nil, edge.About(req.GetParent(), err)
	}
	return &pb.RetryRotationTasksResponse{Rotation: s.show(ctx, v), Retried: int64(rt.opened)}, nil
}

// done reports whether this very request changed the rotation before.
func (rt *retrying) done(r rollover.Rotation) bool {
	return rt.repeat && (r.ChangedBy(rt.req.GetRequestId()) || strings.EqualFold(r.RetryID, rt.req.GetRequestId()))
}

func (rt *retrying) run(ctx context.Context) error {
	name := rt.req.GetParent()
	v, err := rt.s.view(ctx, rt.id)
	if err != nil {
		return edge.About(name, err)
	}
	r := v.Rotation
	switch err := r.MayRetry(); {
	case rt.done(r):
		return nil
	case !rt.repeat && rt.req.GetEtag() != "" && rt.req.GetEtag() != etagOf(r):
		return edge.Stale(name, etagOf(r))
	case err != nil:
		return explain(name, r, err)
	}
	if err := rt.check(ctx, v); err != nil {
		return err
	}
	if err := rt.open(ctx, v); err != nil {
		return err
	}
	if rt.last == 0 && r.State.Ended() && v.Counts.OpenTasks > 0 {
		rt.last = v.Seq // A call without a request id was cut off after it had opened tasks.
	}
	if rt.last == 0 {
		return edge.With(edge.About(name, edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, "there is no task to retry",
			&edge.Unmet{Type: "TASKS", Subject: name, Description: "no task that is asked for failed"})), "state", stateProto(r.State).String())
	}
	return rt.s.apply(ctx, rt.id, transition{
		name: name, requestID: rt.req.GetRequestId(), body: rt.req, happened: rt.done,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			return r.Retry(rt.last, strings.ToLower(rt.req.GetRequestId()), rt.req.GetReason(), now)
		},
	}, rt.repeat)
}

// check refuses the request if a task that it names cannot be retried.
func (rt *retrying) check(ctx context.Context, v mirror.View) error {
	if len(rt.req.GetNames()) == 0 {
		return nil
	}
	rt.named = map[int]bool{}
	var unmet []*edge.Unmet
	for _, n := range rt.req.GetNames() {
		_, ord, _ := edge.ParseTask(n)
		ks, err := rt.s.c.Mirror.Tasks(ctx, rt.id, ord, ord+1)
		if err != nil {
			return edge.About(n, err)
		}
		if len(ks) == 0 {
			return edge.Missing(n, nil)
		}
		rt.named[ord] = true
		if why := ks[0].NotRetryable(true); why != "" && !rt.ours(ks[0]) && len(unmet) < maxMissing {
			unmet = append(unmet, &edge.Unmet{Type: "TASK", Subject: n, Description: why})
		}
	}
	if len(unmet) == 0 {
		return nil
	}
	return edge.About(rt.req.GetParent(), edge.With(edge.Refused(pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED,
		fmt.Sprintf("%s cannot be retried: it %s", unmet[0].GetSubject(), unmet[0].GetDescription()), unmet...),
		"state", stateProto(v.Rotation.State).String()))
}

// ours reports whether this request opened k before.
func (rt *retrying) ours(k rollover.Task) bool {
	return k.RetryID != "" && strings.EqualFold(k.RetryID, rt.req.GetRequestId())
}

// open opens every task that is asked for, in batches. What this request has
// opened before is left alone: it may have failed again since.
func (rt *retrying) open(ctx context.Context, v mirror.View) error {
	for from := 0; from < v.Rotation.Tasks; from += scanStep {
		ks, err := rt.s.c.Mirror.Tasks(ctx, rt.id, from, min(from+scanStep, v.Rotation.Tasks))
		if err != nil {
			return edge.About(rt.req.GetParent(), err)
		}
		var batch []rollover.Task
		for _, k := range ks {
			switch {
			case rt.ours(k):
				rt.last = max(rt.last, k.Rev)
			case rt.wants(k):
				batch = append(batch, k.Retry(strings.ToLower(rt.req.GetRequestId()), rt.s.c.Now().UTC()))
			}
		}
		if len(batch) == 0 {
			continue
		}
		saved, err := rt.s.c.Store.SaveTasks(ctx, batch)
		if err := butLostRaces(err); err != nil {
			return fmt.Errorf("opening tasks of rotation %s again: %w", rt.id, err)
		}
		for i, k := range saved {
			if k.Rev > batch[i].Rev {
				rt.opened++
				rt.last = max(rt.last, k.Rev)
			}
		}
	}
	return nil
}

// wants reports whether k is asked for and can be retried.
func (rt *retrying) wants(k rollover.Task) bool {
	byName := rt.named != nil
	switch {
	case byName && !rt.named[k.ID.Ord], !rt.filter.Match(taskValue(k)):
		return false
	default:
		return k.NotRetryable(byName || rt.filter != nil) == ""
	}
}

// butLostRaces returns what is in err besides lost races: a task that somebody
// else has moved meanwhile is theirs.
func butLostRaces(err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		if errors.Is(err, rollover.ErrConflict) {
			return nil
		}
		return err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, rollover.ErrConflict) {
			rest = append(rest, e)
		}
	}
	return errors.Join(rest...)
}

// failedTenants returns the tenants behind the failed and conflicting tasks of a
// rotation that has ended, sorted.
func (s *Service) failedTenants(ctx context.Context, name string) ([]string, error) {
	if err := s.may(ctx, name); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(name)
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(name, err)
	}
	if !v.Rotation.State.Ended() {
		return nil, explain(name, v.Rotation, &rollover.StateError{Verb: "take the failed tasks of", State: v.Rotation.State, Why: "wait for its end, or retry them"})
	}
	seen := map[string]bool{}
	for from := 0; from < v.Rotation.Tasks; from += scanStep {
		ks, err := s.c.Mirror.Tasks(ctx, id, from, min(from+scanStep, v.Rotation.Tasks))
		if err != nil {
			return nil, edge.About(name, err)
		}
		for _, k := range ks {
			if _, failed := k.FailedTarget(); !failed {
				continue
			}
			seen[k.Item.Tenant] = true
			for _, e := range k.Item.Endpoints {
				seen[e.Tenant] = true
			}
		}
	}
	if len(seen) == 0 {
		return nil, edge.Invalid(edge.Violated("rotation.spec.target.failed_of", "RANGE", "has no task that failed or was found in conflict"))
	}
	return sorted(seen), nil
}
