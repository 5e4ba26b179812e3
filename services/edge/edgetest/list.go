// Package edgetest checks what every service promises of its calls in the same way.
package edgetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Item is one item of a list.
type Item struct {
	Name string // the same for no two
	By   string // what the list is ordered by, as a text that sorts so
}

// Instant is the layout of instants that sort as texts.
const Instant = "2006-01-02T15:04:05.000000000Z"

// OrderChangesNoSet checks that a list with a filter has the same items without an order,
// by a field, and by that field backwards, sorted where it is ordered, and as many as
// wanted. page lists one page.
func OrderChangesNoSet(t *testing.T, by string, want int, page func(orderBy, token string) ([]Item, string, error)) {
	t.Helper()
	set := func(items []Item) string {
		names := make([]string, len(items))
		for i, it := range items {
			names[i] = it.Name
		}
		slices.Sort(names)
		return fmt.Sprint(names)
	}
	var first string
	for _, order := range []string{"", by, by + " desc"} {
		var all []Item
		for token := ""; ; {
			items, next, err := page(order, token)
			if err != nil {
				t.Fatalf("order_by %q: %v", order, err)
			}
			all = append(all, items...)
			if token = next; token == "" {
				break
			}
		}
		if order == "" {
			if first = set(all); len(all) != want {
				t.Errorf("without an order there are %d, want %d: %v", len(all), want, all)
			}
			continue
		}
		if got := set(all); got != first {
			t.Errorf("order_by %q lists %s, without an order it is %s", order, got, first)
		}
		sign := 1
		if strings.HasSuffix(order, " desc") {
			sign = -1
		}
		if !slices.IsSortedFunc(all, func(a, b Item) int { return sign * strings.Compare(a.By, b.By) }) {
			t.Errorf("order_by %q lists %v", order, all)
		}
	}
}
