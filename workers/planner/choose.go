package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// choice is which endpoints of one tenant a rotation is for.
type choice struct {
	tenant tenants.Tenant
	filter *filter.Filter // nil: all
	// incident, where there is one, selects the endpoints on one of whose hosts
	// something compromised stands. nil: all.
	incident *rollover.Incident
	ids      []string // sorted; nil: all
	new      string   // SHA-256 of the new certificate
	// none is set where it is known before the organisation is asked that there is
	// nothing to plan.
	none *rollover.StepError
}

// choice reads what the rotation says of the tenant's endpoints. What can be decided
// by the tenant alone is.
func (p *Planner) choice(ctx context.Context, r rollover.Rotation, t tenants.Tenant) (*choice, error) {
	c := &choice{tenant: t, new: r.Spec.New.SHA256, incident: r.Spec.Incident}
	var err error
	if c.filter, err = filter.Parse(r.Spec.EndpointFilter, filter.PlannedFields()); err != nil {
		// It was read when the rotation was created: another version made it. What it
		// means is not known here, so nothing is planned.
		c.none = failed(fmt.Errorf("reading the endpoint filter: %w", err))
		return c, nil
	}
	if r.Spec.TargetSet != "" {
		rows, err := p.rows(ctx, r.Spec)
		switch {
		case errors.Is(err, rollover.ErrNotFound):
			c.none = failed(fmt.Errorf("target set %s is no longer what the rotation was created for", r.Spec.TargetSet))
			return c, nil
		case err != nil:
			return nil, err
		}
		var in bool
		if c.ids, in = rows.Of(t.ID); !in {
			c.none = &rollover.StepError{Outcome: rollover.Skipped, Reason: rollover.NotSelected, Err: errors.New("the target set does not name the tenant")}
			return c, nil
		}
	}
	if c.filter.Judge(filter.Endpoint{Tenant: t}.Value) == filter.No {
		c.none = &rollover.StepError{Outcome: rollover.Skipped, Reason: rollover.NotSelected, Err: errors.New("the endpoint filter excludes the tenant")}
	}
	return c, nil
}

func (p *Planner) rows(ctx context.Context, s rollover.Spec) (*targetset.Rows, error) {
	if p.c.Sets == nil {
		return nil, fmt.Errorf("target set %s: this process knows no target sets: %w", s.TargetSet, rollover.ErrNotFound)
	}
	return p.c.Sets.Rows(ctx, s.TargetSet, s.TargetSetDigest)
}

func failed(err error) *rollover.StepError {
	return &rollover.StepError{Outcome: rollover.Failed, Reason: rollover.Refused, Err: err}
}

// before leaves out the targets of which it is known without a look at them that no
// endpoint behind them is selected.
func (c *choice) before(f rollover.Finding, targets []*target) {
	if c.filter == nil && c.ids == nil {
		return
	}
	verdicts := c.judge(unread(f, targets), nil)
	for _, k := range targets {
		if best(verdicts, k) == filter.No {
			k.leaveOut("no endpoint behind it is selected")
		}
	}
}

// after leaves out the targets of which that is known now. seen has what stands
// there, for all endpoints of the finding.
func (c *choice) after(f rollover.Finding, seen []tenants.Seen, targets []*target) {
	if c.filter == nil && c.incident == nil {
		return
	}
	// A target that was left out before was not read in this planning. What stood
	// there earlier decides nothing.
	verdicts := c.judge(fresh(seen, targets), targets)
	for _, k := range targets {
		switch v := best(verdicts, k); {
		case v == filter.No:
			k.leaveOut(c.notSelected())
		case v == filter.Unknown && k.item.Outcome == rollover.Open && c.suspects(k):
			k.doubt()
		case v == filter.Unknown && k.item.Outcome == rollover.Open:
			k.leaveOut(c.undecided())
		}
	}
}

// judge says of each endpoint whether it is selected.
func (c *choice) judge(seen []tenants.Seen, targets []*target) map[string]filter.Verdict {
	out := make(map[string]filter.Verdict, len(seen))
	old := map[string][]rollover.Credential{}
	for _, k := range targets {
		for _, e := range k.item.Endpoints {
			old[e.ID] = append(old[e.ID], k.item.Retire...)
		}
	}
	for i, s := range seen {
		if _, in := slices.BinarySearch(c.ids, s.ID); c.ids != nil && !in {
			out[s.ID] = filter.No
			continue
		}
		v := c.filter.Judge(filter.Endpoint{Tenant: c.tenant, Seen: &seen[i], New: c.new, Old: old[s.ID]}.Value)
		out[s.ID] = both(v, carries(c.incident, s))
	}
	return out
}

// best returns the verdict on a target: selected if any endpoint behind it is, left
// out if none can be.
func best(verdicts map[string]filter.Verdict, k *target) filter.Verdict {
	out := filter.No
	for _, e := range k.item.Endpoints {
		switch verdicts[e.ID] {
		case filter.Yes:
			return filter.Yes
		case filter.Unknown:
			out = filter.Unknown
		case filter.No:
		}
	}
	return out
}

// leaveOut makes the line one that is skipped, whatever it was.
func (k *target) leaveOut(detail string) {
	k.item.Present, k.item.Observed, k.item.Retire = false, "", nil
	k.item.Outcome, k.item.Reason, k.item.Detail = rollover.Skipped, rollover.NotSelected, detail
}

// absent returns a line for each endpoint that the target set names and the
// organisation does not have.
func (c *choice) absent(r rollover.Rotation, f rollover.Finding) []rollover.Item {
	var out []rollover.Item
	there := make(map[string]bool, len(f.Endpoints))
	for _, e := range f.Endpoints {
		there[e.ID] = true
	}
	for _, id := range c.ids {
		if there[id] {
			continue
		}
		items := whole(r, c.tenant.ID, rollover.Skipped, rollover.NoTarget, "the organisation has no endpoint "+id+", which the target set names")
		items[0].Endpoints = []rollover.EndpointRef{{Tenant: c.tenant.ID, ID: id}}
		out = append(out, items...)
	}
	return out
}
