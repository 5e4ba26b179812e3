package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// fenced and inline find what pages show as commands: lines of blocks of the shell, and
// pieces of text in code.
var (
	fenced = regexp.MustCompile("(?ms)^ *```(?:sh|bash|console)?\n(.*?)^ *```")
	inline = regexp.MustCompile("`((?:new/)?crossfade [^`\n]*)`")
)

// words splits a command line as the shell does, without what comes after it.
func words(line string) []string {
	var out []string
	var word strings.Builder
	quote, begun := rune(0), false
	end := func() {
		if begun {
			out = append(out, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '#' && !begun, r == '|', r == '>', r == ';', r == '&':
			end()
			return out
		case r == ' ':
			end()
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return out
}

// shown returns the command lines of crossfade that a page shows, without the program.
func shown(page string) [][]string {
	var out [][]string
	add := func(line string) {
		// A line may set variables first, or run the program in another way.
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		line = strings.Replace(line, "go run ./cmd/crossfade", "crossfade", 1)
		ws := words(line)
		for len(ws) > 0 && regexp.MustCompile("^[A-Z_]+=").MatchString(ws[0]) {
			ws = ws[1:]
		}
		if len(ws) > 1 && (ws[0] == "crossfade" || ws[0] == "new/crossfade") {
			out = append(out, ws[1:])
		}
	}
	for _, m := range fenced.FindAllStringSubmatch(page, -1) {
		block := strings.ReplaceAll(m[1], "\\\n", " ")
		for line := range strings.SplitSeq(block, "\n") {
			add(line)
		}
	}
	for _, m := range inline.FindAllStringSubmatch(page, -1) {
		add(m[1])
	}
	return out
}

// pages returns the paths of all pages but the changelog, which names what may be gone.
func pages(t *testing.T) []string {
	t.Helper()
	var pages []string
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git") {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".md" && e.Name() != "CHANGELOG.md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// Every command that a page shows is one: it exists, and has the flags that it is shown
// with.
func TestDocs_EveryCommandIsOne(t *testing.T) {
	commands, pages := 0, pages(t)
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range shown(string(b)) {
			commands++
			top := (&app{}).command()
			top.InitDefaultCompletionCmd() // Cobra adds it when a command is run.
			c, rest, err := top.Find(args)
			if err != nil {
				t.Errorf("%s: crossfade %s: %v", page, strings.Join(args, " "), err)
				continue
			}
			if c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != "…" {
				t.Errorf("%s: crossfade %s: %s has no %q", page, strings.Join(args, " "), c.CommandPath(), rest[0])
				continue
			}
			if err := flagsExist(c.Flag, rest); err != "" {
				t.Errorf("%s: crossfade %s: %s has no flag %s", page, strings.Join(args, " "), c.CommandPath(), err)
			}
		}
	}
	if commands < 100 {
		t.Errorf("%d commands were found on %d pages: the test looks at little", commands, len(pages))
	}
}

// compared finds a field of a filter and the value of an enum that it is compared with.
var compared = regexp.MustCompile(`\b(state|phase|outcome|reason|drift|type) (?:!=|=) ([A-Z][A-Z_]+[A-Z])\b`)

// Every value that a page has a filter compare with is one that is sent. A server takes
// the zero of an enum for what it is, and finds nothing.
func TestDocs_EveryFilterNamesWhatIsSent(t *testing.T) {
	sent := map[string]bool{}
	protoregistry.GlobalTypes.RangeEnums(func(e protoreflect.EnumType) bool {
		values := e.Descriptor().Values()
		for i := range values.Len() {
			sent[string(values.Get(i).Name())] = values.Get(i).Number() != 0
		}
		return true
	})
	filters := 0
	for _, page := range pages(t) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range compared.FindAllStringSubmatch(strings.Join(strings.Fields(string(b)), " "), -1) {
			filters++
			if !sent[m[2]] {
				t.Errorf("%s: a filter says %s, and %s is never sent", page, m[0], m[2])
			}
		}
	}
	if filters < 10 {
		t.Errorf("%d filters were found: the test looks at little", filters)
	}
}

// flagsExist returns the first flag among args that there is not, or "".
func flagsExist[F any](flag func(string) *F, args []string) string {
	for _, a := range args {
		name, ok := strings.CutPrefix(a, "--")
		if !ok || name == "" {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		if name != "help" && flag(name) == nil {
			return a
		}
	}
	return ""
}

func TestShown_FindsWhatIsWrong(t *testing.T) {
	page := "Say `crossfade rotate --nonsense x`.\n\n```sh\nCROSSFADE_AS=jane crossfade rotation \\\n  frobnicate 'a b' # why\n```\n"
	got := shown(page)
	if len(got) != 2 || strings.Join(got[0], "|") != "rotation|frobnicate|a b" || strings.Join(got[1], "|") != "rotate|--nonsense|x" {
		t.Fatalf("shown = %q", got)
	}
	c, rest, err := (&app{}).command().Find(got[1])
	if err != nil || flagsExist(c.Flag, rest) != "--nonsense" {
		t.Errorf("an unknown flag is not found: %v", err)
	}
}
