package planner

import (
	"slices"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// carries says whether something compromised stands on one of the hosts of an
// endpoint, as read in this planning. Without an incident every endpoint is
// selected.
func carries(i *rollover.Incident, s tenants.Seen) filter.Verdict {
	if i == nil {
		return filter.Yes
	}
	out := filter.No
	for _, t := range s.Targets {
		if !t.Observed {
			out = filter.Unknown
		}
		for _, c := range t.Carries {
			switch i.Judge(c.SHA256, c.SHA1, c.KeyHash) {
			case rollover.Carried:
				return filter.Yes
			case rollover.Undecided:
				out = filter.Unknown
			case rollover.Clean:
			}
		}
	}
	return out
}

// both is a verdict and another.
func both(a, b filter.Verdict) filter.Verdict {
	switch {
	case a == filter.No || b == filter.No:
		return filter.No
	case a == filter.Unknown || b == filter.Unknown:
		return filter.Unknown
	default:
		return filter.Yes
	}
}

func (c *choice) notSelected() string {
	if c.incident != nil {
		return "nothing compromised stands on it, or its endpoints are not selected"
	}
	return "no endpoint behind it is selected"
}

func (c *choice) undecided() string {
	if c.incident != nil {
		return "whether its endpoint carries something compromised is not known: another host of it, or a certificate that stands there, could not be read"
	}
	return "the endpoint filter cannot be decided, since another host of the endpoint could not be read"
}

// suspects reports whether something compromised stands on a target, or might.
func (c *choice) suspects(k *target) bool {
	return c.incident != nil && slices.ContainsFunc(k.seen, func(x tenants.Carried) bool {
		return c.incident.Judge(x.SHA256, x.SHA1, x.KeyHash) != rollover.Clean
	})
}

// doubt makes the line one that failed: nobody would know of a carrier that is
// merely left out.
func (k *target) doubt() {
	k.item.Present, k.item.Observed, k.item.Retire = false, "", nil
	k.item.Outcome, k.item.Reason = rollover.Failed, rollover.Refused
	k.item.Detail = "it carries something compromised or might, since a certificate on it cannot be read, and whether it is selected cannot be decided; look at it by hand"
}
