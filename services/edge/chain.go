package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// requestHeader carries the id of a call, in both directions.
const requestHeader = "x-request-id"

type requestKey struct{}

// RequestOf returns the id of the call that ctx belongs to, or "".
func RequestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// named returns ctx with the id of the call: the caller's, if it sent one of up
// to 64 letters, digits, '-', '_' and '.', else a new one.
func named(ctx context.Context) (context.Context, string) {
	id := ""
	if got := metadata.ValueFromIncomingContext(ctx, requestHeader); len(got) == 1 && isRequestID(got[0]) {
		id = got[0]
	} else {
		id = newID()
	}
	ctx = logging.InjectFields(ctx, logging.Fields{"request", id})
	return context.WithValue(ctx, requestKey{}, id), id
}

func isRequestID(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

func nameCall(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	ctx, id := named(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs(requestHeader, id)) // Fails only outside a call.
	return h(ctx, req)
}

func nameStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx, id := named(ss.Context())
	_ = ss.SetHeader(metadata.Pairs(requestHeader, id)) // Fails only after the header was sent.
	return h(srv, &withContext{ss, ctx})
}

// withContext is a stream with another context.
type withContext struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // A stream carries its context; that is its interface.
}

// Context returns the context that handlers are given.
func (s *withContext) Context() context.Context { return s.ctx }

// logTo makes a slog logger one of the middleware.
func logTo(l *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		l.Log(ctx, slog.Level(level), msg, fields...)
	})
}

// logOptions makes one line of a call, when it is over, without its payload.
func logOptions() []logging.Option {
	return []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithErrorFields(func(err error) logging.Fields {
			fields := logging.Fields{"err", err}
			var t *told
			if errors.As(err, &t) {
				fields = append(fields, "reason", strings.TrimPrefix(t.problem.Reason.String(), "ERROR_REASON_"))
				if t.id != "" {
					fields = append(fields, "error_id", t.id)
				}
			}
			return fields
		}),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey),
	}
}

// quiet reports whether a method is one that machines call every few seconds, of
// which no line is logged: health and reflection.
func quiet(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.") || strings.HasPrefix(method, "/grpc.reflection.")
}

func quietUnary(log grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if quiet(i.FullMethod) {
			return h(ctx, req)
		}
		return log(ctx, req, i, h)
	}
}

func quietStream(log grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		if quiet(i.FullMethod) {
			return h(srv, ss)
		}
		return log(srv, ss, i, h)
	}
}

// recovered makes an error of a panic. The caller is told an id, the log the
// rest.
func (s *Server) recovered(ctx context.Context, p any) error {
	e := tell(Internal(fmt.Errorf("panic: %v", p)), RequestOf(ctx))
	s.c.Log.ErrorContext(ctx, "panic in a handler", "error_id", e.id, "request", RequestOf(ctx), "stack", string(debug.Stack()))
	return e
}

// pushback is the trailer that grpc's own retries obey: milliseconds to wait, or
// -1 for "do not try again".
const pushback = "grpc-retry-pushback-ms"

func pushbackOf(t *told) metadata.MD {
	if t.problem.Retry > 0 {
		return metadata.Pairs(pushback, strconv.FormatInt(t.problem.Retry.Milliseconds(), 10))
	}
	return metadata.Pairs(pushback, "-1")
}

func tellUnary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	resp, err := h(ctx, req)
	if err == nil || quiet(i.FullMethod) {
		return resp, err
	}
	t := tell(err, RequestOf(ctx))
	_ = grpc.SetTrailer(ctx, pushbackOf(t)) // Fails only outside a call.
	return nil, t
}

func tellStream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	err := h(srv, ss)
	if err == nil || (quiet(i.FullMethod) && !isProblem(err)) {
		return err
	}
	t := tell(err, RequestOf(ss.Context()))
	ss.SetTrailer(pushbackOf(t))
	return t
}

func isProblem(err error) bool {
	var p *Problem
	return errors.As(err, &p)
}

// deadline gives a call an end, if its caller did not set a nearer one.
func deadline(d time.Duration) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return h(ctx, req)
	}
}

func validateUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func validateStream(idle time.Duration) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return h(srv, &checking{ss, idle})
	}
}

func check(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	if vs := Validate(msg); len(vs) > 0 {
		return Invalid(vs...)
	}
	return nil
}
