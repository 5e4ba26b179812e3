package edge

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

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

// record begins a record of a call.
func (t *teller) record(ctx context.Context, method string, req any) audit.Record {
	r := audit.Record{Act: short(method), Request: RequestOf(ctx)}
	if c := callerOf(ctx); c != nil {
		r.Who = c.name
		if r.By = string(c.subject.By); r.By == "" && c.name != "" {
			r.By = "claim"
		}
	}
	if m, ok := req.(proto.Message); ok && m != nil {
		describeRequest(m.ProtoReflect(), &r)
	}
	return r
}

// toldFields are the fields of requests that records show: names of resources and words
// of people, never what was sent along.
var toldFields = map[string]string{
	"plan_digest": "plan_digest", "request_id": "request_id", "act": "for", "wave": "wave", "validate_only": "validate_only",
	"retire_not_before": "retire_not_before", "force": "force", "tasks": "tasks",
}

// describeRequest fills in what a request is about.
func describeRequest(m protoreflect.Message, r *audit.Record) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || f.IsList() || f.IsMap() {
			continue
		}
		name, v := string(f.Name()), m.Get(f)
		switch {
		case f.Kind() == protoreflect.StringKind && (name == "name" || name == "parent"):
			r.Object = v.String()
		case f.Kind() == protoreflect.StringKind && name == "reason":
			r.Why = v.String()
		case toldFields[name] == "":
		case f.Kind() == protoreflect.EnumKind:
			if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
				note(r, toldFields[name], string(e.Name()))
			}
		case f.Kind() == protoreflect.MessageKind:
			if at, ok := v.Message().Interface().(interface{ AsTime() time.Time }); ok {
				note(r, toldFields[name], at.AsTime().UTC().Format(time.RFC3339Nano))
			}
		default:
			note(r, toldFields[name], v.String())
		}
	}
}

func note(r *audit.Record, key, value string) {
	if r.Detail == nil {
		r.Detail = map[string]string{}
	}
	r.Detail[key] = value
}

// nameOf returns the name of the resource that an answer is, or has in its first field.
func nameOf(resp any) string {
	m, ok := resp.(proto.Message)
	if !ok || m == nil {
		return ""
	}
	look := func(m protoreflect.Message) string {
		if f := m.Descriptor().Fields().ByName("name"); f != nil && f.Kind() == protoreflect.StringKind {
			return m.Get(f).String()
		}
		return ""
	}
	r := m.ProtoReflect()
	if n := look(r); n != "" {
		return n
	}
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() && r.Has(f) {
			if n := look(r.Get(f).Message()); n != "" {
				return n
			}
		}
	}
	return ""
}

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
func (t *teller) before(ctx context.Context, method string, req any) error {
	if told, ok := ctx.Value(toldKey{}).(*bool); ok {
		*told = true
	}
	r := t.record(ctx, method, req)
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

// after tells what came of it.
func (t *teller) after(ctx context.Context, method string, req, resp any, err error) {
	r := t.record(ctx, method, req)
	outcome(&r, err)
	if n := nameOf(resp); r.Object == "" && err == nil {
		r.Object = n
	}
	if err := t.to.Tell(ctx, r); err != nil {
		t.warn(ctx, err) // That it was asked for is in the log.
	}
}

// refused tells that a call was refused before anything was looked at.
func (t *teller) refused(ctx context.Context, method string, err error) {
	who := proven(ctx)
	told, more := t.refusals.take(who)
	if !told {
		return
	}
	r := t.record(ctx, method, nil)
	outcome(&r, err)
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
		t.refused(ctx, i.FullMethod, err)
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
		t.refused(ss.Context(), i.FullMethod, err)
	}
	return err
}

// inner stands behind the guard: it tells what was asked for, and what came of it.
func (t *teller) innerUnary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if t.to == nil || open(i.FullMethod) || !changes(ctx) {
		return h(ctx, req)
	}
	if err := t.before(ctx, i.FullMethod, req); err != nil {
		return nil, err
	}
	resp, err := h(ctx, req)
	t.after(ctx, i.FullMethod, req, resp, err)
	return resp, err
}

func (t *teller) innerStream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx := ss.Context()
	if t.to == nil || open(i.FullMethod) || !changes(ctx) {
		return h(srv, ss)
	}
	if err := t.before(ctx, i.FullMethod, nil); err != nil {
		return err
	}
	err := h(srv, ss)
	t.after(ctx, i.FullMethod, nil, nil, err)
	return err
}
