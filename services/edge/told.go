package edge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"maps"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Auditor takes audit records; see [audit.Log].
type Auditor interface {
	Tell(ctx context.Context, records ...audit.Record) error
}

// teller tells the audit log of calls. Whoever changes something is told before it is
// done, or it is not done; what came of it is told after.
type teller struct {
	to   Auditor // nil: nobody is told
	warn func(ctx context.Context, err error)

	refusals *refusals
}

func newTeller(to Auditor, warn func(context.Context, error)) *teller {
	return &teller{to: to, warn: warn, refusals: newRefusals()}
}

type toldKey struct{}

// changes reports whether a method may change something: all that asks for more than to
// read.
func changes(ctx context.Context) bool { return Scope(ctx) != "" && Scope(ctx) != rights.Read }

// short is a method as records name it, "RotationService/StartRotation".
func short(method string) string { return strings.TrimPrefix(method, servicePrefix) }

// outcome fills in what came of a call.
func outcome(r *audit.Record, err error) {
	if err == nil {
		r.Outcome = audit.Done
		return
	}
	p := problemOf(err)
	r.Outcome, r.Reason = audit.Refused, strings.TrimPrefix(p.Reason.String(), "ERROR_REASON_")
	switch p.Code {
	case codes.Internal, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		r.Outcome = audit.Failed // It may have been done.
	}
	note(r, "code", p.Code.String())
}

// problemOf is what callers are told of an error.
func problemOf(err error) *Problem {
	var t *told
	if errors.As(err, &t) {
		return t.problem
	}
	return ProblemOf(err)
}

// before tells that a change was asked for. Nothing is done that could not be told.
func (t *teller) before(ctx context.Context, r audit.Record) error {
	if told, ok := ctx.Value(toldKey{}).(*bool); ok {
		*told = true
	}
	r.Outcome = audit.Asked
	err := t.to.Tell(ctx, r)
	switch {
	case errors.Is(err, rollover.ErrFull):
		return err
	case err != nil:
		return &Problem{
			Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_STORAGE_UNAVAILABLE, Cause: err, Retry: time.Second,
			Message: "the audit log cannot be written now, and nothing is done that it does not tell; ask again",
		}
	}
	return nil
}

// after tells what came of it, also where its caller is gone by then.
func (t *teller) after(ctx context.Context, r audit.Record, resp any, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	r.Detail, r.Private = maps.Clone(r.Detail), maps.Clone(r.Private) // What was told before is not ours any more.
	outcome(&r, err)
	if err == nil {
		describeAnswer(resp, &r)
	}
	if err := t.to.Tell(ctx, r); err != nil {
		t.warn(ctx, err) // That it was asked for is in the log.
	}
}

// refused tells that a call was refused before anything was looked at.
func (t *teller) refused(ctx context.Context, method string, req any, err error) {
	who := proven(ctx)
	told, more := t.refusals.take(who)
	if !told {
		return
	}
	r := record(ctx, method)
	outcome(&r, err)
	if problemOf(err).Code == codes.PermissionDenied { // Who it was is known.
		var full audit.Record
		describeRequest(req, &full)
		r.Object, r.Tenant = full.Object, full.Tenant
	}
	records := []audit.Record{r}
	if more > 0 {
		records = append(records, counted(who, more))
	}
	if err := t.to.Tell(ctx, records...); err != nil {
		t.warn(ctx, err)
	}
}

// isRefusal reports whether an error says that the caller is nobody, or may not.
func isRefusal(err error) bool {
	switch problemOf(err).Code {
	case codes.Unauthenticated, codes.PermissionDenied:
		return true
	}
	return false
}

// outer surrounds the guard: it tells who was refused by it, and reads that were refused.
func (t *teller) outerUnary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if t.to == nil || open(i.FullMethod) {
		return h(ctx, req)
	}
	told := false
	resp, err := h(context.WithValue(ctx, toldKey{}, &told), req)
	if err != nil && !told && isRefusal(err) {
		t.refused(ctx, i.FullMethod, req, err)
	}
	return resp, err
}

func (t *teller) outerStream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if t.to == nil || open(i.FullMethod) {
		return h(srv, ss)
	}
	told := false
	err := h(srv, &withContext{ss, context.WithValue(ss.Context(), toldKey{}, &told)})
	if err != nil && !told && isRefusal(err) {
		t.refused(ss.Context(), i.FullMethod, nil, err)
	}
	return err
}

// inner stands behind the guard: it tells what was asked for, and what came of it.
func (t *teller) innerUnary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if t.to == nil || open(i.FullMethod) || !changes(ctx) {
		return h(ctx, req)
	}
	r := record(ctx, i.FullMethod)
	describeRequest(req, &r)
	sum := sha256.New()
	digest(sum, req)
	private(&r, "request_sha256", hex.EncodeToString(sum.Sum(nil)))
	if err := t.before(ctx, r); err != nil {
		return nil, err
	}
	resp, err := h(ctx, req)
	t.after(ctx, r, resp, err)
	return resp, err
}

func (t *teller) innerStream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx := ss.Context()
	if t.to == nil || open(i.FullMethod) || !changes(ctx) {
		return h(srv, ss)
	}
	told := &toldStream{ServerStream: ss, t: t, r: record(ctx, i.FullMethod), sum: sha256.New()}
	err := h(srv, told)
	if told.untold != nil {
		return told.untold
	}
	if told.messages > 0 {
		private(&told.r, "request_sha256", hex.EncodeToString(told.sum.Sum(nil)))
	}
	t.after(ctx, told.r, told.answer, err)
	return err
}

// toldStream is a stream of requests of which the first is told before it is handed on,
// since it says what the call is about.
type toldStream struct {
	grpc.ServerStream
	t        *teller
	r        audit.Record
	sum      hash.Hash // over all messages
	messages int
	answer   any
	untold   error // why it could not be told
}

// RecvMsg receives the next message, and tells the first.
func (s *toldStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	digest(s.sum, m)
	if s.messages++; s.messages > 1 {
		return nil
	}
	describeRequest(m, &s.r)
	s.untold = s.t.before(s.Context(), s.r)
	return s.untold
}

// SendMsg sends the answer, and keeps it for what is told after.
func (s *toldStream) SendMsg(m any) error {
	s.answer = m
	return s.ServerStream.SendMsg(m)
}
