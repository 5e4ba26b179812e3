package main

import "github.com/spf13/cobra"

// listing says what of a list is shown, and in which order.
type listing struct{ filter, order string }

// rotationFilter are the fields by which rotations are filtered.
const rotationFilter = "state, phase, kind, display_name and labels"

// flags adds the flags of a list. The fields are those that the service takes.
func (l *listing) flags(c *cobra.Command, filters, orders string) {
	c.Flags().StringVar(&l.filter, "filter", "", "AIP-160 `FILTER` over "+filters)
	c.Flags().StringVar(&l.order, "order-by", "", "`FIELDS` to order by, each with desc behind it or not, of "+orders)
}
