package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// ApproveRotation takes somebody's word for what is not to be one person's.
func (s *Service) ApproveRotation(ctx context.Context, req *pb.ApproveRotationRequest) (*pb.ApproveRotationResponse, error) {
	if err := s.may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	by := s.signed(ctx, rollover.Approval{
		Reason: strings.TrimSpace(req.GetReason()), Digest: req.GetPlanDigest(),
		RequestID: strings.ToLower(req.GetRequestId()), Act: actOf(req.GetAct(), v.Rotation),
	})
	switch by.Act {
	case rollover.ActRetireEarly:
		by.Subject = earlySubject(req.GetRetireNotBefore().AsTime())
	case rollover.ActUndo:
		by.Subject = undoSubject(approvedScope(req.GetUndo()), v)
	}
	need, err := s.needed(ctx, by.Act, v, v.Counts.Workable)
	if err != nil {
		return nil, err
	}
	people := s.people(ctx, id)
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			by.At, by.Until = now, s.c.Approvals.Until(now)
			if by.Act == rollover.ActUndo && r.Phase != v.Rotation.Phase {
				return r, movedOn(id)
			}
			if by.Act != rollover.ActContain {
				return r.Consent(by, people.People)
			}
			return contain(r, by, need, now, people)
		},
		// Nobody but the approver is told that it worked before: another may not
		// approve in that name.
		happened: func(r rollover.Rotation) bool {
			return by.RequestID != "" && (r.Approval.RequestID == by.RequestID && r.Approval.By == by.By ||
				slices.ContainsFunc(r.Approvals, func(a rollover.Approval) bool { return a.RequestID == by.RequestID && a.By == by.By }))
		},
	})
	return &pb.ApproveRotationResponse{Rotation: r}, err
}

// contain takes the word of one of those who need others to contain an incident. The
// last of them brings it forward, for as long as the first one's word holds.
func contain(r rollover.Rotation, by rollover.Approval, need int, now time.Time, people *people) (rollover.Rotation, error) {
	next, err := r.Approve(by, people.People) // It says whether the incident is to be approved at all.
	if err != nil || need <= 1 {
		return next, err
	}
	if r, err = r.Consent(by, people.People); err != nil {
		return r, err
	}
	all := r.Consents(by.Act, by.Subject, now, people.People)
	if people.err != nil || len(all) < need {
		return r, people.err
	}
	for _, a := range all {
		if a.Until.Before(by.Until) {
			by.Until = a.Until
		}
	}
	return r.Approve(by, people.People)
}

// actOf reads what is approved.
func actOf(p pb.ApprovalAct, r rollover.Rotation) rollover.Act {
	switch p {
	case pb.ApprovalAct_APPROVAL_ACT_START:
		return rollover.ActStart
	case pb.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY:
		return rollover.ActRetireEarly
	case pb.ApprovalAct_APPROVAL_ACT_UNDO:
		return rollover.ActUndo
	case pb.ApprovalAct_APPROVAL_ACT_CONTAIN:
		return rollover.ActContain
	}
	if r.Spec.Incident != nil {
		return rollover.ActContain
	}
	return rollover.ActStart
}

func actProto(a rollover.Act) pb.ApprovalAct {
	switch a {
	case rollover.ActStart:
		return pb.ApprovalAct_APPROVAL_ACT_START
	case rollover.ActRetireEarly:
		return pb.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY
	case rollover.ActUndo:
		return pb.ApprovalAct_APPROVAL_ACT_UNDO
	default:
		return pb.ApprovalAct_APPROVAL_ACT_CONTAIN
	}
}

// earlySubject names the instant of an early removal.
func earlySubject(at time.Time) string {
	return string(rollover.ActRetireEarly) + ":" + at.UTC().Format(time.RFC3339Nano)
}

// undoSubject names what of a rotation is taken back, and which undo it would be: one
// that was approved and done is not done again by the same word, and who approved it
// while nothing was removed has not approved that what was removed is put back.
func undoSubject(s rollover.UndoScope, v mirror.View) string {
	n := 1
	if u := v.Rotation.Undo; u != nil {
		n = u.N + 1
	}
	tenants, tasks := slices.Sorted(slices.Values(s.Tenants)), slices.Sorted(slices.Values(s.Tasks))
	return rollover.Subject(n, s.All, tenants, s.Wave, tasks, retired(v))
}

// approvedScope reads what of a rotation may be taken back.
func approvedScope(p *pb.ApprovedUndo) rollover.UndoScope {
	s := rollover.UndoScope{All: p.GetAll(), Wave: int(p.GetWave())}
	for _, n := range p.GetTenants() {
		id, _ := edge.ParseTenant(n)
		s.Tenants = append(s.Tenants, id)
	}
	for _, n := range p.GetTasks() {
		_, ord, _ := edge.ParseTask(n)
		s.Tasks = append(s.Tasks, ord)
	}
	return s
}

// retired reports whether old credentials are gone, or may be although it is not told yet.
func retired(v mirror.View) bool {
	return v.Counts.Retired > 0 || v.Rotation.Phase == rollover.PhaseRetire
}

// movedOn says that what an act would mean changed while it was asked for.
func movedOn(id string) error {
	return fmt.Errorf("rotation %s went on at this moment: %w", id, rollover.ErrUnavailable)
}

// needed returns how many others must approve an act on a rotation that is about so many
// targets.
func (s *Service) needed(ctx context.Context, act rollover.Act, v mirror.View, targets int) (int, error) {
	c := rollover.ApprovalCase{
		Act: act, Targets: targets, Incident: v.Rotation.Spec.Incident != nil, Retired: retired(v),
	}
	if s.c.Approvals.AsksClouds() {
		var err error
		if c.Clouds, err = Clouds(ctx, s.c.Store, s.c.Tenants, v.Rotation.ID); err != nil {
			return 0, err
		}
		// What the inventory says now may be written back in a minute. It counts
		// besides what it said when the rotation was made and planned.
		c.Clouds = append(c.Clouds, v.Rotation.Clouds...)
	}
	return s.c.Approvals.Needed(c), nil
}

// approvedStart returns what says whether enough others have approved the start of a
// rotation.
func (s *Service) approvedStart(ctx context.Context, name string) (func(rollover.Rotation, time.Time) error, error) {
	if len(s.c.Approvals.Rules) == 0 {
		return func(rollover.Rotation, time.Time) error { return nil }, nil
	}
	id, _ := edge.ParseRotation(name)
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(name, err)
	}
	need, err := s.needed(ctx, rollover.ActStart, v, v.Counts.Workable)
	if err != nil {
		return nil, err
	}
	people := s.people(ctx, id)
	return func(r rollover.Rotation, now time.Time) error {
		if r.Digest != v.Rotation.Digest { // It was planned since: how large it is was not known when we counted.
			return fmt.Errorf("rotation %s was planned at this moment: %w", id, rollover.ErrUnavailable)
		}
		return people.approved(r, rollover.ActStart, "", need, now)
	}, nil
}

// tellNeeded returns how many others must approve the start of a planned rotation, for
// people to see; 0 also where that cannot be said now. What decides is asked anew.
func (s *Service) tellNeeded(ctx context.Context, v mirror.View) int32 {
	if n, ok := s.needs.Get(v.Rotation.ID); ok {
		return n
	}
	need, err := s.needed(ctx, rollover.ActStart, v, v.Counts.Workable)
	if err != nil {
		s.c.Log.WarnContext(ctx, "how many must approve is not known", "rotation", v.Rotation.ID, "err", err)
		return 0
	}
	n := int32(need) //nolint:gosec // At most 10.
	s.needs.Add(v.Rotation.ID, n)
	return n
}

// unapproved makes what callers are told of an act that too few have approved.
func unapproved(name string, err error) error {
	var e *rollover.ApprovalsError
	if !errors.As(err, &e) {
		return err
	}
	var who []string
	for _, a := range e.Have {
		who = append(who, a.By)
	}
	p := edge.Refused(pb.ErrorReason_ERROR_REASON_APPROVALS_NEEDED, e.Error()+"; have others call ApproveRotation",
		&edge.Unmet{Type: "APPROVALS", Subject: name, Description: e.Error()})
	p.Metadata = map[string]string{
		"act": actProto(e.Act).String(), "needed": strconv.Itoa(e.Need), "approved": strings.Join(who, ", "),
	}
	return p
}

// approvalsProto shows the words of others.
func approvalsProto(r rollover.Rotation) []*pb.Approval {
	var out []*pb.Approval
	for _, a := range r.Approvals {
		p := &pb.Approval{
			Approver: a.By, ApproveTime: instant(a.At), Reason: a.Reason, PlanDigest: a.Digest, Act: actProto(a.Act), ExpireTime: instant(a.Until),
		}
		if text, ok := strings.CutPrefix(a.Subject, string(rollover.ActRetireEarly)+":"); ok {
			if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
				p.RetireNotBefore = instant(at)
			}
		}
		out = append(out, p)
	}
	return out
}
