package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/crossfade-project/crossfade/internal/identity"
	"github.com/crossfade-project/crossfade/internal/rights"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Tokens judges bearer tokens; see [identity.Verifier].
type Tokens interface {
	Token(ctx context.Context, raw string) (identity.Subject, error)
}

// Identity says how callers prove who they are, and what they may do.
type Identity struct {
	// Tokens judges bearer tokens. nil: none is believed.
	Tokens Tokens
	// Revoked is asked about client certificates at each call. nil: none is revoked
	// before it ends.
	Revoked identity.Revocation
	// Rights returns the grants as they are now. Required.
	Rights func() *rights.Table
	// Now is the machine's time. Required.
	Now func() time.Time
	// AgainEvery is how often a stream is asked again who it is and what it may do.
	// Default 15 s.
	AgainEvery time.Duration
}

// guard finds out who calls and whether they may. Without an Identity it asks nobody:
// names are claimed, and everything is allowed.
type guard struct {
	id     *Identity
	scopes map[string]rights.Scope // by full method name
}

func newGuard(id *Identity) *guard {
	if id != nil && id.AgainEvery <= 0 {
		again := *id
		again.AgainEvery = 15 * time.Second
		id = &again
	}
	return &guard{id, MethodScopes()}
}

// enter fills in who calls, and refuses those who may not call method.
func (g *guard) enter(ctx context.Context, method string) error {
	c := callerOf(ctx)
	if open(method) {
		return nil
	}
	scope, known := g.scopes[method]
	if !known { // It is an oversight of ours, and must not let anybody in.
		return Denied("")
	}
	c.scope = scope
	if g.id == nil {
		name, err := claimed(ctx)
		c.name, c.held = name, rights.Everything()
		return err
	}
	s, err := g.prove(ctx)
	if err != nil {
		return err
	}
	if len(metadata.ValueFromIncomingContext(ctx, CallerHeader)) > 0 {
		return Invalid(Violated("metadata."+CallerHeader, "UNKNOWN", "who you are was proven: leave the claim out"))
	}
	table := g.id.Rights()
	c.subject, c.name, c.held = s, table.Person(s.Name), table.Held(s.Name, s.Groups)
	if c.held.Reach(scope).None() {
		return Denied(scope)
	}
	return nil
}

// prove returns who calls. A token decides where there is one: one that is not valid
// never falls back to the certificate, or whoever holds a portal's certificate would be
// the portal with any rubbish for a token.
func (g *guard) prove(ctx context.Context) (identity.Subject, error) {
	raw, sent, err := bearer(ctx)
	if err != nil {
		return identity.Subject{}, err
	}
	if sent {
		if g.id.Tokens == nil {
			return identity.Subject{}, unproven("this server believes no tokens; use a client certificate", nil)
		}
		s, err := g.id.Tokens.Token(ctx, raw)
		return s, judged(err)
	}
	s, ok, err := identity.Certificate(TLSState(ctx), g.id.Revoked, g.id.Now())
	if err == nil && !ok {
		err = unproven("say who you are: send a bearer token, or connect with a client certificate", nil)
	}
	return s, judged(err)
}

// bearer returns the token of the metadata "authorization" (RFC 6750 §2.1).
func bearer(ctx context.Context) (token string, sent bool, err error) {
	got := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(got) == 0 {
		return "", false, nil
	}
	scheme, token, ok := strings.Cut(got[0], " ")
	if len(got) > 1 || !ok || !strings.EqualFold(scheme, "bearer") {
		return "", true, unproven(`want one "authorization: Bearer <token>"`, nil)
	}
	return strings.TrimSpace(token), true, nil
}

// judged makes what callers are told of an error of internal/identity.
func judged(err error) error {
	var p *Problem
	switch {
	case err == nil || errors.As(err, &p):
		return err
	case errors.Is(err, identity.ErrUnavailable):
		return &Problem{
			Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_IDENTITY_UNAVAILABLE,
			Message: "it cannot be judged now who you are; ask again", Cause: err, Retry: 10 * time.Second,
		}
	default:
		return unproven(strings.TrimSuffix(err.Error(), ": "+identity.ErrInvalid.Error()), err)
	}
}

func unproven(why string, cause error) *Problem {
	return &Problem{Code: codes.Unauthenticated, Reason: pb.ErrorReason_ERROR_REASON_UNAUTHENTICATED, Message: why, Cause: cause}
}

// Denied is the problem that the caller has not the right for it. It says the same
// whether there is what was asked for or not.
func Denied(s rights.Scope) *Problem {
	p := &Problem{
		Code: codes.PermissionDenied, Reason: pb.ErrorReason_ERROR_REASON_PERMISSION_DENIED,
		Message: "you have no right to do this",
	}
	if s != "" {
		p.Message = fmt.Sprintf("you have no right to do this; it needs the scope %q, for all tenants that it is about", s)
		p.Metadata = map[string]string{"scope": string(s)}
	}
	return p
}

// RightsChanged ends a watch whose caller sees other tenants than when it began.
func RightsChanged() *Problem {
	return &Problem{
		Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_RIGHTS_CHANGED,
		Message: "what you may see has changed; watch again from the last cursor", Retry: 100 * time.Millisecond,
	}
}

// TLSState returns the TLS state of the caller's connection, nil where it has none.
func TLSState(ctx context.Context) *tls.ConnectionState {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return &info.State
}

func (g *guard) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := g.enter(ctx, i.FullMethod); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func (g *guard) stream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx := ss.Context()
	if err := g.enter(ctx, i.FullMethod); err != nil {
		return err
	}
	if g.id == nil || open(i.FullMethod) {
		return h(srv, ss)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.again(ctx, cancel)
	}()
	err := h(srv, &withContext{ss, ctx})
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	var p *Problem
	if err != nil && errors.As(cause, &p) {
		return p
	}
	return err
}

// again ends a stream when the proof of who reads it ends, or what they may do changes.
func (g *guard) again(ctx context.Context, end context.CancelCauseFunc) {
	c := callerOf(ctx)
	was := c.held.Reach(c.scope).Key()
	tick := time.NewTicker(g.id.AgainEvery)
	defer tick.Stop()
	ends := time.NewTimer(c.subject.Expires.Sub(g.id.Now()))
	defer ends.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ends.C:
			// The machine's clock may have been set back since: then there is time left.
			ends.Reset(max(c.subject.Expires.Sub(g.id.Now()), time.Millisecond))
		case <-tick.C:
		}
		if !g.id.Now().Before(c.subject.Expires) {
			end(unproven("the proof of who you are has ended; come again with a new one, to a watch with its last cursor", nil))
			return
		}
		if c.subject.By == identity.ByCertificate {
			if _, _, err := identity.Certificate(TLSState(ctx), g.id.Revoked, g.id.Now()); err != nil {
				end(judged(err))
				return
			}
		}
		table := g.id.Rights()
		now := table.Held(c.subject.Name, c.subject.Groups).Reach(c.scope)
		if now.None() {
			end(Denied(c.scope))
			return
		}
		if now.Key() != was || table.Person(c.subject.Name) != c.name {
			end(RightsChanged())
			return
		}
	}
}
