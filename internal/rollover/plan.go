package rollover

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Finding is what planning found for one tenant: its endpoints, and a line for
// each target or for each endpoint that has none. Ord and Siblings are not yet
// set.
type Finding struct {
	V          int        `json:"v"`
	Tenant     string     `json:"tenant"`
	Version    string     `json:"version,omitempty"` // of the CRM organisation, as it says itself
	Endpoints  []Endpoint `json:"endpoints,omitempty"`
	Items      []Item     `json:"items,omitempty"`
	Order      []string   `json:"order,omitempty"`      // the tenant's value for each key of the strategy's order
	Cloud      string     `json:"cloud,omitempty"`      // of the organisation that was read; empty: none was, or it is in none that is known
	Discovered *Tally     `json:"discovered,omitempty"` // only of a discovery; then Endpoints is empty, and Items has what was not read
}

// PlannedIn returns r with the clouds in which planning was, besides those of its
// creation: the inventory may have said otherwise meanwhile, and may again. Where no
// rule asks for clouds there are none.
func (r Rotation) PlannedIn(findings []Finding) Rotation {
	if len(r.Clouds) == 0 {
		return r
	}
	clouds := slices.Clone(r.Clouds)
	for _, f := range findings {
		if f.Cloud != "" {
			clouds = append(clouds, f.Cloud)
		}
	}
	slices.Sort(clouds)
	r.Clouds = slices.Compact(clouds)
	return r
}

// Endpoint is a service endpoint of a CRM organisation as planning saw it.
type Endpoint struct {
	Tenant    string `json:"tenant"`
	ID        string `json:"id"`                  // GUID, lower case
	Name      string `json:"name"`                //
	AuthType  string `json:"auth_type"`           // "acs", "sas_key", …; see internal/dataverse
	Contract  string `json:"contract"`            // "queue", "topic", …
	Path      string `json:"path,omitempty"`      //
	Namespace string `json:"namespace,omitempty"` // as the organisation names it
	Federated bool   `json:"federated,omitempty"`
}

// Assemble makes one plan of all findings, given in the tenants' order. A
// target that several tenants share becomes one item: it is changed once. Items
// that share an endpoint are made siblings. The tenants come by the keys, and those
// that are equal take turns; see [OrderKey]. The result depends on the findings and
// the keys only.
func Assemble(findings []Finding, keys ...OrderKey) []Item {
	var lines []line
	at := map[Target]int{}
	for n, f := range findings {
		for _, it := range f.Items {
			i, seen := at[it.Target]
			if !seen || it.Target.Host == "" {
				at[it.Target] = len(lines)
				lines = append(lines, line{item: it, finding: n})
				continue
			}
			if wins(lines[i].item, it) {
				lines[i].finding = n
			}
			lines[i].item = merge(lines[i].item, it)
		}
	}
	arrange(lines, findings, keys)
	plan := make([]Item, len(lines))
	for i, l := range lines {
		plan[i] = l.item
		plan[i].Ord = i
	}
	setSiblings(plan)
	return plan
}

// wins reports whether the item b of a target, found later, takes the place of a. That
// it is others' too holds for all who found it.
func wins(a, b Item) bool {
	if a.Reason == OutOfReach || b.Reason == OutOfReach {
		return a.Reason != OutOfReach
	}
	return a.Outcome != Open && (b.Outcome == Open || a.Reason == NotSelected && b.Reason != NotSelected)
}

// merge adds what a second tenant found of a target to the first one's item. A
// tenant that can reach the target wins over one that cannot, and one whose
// endpoints are selected over one whose are not.
func merge(a, b Item) Item {
	if wins(a, b) {
		a, b = b, a
	}
	a.Endpoints = append(slices.Clone(a.Endpoints), b.Endpoints...)
	for _, adv := range b.Advice {
		if !slices.Contains(a.Advice, adv) {
			a.Advice = append(slices.Clone(a.Advice), adv)
		}
	}
	return a
}

// setSiblings links items that stand behind one endpoint: the two namespaces of
// a federated one.
func setSiblings(plan []Item) {
	behind := map[[2]string][]int{}
	for i, it := range plan {
		plan[i].Siblings = nil
		for _, e := range it.Endpoints {
			key := [2]string{e.Tenant, e.ID}
			behind[key] = append(behind[key], i)
		}
	}
	sets := make([]map[int]bool, len(plan))
	for _, group := range behind {
		for _, i := range group {
			for _, j := range group {
				if i == j {
					continue
				}
				if sets[i] == nil {
					sets[i] = map[int]bool{}
				}
				sets[i][j] = true
			}
		}
	}
	for i, set := range sets {
		if len(set) > 0 {
			plan[i].Siblings = slices.Sorted(maps.Keys(set))
		}
	}
}

// Digest names a plan: lower-case hex of SHA-256 over the request and every
// item. Equal digests mean that the same will be done to the same targets.
func Digest(s Spec, plan []Item) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	_ = enc.Encode(s) // Encoding these structs into a hash cannot fail.
	for _, it := range plan {
		_ = enc.Encode(it)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ToRetire returns which of the standing credentials the request wants removed,
// by thumbprint, by subject or as compromised, never the new one and never a reserved one,
// sorted by SHA-256 and without bytes.
func (s Spec) ToRetire(o Observation) []Credential {
	var out []Credential
	for _, c := range o.Standing {
		named := slices.ContainsFunc(s.Replaces, func(p string) bool { return SameThumbprint(p, c.Credential) })
		if s.ReplacesSubject && s.New.Subject != "" && c.Subject == s.New.Subject {
			named = true
		}
		named = named || s.Incident.Names(c.Credential)
		if named && c.SHA256 != s.New.SHA256 && !c.Reserved {
			out = append(out, c.Named())
		}
	}
	slices.SortFunc(out, func(a, b Credential) int { return cmp.Compare(a.SHA256, b.SHA256) })
	return slices.CompactFunc(out, func(a, b Credential) bool { return a.SHA256 == b.SHA256 })
}

// SameThumbprint reports whether p, lower-case hex, is the SHA-256 or the SHA-1
// of c.
func SameThumbprint(p string, c Credential) bool {
	return p == c.SHA256 || p == strings.ToLower(c.SHA1)
}
