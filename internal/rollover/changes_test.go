package rollover_test

import (
	"fmt"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// A rotation remembers its last changes, in any case of letters, and a bounded
// number of them; an earlier value of it does not learn of later ones.
func TestNoted_RemembersTheLastChanges(t *testing.T) {
	var r rollover.Rotation
	if r.Noted("").ChangedBy("") || len(r.Noted("").Changes) != 0 {
		t.Error("a change without a request id was noted")
	}
	before := r
	for i := range rollover.MaxChanges + 3 {
		r = r.Noted(fmt.Sprintf("A-%d", i)).Noted(fmt.Sprintf("a-%d", i))
	}
	if len(r.Changes) != rollover.MaxChanges {
		t.Errorf("%d changes are remembered, want %d", len(r.Changes), rollover.MaxChanges)
	}
	if r.ChangedBy("a-2") || !r.ChangedBy("A-3") || !r.ChangedBy(fmt.Sprintf("a-%d", rollover.MaxChanges+2)) {
		t.Errorf("remembered are %v, want the last ones", r.Changes)
	}
	if before.ChangedBy("a-3") {
		t.Error("the value of before knows a later change")
	}
}
