package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed *.patch
var patches embed.FS

// mutant is a way in which Crossfade is broken on purpose.
type mutant struct {
	name     string   // of its file, without .patch
	promises []string // any of them is what it breaks
	seeds    []int64  // in whose worlds it can be seen; none: in every one
	what     string   // in a sentence
	files    []change
}

// change is what is done to one file.
type change struct {
	path  string // from the root of the tree
	hunks []hunk
}

// hunk is a run of lines that is replaced. Both hold the context too.
type hunk struct {
	at       int // line of old where old begins, from 1
	old, new []string
}

// mutants reads all patches, in the order of their names.
func mutants() ([]mutant, error) {
	files, err := patches.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []mutant
	for _, f := range files {
		b, err := patches.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		m, err := parse(string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		m.name = strings.TrimSuffix(f.Name(), ".patch")
		out = append(out, m)
	}
	return out, nil
}

// parse reads a patch: a line "Promise: a, b", if need be a line "Seeds: 1, 2", a
// sentence, and unified diffs.
func parse(text string) (mutant, error) {
	head, _, ok := strings.Cut(text, "\ndiff --git ")
	promise, what, told := strings.Cut(head, "\n")
	names, named := strings.CutPrefix(promise, "Promise: ")
	m := mutant{promises: strings.Split(names, ", ")}
	if rest, some := strings.CutPrefix(what, "Seeds: "); some {
		var list string
		list, what, _ = strings.Cut(rest, "\n")
		for s := range strings.SplitSeq(list, ", ") {
			seed, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return m, fmt.Errorf("seeds %q: %w", list, err)
			}
			m.seeds = append(m.seeds, seed)
		}
	}
	if m.what = strings.TrimSpace(what); !ok || !told || !named || m.what == "" {
		return m, fmt.Errorf("it does not begin with a promise, a sentence and a diff")
	}
	lines := strings.Split(strings.TrimSuffix(text[len(head)+1:], "\n"), "\n")
	for n := 0; n < len(lines); n++ {
		line := lines[n]
		if path, ok := strings.CutPrefix(line, "+++ b/"); ok {
			m.files = append(m.files, change{path: path})
			continue
		}
		if !strings.HasPrefix(line, "@@ ") {
			continue
		}
		if len(m.files) == 0 {
			return m, fmt.Errorf("%q: a hunk of no file", line)
		}
		h, used, err := parseHunk(lines[n:])
		if err != nil {
			return m, err
		}
		n += used - 1
		f := &m.files[len(m.files)-1]
		f.hunks = append(f.hunks, h)
	}
	if slices.ContainsFunc(m.files, func(c change) bool { return len(c.hunks) == 0 }) || len(m.files) == 0 {
		return m, fmt.Errorf("a file is not changed")
	}
	return m, nil
}

// parseHunk reads the hunk with which lines begin, and returns how many it has.
func parseHunk(lines []string) (h hunk, used int, err error) {
	bad := func() (hunk, int, error) { return h, 0, fmt.Errorf("%q: not the head of its lines", lines[0]) }
	part := strings.Fields(lines[0]) // @@ -1,7 +1,8 @@
	if len(part) < 4 {
		return bad()
	}
	var size [2]int
	for i, sign := range []string{"-", "+"} {
		from, n, ok := strings.Cut(strings.TrimPrefix(part[i+1], sign), ",")
		if !ok {
			n = "1"
		}
		at, err := strconv.Atoi(from)
		if err != nil || at < 1 {
			return bad()
		}
		if size[i], err = strconv.Atoi(n); err != nil {
			return bad()
		}
		if i == 0 {
			h.at = at
		}
	}
	for used = 1; len(h.old) < size[0] || len(h.new) < size[1]; used++ {
		if used == len(lines) || lines[used] == "" {
			return bad()
		}
		text := lines[used][1:]
		switch lines[used][0] {
		case ' ':
			h.old, h.new = append(h.old, text), append(h.new, text)
		case '-':
			h.old = append(h.old, text)
		case '+':
			h.new = append(h.new, text)
		default:
			return bad()
		}
	}
	if len(h.old) != size[0] || len(h.new) != size[1] {
		return bad()
	}
	return h, used, nil
}

// drift is how far from its line a hunk is looked for.
const drift = 60

// apply returns text with the hunks applied. Every line of context must be as the
// patch has it, and in one place only; its number may have moved a little.
func apply(text string, hunks []hunk) (string, error) {
	lines := strings.Split(text, "\n")
	moved := 0
	for _, h := range hunks {
		var found []int
		for at := max(0, h.at-1+moved-drift); at <= min(len(lines)-len(h.old), h.at-1+moved+drift); at++ {
			if slices.Equal(lines[at:at+len(h.old)], h.old) {
				found = append(found, at)
			}
		}
		if len(found) != 1 {
			return "", fmt.Errorf("the lines about %d stand in %d places, want 1: the code has changed, make the patch anew", h.at, len(found))
		}
		lines = slices.Replace(lines, found[0], found[0]+len(h.old), h.new...)
		moved += len(h.new) - len(h.old)
	}
	return strings.Join(lines, "\n"), nil
}

// write puts the files of root as the mutant has them into dir, and returns which
// stands for which, as go build's -overlay takes it.
func (m mutant) write(root, dir string) (map[string]string, error) {
	replace := map[string]string{}
	for i, c := range m.files {
		path := filepath.Join(root, filepath.FromSlash(c.path))
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text, err := apply(string(b), c.hunks)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.path, err)
		}
		to := filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(path)))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return nil, err
		}
		replace[path] = to
	}
	return replace, nil
}
