package handover_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/handover"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// FuzzMarkdown writes a letter with any text of strangers in it: no name becomes
// markup, a link or a line of its own, and the steps stay as many as they are.
func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{
		"orders", "`", "``", "a`\n# now", "[x](http://evil)", "<script>", "\u202eevil", "\x00\xff", "a\u2028b", "\n\n---\n", "![](http://evil)", strings.Repeat("`", 100), " ", "", "{{.Rotation}}", "&lt;", "|", "\r# x",
	} {
		f.Add(s, s, s, s)
		f.Add("orders", "contoso-sb.accesscontrol.windows.net", s, s)
	}
	plain := sample(rollover.NoAccess, "contoso-sb.accesscontrol.windows.net")
	want, err := plain.Markdown()
	if err != nil {
		f.Fatal(err)
	}
	headings := func(s string) (n int) {
		for line := range strings.SplitSeq(s, "\n") {
			if strings.HasPrefix(line, "#") {
				n++
			}
		}
		return n
	}
	f.Fuzz(func(t *testing.T, name, host, detail, identity string) {
		for _, reason := range []rollover.Reason{rollover.NoAccess, rollover.IdentityMissing, rollover.Reason(detail)} {
			l := sample(reason, host)
			l.Tasks[0].Item.Endpoints[0].Name = name
			l.Tasks[0].Detail, l.Tasks[0].Item.Target.Identity, l.New.Subject = detail, identity, name
			begun := time.Now()
			got, err := l.Markdown()
			if err != nil {
				if reason == rollover.Blocked && !errors.Is(err, handover.ErrBlocked) || reason != rollover.Blocked {
					t.Errorf("Markdown of %q, %q, %q = %v", name, host, detail, err)
				}
				continue
			}
			if time.Since(begun) > 5*time.Second || len(got) > len(want)*3+20*(len(name)+len(host)+len(detail)+len(identity))+4096 {
				t.Errorf("a letter of %d bytes for names of %d", len(got), len(name)+len(host)+len(detail)+len(identity))
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) }) {
				t.Errorf("a letter with %q, %q, %q has letters that nobody sees", name, host, detail)
			}
			if reason == rollover.NoAccess && host == "contoso-sb.accesscontrol.windows.net" && headings(got) != headings(want) {
				t.Errorf("a letter with %q, %q, %q has %d headings, want %d", name, detail, identity, headings(got), headings(want))
			}
		}
	})
}
