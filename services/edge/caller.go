package edge

import (
	"context"
	"log/slog"
	"strings"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/crossfade-project/crossfade/internal/identity"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// CallerHeader is the metadata in which a caller says who it is, to a server that asks
// nobody to prove it.
const CallerHeader = "crossfade-caller"

// maxCaller bounds a claimed name, in characters.
const maxCaller = 128

type callerKey struct{}

// caller is who calls and what they may do. It is made before the call is logged and
// filled in while it goes on, so that the log's line, which is written last, has it.
type caller struct {
	name    string // as it acts; "": nobody
	subject identity.Subject
	held    rights.Held
	scope   rights.Scope // that the call needs
}

// LogValue shows the name, and nothing where nobody is named.
func (c *caller) LogValue() slog.Value {
	if c.name == "" {
		return slog.GroupValue()
	}
	return slog.StringValue(c.name)
}

// callerOf returns who calls, nil outside a call.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// Caller returns who calls, or [rollover.Anonymous]. Where the server asks for proof it
// is what was proven: "person:" and a name, a certificate's "cert:…" or a token's
// "<issuer>:…". Where it does not, the name is CLAIMED: anybody can say to be anybody. It
// then keeps honest people from approving what they asked for themselves, and nobody out.
func Caller(ctx context.Context) string {
	if c := callerOf(ctx); c != nil && c.name != "" {
		return c.name
	}
	return rollover.Anonymous
}

// Subject returns who was proven to call, before it is looked up which person that is.
// It is zero where the name is claimed.
func Subject(ctx context.Context) identity.Subject {
	if c := callerOf(ctx); c != nil {
		return c.subject
	}
	return identity.Subject{}
}

// Scope returns what the call needs, "" outside a call.
func Scope(ctx context.Context) rights.Scope {
	if c := callerOf(ctx); c != nil {
		return c.scope
	}
	return ""
}

// Reach returns for which tenants the caller may do what it has called for. Outside a
// call, and before the caller is known, that is none.
func Reach(ctx context.Context) rights.Reach {
	if c := callerOf(ctx); c != nil {
		return c.held.Reach(c.scope)
	}
	return rights.Reach{}
}

// Holds returns for which tenants the caller has another scope than the one that the
// call needs anyway.
func Holds(ctx context.Context, s rights.Scope) rights.Reach {
	if c := callerOf(ctx); c != nil {
		return c.held.Reach(s)
	}
	return rights.Reach{}
}

// IsCaller reports whether a name can be a claimed caller's.
func IsCaller(name string) bool {
	return name != "" && len(name) <= maxCaller && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
}

// claimed reads the name that a caller claims, "" where it claims none.
func claimed(ctx context.Context) (string, error) {
	names := metadata.ValueFromIncomingContext(ctx, CallerHeader)
	if len(names) == 0 {
		return "", nil
	}
	name := strings.TrimSpace(names[0])
	switch {
	case len(names) > 1 || !IsCaller(name):
		return "", Invalid(Violated("metadata."+CallerHeader, "FORMAT", "must be there once, with 1 to 128 printable ASCII characters"))
	case rollover.Nobody(name):
		return "", nil
	default:
		return name, nil
	}
}

// calling returns ctx with room for who calls.
func calling(ctx context.Context) context.Context {
	c := &caller{}
	ctx = logging.InjectFields(ctx, logging.Fields{"caller", c})
	return context.WithValue(ctx, callerKey{}, c)
}

func callingUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	return h(calling(ctx), req)
}

func callingStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	return h(srv, &withContext{ss, calling(ss.Context())})
}
