package tenants

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// maxRows bounds the rows of a CSV file.
const maxRows = 500_000

// namespaceColumns are the columns that differ between the rows of one tenant.
const (
	colHost    = "namespace_host"
	colAccount = "namespace_account"
	colSecret  = "namespace_secret"
)

// tenantColumns returns the columns that say something about the tenant itself,
// with the name that errors have for the field.
func tenantColumns() map[string]string {
	return map[string]string{
		"id": "id", "display_name": "display_name", "organization": "organization", "entra_tenant": "entra_tenant",
		"client_id": "login.client_id", "login_secret": "login.secret", "login_certificate": "login.certificate",
		"identity": "identity", "labels": "labels", "disabled": "disabled",
	}
}

// csvReader reads the rows of one file.
type csvReader struct {
	c       *collector
	columns []string          // of the header
	fields  map[string]string // tenantColumns
	at      map[string]int    // position in c.tenants by id
	cells   []map[string]string
}

func (c *collector) readCSV(data []byte) {
	in := csv.NewReader(bytes.NewReader(data))
	in.FieldsPerRecord = -1 // Counted below, where the line can be told.
	in.ReuseRecord = true
	r := csvReader{c: c, fields: tenantColumns(), at: map[string]int{}}
	for rows := 0; ; rows++ {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// Where quotes are wrong, nothing after them can be told apart.
			c.fail(RowError{Row: csvLine(err), Problem: "is not CSV", Fix: `put cells with commas, quotes or line ends in quotes, and double the quotes within`})
			break
		}
		line, _ := in.FieldPos(0)
		switch {
		case rows == 0:
			if !r.header(line, rec) {
				return
			}
		case rows > maxRows:
			c.fail(RowError{Row: line, Problem: fmt.Sprintf("the file has more than %d rows", maxRows), Fix: "split it"})
			return
		default:
			r.row(line, rec)
		}
	}
	if r.columns == nil && len(c.errs) == 0 {
		c.fail(RowError{Problem: "the file has no header", Fix: "name the columns in the first row"})
	}
}

func csvLine(err error) int {
	var pe *csv.ParseError
	if errors.As(err, &pe) {
		return pe.Line
	}
	return 0
}

// header takes the names of the columns and reports whether rows can be read.
func (r *csvReader) header(line int, rec []string) bool {
	seen := map[string]bool{}
	ok := true
	for _, name := range rec {
		name = strings.TrimSpace(name)
		_, known := r.fields[name]
		known = known || name == colHost || name == colAccount || name == colSecret
		shown := ""
		if fieldName.MatchString(name) {
			shown = name
		}
		switch {
		case !known:
			ok = false
			r.c.fail(RowError{Row: line, Field: shown, Problem: "there is a column that is not known", Fix: "check the spelling, or leave it out"})
		case seen[name]:
			ok = false
			r.c.fail(RowError{Row: line, Field: shown, Problem: "the column is there twice", Fix: "leave one of them out"})
		}
		seen[name] = true
		r.columns = append(r.columns, name)
	}
	if !seen["id"] {
		ok = false
		r.c.fail(RowError{Row: line, Field: "id", Problem: "the column is missing", Fix: "name the columns in the first row"})
	}
	return ok
}

// row takes one row: a namespace of a tenant that is new or known.
func (r *csvReader) row(line int, rec []string) {
	if len(rec) != len(r.columns) {
		r.c.fail(RowError{Row: line, Problem: fmt.Sprintf("has %d cells where the header has %d", len(rec), len(r.columns)), Fix: "give each row every column"})
		return
	}
	cells := make(map[string]string, len(rec))
	for i, v := range rec {
		cells[r.columns[i]] = strings.TrimSpace(v)
	}
	id := cells["id"]
	pos, known := r.at[id]
	if !known || id == "" {
		pos = len(r.c.tenants)
		r.at[id] = pos
		r.c.tenants = append(r.c.tenants, r.tenant(line, cells))
		r.cells = append(r.cells, cells)
	} else {
		r.compare(line, pos, cells)
	}
	if cells[colHost] == "" && cells[colAccount] == "" && cells[colSecret] == "" {
		return
	}
	f := &r.c.tenants[pos]
	f.fields[fmt.Sprintf("namespaces[%d]", len(f.Namespaces))] = line
	f.Namespaces = append(f.Namespaces, Namespace{Host: cells[colHost], Account: cells[colAccount], Secret: secrets.Ref(cells[colSecret])})
}

// tenant returns the tenant that a row is the first of.
func (r *csvReader) tenant(line int, cells map[string]string) found {
	f := found{row: line, fields: map[string]int{}}
	f.ID, f.DisplayName, f.Organization, f.EntraTenant = cells["id"], cells["display_name"], cells["organization"], cells["entra_tenant"]
	f.Identity = cells["identity"]
	f.Login = Login{ClientID: cells["client_id"], Secret: secrets.Ref(cells["login_secret"]), Certificate: secrets.Ref(cells["login_certificate"])}
	switch cells["disabled"] {
	case "true":
		f.Disabled = true
	case "", "false":
	default:
		f.broken = true
		r.c.fail(RowError{Row: line, Tenant: shownID(f.ID), Field: "disabled", Problem: "is neither true nor false", Fix: "write true, false or nothing"})
	}
	labels, ok := csvLabels(cells["labels"])
	if !ok {
		f.broken, f.told = true, append(f.told, "labels")
		r.c.fail(RowError{Row: line, Tenant: shownID(f.ID), Field: "labels", Problem: "are not key=value, each key once", Fix: "write tier=gold;region=emea"})
	}
	f.Labels = labels
	return f
}

// csvLabels reads labels as key=value;key=value.
func csvLabels(s string) (map[string]string, bool) {
	if s == "" {
		return nil, true
	}
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		k, v, ok := strings.Cut(part, "=")
		k = strings.TrimSpace(k)
		if _, again := out[k]; !ok || again {
			return nil, false
		}
		out[k] = strings.TrimSpace(v)
	}
	return out, true
}

// compare refuses a further row of a tenant that says something else of it than
// the first one did.
func (r *csvReader) compare(line, pos int, cells map[string]string) {
	for _, name := range r.columns {
		field, ok := r.fields[name]
		if ok && cells[name] != "" && cells[name] != r.cells[pos][name] {
			r.c.tenants[pos].broken = true
			r.c.fail(RowError{
				Row: line, Tenant: shownID(cells["id"]), Field: field,
				Problem: fmt.Sprintf("differs from line %d", r.c.tenants[pos].row), Fix: "repeat what the tenant's first row says, or leave it empty",
			})
		}
	}
}
