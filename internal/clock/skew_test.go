package clock_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
)

// A clock that is put wrong leaps, back too, in every process that follows it, and
// is right again when the skew is taken away.
func TestSetSkew_PutsAClockWrongAndRight(t *testing.T) {
	begin := time.Date(2016, 11, 1, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "clock.json")
	if _, err := clock.Create(path, begin, 0); err != nil {
		t.Fatal(err)
	}
	for _, skew := range []time.Duration{5 * time.Minute, -5 * time.Minute, 0} {
		c, err := clock.Follow(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetSkew(skew); err != nil {
			t.Fatal(err)
		}
		other, err := clock.Follow(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*clock.Clock{"its own": c, "another": other} {
			if got := c.Now(); !got.Equal(begin.Add(skew)) {
				t.Errorf("%s clock tells %s with skew %s, want %s", name, got, skew, begin.Add(skew))
			}
		}
		if err := other.Advance(time.Minute); err != nil {
			t.Fatal(err)
		}
		begin = begin.Add(time.Minute)
		if got := other.Now(); !got.Equal(begin.Add(skew)) {
			t.Errorf("after a minute the clock tells %s with skew %s, want %s", got, skew, begin.Add(skew))
		}
	}
	if err := clock.System().SetSkew(time.Minute); err == nil {
		t.Error("the machine's clock was put wrong")
	}
}
