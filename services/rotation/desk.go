package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// desk is DeskService. It shares all with RotationService and has rules of its own
// only for what is superseded.
type desk struct {
	pb.UnimplementedDeskServiceServer
	s *Service
}

// The bounds of one call.
const (
	// deskLook is how many letters a page looks at: so many reads of plans it costs
	// at most, however few of them the filter lets through.
	deskLook = 5000
	// deskCount is how many letters a summary counts.
	deskCount   = 200_000
	deskSamples = 5
)

func letterFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"rotation", "tenant", "host", "identity", "kind", "detail"},
		Bools:   []string{"retriable"},
		Times:   []string{"since"},
		Enums: map[string]protoreflect.EnumType{
			"outcome": pb.RotationTask_OUTCOME_UNSPECIFIED.Type(), "reason": pb.RotationTask_REASON_UNSPECIFIED.Type(),
		},
	}
}

// letter is one task that needs a person, in its rotation.
type letter struct {
	view mirror.View
	task rollover.Task
}

// retriable reports whether RetryRotationTasks takes the task by its name now.
func (l letter) retriable() bool {
	return l.view.Rotation.MayRetry() == nil && l.task.NotRetryable(true) == ""
}

func (l letter) value(field string) any {
	switch field {
	case "rotation":
		return edge.RotationName(l.view.Rotation.ID)
	case "kind":
		return l.task.Item.Target.Kind
	case "detail":
		return l.task.Detail
	case "retriable":
		return l.retriable()
	case "since":
		return l.since()
	default:
		return taskValue(l.task)(field)
	}
}

// since returns from when on the task needs a person.
func (l letter) since() time.Time {
	if l.task.UpdatedAt.IsZero() { // Planning decided.
		return l.view.Rotation.PlannedAt
	}
	return l.task.UpdatedAt
}

func (l letter) proto(superseded bool) *pb.DeadLetter {
	return &pb.DeadLetter{
		Task: taskProto(l.task), Rotation: edge.RotationName(l.view.Rotation.ID), RotationDisplayName: l.view.Rotation.DisplayName,
		SinceTime: timestamppb.New(l.since()), Superseded: superseded, Retriable: l.retriable(),
	}
}

// search walks over letters, newest rotation first.
type search struct {
	s      *Service
	views  []mirror.View // newest first
	in     edge.Sight
	filter *edge.Filter
	all    bool // superseded ones too
	from   letterPlace
	look   int // letters to look at, at most
	seen   letterPlace
}

// letterPlace is the place behind a letter; the zero one is before all.
type letterPlace struct {
	rotation string
	ord      int
}

func (p letterPlace) String() string { return fmt.Sprintf("%s/%d", p.rotation, p.ord) }

func readLetterPlace(token string) (letterPlace, error) {
	if token == "" {
		return letterPlace{}, nil
	}
	id, n, ok := strings.Cut(token, "/")
	ord, err := strconv.Atoi(n)
	if !ok || err != nil || ord < 0 {
		return letterPlace{}, edge.InvalidFor(pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			edge.Violated("page_token", "FORMAT", "is not one that was given out"))
	}
	return letterPlace{id, ord}, nil
}

// errEnough ends a search.
var errEnough = errors.New("enough")

// each calls do for every letter that matches, and says whether it is superseded.
// It ends with errEnough where do says so, or when it has looked at enough; then seen
// is the place from which to go on.
func (q *search) each(ctx context.Context, do func(letter, bool) error) error {
	for i, v := range q.views {
		next := 0
		switch id := v.Rotation.ID; {
		case q.from.rotation == "" || id < q.from.rotation:
		case id > q.from.rotation:
			continue
		default:
			next = q.from.ord + 1
		}
		for {
			ords := q.s.c.Mirror.NeedPerson(v.Rotation.ID, next, 500)
			if len(ords) == 0 {
				break
			}
			for _, ord := range ords {
				if q.look == 0 {
					return errEnough
				}
				q.look--
				if err := q.one(ctx, i, ord, do); err != nil {
					return err
				}
				q.seen = letterPlace{v.Rotation.ID, ord}
			}
			next = ords[len(ords)-1] + 1
		}
	}
	return nil
}

func (q *search) one(ctx context.Context, i, ord int, do func(letter, bool) error) error {
	v := q.views[i]
	ks, err := q.s.c.Mirror.Tasks(ctx, v.Rotation.ID, ord, ord+1)
	if err != nil || len(ks) == 0 {
		return err
	}
	e, err := q.s.extent(ctx, q.in, v.Rotation.ID)
	if err != nil {
		return err
	}
	k, ok := lens{q.in, e}.task(ks[0])
	if !ok || e == unseen {
		return nil
	}
	if e != wholly {
		v.Rotation = visible(v.Rotation, e)
	}
	l := letter{v, k}
	if !l.task.Outcome.NeedsPerson() || !q.filter.Match(l.value) {
		return nil
	}
	superseded, err := q.superseded(ctx, q.views[:i], l.task.Item.Target)
	if err != nil || (superseded && !q.all) {
		return err
	}
	return do(l, superseded)
}

// superseded reports whether a newer rotation has succeeded on the target.
func (q *search) superseded(ctx context.Context, newer []mirror.View, t rollover.Target) (bool, error) {
	if t.Host == "" {
		return false, nil
	}
	for _, v := range newer {
		if v.Rotation.Spec.Kind != t.Kind {
			continue
		}
		if ok, err := q.s.c.Mirror.Succeeded(ctx, v.Rotation.ID, t); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (s *Service) search(ctx context.Context, filter string, all bool) (*search, error) {
	f, err := edge.ParseFilter(filter, letterFields())
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
	return &search{s: s, views: s.c.Mirror.Rotations(), in: in, filter: f, all: all}, nil
}

// ListDeadLetters lists the tasks that need a person.
func (d *desk) ListDeadLetters(ctx context.Context, req *pb.ListDeadLettersRequest) (*pb.ListDeadLettersResponse, error) {
	if req.GetOrderBy() != "" {
		return d.ordered(ctx, req)
	}
	args := []string{"ListDeadLetters", req.GetFilter(), strconv.FormatBool(req.GetIncludeSuperseded())}
	token, err := edge.Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, err
	}
	q, err := d.s.search(ctx, req.GetFilter(), req.GetIncludeSuperseded())
	if err != nil {
		return nil, err
	}
	if q.from, err = readLetterPlace(token); err != nil {
		return nil, err
	}
	q.look, q.seen = deskLook, q.from
	room := edge.NewRoom(edge.PageSize(req.GetPageSize(), 100, 2000))
	resp := &pb.ListDeadLettersResponse{}
	err = q.each(ctx, func(l letter, superseded bool) error {
		p := l.proto(superseded)
		if !room.Takes(p) {
			return errEnough
		}
		resp.DeadLetters = append(resp.DeadLetters, p)
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		resp.NextPageToken = edge.PageToken(q.seen.String(), args...)
	case err != nil:
		return nil, err
	}
	return resp, nil
}

// SummarizeDeadLetters counts the tasks that need a person by reason.
func (d *desk) SummarizeDeadLetters(ctx context.Context, req *pb.SummarizeDeadLettersRequest) (*pb.SummarizeDeadLettersResponse, error) {
	q, err := d.s.search(ctx, req.GetFilter(), req.GetIncludeSuperseded())
	if err != nil {
		return nil, err
	}
	q.look = deskCount
	type key struct {
		o rollover.Outcome
		r rollover.Reason
	}
	groups, tenants := map[key]*pb.DeadLetterGroup{}, map[key]map[string]bool{}
	err = q.each(ctx, func(l letter, _ bool) error {
		k := key{l.task.Outcome, l.task.Reason}
		g := groups[k]
		if g == nil {
			g = &pb.DeadLetterGroup{Outcome: outcomeProto(k.o), Reason: reasonProto(k.r), Hint: k.r.Hint()}
			groups[k], tenants[k] = g, map[string]bool{}
		}
		g.Count++
		tenants[k][l.task.Item.Tenant] = true
		if len(g.SampleTasks) < deskSamples {
			g.SampleTasks = append(g.SampleTasks, edge.TaskName(l.view.Rotation.ID, l.task.ID.Ord))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	resp := &pb.SummarizeDeadLettersResponse{Truncated: err != nil}
	for k, g := range groups {
		g.TenantCount = int64(len(tenants[k]))
	}
	resp.Groups = slices.SortedFunc(maps.Values(groups), func(a, b *pb.DeadLetterGroup) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), cmp.Compare(a.GetOutcome(), b.GetOutcome()), cmp.Compare(a.GetReason(), b.GetReason()))
	})
	return resp, nil
}
