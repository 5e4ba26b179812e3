package edge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/services/edge"
)

// TestMethodScopes_AreInTheReference holds the generated reference to the table itself:
// what generates the page reads the table as text.
func TestMethodScopes_AreInTheReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/api-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^### ([A-Za-z]+)\\.([A-Za-z]+)\n\n.* → .*; scope `([a-z]+)`$").FindAllStringSubmatch(string(b), -1) {
		told["/crossfade.v1."+m[1]+"/"+m[2]] = m[3]
	}
	for method, scope := range edge.MethodScopes() {
		if !strings.HasPrefix(method, "/crossfade.v1.") {
			continue
		}
		if told[method] != string(scope) {
			t.Errorf("docs/api-reference.md says %q of %s, want %q; run make generate", told[method], method, scope)
		}
		delete(told, method)
	}
	for method := range told {
		t.Errorf("docs/api-reference.md has %s, which has no scope", method)
	}
}
