package rollover

import (
	"fmt"
	"strings"
	"time"
)

// maxHeldNamed bounds how many tenants a pause names.
const maxHeldNamed = 10

// party is a tenant in a plan.
type party struct {
	name     string
	workable int // of its tasks: those that the plan left to be worked on
}

// join notes whose the next items of the plan are.
func (b *Board) join(items []Item) {
	if b.partyOf == nil {
		b.partyOf = map[string]int32{}
	}
	for _, it := range items {
		n, ok := b.partyOf[it.Tenant]
		if !ok {
			n = int32(len(b.parties)) //nolint:gosec // There are fewer tenants than tasks, and of those fewer than 2^31.
			b.partyOf[it.Tenant] = n
			b.parties = append(b.parties, party{name: it.Tenant})
		}
		b.tenant = append(b.tenant, n)
		if it.Outcome == Open {
			b.parties[n].workable++
		}
	}
}

// tenantBudgets returns how the tolerance of each tenant stands, by its number.
// Failures that a person accepted are those whose state is not newer than
// AcceptedSeq.
func (b *Board) tenantBudgets(r Rotation) []Budget {
	out := make([]Budget, len(b.parties))
	for i, p := range b.parties {
		out[i] = Budget{Tolerance: r.Spec.TenantTolerance, Total: p.workable}
	}
	if b.c.Broken == 0 {
		return out
	}
	for i, row := range b.rows {
		if row.Outcome == Failed && row.Undo == 0 && row.Seq > r.AcceptedSeq {
			out[b.tenant[i]].Failed++
		}
	}
	return out
}

// CountsOf returns the fold of the rows as it is under the rules of r: with what
// is held because the tolerance of its tenant is exceeded.
func (b *Board) CountsOf(r Rotation) Counts {
	c := b.Counts()
	c.Seq = b.seq
	if r.Spec.TenantTolerance.Mode == "" || c.Broken == 0 {
		return c
	}
	budgets := b.tenantBudgets(r)
	w, inWaves := r.Wave(c)
	left, seen := w.end, map[int32]bool{}
	for i, row := range b.rows {
		if row.Seq == 0 && row.Outcome != Open {
			continue
		}
		left--
		n := b.tenant[i]
		if !row.atRisk(r.Phase == PhaseRetire) || !budgets[n].Exceeded() {
			continue
		}
		c.Held++
		if inWaves && left >= 0 {
			c.HeldInWave++
		}
		if !seen[n] && len(seen) < maxHeldNamed {
			c.HeldTenants = append(c.HeldTenants, fmt.Sprintf("%s (%d of %d failed, %d tolerated)",
				b.parties[n].name, budgets[n].Failed, budgets[n].Total, budgets[n].Allowed(budgets[n].Total)))
		}
		seen[n] = true
	}
	c.HeldTenantCount = len(seen)
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
	budgets := b.tenantBudgets(r)
	rooms := make([]int, len(budgets))
	for i, t := range budgets {
		rooms[i] = t.Room()
	}
	room, end, retiring := bounds.room, bounds.end, r.Phase == PhaseRetire
	k := Task{Orders: r.Orders(r.Spec.New)}
	var out []int
	for i, row := range b.rows {
		if row.Seq == 0 && row.Outcome != Open {
			continue // Planning decided.
		}
		if end == 0 || len(out) >= limit {
			break
		}
		end--
		n := b.tenant[i]
		if row.Outcome != Open || (row.atRisk(retiring) && budgets[n].Exceeded()) {
			continue
		}
		if row.atRisk(retiring) {
			if room == 0 {
				break
			}
			room--
			if rooms[n] == 0 {
				continue // It keeps the rotation's room: it will be released before those behind it.
			}
			rooms[n]--
		}
		k.Progress = row.Progress
		if s := Next(k, now); s != StepWait && s != StepNothing {
			out = append(out, i)
		}
	}
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
