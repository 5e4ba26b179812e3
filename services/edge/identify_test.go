package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/crossfade-project/crossfade/internal/identity"
	"github.com/crossfade-project/crossfade/internal/rights"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// tokens believes every token to be the name of its subject, until an instant.
type tokens struct {
	until time.Time
	err   error
}

func (k tokens) Token(_ context.Context, raw string) (identity.Subject, error) {
	if k.err != nil {
		return identity.Subject{}, k.err
	}
	return identity.Subject{Name: "corp:" + raw, By: identity.ByToken, Expires: k.until}, nil
}

// table holds grants that tests exchange.
type table struct{ now atomic.Pointer[rights.Table] }

func (b *table) set(t *testing.T, text string) {
	t.Helper()
	parsed, err := rights.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b.now.Store(parsed)
}

const viewer = "grants:\n  - {subjects: [\"corp:jane\"], role: viewer}\n"

// identified runs a server that asks who calls.
func identified(t *testing.T, k tokens, b *table) *house {
	t.Helper()
	return serve(t, func(c *edge.Config) {
		c.Identity = &edge.Identity{Tokens: k, Rights: b.now.Load, Now: time.Now, AgainEvery: 20 * time.Millisecond}
	})
}

func as(t *testing.T, token string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

// Every method of the contract has a line in the table of scopes: one that has none
// would be denied to everybody, and nobody would know why.
func TestScopes_EveryMethodHasOne(t *testing.T) {
	known := edge.MethodScopes()
	protoregistry.GlobalFiles.RangeFilesByPackage("crossfade.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				name := fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name())
				if _, ok := known[name]; !ok {
					t.Errorf("%s needs a line in services/edge/scopes.go", name)
				}
				delete(known, name)
			}
		}
		return true
	})
	for name := range known {
		if !strings.HasPrefix(name, "/grpc.reflection.") {
			t.Errorf("services/edge/scopes.go has a line for %s, which is no method", name)
		}
	}
}

func TestIdentify_TheProvenNameIsTheCaller(t *testing.T) {
	b := &table{}
	b.set(t, viewer+"people:\n  - {name: jd, subjects: [\"corp:joe\", \"cert:joe\"]}\n")
	h := identified(t, tokens{until: time.Now().Add(time.Hour)}, b)
	var got string
	h.room.get = func(ctx context.Context) error { got = edge.Caller(ctx); return nil }
	if _, err := h.client.GetRotation(as(t, "jane"), getRequest()); err != nil || got != "corp:jane" {
		t.Errorf("GetRotation by jane = %v, the caller is %q", err, got)
	}
	_, err := h.client.GetRotation(as(t, "joe"), getRequest())
	checkInfo(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
	h.stop()
	if log := h.log.String(); !strings.Contains(log, "caller=corp:jane") || !strings.Contains(log, "caller=person:jd") {
		t.Errorf("the log does not name who called, and who was refused:\n%s", log)
	}
}

// While it cannot be judged who calls, they are asked to come again, not to go away.
func TestIdentify_WhileTheIssuerIsAway(t *testing.T) {
	b := &table{}
	b.set(t, viewer)
	h := identified(t, tokens{err: fmt.Errorf("no route to %s: %w", "issuer.internal", identity.ErrUnavailable)}, b)
	_, err := h.client.GetRotation(as(t, "jane"), getRequest())
	checkInfo(t, err, codes.Unavailable, "IDENTITY_UNAVAILABLE")
	if strings.Contains(err.Error(), "issuer.internal") {
		t.Errorf("the caller is told where our issuer is: %v", err)
	}
}

// A watch ends when the right to it is taken away, when it is another's, and when the
// proof of who watches ends.
func TestIdentify_AWatchEndsWithItsRight(t *testing.T) {
	for name, tt := range map[string]struct {
		until  time.Duration
		then   string
		code   codes.Code
		reason string
	}{
		"the token ends":           {time.Second, viewer, codes.Unauthenticated, "UNAUTHENTICATED"},
		"the right is taken away":  {time.Hour, "grants: []\n", codes.PermissionDenied, "PERMISSION_DENIED"},
		"the right is made less":   {time.Hour, "grants:\n  - {subjects: [\"corp:jane\"], role: viewer, tenants: 'id = \"a\"'}\n", codes.Unavailable, "RIGHTS_CHANGED"},
		"it is somebody else's":    {time.Hour, viewer + "people:\n  - {name: j, subjects: [\"corp:jane\", \"cert:jane\"]}\n", codes.Unavailable, "RIGHTS_CHANGED"},
		"the token ends, and more": {time.Second, "grants: []\n", codes.Unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &table{}
			b.set(t, viewer)
			h := identified(t, tokens{until: time.Now().Add(tt.until)}, b)
			begun := make(chan struct{})
			h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
				close(begun)
				<-s.Context().Done()
				return context.Cause(s.Context())
			}
			s, err := h.client.WatchRotation(as(t, "jane"), &pb.WatchRotationRequest{Name: getRequest().GetName()})
			if err != nil {
				t.Fatal(err)
			}
			<-begun
			b.set(t, tt.then)
			_, err = s.Recv()
			if tt.code == codes.Unknown { // Whichever is seen first.
				if err == nil {
					t.Error("the watch goes on")
				}
				return
			}
			checkInfo(t, err, tt.code, tt.reason)
		})
	}
}

// A token that outlives one look at it and not the next ends its watch when it ends, and
// not at that next look.
func TestIdentify_AWatchEndsWhenItsTokenDoes(t *testing.T) {
	t.Parallel()
	b := &table{}
	b.set(t, viewer)
	const look = 3 * time.Second
	begun := time.Now()
	h := serve(t, func(c *edge.Config) {
		c.Identity = &edge.Identity{Tokens: tokens{until: begun.Add(look + 200*time.Millisecond)}, Rights: b.now.Load, Now: time.Now, AgainEvery: look}
	})
	h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		<-s.Context().Done()
		return context.Cause(s.Context())
	}
	s, err := h.client.WatchRotation(as(t, "jane"), &pb.WatchRotationRequest{Name: getRequest().GetName()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	checkInfo(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
	if took := time.Since(begun); took >= 2*look {
		t.Errorf("the watch ended after %s, and its token after %s", took, look+200*time.Millisecond)
	}
}

// crl is a list of revoked certificates that has none, or all.
type crl struct{ all atomic.Bool }

func (c *crl) Revoked([]*x509.Certificate, time.Time) error {
	if c.all.Load() {
		return fmt.Errorf("the client certificate was revoked: %w", identity.ErrInvalid)
	}
	return nil
}

func TestIdentify_AWatchEndsWhenItsCertificateIsRevoked(t *testing.T) {
	b, revoked := &table{}, &crl{}
	b.set(t, "grants:\n  - {subjects: [\"cert:jane\"], role: viewer}\n")
	h := serve(t, func(c *edge.Config) {
		c.Identity = &edge.Identity{Revoked: revoked, Rights: b.now.Load, Now: time.Now, AgainEvery: 20 * time.Millisecond}
	})
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "jane"}, NotAfter: time.Now().Add(time.Hour)}
	conn, err := h.server.Dial(edge.Origin{
		Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	begun := make(chan struct{})
	h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		close(begun)
		<-s.Context().Done()
		return context.Cause(s.Context())
	}
	s, err := pb.NewRotationServiceClient(conn).WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: getRequest().GetName()})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	revoked.all.Store(true)
	_, err = s.Recv()
	checkInfo(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
}

// A watch whose right stays goes on, and ends as its handler says.
func TestIdentify_AWatchWithItsRightGoesOn(t *testing.T) {
	b := &table{}
	b.set(t, viewer)
	h := identified(t, tokens{until: time.Now().Add(time.Hour)}, b)
	rounds := 0
	h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for ; rounds < 5; rounds++ { // Some looks at the right go by.
			select {
			case <-tick.C:
			case <-s.Context().Done():
				return context.Cause(s.Context())
			}
		}
		return errors.New("done")
	}
	s, err := h.client.WatchRotation(as(t, "jane"), &pb.WatchRotationRequest{Name: getRequest().GetName()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	checkInfo(t, err, codes.Internal, "INTERNAL")
	if rounds != 5 {
		t.Errorf("the watch ended after %d rounds, want 5", rounds)
	}
}
