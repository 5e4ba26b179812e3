package edge_test

import (
	"strings"
	"testing"

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
