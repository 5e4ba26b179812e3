package dataverse

import (
	"fmt"
	"time"
)

// The values of authtype that the Web API documents.
const (
	AuthUnspecified      = 0
	AuthACS              = 1
	AuthSASKey           = 2
	AuthSASToken         = 3
	AuthWebhookKey       = 4
	AuthHTTPHeader       = 5
	AuthHTTPQuery        = 6
	AuthConnectionString = 7
	AuthAccessKey        = 8
	AuthManagedIdentity  = 9
)

// The values of contract.
const (
	ContractOneWay     = 1
	ContractQueue      = 2
	ContractREST       = 3
	ContractTwoWay     = 4
	ContractTopic      = 5
	ContractPersistent = 6
	ContractEventHub   = 7
	ContractWebhook    = 8
	ContractEventGrid  = 9
)

// The values of connectionmode and of namespaceformat.
const (
	ModeNormal    = 1
	ModeFederated = 2

	FormatName    = 1
	FormatAddress = 2
)

// Endpoint is a row of the table serviceendpoint. What is secret in it
// (saskey, sastoken, authvalue) is write-only in Dataverse and not held at all.
type Endpoint struct {
	ID                string // GUID, lower case
	Name, Description string
	AuthType          int  // see the constants
	AuthTypeNull      bool // the column is null, as in rows older than it
	ConnectionMode    int
	Contract          int
	NamespaceFormat   int
	NamespaceAddress  string // empty: null
	SolutionNamespace string
	Path              string
	SASKeyName        string
	URL               string // of webhooks
	UserClaim         int    // default 1, none
	Managed           bool
	ModifiedOn        time.Time

	rev int // makes @odata.etag
}

// column is a property of a row: from which version there is one, and its value.
type column struct {
	name  string
	since version
	value func(e *Endpoint) any // nil, string, bool, int or a map
}

// columns are all that can be selected, in the order of answers. The write-only
// ones are not among them.
func columns() []column {
	v80, v81, v90, v92 := version{8, 0}, version{8, 1}, version{9, 0}, version{9, 2}
	return []column{
		{"serviceendpointid", v80, func(e *Endpoint) any { return e.ID }},
		{"name", v80, func(e *Endpoint) any { return e.Name }},
		{"description", v80, func(e *Endpoint) any { return orNull(e.Description) }},
		{"connectionmode", v80, func(e *Endpoint) any { return e.ConnectionMode }},
		{"contract", v80, func(e *Endpoint) any { return e.Contract }},
		{"namespaceformat", v81, func(e *Endpoint) any { return intOrNull(e.NamespaceFormat) }},
		{"namespaceaddress", v81, func(e *Endpoint) any { return orNull(e.NamespaceAddress) }},
		{"solutionnamespace", v80, func(e *Endpoint) any { return orNull(e.SolutionNamespace) }},
		{"path", v80, func(e *Endpoint) any { return orNull(e.Path) }},
		{"userclaim", v80, func(e *Endpoint) any { return max(e.UserClaim, 1) }},
		{"ismanaged", v80, func(e *Endpoint) any { return e.Managed }},
		{"iscustomizable", v80, func(e *Endpoint) any {
			return map[string]any{"Value": !e.Managed, "CanBeChanged": !e.Managed, "ManagedPropertyLogicalName": "iscustomizableanddeletable"}
		}},
		{"createdon", v80, func(e *Endpoint) any { return stamp(e.ModifiedOn) }},
		{"modifiedon", v80, func(e *Endpoint) any { return stamp(e.ModifiedOn) }},
		{"_createdby_value", v80, func(*Endpoint) any { return "00000000-0000-0000-0000-0000000000c1" }},
		{"_modifiedby_value", v80, func(*Endpoint) any { return "00000000-0000-0000-0000-0000000000c1" }},
		{"_organizationid_value", v80, func(*Endpoint) any { return nil }},
		{"componentstate", v80, func(*Endpoint) any { return 0 }},
		{"solutionid", v80, func(*Endpoint) any { return "fd140aae-4df4-11dd-bd17-0019b9312238" }},
		{"authtype", v81, func(e *Endpoint) any {
			if e.AuthTypeNull {
				return nil
			}
			return e.AuthType
		}},
		{"messageformat", v81, func(*Endpoint) any { return 1 }},
		{"saskeyname", v81, func(e *Endpoint) any { return orNull(e.SASKeyName) }},
		{"issaskeyset", v81, func(e *Endpoint) any { return e.AuthType == AuthSASKey }},
		{"issastokenset", v81, func(e *Endpoint) any { return e.AuthType == AuthSASToken }},
		{"url", v90, func(e *Endpoint) any { return orNull(e.URL) }},
		{"messagecharset", v90, func(*Endpoint) any { return 0 }},
		{"isauthvalueset", v90, func(e *Endpoint) any { return e.AuthType >= AuthWebhookKey && e.AuthType <= AuthHTTPQuery }},
		{"schematype", v92, func(*Endpoint) any { return nil }},
		{"usekeyvaultconfiguration", v92, func(*Endpoint) any { return false }},
		{"_keyvaultreferenceid_value", v92, func(*Endpoint) any { return nil }},
		{"_managedidentityid_value", v92, func(e *Endpoint) any {
			if e.AuthType == AuthManagedIdentity {
				return "00000000-0000-0000-0000-0000000000d1"
			}
			return nil
		}},
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func intOrNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// known returns the columns of a version by name.
func known(v version) map[string]column {
	out := map[string]column{}
	for _, c := range columns() {
		if !v.less(c.since) {
			out[c.name] = c
		}
	}
	return out
}

// render makes the JSON object of a row with the selected columns, all for
// none. The id is always there, as in Dataverse.
func (e *Endpoint) render(v version, selected []string) map[string]any {
	cols := known(v)
	row := map[string]any{"@odata.etag": fmt.Sprintf(`W/"%d"`, 100000+e.rev), "serviceendpointid": e.ID}
	if len(selected) == 0 {
		for name, c := range cols {
			row[name] = c.value(e)
		}
		return row
	}
	for _, name := range selected {
		row[name] = cols[name].value(e)
	}
	return row
}
