// Package targetset keeps explicit lists of tenants and endpoints, for rotations
// that no filter describes. A set is filled in chunks and never changes once it is
// complete.
package targetset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The bounds of a set.
const (
	MaxRows = 100_000
	Chunk   = 1000 // rows of every chunk but the last
)

// Row is one row of a set: a tenant, or one of its endpoints.
type Row struct {
	Tenant   string
	Endpoint string // GUID, lower case; empty: all of the tenant
}

// String returns the row as it is stored: "<tenant>" or "<tenant>/<endpoint>".
func (r Row) String() string {
	if r.Endpoint == "" {
		return r.Tenant
	}
	return r.Tenant + "/" + r.Endpoint
}

// parseRow is the inverse of [Row.String].
func parseRow(s string) Row {
	tenant, endpoint, _ := strings.Cut(s, "/")
	return Row{tenant, endpoint}
}

// Set is a list of rows as far as it is filled.
type Set struct {
	ID          string
	DisplayName string
	Expected    int // rows that it has when it is complete
	Rows        int // rows that are there
	Tenants     int // different ones among the rows; 0 until it is complete
	Digest      string
	By          string
	At          time.Time
}

// Ready reports whether all rows are there. From then on the set never changes.
func (s Set) Ready() bool { return s.Digest != "" }

// chunks returns how many chunks a set of so many rows has.
func chunks(rows int) int { return (rows + Chunk - 1) / Chunk }

// size returns how many rows the n-th chunk has.
func size(rows, n int) int { return min(Chunk, rows-n*Chunk) }

// Rows are the rows of a complete set. They never change, and are safe for
// concurrent use.
type Rows struct {
	digest  string
	tenants []string            // sorted
	of      map[string][]string // endpoints of a tenant, sorted; nil: all of it
}

// resolve reads rows, given as they are stored and in their order.
func resolve(rows []string) *Rows {
	h := sha256.New()
	out := &Rows{of: map[string][]string{}}
	for _, s := range rows {
		fmt.Fprintln(h, s)
		r := parseRow(s)
		ids, seen := out.of[r.Tenant]
		if !seen {
			out.tenants = append(out.tenants, r.Tenant)
		}
		switch {
		case r.Endpoint == "":
			out.of[r.Tenant] = nil
		case !seen || ids != nil:
			out.of[r.Tenant] = append(ids, r.Endpoint)
		}
	}
	for t, ids := range out.of {
		slices.Sort(ids)
		out.of[t] = slices.Compact(ids)
	}
	slices.Sort(out.tenants)
	out.digest = hex.EncodeToString(h.Sum(nil))
	return out
}

// Tenants returns the tenants that the rows name, sorted. Callers must not write to
// it.
func (r *Rows) Tenants() []string { return r.tenants }

// Of returns the endpoints of a tenant that the rows name, sorted, or nil for all of
// them, and whether the tenant is named at all. Callers must not write to it.
func (r *Rows) Of(tenant string) (endpoints []string, named bool) {
	endpoints, named = r.of[tenant]
	return endpoints, named
}
