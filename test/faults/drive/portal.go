package drive

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// kind is what a portal does with its rotation.
type kind string

const (
	bulk      kind = "bulk"      // nothing but wait
	urgent    kind = "urgent"    // the same, in the urgent lane
	retiring  kind = "retiring"  // asks for the removal of the old credentials
	paused    kind = "paused"    // pauses and resumes
	cancelled kind = "cancelled" // cancels half-way
	undone    kind = "undone"    // takes everything back
	failing   kind = "failing"   // meets hosts that refuse every write
)

// tolerated is the strict tolerance of a failing rotation.
const tolerated = 2

// portal is one user with one rotation.
type portal struct {
	d      *Driver
	kind   kind
	round  int
	intent record.Intent
	done   atomic.Bool // nothing more is asked: the end that there is now is the end
}

// plan shares the tenants among the rotations.
func (d *Driver) plan() []*portal {
	byTenant := map[string]int{}
	for _, id := range d.c.World.Identities {
		byTenant[id.Tenant]++
	}
	var tenants []string
	for t := range byTenant {
		tenants = append(tenants, t)
	}
	sort.Strings(tenants)
	d.rand.Shuffle(len(tenants), func(i, j int) { tenants[i], tenants[j] = tenants[j], tenants[i] })
	shares := []struct {
		kind  kind
		parts int
	}{{bulk, 8}, {urgent, 1}, {retiring, 4}, {paused, 5}, {cancelled, 5}, {undone, 5}, {failing, 4}}
	parts := 0
	for _, s := range shares {
		parts += s.parts
	}
	var out []*portal
	for round := range d.c.Rounds {
		mine := tenants[round*len(tenants)/d.c.Rounds : (round+1)*len(tenants)/d.c.Rounds]
		from, cut := 0, map[kind][]string{}
		for _, s := range shares {
			to := from + s.parts
			cut[s.kind] = slices.Clone(mine[from*len(mine)/parts : to*len(mine)/parts])
			from = to
		}
		d.swap(cut)
		for _, s := range shares {
			out = append(out, d.portal(s.kind, round, cut[s.kind]))
		}
	}
	return slices.DeleteFunc(out, func(p *portal) bool { return len(p.intent.Tenants) == 0 })
}

// needs are what rotations must meet to break what they are there for, in every
// run: see [Driver.swap].
func (d *Driver) needs() []need {
	return []need{
		// More that can fail than a strict tolerance lets into danger.
		{failing, 2*tolerated + 3, func(id record.Identity) bool { return id.Ending == "rotated" }},
		// What stood there before us, where we take away what we added.
		{undone, 1, func(id record.Identity) bool { return id.Ending == "already_present" }},
		// A certificate of somebody else's, where we remove certificates.
		{retiring, 1, func(id record.Identity) bool {
			return id.Ending == "rotated" && slices.ContainsFunc(id.Keys, func(k record.Key) bool {
				return k.Type == "X509Certificate" && k.SHA256 != d.c.World.Old && k.SHA256 != d.c.World.New
			})
		}},
	}
}

// need is that a rotation has at least so many identities of a sort.
type need struct {
	kind kind
	n    int
	is   func(record.Identity) bool
}

// swap gives rotations tenants of the bulk one, for some of their own, until each
// has what it needs; where there is nothing to be had it goes without.
func (d *Driver) swap(cut map[kind][]string) {
	for _, want := range d.needs() {
		count := func(tenant string) (n int) {
			for _, id := range d.c.World.Identities {
				if id.Tenant == tenant && want.is(id) {
					n++
				}
			}
			return n
		}
		least := func(a, b string) int { return count(a) - count(b) }
		for {
			has := 0
			for _, t := range cut[want.kind] {
				has += count(t)
			}
			if has >= want.n || len(cut[want.kind]) == 0 || len(cut[bulk]) == 0 {
				break
			}
			give := slices.Index(cut[want.kind], slices.MinFunc(cut[want.kind], least))
			take := slices.Index(cut[bulk], slices.MaxFunc(cut[bulk], least))
			if least(cut[want.kind][give], cut[bulk][take]) >= 0 {
				break
			}
			cut[want.kind][give], cut[bulk][take] = cut[bulk][take], cut[want.kind][give]
		}
	}
}

func (d *Driver) portal(k kind, round int, tenants []string) *portal {
	p := &portal{d: d, kind: k, round: round, intent: record.Intent{
		Label: fmt.Sprintf("%s%d", k, round), RequestID: uuid.NewString(), Tenants: slices.Clone(tenants), RetireNotBefore: d.c.World.SwitchAt,
		Tolerance: -1, Ends: []string{"SUCCEEDED", "FAILED"},
	}}
	switch k {
	case cancelled:
		p.intent.Ends = append(p.intent.Ends, "CANCELLED")
	case undone:
		p.intent.Ends = append(p.intent.Ends, "UNDONE")
	case failing:
		p.intent.Tolerance, p.intent.Ends = tolerated, []string{"CANCELLED", "SUCCEEDED", "FAILED"}
	}
	return p
}

func (p *portal) spec() *pb.RotationSpec {
	var names []string
	for _, t := range p.intent.Tenants {
		names = append(names, "tenants/"+t)
	}
	s := &pb.RotationSpec{
		Kind: "acs-x509", Certificate: "certificates/" + p.d.c.World.New, ReplacesSameSubject: true,
		Target:          &pb.TargetSelector{Selection: &pb.TargetSelector_Tenants{Tenants: &pb.TenantNames{Names: names}}},
		RetireNotBefore: timestamppb.New(p.intent.RetireNotBefore), MaxTries: 20,
		Tolerance: &pb.Tolerance{Limit: &pb.Tolerance_Percent{Percent: 100}, Mode: pb.Tolerance_MODE_STRICT},
	}
	switch p.kind {
	case urgent:
		s.Lane = pb.Lane_LANE_URGENT
	case retiring:
		s.RetirePolicy = pb.RotationSpec_RETIRE_POLICY_ON_REQUEST
	case failing:
		s.MaxTries = 1
		s.Tolerance.Limit = &pb.Tolerance_Failures{Failures: tolerated}
		s.Strategy = &pb.Strategy{Start: pb.Strategy_START_FULL}
	}
	return s
}

// run leads the rotation to its end. ctx bounds what is asked, watching the watchers.
func (p *portal) run(ctx, watching context.Context) error {
	defer p.done.Store(true)
	released := false
	ready := func() {
		if !released {
			released = true
			p.d.ready()
		}
	}
	defer ready()
	if err := p.create(ctx); err != nil {
		return err
	}
	p.watch(watching)
	r, err := p.until(ctx, func(r *pb.Rotation) bool { return r.GetState() != pb.Rotation_STATE_PLANNING })
	if err != nil {
		return err
	}
	if r.GetState() == pb.Rotation_STATE_PLANNED {
		err := p.change(ctx, "StartRotation", func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
			resp, err := c.StartRotation(ctx, &pb.StartRotationRequest{Name: p.intent.Name, PlanDigest: r.GetPlanDigest(), RequestId: id})
			return resp.GetRotation(), err
		})
		if err != nil {
			return err
		}
	}
	if err := p.act(ctx); err != nil {
		return err
	}
	// What is left open now waits for the switch.
	if _, err := p.until(ctx, func(r *pb.Rotation) bool { return p.ended(r) || r.GetPhase() == pb.Rotation_PHASE_OVERLAP }); err != nil {
		return err
	}
	ready()
	if p.kind == retiring {
		if err := p.retire(ctx); err != nil {
			return err
		}
	}
	_, err = p.until(ctx, p.ended)
	return err
}

// act does before the switch what the portal is there for.
func (p *portal) act(ctx context.Context) error {
	switch p.kind {
	case paused:
		var late func()
		for range 2 {
			if !pause(ctx, p.d.between(100*time.Millisecond, time.Second)) {
				return ctx.Err()
			}
			request := uuid.NewString()
			ask := func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
				resp, err := c.PauseRotation(ctx, &pb.PauseRotationRequest{Name: p.intent.Name, Reason: "torture", RequestId: id})
				return resp.GetRotation(), err
			}
			if err := p.changeAs(ctx, "PauseRotation", request, ask); err != nil {
				return err
			}
			if late == nil {
				late = func() { p.repeat(ctx, "PauseRotation", request, ask) }
			}
			if !pause(ctx, p.d.between(100*time.Millisecond, time.Second)) {
				return ctx.Err()
			}
			if err := p.change(ctx, "ResumeRotation", func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
				resp, err := c.ResumeRotation(ctx, &pb.ResumeRotationRequest{Name: p.intent.Name, RequestId: id})
				return resp.GetRotation(), err
			}); err != nil {
				return err
			}
		}
		late() // The first pause arrives once more, long after it was taken back.
	case failing, cancelled:
		if p.kind == cancelled && !pause(ctx, p.d.between(0, 1500*time.Millisecond)) {
			return ctx.Err()
		}
		if p.kind == failing {
			// It stops by itself, or had nothing that could fail.
			if _, err := p.until(ctx, func(r *pb.Rotation) bool {
				return exceeded(r) || p.ended(r) || r.GetPhase() == pb.Rotation_PHASE_OVERLAP
			}); err != nil {
				return err
			}
		}
		return p.change(ctx, "CancelRotation", func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
			resp, err := c.CancelRotation(ctx, &pb.CancelRotationRequest{Name: p.intent.Name, Reason: "torture", RequestId: id})
			return resp.GetRotation(), err
		})
	case undone:
		if !pause(ctx, p.d.between(0, 4*time.Second)) {
			return ctx.Err()
		}
		return p.change(ctx, "UndoRotation", func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
			resp, err := c.UndoRotation(ctx, &pb.UndoRotationRequest{
				Name: p.intent.Name, Scope: &pb.UndoScope{Scope: &pb.UndoScope_All{All: true}}, Reason: "torture", RequestId: id,
			})
			return resp.GetRotation(), err
		})
	}
	return nil
}

// retire asks for the removal as soon as it is allowed.
func (p *portal) retire(ctx context.Context) error {
	for {
		if r, err := p.get(ctx); err == nil && (p.ended(r) || r.GetPhase() == pb.Rotation_PHASE_RETIRE) {
			return nil
		}
		if err := p.change(ctx, "RetireRotation", func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
			resp, err := c.RetireRotation(ctx, &pb.RetireRotationRequest{Name: p.intent.Name, RequestId: id})
			return resp.GetRotation(), err
		}); err != nil {
			return err
		}
		if !pause(ctx, 700*time.Millisecond) { // Too early: asked again.
			return ctx.Err()
		}
	}
}

// ended reports whether the rotation is where it stays.
func (p *portal) ended(r *pb.Rotation) bool { return slices.Contains(p.intent.Ends, stateName(r)) }

// exceeded reports whether the rotation is held because too much failed.
func exceeded(r *pb.Rotation) bool {
	return r.GetState() == pb.Rotation_STATE_PAUSED && r.GetFailureBudget().GetFailed() > r.GetFailureBudget().GetTolerated()
}

// until asks for the rotation until it is as wanted.
func (p *portal) until(ctx context.Context, is func(*pb.Rotation) bool) (*pb.Rotation, error) {
	for {
		r, err := p.get(ctx)
		if err == nil && is(r) {
			return r, nil
		}
		if !pause(ctx, 150*time.Millisecond) {
			return nil, fmt.Errorf("%s %s is %s, %s: %w", p.intent.Label, p.intent.Name, r.GetState(), r.GetPhase(), ctx.Err())
		}
	}
}
