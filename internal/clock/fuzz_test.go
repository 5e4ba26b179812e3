package clock_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
)

// FuzzFollow reads any file as that of a clock: it is refused with the file's name, or
// gives a clock that does not go backwards and that can be pushed on.
func FuzzFollow(f *testing.F) {
	for _, s := range []string{
		`{"real":"2016-10-30T12:00:00Z","virtual":"2016-10-30T12:00:00Z","rate":1}`, `{"real":"0001-01-01T00:00:00Z","virtual":"9999-12-31T23:59:59Z","rate":1e6}`,
		`{"real":"2016-10-30T12:00:00Z","virtual":"0000-01-01T00:00:00Z","rate":0}`, `{"rate":1e309}`, `{"rate":-0}`, `{"real":"2016-10-30T12:00:00+23:59","virtual":"9999-12-31T23:59:59-23:59","rate":1000000}`,
		"null", "", "\x00", `{"real":"2016-10-30T12:00:00Z","virtual":"2016-10-30T12:00:00Z","rate":1}{`, `{"rate":"NaN"}`,
	} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "clock.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := clock.Follow(path)
		if err != nil {
			if len(err.Error()) > 600+len(path) {
				t.Errorf("Follow of %q = %v, want a short error", data, err)
			}
			return
		}
		one := c.Now()
		if two := c.Now(); two.Before(one) {
			t.Errorf("a clock of %q goes from %s to %s", data, one, two)
		}
		if one.IsZero() {
			t.Errorf("a clock of %q shows no time", data)
		}
		if err := c.Advance(time.Hour); err != nil {
			return // Past the year 9999, say: nothing was written.
		}
		if three := c.Now(); three.Before(one) {
			t.Errorf("a clock of %q, pushed on, goes from %s to %s", data, one, three)
		}
		if _, err := clock.Follow(path); err != nil {
			t.Errorf("a clock of %q wrote a file that it does not read: %v", data, err)
		}
	})
}
