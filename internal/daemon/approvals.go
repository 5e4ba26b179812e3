package daemon

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Approvals says when somebody else has to approve what a caller asks for.
type Approvals struct {
	// ValidFor is for how long an approval holds, 5m to 720h. Default 24h. It is void
	// before that when the plan, or what it is for, is another.
	ValidFor time.Duration `yaml:"valid_for"`
	// Rules holds when how many others must approve, each by a name: approvers (1 to
	// 10), and conditions that must all hold: acts (some of start, retire_early,
	// contain and undo; default all), min_targets, clouds (some of commercial, gcc,
	// gcc_high, dod and china: one of its tenants is there), incident (true: only those
	// of an incident), retired (true: only where old credentials are gone already). The
	// rule that wants most counts. Default none: nobody, but for early removal, which
	// is always another's word too. Every process with an API needs the same rules.
	Rules map[string][]byte `yaml:"rules"`
}

// rulePart is one rule as it is written.
type rulePart struct {
	Approvers  int    `yaml:"approvers"`
	Acts       string `yaml:"acts"`
	MinTargets int    `yaml:"min_targets"`
	Clouds     string `yaml:"clouds"`
	Incident   bool   `yaml:"incident"`
	Retired    bool   `yaml:"retired"`
}

// policy reads the rules, and says all that is wrong with them by field.
func (a Approvals) policy() (p rollover.ApprovalPolicy, problems []Problem) {
	p.ValidFor = a.ValidFor
	name := regexp.MustCompile("^[a-z][a-z0-9-]{0,62}$")
	words := func(text string) []string { return strings.Fields(strings.ReplaceAll(text, ",", " ")) }
	for _, n := range slices.Sorted(maps.Keys(a.Rules)) {
		at := "approvals.rules." + n
		fail := func(field, text string) {
			problems = append(problems, Problem{Field: strings.TrimSuffix(at+"."+field, "."), Text: text})
		}
		if !name.MatchString(n) {
			fail("", "want a name of 1 to 63 lower-case letters, digits and hyphens, beginning with a letter")
		}
		var r rulePart
		if err := yaml.UnmarshalWithOptions(a.Rules[n], &r, yaml.Strict()); err != nil {
			fail("", "want approvers, acts, min_targets, clouds, incident and retired, and nothing else") // The parser's text quotes the file.
			continue
		}
		if r.Approvers < 1 || r.Approvers > 10 {
			fail("approvers", "want 1 to 10 others")
		}
		if r.MinTargets < 0 {
			fail("min_targets", "want 0 or more")
		}
		rule := rollover.ApprovalRule{Approvers: r.Approvers, MinTargets: r.MinTargets, Clouds: words(r.Clouds), Incident: r.Incident, Retired: r.Retired}
		for _, w := range words(r.Acts) {
			if !slices.Contains(rollover.Acts(), rollover.Act(w)) {
				fail("acts", fmt.Sprintf("want some of %v", rollover.Acts()))
			}
			rule.Acts = append(rule.Acts, rollover.Act(w))
		}
		for _, c := range rule.Clouds {
			if !slices.Contains(crm.Clouds(), c) {
				fail("clouds", fmt.Sprintf("want some of %v", crm.Clouds()))
			}
		}
		p.Rules = append(p.Rules, rule)
	}
	return p, problems
}

func (k *checker) approvals(a Approvals) {
	_, problems := a.policy()
	k.problems = append(k.problems, problems...)
	if len(a.Rules) > 100 {
		k.fail("approvals.rules", "want at most 100")
	}
	if a.ValidFor < 5*time.Minute || a.ValidFor > 720*time.Hour {
		k.fail("approvals.valid_for", "want 5m to 720h")
	}
}

// Policy is when how many others must approve.
func (a Approvals) Policy() (rollover.ApprovalPolicy, error) {
	p, problems := a.policy()
	if len(problems) > 0 {
		return p, fmt.Errorf("%s: %w", problems[0].Field, errors.New(problems[0].Text))
	}
	return p, nil
}
