package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// line says how callers are told of one error.
type line struct {
	err    error
	code   codes.Code
	reason pb.ErrorReason
	text   string // what the caller is told; empty: the error's own text
	detail func(err error) protoadapt.MessageV1
	retry  time.Duration
}

// table is the one place where an error of the room becomes a status. The first
// line that matches by errors.Is decides.
func table() []line {
	return []line{
		{err: rollover.ErrNotFound, code: codes.NotFound, reason: pb.ErrorReason_ERROR_REASON_NOT_FOUND, text: "there is no such resource"},
		{err: rollover.ErrExists, code: codes.AlreadyExists, reason: pb.ErrorReason_ERROR_REASON_ALREADY_EXISTS, text: "it exists with other content"},
		{err: rollover.ErrConflict, code: codes.Aborted, reason: pb.ErrorReason_ERROR_REASON_CONFLICT, text: "others changed it at the same time; read it and ask again"},
		{err: rollover.ErrTooEarly, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_TOO_EARLY, detail: unmet("RETIRE_NOT_BEFORE")},
		{err: rollover.ErrUnseen, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_NO_EVIDENCE, detail: unmet("EVIDENCE")},
		{err: rollover.ErrNoEvidence, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_NO_EVIDENCE, detail: unmet("EVIDENCE")},
		{err: rollover.ErrState, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED, detail: unmet("STATE")},
		{err: rollover.ErrStalePlan, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_PLAN_CHANGED, detail: unmet("PLAN_DIGEST")},
		{err: rollover.ErrDeadline, code: codes.FailedPrecondition, reason: pb.ErrorReason_ERROR_REASON_DEADLINE_IMPOSSIBLE, detail: unmet("STAGE_DEADLINE")},
		{err: rollover.ErrSecondPerson, code: codes.PermissionDenied, reason: pb.ErrorReason_ERROR_REASON_SECOND_PERSON_NEEDED},
		{err: rollover.ErrFull, code: codes.ResourceExhausted, reason: pb.ErrorReason_ERROR_REASON_STORAGE_FULL, text: "the storage has reached a limit", detail: full, retry: time.Minute},
		{err: rollover.ErrUnavailable, code: codes.Unavailable, reason: pb.ErrorReason_ERROR_REASON_STORAGE_UNAVAILABLE, text: "the storage cannot be reached now; ask again", retry: 2 * time.Second},
		{err: context.DeadlineExceeded, code: codes.DeadlineExceeded, reason: pb.ErrorReason_ERROR_REASON_DEADLINE, text: "the time for the call was used up"},
		{err: context.Canceled, code: codes.Canceled, reason: pb.ErrorReason_ERROR_REASON_CALLER_GONE, text: "the caller went away"},
	}
}

func unmet(kind string) func(error) protoadapt.MessageV1 {
	return func(err error) protoadapt.MessageV1 {
		v := &Unmet{Type: kind, Description: err.Error()}
		var s *rollover.StateError
		if errors.As(err, &s) {
			v.Subject, v.Description = string(s.State), s.Why
		}
		return &errdetails.PreconditionFailure{Violations: []*Unmet{v}}
	}
}

func full(err error) protoadapt.MessageV1 {
	var f *rollover.FullError
	if errors.As(err, &f) {
		return quota(f.Of, f.Why)
	}
	return quota("storage", "a bound of the store is reached")
}

// ProblemOf returns what the caller is told of err: the Problem in its chain, or
// the one that the table makes. An error that is in neither is a mistake of
// ours; the caller is told nothing of it but an id that is in the log.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if s, ok := status.FromError(err); ok && s.Code() == codes.Unimplemented {
		return &Problem{Code: s.Code(), Reason: pb.ErrorReason_ERROR_REASON_UNKNOWN_METHOD, Message: s.Message(), Cause: err}
	}
	for _, l := range table() {
		if !errors.Is(err, l.err) {
			continue
		}
		p := &Problem{Code: l.code, Reason: l.reason, Message: l.text, Retry: l.retry, Cause: err}
		var f *rollover.FullError
		switch {
		case errors.As(err, &f):
			p.Message = f.Why
		case l.text == "":
			p.Message, p.Cause = err.Error(), nil
		}
		if l.detail != nil {
			p.Details = append(p.Details, l.detail(err))
		}
		return p
	}
	return Internal(err)
}

// About returns err as a problem with the named resource, where the problem
// itself names none.
func About(name string, err error) error {
	p := *ProblemOf(err)
	if p.Code == codes.NotFound && p.Message == "there is no such resource" {
		p.Message = "there is no " + name
	}
	switch p.Code {
	case codes.NotFound, codes.AlreadyExists, codes.Aborted:
		for _, d := range p.Details {
			if _, ok := d.(*errdetails.ResourceInfo); ok {
				return &p
			}
		}
		p.Details = append([]protoadapt.MessageV1{resource(name, p.Message)}, p.Details...)
	case codes.FailedPrecondition:
		p.Metadata = withKey(p.Metadata, "resource", name)
		p.Details = subjected(p.Details, name)
	}
	return &p
}

// Unmeet returns err as a problem whose unmet conditions are those of the named subject,
// where they name none: of a field of what there is not yet.
func Unmeet(subject string, err error) error {
	p := *ProblemOf(err)
	p.Details = subjected(p.Details, subject)
	return &p
}

// subjected returns details in which every unmet condition says what it is one of.
func subjected(details []protoadapt.MessageV1, subject string) []protoadapt.MessageV1 {
	details = slices.Clone(details)
	for i, d := range details {
		f, ok := d.(*errdetails.PreconditionFailure)
		if !ok {
			continue
		}
		f = proto.CloneOf(f)
		for _, v := range f.GetViolations() {
			if v.GetSubject() == "" {
				v.Subject = subject
			}
		}
		details[i] = f
	}
	return details
}

// With returns err as a problem with one more entry in its metadata.
func With(err error, key, value string) error {
	p := *ProblemOf(err)
	p.Metadata = withKey(p.Metadata, key, value)
	return &p
}

func withKey(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// told is an error that has become a status, with what the log should know.
type told struct {
	status  *status.Status
	problem *Problem
	id      string // of an internal error
}

// Error returns what the log should say.
func (e *told) Error() string { return e.problem.Error() }

// GRPCStatus returns what the caller is told.
func (e *told) GRPCStatus() *status.Status { return e.status }

// tell makes a status of err, with an ErrorInfo and, if asking again helps, a
// RetryInfo. request is the id of the call.
func tell(err error, request string) *told {
	var done *told
	if errors.As(err, &done) {
		return done
	}
	p := ProblemOf(err)
	e := &told{problem: p}
	info := &errdetails.ErrorInfo{
		Domain: Domain, Reason: strings.TrimPrefix(p.Reason.String(), "ERROR_REASON_"), Metadata: maps.Clone(p.Metadata),
	}
	if p.Code == codes.Internal {
		e.id = newID()
		info.Metadata = withKey(info.Metadata, "error_id", e.id)
	}
	details := append([]protoadapt.MessageV1{info}, p.Details...)
	if p.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(p.Retry)})
	}
	if request != "" {
		details = append(details, &errdetails.RequestInfo{RequestId: request})
	}
	s := status.New(p.Code, p.Message)
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	} else { // Only a detail that cannot be encoded leads here: invalid UTF-8.
		s = status.New(p.Code, strings.ToValidUTF8(p.Message, "?"))
	}
	e.status = s
	return e
}

// Status returns what a caller is told of err, for doors that refuse a call before it
// becomes one. request is its id, or "".
func Status(err error, request string) *status.Status { return tell(err, request).status }

// newID returns 12 random hex digits.
func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // Never fails, see crypto/rand.
	return fmt.Sprintf("%x", b)
}
