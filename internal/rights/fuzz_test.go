package rights_test

import (
	"bytes"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rights"
)

// FuzzParse reads any file: it is a table or an error, never both, and whoever is not
// named in it may do nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "grants: []", "grants:\n  - subjects: [\"cert:jane\"]\n    role: admin\n", "grants:\n  - groups: [\"corp:x\"]\n    role: operator\n    tenants: 'labels.tier = \"gold\"'\n",
		"grants:\n  - subjects: [\"cert:jane\"]\n    role: admin\n    tenants: \n", "grants:\n  - subjects: [\"*\"]\n    role: admin\n", "grants: &a [*a]", "people:\n  - name: j\n    subjects: [\"cert:a\", \"corp:a\"]\n",
		"grants:\n  - {subjects: [\"cert:jane\"], role: root}\n", "---\n---\n", "a: !!binary x", "\xff", "grants: {}",
	} {
		f.Add([]byte(s))
	}
	const stranger = "corp:mallory@nowhere.example"
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := rights.Parse(b)
		if (err == nil) != (table != nil) {
			t.Fatalf("Parse = %v, %v, want one of them", table, err)
		}
		if err != nil || bytes.Contains(b, []byte("mallory")) {
			return
		}
		held := table.Held(stranger, []string{stranger})
		for _, s := range rights.Scopes() {
			if !held.Reach(s).None() {
				t.Errorf("Parse(%q): somebody who is not named in it has %s", b, s)
			}
		}
		if p := table.Person(stranger); p != stranger {
			t.Errorf("Parse(%q): somebody who is not named in it is %s", b, p)
		}
	})
}
