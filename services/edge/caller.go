package edge

import (
	"context"
	"strings"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// CallerHeader is the metadata in which a caller says who it is.
const CallerHeader = "crossfade-caller"

// maxCaller bounds a caller's name, in characters.
const maxCaller = 128

type callerKey struct{}

// claim is what a caller says of itself.
type claim struct {
	name string // "": nothing
	err  error  // it cannot be a name
}

// Caller returns who calls: what the caller says of itself, or
// [rollover.Anonymous].
//
// It is CLAIMED, NOT PROVEN: until there is a log-in anybody can say to be anybody.
// It keeps honest people from approving what they asked for themselves, and tells
// afterwards who said to have done what. It keeps nobody out.
func Caller(ctx context.Context) string {
	if c, ok := ctx.Value(callerKey{}).(claim); ok && c.name != "" {
		return c.name
	}
	return rollover.Anonymous
}

// claiming returns ctx with the name of the caller, for handlers and for the log.
func claiming(ctx context.Context) context.Context {
	c := claimOf(metadata.ValueFromIncomingContext(ctx, CallerHeader))
	if c.name != "" {
		ctx = logging.InjectFields(ctx, logging.Fields{"caller", c.name})
	}
	return context.WithValue(ctx, callerKey{}, c)
}

func claimOf(names []string) claim {
	if len(names) == 0 {
		return claim{}
	}
	name := strings.TrimSpace(names[0])
	switch {
	case len(names) > 1 || !IsCaller(name):
		return claim{err: Invalid(Violated("metadata."+CallerHeader, "FORMAT", "must be there once, with 1 to 128 printable ASCII characters"))}
	case rollover.Nobody(name):
		return claim{}
	default:
		return claim{name: name}
	}
}

// claimed returns the problem with the name of the caller.
func claimed(ctx context.Context) error {
	c, _ := ctx.Value(callerKey{}).(claim)
	return c.err
}

// IsCaller reports whether a name can be a caller's.
func IsCaller(name string) bool {
	return name != "" && len(name) <= maxCaller && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
}

func claimUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	return h(claiming(ctx), req)
}

func claimStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	return h(srv, &withContext{ss, claiming(ss.Context())})
}

func claimedUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := claimed(ctx); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func claimedStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if err := claimed(ss.Context()); err != nil {
		return err
	}
	return h(srv, ss)
}
