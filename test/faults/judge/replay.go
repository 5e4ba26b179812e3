package judge

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/record"
)

// identity is a service identity as the journal says it stands. Keys are told
// apart by what they are, since ACS may give them new ids.
type identity struct {
	id      record.Identity
	before  map[string]int // keys by SHA-256 before the run
	count   map[string]int // now
	unclear bool           // a write was answered otherwise than it was done, or not at all
}

func newIdentity(id record.Identity) *identity {
	x := &identity{id: id, before: map[string]int{}}
	for _, k := range id.Keys {
		x.before[k.SHA256]++
	}
	x.count = maps.Clone(x.before)
	return x
}

// replay goes through every write in the order in which they were done.
func (r *run) replay() {
	for _, w := range r.writes {
		if !w.Applied {
			continue
		}
		r.fig.Writes++
		unclear := w.Status == 0 || w.Status >= 300
		if unclear {
			r.fig.Unclear++
		}
		at := key(w.Host, w.Identity)
		id := r.ids[at]
		switch {
		case id == nil:
			r.violated(FrozenPlan, at, w.At, "%s where nothing was to be done", w.Op)
			continue
		case w.Foreign:
			r.stranger(id, w)
			continue
		case len(r.cover[at]) == 0:
			r.violated(FrozenPlan, at, w.At, "%s, and no plan has it", w.Op)
		}
		id.unclear = id.unclear || unclear
		switch w.Op {
		case "create":
			r.created(at, id, w)
		case "delete":
			r.deleted(at, id, w)
		default:
			r.violated(AddOnly, at, w.At, "%s of %.12s", w.Op, w.SHA256)
		}
		r.usable(at, id, w)
	}
}

// usable: what CRM signs in with stands after a write of ours. Until the switch that
// is the old certificate. From then on it is the new one, but an undo may come after
// the switch too, and takes care of the old one alone: so either will do.
func (r *run) usable(at string, id *identity, w record.Write) {
	switch {
	case id.before[r.world.Old] == 0: // CRM could not sign in before us.
	case id.count[r.world.Old]+id.count[r.world.New] == 0:
		r.violated(NeverBothGone, at, w.At, "neither certificate stands after the %s of %.12s", w.Op, w.SHA256)
	case id.count[r.world.Old] == 0 && w.At.Before(r.world.SwitchAt):
		r.violated(NeverBothGone, at, w.At, "the old certificate, which CRM still uses, does not stand after the %s of %.12s", w.Op, w.SHA256)
	}
}

func (r *run) stranger(id *identity, w record.Write) {
	switch w.Op {
	case "create":
		id.count[w.SHA256]++
		id.before[w.SHA256]++
	case "delete":
		id.count[w.SHA256]--
		id.before[w.SHA256]--
	}
}

func (r *run) created(at string, id *identity, w record.Write) {
	id.count[w.SHA256]++
	switch w.SHA256 {
	case r.world.New:
		if id.count[w.SHA256] > 1 {
			r.fig.Doubled++ // Judged at the end: a stale read may make one for a moment.
		}
	case r.world.Old: // Put back by an undo after the removal.
		if !slices.ContainsFunc(r.cover[at], func(c covering) bool { return strings.HasPrefix(c.intent.Label, "undone") }) {
			r.violated(AddOnly, at, w.At, "the old certificate was added where nothing was undone")
		}
	default:
		r.violated(AddOnly, at, w.At, "%.12s was added, which is neither the old nor the new one", w.SHA256)
	}
}

func (r *run) deleted(at string, id *identity, w record.Write) {
	defer func() { id.count[w.SHA256]-- }()
	switch w.SHA256 {
	case r.world.Old:
		r.fig.Removed++
		r.removed(at, id, w)
	case r.world.New:
		// Taken back, or one of two that a stale read had made.
		takenBack := slices.ContainsFunc(r.cover[at], func(c covering) bool {
			return strings.HasPrefix(c.intent.Label, "undone") || strings.HasPrefix(c.intent.Label, "cancelled")
		})
		if !takenBack && id.count[w.SHA256] < 2 {
			r.violated(AddOnly, at, w.At, "the new certificate was removed where nothing was to be taken back")
		}
		if takenBack && id.count[w.SHA256] <= id.before[w.SHA256] {
			r.violated(AddOnly, at, w.At, "the new certificate, which stood there before us, was removed")
		}
	default:
		r.violated(AddOnly, at, w.At, "the key %.12s of others was removed", w.SHA256)
	}
}

// removed looks at the removal of an old certificate.
func (r *run) removed(at string, id *identity, w record.Write) {
	allowed, planned := time.Time{}, false
	for _, c := range r.cover[at] {
		if slices.Contains(c.task.WillRetire, w.SHA256) {
			planned = true
			if t := c.intent.RetireNotBefore; !t.IsZero() && (allowed.IsZero() || t.Before(allowed)) {
				allowed = t
			}
		}
	}
	switch {
	case !planned:
		r.violated(AddOnly, at, w.At, "the old certificate was removed, and no plan says so")
	case allowed.IsZero():
		r.violated(NotBefore, at, w.At, "the old certificate was removed where nothing is to be retired")
	case w.At.Before(allowed):
		r.violated(NotBefore, at, w.At, "the old certificate was removed %s too early", allowed.Sub(w.At))
	}
	if id.count[r.world.New] == 0 {
		r.violated(Evidence, at, w.At, "the old certificate was removed where the new one does not stand")
	}
	for _, other := range r.ids {
		if other != id && sharesEndpoint(id.id, other.id) && other.count[r.world.New] == 0 {
			r.violated(Evidence, at, w.At, "the old certificate was removed, and the new one does not stand on %s of the same endpoint", other.id.Host)
		}
	}
}

// sharesEndpoint reports whether one endpoint stands behind both.
func sharesEndpoint(a, b record.Identity) bool {
	for _, e := range strings.Fields(a.Endpoint) {
		if slices.Contains(strings.Fields(b.Endpoint), e) {
			return true
		}
	}
	return false
}

// atTheEnd compares what stands with what was there, and with what we say.
func (r *run) atTheEnd() {
	if len(r.final.Identities) != len(r.world.Identities) {
		r.violated(NothingLost, "the run", time.Time{}, "%d identities are known at the end, %d were before", len(r.final.Identities), len(r.world.Identities))
	}
	for _, now := range r.final.Identities {
		at := key(now.Host, now.Identity)
		id := r.ids[at]
		if id == nil {
			continue
		}
		r.foreignKeys(at, id, now)
		stands := newIdentity(now).count
		if stands[r.world.New] > max(1, id.before[r.world.New]) {
			r.violated(OneEffect, at, time.Time{}, "the new certificate stands %d times at the end", stands[r.world.New])
		}
		if stands[r.world.New] != id.count[r.world.New] || stands[r.world.Old] != id.count[r.world.Old] {
			r.violated(NothingLost, at, time.Time{}, "the journal comes to %d old and %d new, there are %d and %d",
				id.count[r.world.Old], id.count[r.world.New], stands[r.world.Old], stands[r.world.New])
		}
		if len(r.cover[at]) == 1 {
			r.outcome(at, id, r.cover[at][0], stands)
		}
	}
}

// foreignKeys are as they were, but for their ids.
func (r *run) foreignKeys(at string, id *identity, now record.Identity) {
	rest := slices.Clone(now.Keys)
	for _, k := range id.id.Keys {
		i := slices.IndexFunc(rest, func(n record.Key) bool {
			return n.SHA256 == k.SHA256 && n.Type == k.Type && n.Usage == k.Usage && n.Start.Equal(k.Start) && n.End.Equal(k.End) &&
				n.DisplayName == k.DisplayName && n.SystemReserved == k.SystemReserved
		})
		if i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else if k.SHA256 != r.world.Old && k.SHA256 != r.world.New && id.before[k.SHA256] > 0 { // Else a stranger removed it.
			r.violated(AddOnly, at, time.Time{}, "the key %.12s of others is gone or changed", k.SHA256)
		}
	}
	for _, k := range rest {
		if k.SHA256 != r.world.Old && k.SHA256 != r.world.New && id.before[k.SHA256] == 0 {
			r.violated(AddOnly, at, time.Time{}, "a key %.12s stands there that was not before", k.SHA256)
		}
	}
}

// outcome compares what we say of a target with what stands there.
func (r *run) outcome(at string, id *identity, c covering, stands map[string]int) {
	k, old, fresh := c.task, stands[r.world.Old], stands[r.world.New]
	oldBefore, newBefore := id.before[r.world.Old], id.before[r.world.New]
	wrong := func(format string, args ...any) {
		r.violated(NothingLost, at, time.Time{}, "%s is told as %s %s: "+format, append([]any{k.Name, k.Outcome, k.Reason}, args...)...)
	}
	switch k.Outcome {
	case "SUCCEEDED":
		if fresh == 0 {
			wrong("the new certificate does not stand")
		}
		if len(k.Removed) > 0 && old != 0 {
			wrong("the old certificate stands")
		}
		if len(k.Removed) == 0 && old != oldBefore {
			wrong("the old certificate was removed")
		}
	case "UNDONE":
		if old != oldBefore || fresh != newBefore {
			wrong("%d old and %d new stand, %d and %d did before", old, fresh, oldBefore, newBefore)
		}
	case "CANCELLED":
		if k.Reason == "NOT_KNOWN" && id.unclear {
			r.fig.NotKnown++
			break
		}
		if want := newBefore > 0 || k.AddedByUs; (fresh > 0) != want {
			wrong("the new certificate stands %d times, added by us: %t", fresh, k.AddedByUs)
		}
		if (old < oldBefore) != (len(k.Removed) > 0) {
			wrong("%d of %d old ones stand, removed: %d", old, oldBefore, len(k.Removed))
		}
	case "SKIPPED", "HANDED_OVER":
		if fresh != newBefore || old != oldBefore {
			wrong("it was written to")
		}
	}
	whole := slices.ContainsFunc([]string{"bulk", "urgent", "retiring", "paused"}, func(s string) bool { return strings.HasPrefix(c.intent.Label, s) })
	if whole && (id.id.Ending == "rotated" || id.id.Ending == "already_present") && k.Outcome != "SUCCEEDED" {
		wrong("it can be rotated, and in %s everything was to be", c.intent.Label)
	}
	if whole && k.Outcome == "SUCCEEDED" && id.id.Ending == "rotated" && len(k.Removed) == 0 && len(k.WillRetire) > 0 {
		wrong("its old certificate was to be removed and was not")
	}
}
