package fault_test

import (
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

// strikes says of n calls which were struck.
func strikes(in *fault.Injector, host string, n int) []bool {
	out := make([]bool, n)
	for i := range out {
		_, out[i] = in.Pick(host, "/x/y")
	}
	return out
}

func TestPick_RulesMatchByHostPathAndTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule fault.Rule
		want []bool
	}{
		{"any call", fault.Rule{Kind: fault.Slow}, []bool{true, true, true}},
		{"this host", fault.Rule{Kind: fault.Slow, Host: "a"}, []bool{true, true, true}},
		{"another host", fault.Rule{Kind: fault.Slow, Host: "b"}, []bool{false, false, false}},
		{"another path", fault.Rule{Kind: fault.Slow, Path: "z"}, []bool{false, false, false}},
		{"twice", fault.Rule{Kind: fault.Slow, Path: "/y", Times: 2}, []bool{true, true, false}},
	} {
		if got := strikes(fault.New(1, tt.rule), "a", 3); !slices.Equal(got, tt.want) {
			t.Errorf("%s: struck %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPick_RateFollowsTheSeed(t *testing.T) {
	rule := fault.Rule{Kind: fault.Reset, Rate: 0.25}
	one, same, other := fault.New(7, rule), fault.New(7, rule), fault.New(8, rule)
	a, b, c := strikes(one, "a", 400), strikes(same, "a", 400), strikes(other, "a", 400)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("the same seed must strike the same calls, another seed others")
	}
	if n := one.Hits(); n < 60 || n > 140 {
		t.Errorf("Hits of 400 calls at rate 0.25 = %d, want about 100", n)
	}
}

func TestStrike_StatusTellsRetryAfterInWholeSeconds(t *testing.T) {
	in := fault.New(1, fault.Rule{Kind: fault.Status, Status: 429, RetryAfter: 1500 * time.Millisecond})
	w := httptest.NewRecorder()
	_, done := in.Strike(w, httptest.NewRequest("GET", "https://a:443/x", nil), w.WriteHeader)
	if got := w.Header().Get("Retry-After"); !done || w.Code != 429 || got != "2" {
		t.Errorf("Strike = %v, %d, Retry-After %q, want true, 429, 2", done, w.Code, got)
	}
}
