package tenants_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// What stands on a target is stored the same in whatever order the service lists it.
func TestCarriedOf_IsTheSameInAnyOrder(t *testing.T) {
	var o rollover.Observation
	for range 4 {
		o.Standing = append(o.Standing, rollover.Standing{})
	}
	for i, sum := range []string{"c1", "a2", "d3", "b4"} {
		o.Standing[i].SHA256 = sum
	}
	one := tenants.CarriedOf(o)
	slices.Reverse(o.Standing)
	if other := tenants.CarriedOf(o); !reflect.DeepEqual(one, other) {
		t.Errorf("CarriedOf = %v, in another order %v", one, other)
	}
	if len(one) != 4 || one[0].SHA256 != "a2" || one[3].SHA256 != "d3" {
		t.Errorf("CarriedOf = %v, want all four by SHA-256", one)
	}
}
