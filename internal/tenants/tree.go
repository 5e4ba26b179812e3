package tenants

import (
	"fmt"
	"regexp"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// kind says what a node of a file is.
type kind int

const (
	textNode kind = iota
	boolNode
	nullNode
	otherNode // a number, a date: text is as written
	listNode
	mapNode
)

// node is a value of a YAML or JSON file with its line, so that both are checked
// by the same rules, and an error can say where it is.
type node struct {
	kind    kind
	line    int
	text    string  // of what is neither list nor map
	items   []node  // of a list
	entries []entry // of a map, in the file's order
}

type entry struct {
	key   string
	line  int
	value node
}

// fieldName matches keys that may be repeated in an error. A secret that was put
// where a key belongs does not look so.
var fieldName = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)

// tenantReader turns one node into a tenant and tells the collector what is
// wrong with it.
type tenantReader struct {
	c     *collector
	found found
}

// tenant reads a tenant. It is added also if it is broken, so that what else is
// wrong with it is told as well.
func (c *collector) tenant(n node) {
	if n.kind != mapNode {
		c.fail(RowError{Row: n.line, Problem: "is not a mapping of fields", Fix: "write a tenant as field: value"})
		return
	}
	r := tenantReader{c: c, found: found{row: n.line, fields: map[string]int{}}}
	t := &r.found.Tenant
	r.each("", n, map[string]func(string, node){
		"id":           func(f string, n node) { t.ID = r.text(f, n) },
		"display_name": func(f string, n node) { t.DisplayName = r.text(f, n) },
		"organization": func(f string, n node) { t.Organization = r.text(f, n) },
		"entra_tenant": func(f string, n node) { t.EntraTenant = r.text(f, n) },
		"login":        func(f string, n node) { t.Login = r.login(f, n) },
		"identity":     func(f string, n node) { t.Identity = r.text(f, n) },
		"labels":       func(f string, n node) { t.Labels = r.labels(f, n) },
		"disabled":     func(f string, n node) { t.Disabled = r.boolean(f, n) },
		"namespaces":   func(f string, n node) { t.Namespaces = r.namespaces(f, n) },
	})
	c.tenants = append(c.tenants, r.found)
}

// fail tells what is wrong with a field.
func (r *tenantReader) fail(line int, field, problem, fix string) {
	r.found.broken = true
	if field != "" {
		r.found.told = append(r.found.told, field)
	}
	r.c.fail(RowError{Row: line, Tenant: shownID(r.found.ID), Field: field, Problem: problem, Fix: fix})
}

// each calls the function for every key of a map, and refuses other keys,
// repeated ones, and what is no map. prefix ends in a dot, or is empty.
func (r *tenantReader) each(prefix string, n node, known map[string]func(string, node)) {
	if n.kind != mapNode {
		field := prefix
		if field != "" {
			field = field[:len(field)-1]
		}
		r.fail(n.line, field, "is not a mapping of fields", "write field: value")
		return
	}
	seen := map[string]bool{}
	for _, e := range n.entries {
		read, ok := known[e.key]
		switch {
		case !ok && fieldName.MatchString(e.key):
			r.fail(e.line, prefix+e.key, "is not a field that is known", "check the spelling, or leave it out")
		case !ok:
			r.fail(e.line, "", "there is a field whose name is not known and not shown", "check the spelling, or leave it out")
		case seen[e.key]:
			r.fail(e.line, prefix+e.key, "is there twice", "write it once")
		default:
			seen[e.key] = true
			r.found.fields[prefix+e.key] = e.line
			read(prefix+e.key, e.value)
		}
	}
}

// text reads a text. Numbers and the like are refused: YAML would change how
// some of them are written, such as 007.
func (r *tenantReader) text(field string, n node) string {
	switch n.kind {
	case textNode:
		return n.text
	case nullNode:
		return ""
	}
	r.fail(n.line, field, "is not a text", "put it in quotes")
	return ""
}

func (r *tenantReader) boolean(field string, n node) bool {
	if n.kind == boolNode {
		return n.text == "true"
	}
	if n.kind != nullNode {
		r.fail(n.line, field, "is neither true nor false", "write true or false, without quotes")
	}
	return false
}

func (r *tenantReader) login(field string, n node) Login {
	var l Login
	r.each(field+".", n, map[string]func(string, node){
		"client_id":   func(f string, n node) { l.ClientID = r.text(f, n) },
		"secret":      func(f string, n node) { l.Secret = secrets.Ref(r.text(f, n)) },
		"certificate": func(f string, n node) { l.Certificate = secrets.Ref(r.text(f, n)) },
	})
	return l
}

func (r *tenantReader) labels(field string, n node) map[string]string {
	switch {
	case n.kind == nullNode:
		return nil
	case n.kind != mapNode:
		r.fail(n.line, field, "is not a mapping", "write key: value")
		return nil
	}
	labels := map[string]string{}
	for _, e := range n.entries {
		name := field
		if labelKey.MatchString(e.key) {
			name += "." + e.key
		}
		if _, again := labels[e.key]; again {
			r.fail(e.line, name, "is there twice", "write it once")
			continue
		}
		r.found.fields[name] = e.line
		labels[e.key] = r.text(name, e.value)
	}
	return labels
}

func (r *tenantReader) namespaces(field string, n node) []Namespace {
	switch {
	case n.kind == nullNode:
		return nil
	case n.kind != listNode:
		r.fail(n.line, field, "is not a list", "write one namespace an item")
		return nil
	case len(n.items) > MaxNamespaces:
		r.fail(n.line, field, "are too many", fmt.Sprintf("use at most %d", MaxNamespaces))
		return nil
	}
	out := make([]Namespace, len(n.items))
	for i, item := range n.items {
		prefix := fmt.Sprintf("%s[%d]", field, i)
		r.found.fields[prefix] = item.line
		r.each(prefix+".", item, map[string]func(string, node){
			"host":    func(f string, n node) { out[i].Host = r.text(f, n) },
			"account": func(f string, n node) { out[i].Account = r.text(f, n) },
			"secret":  func(f string, n node) { out[i].Secret = secrets.Ref(r.text(f, n)) },
		})
	}
	return out
}
