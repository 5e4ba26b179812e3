package tenants

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of a tenants file.
const (
	MaxFile    = 64 << 20 // bytes
	MaxTenants = 50_000
	maxErrors  = 1_000 // that are told; the rest is counted
)

// The formats that [Read] knows.
const (
	YAML  = "yaml"
	CSV   = "csv"
	JSONL = "jsonl"
)

// RowError says what is wrong in a tenants file, where, and what to do about it.
// It never repeats a value of the file, since a secret may stand where a
// reference belongs.
type RowError struct {
	Row     int    // line of the file, 1-based; 0: the file as a whole
	Tenant  string // id of the tenant it is about, where that is known
	Field   string // such as namespaces[3].host; may be empty
	Problem string // what is wrong
	Fix     string // what to write instead; may be empty
}

// Error returns all of it as one line.
func (e RowError) Error() string {
	s := ""
	if e.Row > 0 {
		s = fmt.Sprintf("line %d: ", e.Row)
	}
	if e.Tenant != "" {
		s += "tenant " + e.Tenant + ": "
	}
	if e.Field != "" {
		s += e.Field + ": "
	}
	s += e.Problem
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Read reads a tenants file.
//
//   - "yaml": a mapping with the one key tenants, a list of tenants. Anchors,
//     aliases and tags are refused.
//   - "jsonl": one tenant a line, as a JSON object; empty lines are passed over.
//   - "csv": a header and one row a namespace, in the columns id, display_name,
//     organization, entra_tenant, client_id, login_secret, login_certificate,
//     identity, labels, disabled, namespace_host, namespace_account and
//     namespace_secret, in any order; those that are used for nothing may be
//     left out. The rows of a tenant repeat its own columns, or leave them empty
//     after the first. labels are key=value, separated by semicolons. A row
//     without namespace columns is a tenant without namespaces.
//
// Unknown fields are refused, and every tenant is validated. Read returns the
// tenants that are right, in the file's order, and all that is wrong with the
// others, sorted by line; a file with errors should be mended and not be
// imported in part.
func Read(format string, r io.Reader) ([]Tenant, []RowError) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	switch {
	case err != nil:
		return nil, []RowError{{Problem: "cannot be read: " + err.Error()}}
	case len(data) > MaxFile:
		return nil, []RowError{{Problem: fmt.Sprintf("the file is larger than %d MiB", MaxFile>>20), Fix: "split it"}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, []RowError{{Problem: "the file is not UTF-8", Fix: "save it as UTF-8"}}
	}
	var c collector
	switch format {
	case YAML:
		c.readYAML(data)
	case JSONL:
		c.readJSONL(data)
	case CSV:
		c.readCSV(data)
	default:
		return nil, []RowError{{Problem: "the format is not known", Fix: "use yaml, csv or jsonl"}}
	}
	return c.finish()
}

// collector gathers tenants and errors while a file is read.
type collector struct {
	tenants []found
	errs    []RowError
	more    int // errors beyond maxErrors
}

// found is a tenant with the line where it stands.
type found struct {
	Tenant
	row    int
	fields map[string]int // line of a field, by its name in FieldError
	told   []string       // fields about which an error was told already
	broken bool           // an error was told already
}

func (c *collector) fail(e RowError) {
	if len(c.errs) >= maxErrors {
		c.more++
		return
	}
	c.errs = append(c.errs, e)
}

// finish validates what was found and returns it.
func (c *collector) finish() ([]Tenant, []RowError) {
	if len(c.tenants) > MaxTenants {
		return nil, []RowError{{Problem: fmt.Sprintf("the file has more than %d tenants", MaxTenants), Fix: "split it"}}
	}
	first := map[string]int{}
	var out []Tenant
	for _, f := range c.tenants {
		ok := !f.broken
		for _, p := range f.Validate() {
			ok = false
			if f.toldOf(p.Field) {
				continue // That it is missing as well follows from it.
			}
			c.fail(RowError{Row: f.line(p.Field), Tenant: shownID(f.ID), Field: p.Field, Problem: p.Problem, Fix: p.Fix})
		}
		if row, again := first[f.ID]; again && f.ID != "" {
			ok = false
			c.fail(RowError{Row: f.row, Tenant: shownID(f.ID), Field: "id", Problem: fmt.Sprintf("is also on line %d", row), Fix: "give each tenant once"})
		} else {
			first[f.ID] = f.row
		}
		if ok {
			out = append(out, f.Tenant)
		}
	}
	slices.SortStableFunc(c.errs, func(a, b RowError) int { return cmp.Compare(a.Row, b.Row) })
	if c.more > 0 {
		c.errs = append(c.errs, RowError{Problem: fmt.Sprintf("and %d more errors", c.more)})
	}
	return out, c.errs
}

// line returns where a field stands, or else where that stands which it is
// missing from.
func (f found) line(field string) int {
	for {
		if row, ok := f.fields[field]; ok {
			return row
		}
		cut := strings.LastIndexAny(field, ".[")
		if cut < 0 {
			return f.row
		}
		field = field[:cut]
	}
}

// toldOf reports whether an error was told about a field, or about what it is in.
func (f found) toldOf(field string) bool {
	return slices.ContainsFunc(f.told, func(t string) bool {
		rest, ok := strings.CutPrefix(field, t)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// shownID returns an id that may be repeated in an error, or "".
func shownID(id string) string {
	if ValidID(id) {
		return id
	}
	return ""
}
