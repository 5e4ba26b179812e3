package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/test/faults/judge"
)

func all(t *testing.T) []mutant {
	t.Helper()
	ms, err := mutants()
	if err != nil {
		t.Fatalf("mutants() = %v, want no error", err)
	}
	return ms
}

func TestMutants_ThereIsOneForEachPromise(t *testing.T) {
	known := []string{
		judge.NeverBothGone, judge.AddOnly, judge.OneEffect, judge.NotBefore, judge.Evidence, judge.FrozenPlan,
		judge.BoundedBlast, judge.NothingLost, judge.NoSecretOut, judge.Watchers, judge.Once,
	}
	broken := map[string]int{}
	ms := all(t)
	for _, m := range ms {
		for _, p := range m.promises {
			broken[p]++
			if !slices.Contains(known, p) {
				t.Errorf("%s breaks %q, want one of %v", m.name, p, known)
			}
		}
	}
	for _, p := range known {
		if broken[p] == 0 {
			t.Errorf("no mutant breaks %s", p)
		}
	}
	if len(ms) < 14 {
		t.Errorf("there are %d mutants, want 14 at least", len(ms))
	}
}

// Every patch fits the code as it is, and every mutant is a program.
func TestMutants_EachAppliesAndCompiles(t *testing.T) {
	at, err := root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all(t) {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			replace, err := m.write(at, dir)
			if err != nil {
				t.Fatalf("write() = %v, want no error", err)
			}
			overlay, err := writeOverlay(dir, replace)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"build", "-overlay", overlay}
			for path := range replace {
				rel, err := filepath.Rel(at, filepath.Dir(path))
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, "./"+filepath.ToSlash(rel))
			}
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Dir = at
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		})
	}
}

func TestApply_HoldsToItsContext(t *testing.T) {
	h := hunk{at: 2, old: []string{"b", "c"}, new: []string{"b", "x", "y"}}
	for _, c := range []struct{ name, text, want string }{
		{"as it was", "a\nb\nc\nd", "a\nb\nx\ny\nd"},
		{"a line further down", "a\na\nb\nc\nd", "a\na\nb\nx\ny\nd"},
		{"the context changed", "a\nB\nc\nd", ""},
		{"in two places", "a\nb\nc\nb\nc", ""},
		{"cut short", "a\nb", ""},
	} {
		got, err := apply(c.text, []hunk{h})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: apply(%q) = %q, %v, want %q", c.name, c.text, got, err, c.want)
		}
	}
}

func TestParse_RefusesWhatIsNoPatch(t *testing.T) {
	const good = "Promise: once, add-only\nIt does.\n\ndiff --git a/x.go b/x.go\n--- a/x.go\n+++ b/x.go\n@@ -1,2 +1,1 @@ func f() {\n a\n-b\n"
	m, err := parse(good)
	if err != nil || len(m.files) != 1 || len(m.files[0].hunks) != 1 || len(m.promises) != 2 || m.what != "It does." {
		t.Errorf("parse(%q) = %+v, %v, want two promises, a sentence and a hunk", good, m, err)
	}
	seeded := strings.Replace(good, "It does.", "Seeds: 6, 9\nIt does.", 1)
	if m, err := parse(seeded); err != nil || !slices.Equal(m.seeds, []int64{6, 9}) || m.what != "It does." {
		t.Errorf("parse(%q) = %+v, %v, want the seeds 6 and 9", seeded, m, err)
	}
	for name, bad := range map[string]string{
		"no seeds":       strings.Replace(seeded, "6, 9", "six", 1),
		"no promise":     strings.TrimPrefix(good, "Promise: once, add-only\n"),
		"no sentence":    strings.Replace(good, "It does.\n", "", 1),
		"no diff":        "Promise: once\nIt does.\n",
		"lines are gone": strings.TrimSuffix(good, "-b\n"),
		"no hunk":        good[:strings.Index(good, "@@")],
		"no numbers":     strings.Replace(good, "-1,2", "-x,2", 1),
	} {
		if m, err := parse(bad); err == nil {
			t.Errorf("%s: parse() = %+v, want an error", name, m)
		}
	}
}

func TestSum_NamesThoseThatLive(t *testing.T) {
	var out strings.Builder
	err := sum(&out, []verdict{
		{mutant: mutant{name: "01-a", promises: []string{"once"}}, by: "once: twice", seed: 2, seconds: 3},
		{mutant: mutant{name: "02-b", promises: []string{"evidence"}}},
	})
	if err == nil || !strings.Contains(err.Error(), "02-b") || strings.Contains(err.Error(), "01-a") {
		t.Errorf("sum() = %v, want an error that names 02-b alone", err)
	}
	if !strings.Contains(out.String(), "once: twice") {
		t.Errorf("sum() printed %q, want what caught 01-a", out.String())
	}
	if err := sum(&out, []verdict{{mutant: mutant{name: "01-a"}, by: "once: twice"}}); err != nil {
		t.Errorf("sum() = %v, want no error where none lives", err)
	}
}
