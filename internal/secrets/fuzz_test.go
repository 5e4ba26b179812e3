package secrets_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// FuzzRef follows any reference that a tenants file may have: it leads to a file in the
// folder, or to a variable with the prefix, and to nothing else; what is refused is not
// repeated.
func FuzzRef(f *testing.F) {
	for _, s := range []string{
		"env:CROSSFADE_SECRET_X", "env:PATH", "file:in", "file:../out", "file:/etc/passwd", "file:link", "file:a/../../out", "file:in/", "file:", "env:", "file:./in", "file:in\x00", "file:..", "FILE:in", "file:sub\\..\\out",
		"file:" + strings.Repeat("a/", 150) + "in", "hunter2-hunter2", "env:CROSSFADE_SECRET_X=1", "file:CON", "file:%2e%2e/out", "file:sub/in",
	} {
		f.Add(s)
	}
	dir := f.TempDir()
	for path, value := range map[string]string{"out": "OUTSIDE", "d/in": "inside", "d/sub/in": "inside"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(value), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("../out", filepath.Join(dir, "d", "link")); err != nil {
		f.Fatal(err)
	}
	f.Setenv("CROSSFADE_SECRET_X", "inside")
	f.Setenv("CROSSFADE_OTHER", "OUTSIDE")
	r := secrets.New(secrets.Config{Dir: filepath.Join(dir, "d")})
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := secrets.ParseRef(s)
		if err != nil && len(s) > 8 && strings.Contains(err.Error(), s) {
			t.Errorf("ParseRef repeats what it refuses: %v", err)
		}
		if (err == nil) != secrets.Ref(s).Valid() || (err == nil && string(ref) != s) {
			t.Errorf("ParseRef(%q) = %q, %v", s, ref, err)
		}
		got, err := r.Secret(t.Context(), secrets.Ref(s))
		if err != nil {
			if !got.IsZero() {
				t.Errorf("Secret(%q) is refused, and there all the same", s)
			}
			return
		}
		if got.Reveal() != "inside" {
			t.Errorf("Secret(%q) leads out of its place", s)
		}
		if text := fmt.Sprintf("%v %+v %#v %s %q", got, got, got, got, got); strings.Contains(text, "inside") {
			t.Errorf("the secret of %q is printed: %s", s, text)
		}
	})
}
