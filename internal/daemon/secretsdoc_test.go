package daemon_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Each example of a configuration on the page is one, and opens the stores that it names.
func TestConfig_ExamplesOfTheSecretsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	opened := map[string]bool{}
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(secrets:.*?)^```").FindAllSubmatch(page, -1) {
		// The file of authorities is not here.
		text := regexp.MustCompile(`(?m)^ +ca: .*\n`).ReplaceAllString(string(m[1]), "")
		c, _, err := load(t, text)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		client, err := outbound.New(c.Outbound())
		if err != nil {
			t.Fatal(err)
		}
		stores, err := c.Stores(client)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
		}
		for scheme := range stores {
			opened[scheme] = true
		}
	}
	if !opened[secrets.SchemeVault] || !opened[secrets.SchemeKeyVault] {
		t.Errorf("the examples open %v, want both stores", opened)
	}
	for _, ref := range regexp.MustCompile("`?((?:azkv|vault|env|file):[^`\"\\s]+)").FindAllStringSubmatch(string(page), -1) {
		if r := strings.TrimSuffix(ref[1], "`"); strings.Contains(r, "//") || strings.HasPrefix(r, "env:") {
			if _, err := secrets.ParseRef(r); err != nil {
				if strings.Contains(r, "…") || r == "azkv://" || r == "vault://" {
					continue
				}
				t.Errorf("the page shows %q: %v", r, err)
			}
		}
	}
}
