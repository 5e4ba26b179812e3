package rollover

import (
	"cmp"
	"slices"
)

// OrderKey is one thing by which tenants are put in order: the value of a label,
// the region or the cloud. Planning notes each tenant's value in its finding.
type OrderKey struct {
	By     string   `json:"by"`               // "label", "region" or "cloud"
	Label  string   `json:"label,omitempty"`  // which label
	Values []string `json:"values,omitempty"` // come first, in this order; empty: all ascending
}

// What an order can be by.
const (
	ByLabel  = "label"
	ByRegion = "region"
	ByCloud  = "cloud"
)

// compare puts two tenants' values in order: those that are listed, then the
// others ascending, and last those without a value.
func (k OrderKey) compare(a, b string) int {
	if c := cmp.Compare(k.rank(a), k.rank(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

func (k OrderKey) rank(value string) int {
	if i := slices.Index(k.Values, value); i >= 0 {
		return i
	}
	if value == "" {
		return len(k.Values) + 1
	}
	return len(k.Values)
}

// line is an item on its way into a plan.
type line struct {
	item    Item
	finding int // whose access is used
	round   int // the how manieth item of that tenant it is
}

// arrange puts the items in the order of the plan. Tenants come by the keys; among
// equal ones all first items come before all second ones, so that a tenant with
// thousands keeps nobody waiting. The items of one tenant keep their order, so that
// the two halves of a federated endpoint stay in neighbouring rounds.
func arrange(lines []line, findings []Finding, keys []OrderKey) {
	rounds := make([]int, len(findings))
	for i := range lines {
		lines[i].round = rounds[lines[i].finding]
		rounds[lines[i].finding]++
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		for i, k := range keys {
			if c := k.compare(findings[a.finding].orderValue(i), findings[b.finding].orderValue(i)); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.round, b.round), cmp.Compare(a.finding, b.finding))
	})
}

// orderValue returns the tenant's value of the i-th key; empty where planning
// noted none.
func (f Finding) orderValue(i int) string {
	if i >= len(f.Order) {
		return ""
	}
	return f.Order[i]
}
