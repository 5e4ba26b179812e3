package emulator

import (
	"bytes"
	_ "embed" // for the text of the README
	"maps"
	"slices"
	"text/template"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

//go:embed readme.tmpl
var readmeText string

// count is a name and how often it occurs.
type count struct {
	Name string
	N    int
}

// readme writes what was made and how to go on.
func (c *Cloud) readme(dir string) ([]byte, error) {
	t, err := template.New("readme").Parse(readmeText)
	if err != nil {
		return nil, err
	}
	w := c.world
	older, err := rollover.FromDER(w.Old.DER)
	if err != nil {
		return nil, err
	}
	newer, err := rollover.FromDER(w.New.DER)
	if err != nil {
		return nil, err
	}
	scenarios, endings := map[string]int{}, map[string]int{}
	for _, t := range w.Tenants {
		scenarios[t.Scenario]++
		for _, x := range t.Expected {
			endings[x.Ending]++
		}
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Dir": dir, "Addr": c.Addr(), "Seed": w.Seed, "Tenants": len(w.Tenants), "Endpoints": w.Endpoints(),
		"Namespaces": len(w.namespaces), "Old": older, "New": newer, "SwitchAt": w.SwitchAt.Format(time.RFC3339),
		"Scenarios": counts(scenarios), "Endings": counts(endings),
	})
	return out.Bytes(), err
}

// counts sorts by name.
func counts(m map[string]int) []count {
	var out []count
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, count{name, m[name]})
	}
	return out
}
