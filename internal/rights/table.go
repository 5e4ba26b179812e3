package rights

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// The bounds of a table.
const (
	MaxBytes  = 1 << 20 // of the file
	maxGrants = 1000
	maxNames  = 1000 // in one grant, and of one person
	maxName   = 256  // bytes of a subject or group
)

// Table is a list of grants and of people. It never changes; a changed file makes
// another. The zero Table grants nothing.
type Table struct {
	grants []grant
	person map[string]string // subject → the person whose subject it is
}

type grant struct {
	subjects, groups map[string]bool
	scopes           []Scope
	limit            *filter.Filter // nil: all tenants
	text             string         // of limit
	secrets          []string       // what references that are entered begin with; nil: anything
}

// file is a table as it is written.
type file struct {
	Grants []struct {
		Subjects []string  `yaml:"subjects"`
		Groups   []string  `yaml:"groups"`
		Role     string    `yaml:"role"`
		Tenants  *string   `yaml:"tenants"`
		Secrets  *[]string `yaml:"secrets"`
	} `yaml:"grants"`
	People []struct {
		Name     string   `yaml:"name"`
		Subjects []string `yaml:"subjects"`
	} `yaml:"people"`
}

// decode reads the file as YAML. The library panics at some files that are none, such as
// a tag in the place of a list; the file is read again while the service runs, and a
// mistake in it must end nobody.
func decode(b []byte) (f file, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("want YAML with grants and people; the reader does not understand what this is")
		}
	}()
	if err := yaml.UnmarshalWithOptions(b, &f, yaml.Strict()); err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			return f, fmt.Errorf("line %d: want grants with subjects, groups, role, tenants and secrets, and people with name and subjects, and nothing else",
				at.GetToken().Position.Line)
		}
		return f, errors.New("want YAML with grants and people")
	}
	if tree, err := parser.ParseBytes(b, 0); err == nil {
		v := &nulls{}
		for _, d := range tree.Docs {
			ast.Walk(v, d.Body)
		}
		if err := errors.Join(v.errs...); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Parse reads a table, and says all that is wrong with it, each by its field. A table
// with one mistake is no table: nobody should have to guess which half of it holds.
func Parse(b []byte) (*Table, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("the rights are longer than %d bytes", MaxBytes)
	}
	f, err := decode(b)
	if err != nil {
		return nil, err
	}
	if len(f.Grants) > maxGrants {
		return nil, fmt.Errorf("there are more than %d grants; give rights to groups", maxGrants)
	}
	t := &Table{person: map[string]string{}}
	var errs []error
	for i, g := range f.Grants {
		at := fmt.Sprintf("grants[%d]", i)
		made, err := grantOf(at, g.Subjects, g.Groups, g.Role, g.Tenants)
		errs = append(errs, err)
		if g.Secrets != nil {
			made.secrets, err = prefixesOf(at+".secrets", *g.Secrets, made.scopes)
			errs = append(errs, err)
		}
		t.grants = append(t.grants, made)
	}
	for i, p := range f.People {
		errs = append(errs, t.people(fmt.Sprintf("people[%d]", i), p.Name, p.Subjects))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

func grantOf(at string, subjects, groups []string, role string, limit *string) (grant, error) {
	g := grant{subjects: map[string]bool{}, groups: map[string]bool{}}
	var errs []error
	if len(subjects)+len(groups) == 0 {
		errs = append(errs, fmt.Errorf("%s: want subjects or groups: who is it for?", at))
	}
	errs = append(errs, fill(g.subjects, at+".subjects", subjects), fill(g.groups, at+".groups", groups))
	scopes, ok := roles()[role]
	if !ok {
		errs = append(errs, fmt.Errorf("%s.role: want one of %s", at, strings.Join(Roles(), ", ")))
	}
	g.scopes = scopes
	if limit != nil {
		var err error
		if g.limit, err = limitOf(*limit); err != nil {
			errs = append(errs, fmt.Errorf("%s.tenants: %w", at, err))
		}
		g.text = *limit
	}
	return g, errors.Join(errs...)
}

// errNoLimit says that a limit was written without anything in it. That is not the
// same as no limit: a template that fills in nothing must not grant everything.
var errNoLimit = errors.New("is empty; write a filter, or leave the line out for all tenants")

func limitOf(text string) (*filter.Filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errNoLimit
	}
	return filter.Parse(text, filter.TenantFields())
}

// prefixesOf reads what references that somebody enters must begin with.
func prefixesOf(at string, prefixes []string, scopes []Scope) ([]string, error) {
	if !slices.Contains(scopes, Inventory) && len(scopes) > 0 {
		return nil, fmt.Errorf("%s: is for roles that bring tenants in: leave it out", at)
	}
	if len(prefixes) == 0 {
		return nil, fmt.Errorf("%s: is empty; write what references may begin with, or leave the line out for all", at)
	}
	if len(prefixes) > maxNames {
		return nil, fmt.Errorf("%s: there are more than %d", at, maxNames)
	}
	for i, p := range prefixes {
		scheme, rest, _ := strings.Cut(p, ":")
		if !slices.Contains([]string{"env", "file", "azkv", "vault"}, scheme) || strings.Trim(rest, "/") == "" || len(p) > maxName || strings.ContainsAny(p, "* \t\n") {
			return nil, fmt.Errorf("%s[%d]: want the beginning of references, such as file:emea/ or vault://kv/emea/", at, i)
		}
	}
	return prefixes, nil
}

// nulls finds limits that are written without a value, which the reader of YAML takes
// for absent ones.
type nulls struct{ errs []error }

// Visit implements [ast.Visitor].
func (v *nulls) Visit(n ast.Node) ast.Visitor {
	p, ok := n.(*ast.MappingValueNode)
	if !ok {
		return v
	}
	if _, null := p.Value.(*ast.NullNode); null {
		switch at := p.Key.GetToken(); at.Value {
		case "tenants":
			v.errs = append(v.errs, fmt.Errorf("line %d: tenants %w", at.Position.Line, errNoLimit))
		case "secrets":
			v.errs = append(v.errs, fmt.Errorf("line %d: secrets is empty; write what references may begin with, or leave the line out for all", at.Position.Line))
		}
	}
	return v
}

// fill puts names into a set, and says which cannot be names.
func fill(into map[string]bool, at string, names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("%s: there are more than %d", at, maxNames)
	}
	for i, n := range names {
		if !wellFormed(n) {
			return fmt.Errorf("%s[%d]: want a name such as cert:portal.contoso.example or corp:jane, at most %d bytes of printable ASCII", at, i, maxName)
		}
		into[n] = true
	}
	return nil
}

// wellFormed reports whether a subject or group is written as <source>:<name>. There
// are no wildcards.
func wellFormed(n string) bool {
	source, name, ok := strings.Cut(n, ":")
	return ok && source != "" && name != "" && len(n) <= maxName &&
		!strings.ContainsFunc(n, func(r rune) bool { return r < ' ' || r > '~' }) && strings.TrimSpace(n) == n
}

func (t *Table) people(at, name string, subjects []string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return fmt.Errorf("%s.name: want 1 to 64 printable ASCII characters without space and colon", at)
	}
	if len(subjects) < 2 {
		return fmt.Errorf("%s.subjects: want the two or more subjects that are one person", at)
	}
	if err := fill(map[string]bool{}, at+".subjects", subjects); err != nil {
		return err
	}
	for i, s := range subjects {
		if other, ok := t.person[s]; ok && other != "person:"+name {
			return fmt.Errorf("%s.subjects[%d]: is %s already", at, i, other)
		}
		t.person[s] = "person:" + name
	}
	return nil
}

// Person returns the name under which a subject acts: "person:" and the name of the
// person whose subject it is, or the subject itself. So nobody is their own second
// person by logging in another way.
func (t *Table) Person(subject string) string {
	if p, ok := t.person[subject]; ok {
		return p
	}
	return subject
}

// Held returns what a subject with these groups may do.
func (t *Table) Held(subject string, groups []string) Held {
	h := Held{reach: map[Scope]Reach{}}
	for _, g := range t.grants {
		if !g.subjects[subject] && !slices.ContainsFunc(groups, func(name string) bool { return g.groups[name] }) {
			continue
		}
		for _, s := range g.scopes {
			r := h.reach[s]
			r.enters = append(r.enters, entry{g.limit, g.secrets})
			if g.limit == nil {
				r.all = true
			} else {
				r.limits, r.texts = append(r.limits, g.limit), append(r.texts, g.text)
			}
			h.reach[s] = r
		}
	}
	return h
}

// Granting returns those of the groups by which a scope is held, sorted, for whom a word
// is to be judged by later.
func (t *Table) Granting(groups []string, s Scope) []string {
	var out []string
	for _, name := range groups {
		if slices.ContainsFunc(t.grants, func(g grant) bool { return g.groups[name] && slices.Contains(g.scopes, s) }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Held is what one caller may do.
type Held struct{ reach map[Scope]Reach }

// Everything is what everybody may do where nobody is asked who they are.
func Everything() Held {
	h := Held{reach: map[Scope]Reach{}}
	for _, s := range Scopes() {
		h.reach[s] = Reach{all: true, enters: []entry{{}}}
	}
	return h
}

// Reach returns for which tenants the caller has a scope.
func (h Held) Reach(s Scope) Reach { return h.reach[s] }

// Reach is the tenants for which a caller has a scope. The zero Reach has none.
type Reach struct {
	all    bool
	limits []*filter.Filter // any of them
	texts  []string         // of limits
	enters []entry          // what may be entered for which tenants, one a grant
}

// entry is which references may be entered for some tenants.
type entry struct {
	limit   *filter.Filter // nil: all tenants
	secrets []string       // what they begin with; nil: anything
}

// AnySecret reports whether every reference may be entered, for every tenant.
func (r Reach) AnySecret() bool {
	return slices.ContainsFunc(r.enters, func(e entry) bool { return e.limit == nil && e.secrets == nil })
}

// MayEnter reports whether a reference to a secret may be entered for a tenant: by a grant
// that is for it and that has no list of references, or one that the reference is in.
func (r Reach) MayEnter(t tenants.Tenant, ref string) bool {
	value := filter.TenantValue(t)
	return slices.ContainsFunc(r.enters, func(e entry) bool {
		return (e.limit == nil || e.limit.Match(value)) &&
			(e.secrets == nil || slices.ContainsFunc(e.secrets, func(p string) bool { return strings.HasPrefix(ref, p) }))
	})
}

// None reports whether the scope is not held at all.
func (r Reach) None() bool { return !r.all && len(r.limits) == 0 }

// All reports whether it is held for all tenants, also those that will come.
func (r Reach) All() bool { return r.all }

// Filters returns the filters of which a tenant matches one, nil where it is held for all.
func (r Reach) Filters() []string {
	if r.all {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(r.texts)))
}

// Has reports whether it is held for a tenant as that is now.
func (r Reach) Has(t tenants.Tenant) bool {
	if r.all {
		return true
	}
	value := filter.TenantValue(t)
	return slices.ContainsFunc(r.limits, func(f *filter.Filter) bool { return f.Match(value) })
}

// Decides reports whether it has every tenant of that id, whatever else that tenant is:
// whoever makes one of that id learns of no tenant of others by it.
func (r Reach) Decides(id string) bool {
	if r.all {
		return true
	}
	value := func(field string) any {
		if field == "id" {
			return id
		}
		return filter.Missing{}
	}
	return slices.ContainsFunc(r.limits, func(f *filter.Filter) bool { return f.Match(value) })
}

// Key is the same for reaches that have the same tenants at every moment. Others may
// have keys of their own all the same.
func (r Reach) Key() string {
	if r.all {
		return "all"
	}
	texts := slices.Compact(slices.Sorted(slices.Values(r.texts)))
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s;", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))
}
