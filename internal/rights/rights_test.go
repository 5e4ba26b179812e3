package rights_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

func tenant(id, region string) tenants.Tenant {
	return tenants.Tenant{ID: id, Organization: "https://" + id + ".crm4.dynamics.com", Labels: map[string]string{"region": region}}
}

const table = `
grants:
  - subjects: ["cert:portal.example", "corp:jane"]
    role: operator
  - groups: ["corp:emea"]
    role: operator
    tenants: labels.region = "emea"
  - groups: ["corp:emea", "corp:helpdesk"]
    role: viewer
    tenants: labels.region = "emea" OR id = "contoso"
  - subjects: ["corp:boss"]
    role: approver
people:
  - name: jane
    subjects: ["corp:jane", "cert:jane.example"]
`

func parse(t *testing.T, text string) *rights.Table {
	t.Helper()
	got, err := rights.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse = %v", err)
	}
	return got
}

func TestHeld_WhatIsNotGrantedIsDenied(t *testing.T) {
	tab := parse(t, table)
	emea, apac, contoso := tenant("a", "emea"), tenant("b", "apac"), tenant("contoso", "apac")
	type who struct {
		subject string
		groups  []string
	}
	for _, tt := range []struct {
		who   who
		scope rights.Scope
		of    tenants.Tenant
		want  bool
	}{
		{who{"cert:portal.example", nil}, rights.Rotate, apac, true},
		{who{"cert:portal.example", nil}, rights.Approve, apac, false},
		{who{"cert:portal.example", nil}, rights.Inventory, apac, false},
		{who{"cert:PORTAL.example", nil}, rights.Read, apac, false}, // Names are compared as they are.
		{who{"cert:portal.exampl", nil}, rights.Read, apac, false},
		{who{"cert:portal.example2", nil}, rights.Read, apac, false},
		{who{"", nil}, rights.Read, apac, false},
		{who{"corp:emea", nil}, rights.Read, emea, false}, // A subject that is called like a group.
		{who{"corp:x", []string{"cert:portal.example"}}, rights.Read, emea, false},
		{who{"corp:x", []string{"corp:emea"}}, rights.Rotate, emea, true},
		{who{"corp:x", []string{"corp:emea"}}, rights.Rotate, apac, false},
		{who{"corp:x", []string{"corp:emea"}}, rights.Rotate, contoso, false}, // To be seen is not to be rotated.
		{who{"corp:x", []string{"corp:emea"}}, rights.Read, contoso, true},
		{who{"corp:x", []string{"other:emea"}}, rights.Read, emea, false}, // Another issuer's group.
		{who{"corp:x", []string{"corp:helpdesk"}}, rights.Rotate, emea, false},
		{who{"corp:x", []string{"corp:helpdesk"}}, rights.Read, emea, true},
		{who{"corp:boss", nil}, rights.Approve, apac, true},
		{who{"corp:boss", nil}, rights.Rotate, apac, false},
	} {
		if got := tab.Held(tt.who.subject, tt.who.groups).Reach(tt.scope).Has(tt.of); got != tt.want {
			t.Errorf("%v has %s for %s: %t, want %t", tt.who, tt.scope, tt.of.ID, got, tt.want)
		}
	}
}

// Only what a filter says of the id alone decides it.
func TestReach_DecidesByTheIDAlone(t *testing.T) {
	for _, tt := range []struct {
		limit, id string
		want      bool
	}{
		{"id = \"contoso\"", "contoso", true},
		{"id = \"contoso\"", "fabrikam", false},
		{"id >= \"emea-\" AND id < \"emea.\"", "emea-7", true},
		{"id >= \"emea-\" AND id < \"emea.\"", "emeb", false},
		{"labels.region = \"emea\"", "emea-7", false},
		{"NOT labels.region = \"emea\"", "emea-7", false},
		{"labels:\"region\"", "emea-7", false},
		{"NOT disabled", "emea-7", false},
		{"id:\"emea-\" AND labels.region = \"emea\"", "emea-7", false},
		{"id:\"emea-\" OR labels.region = \"emea\"", "emea-7", true},
		{"region = \"crm4\" OR cloud != \"x\" OR organization:\"a\"", "emea-7", false},
	} {
		tab := parse(t, "grants:\n  - subjects: [\"a:b\"]\n    role: admin\n    tenants: '"+tt.limit+"'\n")
		if got := tab.Held("a:b", nil).Reach(rights.Inventory).Decides(tt.id); got != tt.want {
			t.Errorf("%s decides %s: %t, want %t", tt.limit, tt.id, got, tt.want)
		}
	}
	if !rights.Everything().Reach(rights.Inventory).Decides("x") || (rights.Reach{}).Decides("x") {
		t.Error("all does not decide, or none does")
	}
}

func TestReach_AllNoneAndKeys(t *testing.T) {
	tab := parse(t, table)
	all := tab.Held("corp:jane", []string{"corp:emea"}).Reach(rights.Rotate)
	some := tab.Held("corp:x", []string{"corp:emea"}).Reach(rights.Rotate)
	none := tab.Held("corp:x", nil).Reach(rights.Rotate)
	if !all.All() || all.None() || some.All() || some.None() || none.All() || !none.None() {
		t.Errorf("all, some, none are %v %v %v", all, some, none)
	}
	more := tab.Held("corp:x", []string{"corp:emea"}).Reach(rights.Read)
	keys := []string{all.Key(), some.Key(), none.Key(), more.Key()}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 4 {
		t.Errorf("keys are %q, want four", keys)
	}
	again := tab.Held("corp:y", []string{"corp:emea", "corp:zzz"}).Reach(rights.Rotate)
	if again.Key() != some.Key() {
		t.Errorf("the same tenants have keys %s and %s", again.Key(), some.Key())
	}
	if h := rights.Everything(); !h.Reach(rights.Approve).All() || !h.Reach(rights.Audit).All() {
		t.Error("Everything is not everything")
	}
	if h := new(rights.Table).Held("corp:jane", nil); !h.Reach(rights.Read).None() {
		t.Error("an empty table grants something")
	}
}

func TestPerson_OneHumanHasOneName(t *testing.T) {
	tab := parse(t, table)
	for subject, want := range map[string]string{
		"corp:jane": "person:jane", "cert:jane.example": "person:jane", "corp:boss": "corp:boss",
	} {
		if got := tab.Person(subject); got != want {
			t.Errorf("Person(%s) = %s, want %s", subject, got, want)
		}
	}
}

func TestParse_NamesEachMistake(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"unknown field":    {"grants:\n  - subjects: [\"a:b\"]\n    role: viewer\n    tenant: x\n", "line 4"},
		"no YAML":          {"grants: [", "want"},
		"unknown role":     {"grants:\n  - {subjects: [\"a:b\"], role: root}\n", "grants[0].role: want one of admin, approver, auditor, operator, viewer"},
		"nobody":           {"grants:\n  - {role: viewer}\n", "grants[0]: want subjects or groups"},
		"empty limit":      {"grants:\n  - {subjects: [\"a:b\"], role: admin, tenants: \"\"}\n", "grants[0].tenants: is empty"},
		"null limit":       {"grants:\n  - subjects: [\"a:b\"]\n    role: admin\n    tenants:\n", "line 4: tenants is empty"},
		"blank limit":      {"grants:\n  - {subjects: [\"a:b\"], role: admin, tenants: \"  \"}\n", "grants[0].tenants: is empty"},
		"limit is a list":  {"grants:\n  - {subjects: [\"a:b\"], role: admin, tenants: [a]}\n", "line 2: want grants"},
		"wrong limit":      {"grants:\n  - {subjects: [\"a:b\"], role: admin, tenants: 'colour = \"red\"'}\n", "grants[0].tenants: the filter"},
		"a wildcard":       {"grants:\n  - {subjects: [\"*\"], role: admin}\n", "grants[0].subjects[0]"},
		"no source":        {"grants:\n  - {groups: [\"emea\"], role: admin}\n", "grants[0].groups[0]"},
		"two people":       {"people:\n  - {name: a, subjects: [\"c:a\", \"d:a\"]}\n  - {name: b, subjects: [\"c:b\", \"d:a\"]}\n", "people[1].subjects[1]: is person:a already"},
		"person alone":     {"people:\n  - {name: a, subjects: [\"c:a\"]}\n", "people[0].subjects"},
		"person's name":    {"people:\n  - {name: \"a:b\", subjects: [\"c:a\", \"d:a\"]}\n", "people[0].name"},
		"no secrets":       {"grants:\n  - {subjects: [\"a:b\"], role: admin, secrets: []}\n", "grants[0].secrets: is empty"},
		"null secrets":     {"grants:\n  - subjects: [\"a:b\"]\n    role: admin\n    secrets:\n", "line 4: secrets is empty"},
		"every secret":     {"grants:\n  - {subjects: [\"a:b\"], role: admin, secrets: [\"file:\"]}\n", "grants[0].secrets[0]: want the beginning"},
		"secret wildcard":  {"grants:\n  - {subjects: [\"a:b\"], role: admin, secrets: [\"file:*\"]}\n", "grants[0].secrets[0]: want the beginning"},
		"a secret itself":  {"grants:\n  - {subjects: [\"a:b\"], role: admin, secrets: [\"hunter2\"]}\n", "grants[0].secrets[0]: want the beginning"},
		"secrets to read":  {"grants:\n  - {subjects: [\"a:b\"], role: viewer, secrets: [\"file:a/\"]}\n", "grants[0].secrets: is for roles that bring tenants in"},
		"too long":         {strings.Repeat("#", rights.MaxBytes+1), "longer than"},
		"two of a mistake": {"grants:\n  - {subjects: [\"a:b\"], role: x}\n  - {subjects: [\"a:b\"], role: y}\n", "grants[1].role"},
	} {
		got, err := rights.Parse([]byte(tt.text))
		if err == nil || got != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Parse = %v, want %q", name, err, tt.want)
		}
	}
}

// A list of references is for the tenants of its own grant.
func TestReach_WhichReferencesMayBeEntered(t *testing.T) {
	tab := parse(t, `
grants:
  - {subjects: ["corp:a"], role: admin, tenants: 'labels.region = "emea"', secrets: ["file:emea/", "vault://kv/emea/"]}
  - {subjects: ["corp:a"], role: admin, tenants: 'labels.region = "test"'}
  - {subjects: ["corp:all", "corp:root"], role: admin, secrets: ["file:emea/"]}
  - {subjects: ["corp:root"], role: admin}
`)
	for _, tt := range []struct {
		who, region, ref string
		want             bool
	}{
		{"corp:a", "emea", "file:emea/contoso", true}, {"corp:a", "emea", "vault://kv/emea/contoso#key", true},
		{"corp:a", "emea", "file:emea", false}, {"corp:a", "emea", "file:apac/contoso", false}, {"corp:a", "emea", "vault://kv/emea2/x#key", false},
		{"corp:a", "test", "file:apac/contoso", true}, {"corp:a", "apac", "file:emea/contoso", false},
		{"corp:all", "apac", "file:emea/contoso", true}, {"corp:all", "apac", "file:apac/contoso", false},
		{"corp:root", "apac", "file:apac/contoso", true}, {"corp:x", "emea", "file:emea/contoso", false},
	} {
		r := tab.Held(tt.who, nil).Reach(rights.Inventory)
		if got := r.MayEnter(tenant("x", tt.region), tt.ref); got != tt.want {
			t.Errorf("%s may enter %s for %s: %t, want %t", tt.who, tt.ref, tt.region, got, tt.want)
		}
		if got, want := r.AnySecret(), tt.who == "corp:root"; got != want {
			t.Errorf("%s may enter anything: %t", tt.who, got)
		}
	}
}

func TestHeld_MoreGrantsNeverTakeAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.Custom(func(t *rapid.T) string {
			s := "  - subjects: [\"s:" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "subject") + "\"]\n    role: " +
				rapid.SampledFrom(rights.Roles()).Draw(t, "role") + "\n"
			if l := rapid.SampledFrom([]string{"", "emea", "apac"}).Draw(t, "limit"); l != "" {
				s += "    tenants: labels.region = \"" + l + "\"\n"
			}
			return s
		})
		lines := rapid.SliceOfN(line, 1, 6).Draw(t, "lines")
		n := rapid.IntRange(0, len(lines)).Draw(t, "n")
		few, err1 := rights.Parse([]byte("grants:\n" + strings.Join(lines[:n], "")))
		many, err2 := rights.Parse([]byte("grants:\n" + strings.Join(lines, "")))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for _, s := range rights.Scopes() {
			for _, of := range []tenants.Tenant{tenant("x", "emea"), tenant("y", "apac"), tenant("z", "")} {
				if few.Held("s:a", nil).Reach(s).Has(of) && !many.Held("s:a", nil).Reach(s).Has(of) {
					t.Fatalf("%s for %s is gone with more grants:\n%s", s, of.ID, strings.Join(lines, ""))
				}
				for _, h := range []rights.Held{few.Held("s:a", nil), many.Held("s:a", nil)} {
					if r := h.Reach(s); r.Has(of) && r.None() || !r.Has(of) && r.All() {
						t.Fatalf("%s: None %t, All %t, Has %t", s, r.None(), r.All(), r.Has(of))
					}
				}
			}
		}
	})
}

func TestFile_FollowsItsFileAndKeepsWhatWasRight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rights.yaml")
	write := func(text string) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2016, 11, 1, 0, 0, 0, 0, time.UTC)
	may := func(f *rights.File) bool { return f.Table().Held("a:b", nil).Reach(rights.Rotate).All() }
	write("grants:\n  - {subjects: [\"a:b\"], role: operator}\n")
	f, err := rights.Open(path, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil || !may(f) {
		t.Fatalf("Open = %v, operator: %t", err, err == nil && may(f))
	}
	write("grants: nonsense\n")
	now = now.Add(6 * time.Second)
	if !may(f) || f.Problem() == nil {
		t.Errorf("with a broken file: operator %t, problem %v; want what was right, and the problem", may(f), f.Problem())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(6 * time.Second)
	if !may(f) || f.Problem() == nil {
		t.Errorf("without a file: operator %t, problem %v; want what was right, and the problem", may(f), f.Problem())
	}
	write("grants:\n  - {subjects: [\"a:b\"], role: viewer}\n")
	now = now.Add(6 * time.Second)
	if may(f) || f.Problem() != nil {
		t.Errorf("after the right was taken away: operator %t, problem %v", may(f), f.Problem())
	}
	if _, err := rights.Open(path+".none", time.Now, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("Open of no file = nil, want an error: without rights nobody may be let in")
	}
}
