package daemon_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// TestConfig_OperationsPageHasEveryField holds the table of docs/operations.md
// and the struct together, both ways.
func TestConfig_OperationsPageHasEveryField(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllSubmatch(page, -1) {
		told = append(told, string(m[1]))
	}
	want := fields(reflect.TypeFor[daemon.Config](), "")
	for _, f := range want {
		if !slices.Contains(told, f) {
			t.Errorf("docs/operations.md has no line for %s", f)
		}
	}
	for _, f := range told {
		if !slices.Contains(want, f) {
			t.Errorf("docs/operations.md has a line for %s, which is no field", f)
		}
	}
}

// fields returns the names in a file of all leaves of a struct.
func fields(t reflect.Type, at string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name := at + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct {
			out = append(out, fields(f.Type, name+".")...)
			continue
		}
		out = append(out, name)
	}
	return out
}
