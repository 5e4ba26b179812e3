package daemon_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLimits_ThePageSaysWhatTheCodeSays holds every number of docs/limits.md to the
// constant that the same line names.
func TestLimits_ThePageSaysWhatTheCodeSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("^\\| .+ \\| ([0-9][0-9,]*) ?([a-zA-Z]*)[^|]* \\| .+ \\| `([a-z0-9/]+)` `([A-Za-z]+)` \\|$")
	units := map[string]int64{
		"KiB": 1 << 10, "MiB": 1 << 20, "ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute), "h": int64(time.Hour),
	}
	known, lines := map[string]map[string]int64{}, 0
	for text := range strings.Lines(string(page)) {
		text = strings.TrimSpace(text)
		if !strings.HasPrefix(text, "| ") || strings.HasPrefix(text, "| what |") {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			t.Errorf("docs/limits.md: a line without a number and a constant: %s", text)
			continue
		}
		lines++
		told, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := units[m[2]]; ok {
			told *= u
		}
		if known[m[3]] == nil {
			known[m[3]] = constants(t, filepath.Join("../..", m[3]))
		}
		if is, ok := known[m[3]][m[4]]; !ok || is != told {
			t.Errorf("docs/limits.md says %s %s, %s of %s is %d (there: %v)", m[1], m[2], m[4], m[3], is, ok)
		}
	}
	if lines < 60 {
		t.Errorf("docs/limits.md has %d limits, want all", lines)
	}
}

// constants returns the whole numbers among the constants of the package in a folder,
// durations in nanoseconds. One that is made of another package's is left out.
func constants(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no package in %s (%v)", dir, err)
	}
	scope := types.NewPackage("p", "p")
	for name, d := range map[string]time.Duration{
		"Nanosecond": time.Nanosecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
	} {
		scope.Scope().Insert(types.NewConst(token.NoPos, scope, name, types.Typ[types.UntypedInt], constant.MakeInt64(int64(d))))
	}
	out := map[string]int64{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, id := range v.Names {
					if i >= len(v.Values) {
						continue
					}
					text := strings.ReplaceAll(types.ExprString(v.Values[i]), "time.", "")
					got, err := types.Eval(fset, scope, token.NoPos, text)
					if err != nil || got.Value == nil {
						continue
					}
					if n, exact := constant.Int64Val(constant.ToInt(got.Value)); exact && constant.ToInt(got.Value).Kind() == constant.Int {
						out[id.Name] = n
					}
				}
			}
		}
	}
	return out
}
