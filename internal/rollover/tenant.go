package rollover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxHeldNamed bounds how many tenants a pause names.
const maxHeldNamed = 10

// party is a tenant in a plan.
type party struct {
	name     string
	workable []place // those of its tasks that the plan left to be worked on
	failed   int     // of those: failed, and not while they were undone
}

// place is where a task stands in a plan.
type place struct {
	row  int32
	rank int32 // how many tasks before it are to be worked on
}

// join notes whose the next items of the plan are. It is called before their rows
// are added.
func (b *Board) join(items []Item) {
	if b.partyOf == nil {
		b.partyOf = map[string]int32{}
	}
	rank := b.c.Workable
	for _, it := range items {
		n, ok := b.partyOf[it.Tenant]
		if !ok {
			n = int32(len(b.parties)) //nolint:gosec // There are fewer tenants than tasks, and of those fewer than 2^31.
			b.partyOf[it.Tenant] = n
			b.parties = append(b.parties, party{name: it.Tenant})
		}
		if it.Outcome == Open {
			p := &b.parties[n]
			p.workable = append(p.workable, place{row: int32(len(b.tenant)), rank: int32(rank)}) //nolint:gosec // As above.
			rank++
		}
		b.tenant = append(b.tenant, n)
	}
}

// tenantBudget returns how the tolerance of a tenant stands. Failures that a person
// accepted are those whose state is not newer than AcceptedSeq.
func (b *Board) tenantBudget(r Rotation, p party) Budget {
	out := Budget{Tolerance: r.Spec.TenantTolerance, Total: len(p.workable), Failed: p.failed}
	if p.failed == 0 || r.AcceptedSeq == 0 {
		return out
	}
	out.Failed = 0
	for _, at := range p.workable {
		if row := b.rows[at.row]; row.broken() && row.Seq > r.AcceptedSeq {
			out.Failed++
		}
	}
	return out
}

// CountsOf returns the fold of the rows as it is under the rules of r: with what
// is held because the tolerance of its tenant is exceeded. It looks at the rows of
// tenants with failures only.
func (b *Board) CountsOf(r Rotation) Counts {
	c := b.Counts()
	c.Seq = b.seq
	if r.Spec.TenantTolerance.Mode == "" || c.Broken == 0 {
		return c
	}
	w, inWaves := r.Wave(c)
	type holding struct {
		first int32 // the row that is held first
		party party
		Budget
	}
	var held []holding
	for _, p := range b.parties {
		if p.failed == 0 {
			continue
		}
		h := holding{first: -1, party: p, Budget: b.tenantBudget(r, p)}
		if !h.Exceeded() {
			continue
		}
		for _, at := range p.workable {
			if !b.rows[at.row].atRisk(r.Phase == PhaseRetire) {
				continue
			}
			c.Held++
			if inWaves && int(at.rank) < w.end {
				c.HeldInWave++
			}
			if h.first < 0 {
				h.first = at.row
			}
		}
		if h.first >= 0 {
			held = append(held, h)
		}
	}
	slices.SortFunc(held, func(a, b holding) int { return cmp.Compare(a.first, b.first) })
	for _, h := range held[:min(len(held), maxHeldNamed)] {
		c.HeldTenants = append(c.HeldTenants, fmt.Sprintf("%s (%d of %d failed, %d tolerated)",
			h.party.name, h.Failed, h.Total, h.Allowed(h.Total)))
	}
	c.HeldTenantCount = len(held)
	return c
}

// releasableByTenant is Releasable where tenants have a tolerance of their own. A
// task is released if as many of its tenant's are at risk before it as the tenant
// has room, besides what holds for the rotation. Those of a tenant whose tolerance
// is exceeded are passed over. In strict mode none of them is in hand then, as
// those that were have used up its room; so they need none of the rotation's, until
// a person accepts the failures. That is possible only when nothing else is at risk;
// see [Rotation.Resume].
func (b *Board) releasableByTenant(r Rotation, bounds bounds, limit int, now time.Time) []int {
	rooms, exceeded := make([]int, len(b.parties)), make([]bool, len(b.parties))
	for i, p := range b.parties {
		t := b.tenantBudget(r, p)
		rooms[i], exceeded[i] = t.Room(), t.Exceeded()
	}
	room, end, retiring := bounds.room, bounds.end, r.Phase == PhaseRetire
	orders := r.Orders(r.Spec.New)
	var out, last []int
	for i, row := range b.rows {
		if row.Seq == 0 && row.Outcome != Open {
			continue // Planning decided.
		}
		if end == 0 || len(out) >= limit {
			break
		}
		end--
		n := b.tenant[i]
		if row.Outcome != Open || (row.atRisk(retiring) && exceeded[n]) {
			continue
		}
		if row.last(retiring) {
			last = append(last, i)
			continue
		}
		if row.atRisk(retiring) {
			if room == 0 {
				return out
			}
			room--
			if rooms[n] == 0 {
				continue // It keeps the rotation's room: it will be released before those behind it.
			}
			rooms[n]--
		}
		if row.due(orders, now) {
			out = append(out, i)
		}
	}
	for _, i := range b.inTurn(last) {
		n := b.tenant[i]
		if room == 0 || len(out) >= limit {
			break
		}
		room--
		if rooms[n] == 0 {
			continue
		}
		rooms[n]--
		if b.rows[i].due(orders, now) {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// bounds is how far tasks may be released: before the position before which room
// tasks are at risk, and at most end tasks that are to be worked on.
type bounds struct{ room, end int }

// HoldTenants returns r as PAUSED if nothing is left to be done but for tenants
// whose tolerance is exceeded. It reports false while there is.
func (r Rotation) HoldTenants(c Counts, now time.Time) (Rotation, bool) {
	others := c.Phases[Planned] + c.Phases[Staged] + c.Phases[Verified] - c.Held
	if r.Phase == PhaseRetire {
		others = c.OpenTasks - c.Held
	}
	if c.Held == 0 || others > 0 || r.State != StateRunning {
		return r, false
	}
	more := ""
	if n := c.HeldTenantCount - len(c.HeldTenants); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	next, err := r.Pause(fmt.Sprintf("failure tolerance of tenants exceeded, and nothing else is left to do: %s%s; %d tasks are held",
		strings.Join(c.HeldTenants, ", "), more, c.Held), now)
	if err != nil {
		return r, false
	}
	next.Exceeded, next.TenantHeld = true, true
	return next, true
}
