package edge_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/services/edge"
)

func TestIsCaller(t *testing.T) {
	for name, want := range map[string]bool{
		"alice": true, `CONTOSO\alice`: true, "Alice Example <alice@example.com>": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "zoë": false, "a\tb": false, "a\x7fb": false,
	} {
		if got := edge.IsCaller(name); got != want {
			t.Errorf("IsCaller(%q) = %t, want %t", name, got, want)
		}
	}
}

// Outside a call nobody is named.
func TestCaller_IsAnonymousUnlessNamed(t *testing.T) {
	if got := edge.Caller(t.Context()); got != "anonymous" {
		t.Errorf("Caller = %q, want anonymous", got)
	}
}

// Whoever says who they are stands in the log of their call; what cannot be a name
// is refused, and the call is not made.
func TestServer_TheCallerIsLoggedOrRefused(t *testing.T) {
	h := serve(t, nil)
	var got []string
	h.room.get = func(ctx context.Context) error { got = append(got, edge.Caller(ctx)); return nil }
	call := func(names ...string) error {
		ctx := t.Context()
		for _, n := range names {
			ctx = metadata.AppendToOutgoingContext(ctx, edge.CallerHeader, n)
		}
		_, err := h.client.GetRotation(ctx, getRequest())
		return err
	}
	for _, names := range [][]string{{"alice"}, {" bob "}, {}, {"Anonymous"}} {
		if err := call(names...); err != nil {
			t.Errorf("a call by %q = %v", names, err)
		}
	}
	for _, names := range [][]string{{"alice", "bob"}, {""}, {strings.Repeat("x", 129)}} {
		if err := call(names...); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a call by %q = %v, want that it is refused", names, err)
		}
	}
	if want := []string{"alice", "bob", "anonymous", "anonymous"}; !slices.Equal(got, want) {
		t.Errorf("the callers were %q, want %q", got, want)
	}
	h.stop() // The lines are written when the calls are over.
	if log := h.log.String(); strings.Count(log, "caller=alice") != 1 || strings.Count(log, "caller=") != 2 {
		t.Errorf("the log names the callers other than once each:\n%s", log)
	}
}
