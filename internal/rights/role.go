package rights

import (
	"maps"
	"slices"
)

// Scope is one thing that a caller may do. Each call of the API needs one.
type Scope string

// The scopes.
const (
	Read      Scope = "read"      // lists, reads and watches
	Rotate    Scope = "rotate"    // creates rotations and target sets, and steers them
	Approve   Scope = "approve"   // is the second person
	Inventory Scope = "inventory" // brings tenants and certificates in, and takes them out
	Block     Scope = "block"     // changes the block list
	Audit     Scope = "audit"     // reads who did what
)

// Scopes returns all scopes.
func Scopes() []Scope { return []Scope{Read, Rotate, Approve, Inventory, Block, Audit} }

// roles says what each role may do. Nobody who rotates is an approver by that: whoever
// is both has two grants, and may still not approve what is their own.
func roles() map[string][]Scope {
	return map[string][]Scope{
		"viewer":   {Read},
		"operator": {Read, Rotate},
		"approver": {Read, Approve},
		"auditor":  {Read, Audit},
		"admin":    {Read, Rotate, Inventory, Block, Audit},
	}
}

// Roles returns the names of all roles, sorted.
func Roles() []string { return slices.Sorted(maps.Keys(roles())) }
