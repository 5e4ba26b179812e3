package rollover

import (
	"cmp"
	"slices"
	"time"
)

// Purpose is what a rotation's record is for.
type Purpose string

// The purposes. A discovery is led like the planning of a rotation, and ends with
// it: no plan is frozen, so that there is nothing to start and no task. It is told
// as a job of the inventory, and nowhere as a rotation.
const (
	ToRotate   Purpose = ""
	ToDiscover Purpose = "discover" // the endpoints of tenants, and what stands at their targets
)

// The bounds of a discovery.
const (
	// MaxUnread is how many of a tenant's targets are kept by name that were not read;
	// of the others only their number is.
	MaxUnread = 100
	// MaxUnreachable is how many tenants the record of a discovery names; the findings
	// have all.
	MaxUnreachable = 100
	// DiscoveryFor is how long a discovery that has ended is kept, and MaxDiscoveries
	// how many are at most, the latest: each keeps a line for each of its tenants.
	DiscoveryFor   = 30 * 24 * time.Hour
	MaxDiscoveries = 50
)

// Tally counts what a discovery found.
type Tally struct {
	Tenants   int `json:"tenants"`             // looked at
	Unreached int `json:"unreached,omitempty"` // of these, those whose organisation could not be listed
	Endpoints int `json:"endpoints,omitempty"`
	Targets   int `json:"targets,omitempty"`
	Read      int `json:"read,omitempty"`   // of Targets: what stands there is known now
	Failed    int `json:"failed,omitempty"` // of Targets: tried in vain. The others wait for somebody else, or are none of ours
}

// Discovered is what came of a discovery.
type Discovered struct {
	Tally
	Unreachable []string `json:"unreachable,omitempty"` // the first tenants of Unreached; at most MaxUnreachable
}

// Discovers reports whether r is a discovery and no rotation.
func (r Rotation) Discovers() bool { return r.Spec.Purpose == ToDiscover }

// unreached reports whether an item stands for a tenant of which nothing is known.
func unreached(it Item) bool {
	return it.Target.Host == "" && len(it.Endpoints) == 0 && it.Outcome.NeedsPerson()
}

// Discovery returns what is kept of f in a discovery: what was counted, and of what
// could not be read the reason. Its endpoints are in the inventory.
func (f Finding) Discovery() Finding {
	t := Tally{Tenants: 1, Endpoints: len(f.Endpoints)}
	out := Finding{V: f.V, Tenant: f.Tenant}
	for _, it := range f.Items {
		switch {
		case unreached(it):
			t.Unreached = 1
		case it.Target.Host == "":
		case it.Outcome == Open:
			t.Targets, t.Read = t.Targets+1, t.Read+1
		default:
			t.Targets++
			if it.Outcome == Failed || it.Outcome == Conflict {
				t.Failed++
			}
		}
		if it.Outcome.NeedsPerson() && len(out.Items) < MaxUnread {
			out.Items = append(out.Items, Item{Tenant: it.Tenant, Target: it.Target, Outcome: it.Outcome, Reason: it.Reason, Detail: it.Detail})
		}
	}
	out.Discovered = &t
	return out
}

// Tallied sums what a discovery found, given by position in its selection.
func Tallied(found map[int]Finding) Discovered {
	var d Discovered
	var unreachable []int
	for ord, f := range found {
		t := f.Discovered
		if t == nil {
			t = &Tally{Tenants: 1}
		}
		d.Tenants += t.Tenants
		d.Unreached += t.Unreached
		d.Endpoints += t.Endpoints
		d.Targets += t.Targets
		d.Read += t.Read
		d.Failed += t.Failed
		if t.Unreached > 0 {
			unreachable = append(unreachable, ord)
		}
	}
	slices.Sort(unreachable)
	for _, ord := range unreachable[:min(len(unreachable), MaxUnreachable)] {
		d.Unreachable = append(d.Unreachable, found[ord].Tenant)
	}
	return d
}

// Conclude returns a discovery with what came of it: ended, unless it was cancelled
// before. It fails only if no tenant at all could be reached.
func (r Rotation) Conclude(d Discovered, now time.Time) (Rotation, error) {
	switch {
	case !r.Discovers():
		return r, &StateError{"conclude", r.State, "it is no discovery"}
	case r.Discovered != nil:
		return r, &StateError{"conclude", r.State, "it is concluded"}
	case r.State == StatePlanning && d.Tenants > 0 && d.Unreached == d.Tenants:
		r.State, r.Detail, r.EndedAt = StateFailed, "no tenant could be reached", now
	case r.State == StatePlanning:
		r.State, r.EndedAt = StateSucceeded, now
	case r.State != StateCancelled:
		return r, &StateError{"conclude", r.State, "it is over"}
	}
	r.Discovered, r.UpdatedAt = &d, now
	return r, nil
}

// ExpiredDiscoveries returns the ids of the discoveries that may be deleted now,
// those that ended first before the others, whatever a [Retention] says of
// rotations. None is among them that ended within MinKept, so that the repeat of a
// request finds what the first one made.
func ExpiredDiscoveries(all []Rotation, now time.Time) []string {
	ended := slices.DeleteFunc(slices.Clone(all), func(r Rotation) bool { return !r.Discovers() || !r.State.Ended() })
	slices.SortFunc(ended, func(a, b Rotation) int {
		return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID))
	})
	var out []string
	for i, r := range ended {
		age := now.Sub(r.EndedAt)
		if age >= DiscoveryFor || len(ended)-i > MaxDiscoveries && age > MinKept {
			out = append(out, r.ID)
		}
	}
	return out
}
