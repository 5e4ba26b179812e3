package main

import (
	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// bindSelection adds the flags that narrow a rotation to endpoints.
func (f *rotateFlags) bindSelection(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.targets, "targets", "", "only what the target set of this `NAME` lists; see \"crossfade targets\"")
	fl.StringVar(&f.endpoints, "endpoints", "", `only endpoints that this `+"`FILTER`"+` selects while planning, such as
'thumbprint:"9A2F…"', 'federated AND version < "8.1"', 'expires < "2016-11-05T00:00:00Z"', 'keys = 1 AND NOT has_new'`)
}

// selections returns the flags that were given and say for whom a rotation is.
func (f *rotateFlags) selections() []string {
	var ways []string
	for _, w := range []struct {
		flag  string
		given bool
	}{{"--tenant", len(f.tenants) > 0}, {"--select", f.selected != ""}, {"--targets", f.targets != ""}, {"--drifted-of", f.driftedOf != ""}} {
		if w.given {
			ways = append(ways, w.flag)
		}
	}
	return ways
}

// narrow adds the target set and the endpoint filter to a selector.
func (f *rotateFlags) narrow(t *crossfadev1.TargetSelector) {
	if f.targets != "" {
		t.Selection = &crossfadev1.TargetSelector_TargetSet{TargetSet: targetSetName(f.targets)}
	}
	t.EndpointFilter = f.endpoints
}
