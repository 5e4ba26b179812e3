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

// Caller returns who calls: what the caller says of itself, or
// [rollover.Anonymous].
//
// It is CLAIMED, NOT PROVEN: until there is a log-in anybody can say to be anybody.
// It keeps honest people from approving what they asked for themselves, and tells
// afterwards who said to have done what. It keeps nobody out.
func Caller(ctx context.Context) string {
	if name, ok := ctx.Value(callerKey{}).(string); ok {
		return name
	}
	return rollover.Anonymous
}

// calling returns ctx with the name of the caller, or a problem with it.
func calling(ctx context.Context) (context.Context, error) {
	names := metadata.ValueFromIncomingContext(ctx, CallerHeader)
	if len(names) == 0 {
		return ctx, nil
	}
	name := strings.TrimSpace(names[0])
	if len(names) > 1 || !IsCaller(name) {
		return ctx, Invalid(Violated("metadata."+CallerHeader, "FORMAT", "must be there once, with 1 to 128 printable ASCII characters"))
	}
	if rollover.Nobody(name) {
		return ctx, nil
	}
	ctx = logging.InjectFields(ctx, logging.Fields{"caller", name})
	return context.WithValue(ctx, callerKey{}, name), nil
}

// IsCaller reports whether a name can be a caller's.
func IsCaller(name string) bool {
	return name != "" && len(name) <= maxCaller && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
}

func callUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	ctx, err := calling(ctx)
	if err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func callStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx, err := calling(ss.Context())
	if err != nil {
		return err
	}
	return h(srv, &withContext{ss, ctx})
}
