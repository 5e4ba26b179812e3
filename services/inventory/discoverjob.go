package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// discovery is what a job shows beside the fields of every job where it is a discovery.
type discovery struct {
	record rollover.Rotation
	found  rollover.Discovered
}

// kind says what a job does.
func (j job) kind() pb.InventoryJob_Kind {
	if j.discovery != nil {
		return pb.InventoryJob_KIND_DISCOVERY
	}
	return pb.InventoryJob_KIND_IMPORT
}

// discoveryJob returns a discovery as a job.
func discoveryJob(r rollover.Rotation, d rollover.Discovered) job {
	state := pb.InventoryJob_STATE_RUNNING
	switch r.State {
	case rollover.StateSucceeded:
		if state = pb.InventoryJob_STATE_SUCCEEDED; d.Unreached > 0 || d.Failed > 0 {
			state = pb.InventoryJob_STATE_PARTIALLY_SUCCEEDED
		}
	case rollover.StateFailed:
		state = pb.InventoryJob_STATE_FAILED
	case rollover.StateCancelled:
		state = pb.InventoryJob_STATE_CANCELLED
	}
	return job{
		V: jobVersion, ID: r.ID, State: state.String(), Rows: int64(d.Tenants), Expected: int64(r.Tenants), Failed: int64(d.Unreached), Detail: r.Detail,
		By: r.Creator, At: r.CreatedAt, ChangedAt: r.UpdatedAt, EndedAt: r.EndedAt, discovery: &discovery{record: r, found: d},
	}
}

// describe fills in what a discovery shows; nothing where the job is none.
func (d *discovery) describe(p *pb.InventoryJob) {
	if d == nil {
		return
	}
	p.EndpointCount, p.TargetCount, p.ReadCount = int64(d.found.Endpoints), int64(d.found.Targets), int64(d.found.Read)
	for _, id := range d.found.Unreachable {
		p.Unreachable = append(p.Unreachable, edge.TenantName(id))
	}
}

// known is [Service.discovered] for those who ask for a job: whose it was is not known
// of one that was deleted, so it is as if it had never been.
func (s *Service) known(ctx context.Context, id string) (job, error) {
	j, err := s.discovered(ctx, id)
	if errors.Is(err, rollover.ErrGone) {
		err = fmt.Errorf("job %s: %w", id, rollover.ErrNotFound)
	}
	return j, err
}

// discovered reads a discovery as a job, or returns [rollover.ErrNotFound], or
// [rollover.ErrGone] where there was one.
func (s *Service) discovered(ctx context.Context, id string) (job, error) {
	if s.c.Discovery.Store == nil {
		return job{}, fmt.Errorf("job %s: %w", id, rollover.ErrNotFound)
	}
	r, err := s.c.Discovery.Store.Rotation(ctx, id)
	if err == nil && !r.Discovers() {
		err = fmt.Errorf("job %s: %w", id, rollover.ErrNotFound)
	}
	if err != nil {
		return job{}, err
	}
	return s.counted(ctx, discoveryJob(r, rollover.Discovered{}))
}

// counted returns a job with its counts as they are now. While a discovery goes on they
// are summed from what is stored for each tenant; then they stand in its record.
func (s *Service) counted(ctx context.Context, j job) (job, error) {
	if j.discovery == nil {
		return j, nil
	}
	r := j.discovery.record
	if r.Discovered != nil {
		return discoveryJob(r, *r.Discovered), nil
	}
	if d, ok := s.tallies.last(r.ID); ok {
		return discoveryJob(r, d), nil
	}
	found, err := s.c.Discovery.Store.Findings(ctx, r.ID)
	if err != nil {
		return j, fmt.Errorf("reading what was discovered: %w", err)
	}
	d := rollover.Tallied(found)
	s.tallies.note(r.ID, d)
	return discoveryJob(r, d), nil
}

// tallies remembers for a moment what discoveries under way have found: whoever looks
// often does not have it read and summed up anew each time.
type tallies struct {
	mu sync.Mutex
	of map[string]tally // guarded by mu; by job
}

type tally struct {
	found rollover.Discovered
	at    time.Time // real time
}

const (
	tallyAge  = time.Second
	talliesOf = 64 // jobs; with more those of before are forgotten
)

func (t *tallies) last(id string) (rollover.Discovered, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.of[id]
	return k.found, ok && time.Since(k.at) < tallyAge
}

func (t *tallies) note(id string, d rollover.Discovered) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string]tally{}
	}
	t.of[id] = tally{d, time.Now()}
	if len(t.of) > talliesOf {
		maps.DeleteFunc(t.of, func(_ string, k tally) bool { return time.Since(k.at) >= tallyAge })
	}
}

// count puts the counts into those of a page that are discoveries.
func (s *Service) count(ctx context.Context, page []*pb.InventoryJob, found []job) error {
	byName := make(map[string]job, len(found))
	for _, j := range found {
		byName[edge.JobName(j.ID)] = j
	}
	for i, p := range page {
		j, ok := byName[p.GetName()]
		if !ok {
			continue
		}
		j, err := s.counted(ctx, j)
		if err != nil {
			return err
		}
		page[i] = j.proto()
	}
	return nil
}

// discoveries returns the discoveries of which the caller may know, as jobs. Those under
// way are without counts.
func (s *Service) discoveries(ctx context.Context) ([]job, error) {
	if s.c.Discovery.Mirror == nil {
		return nil, nil
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	var out []job
	for _, v := range s.c.Discovery.Mirror.Discoveries() {
		r := v.Rotation
		if !edge.Reach(ctx).All() && r.Creator != edge.Caller(ctx) {
			continue
		}
		var d rollover.Discovered
		if r.Discovered != nil {
			d = *r.Discovered
		}
		out = append(out, discoveryJob(r, d))
	}
	return out, nil
}

// cancelDiscovery stores that a discovery was cancelled. Tenants that workers have in
// hand are finished, and no other is begun.
func (s *Service) cancelDiscovery(ctx context.Context, j *job) error {
	r, err := j.discovery.record.Cancel("", j.ChangedAt)
	if err != nil {
		return err
	}
	if r, err = s.c.Discovery.Store.SaveRotation(ctx, r); err != nil {
		return err
	}
	*j = discoveryJob(r, j.discovery.found)
	return nil
}

// unreadItem is something that a discovery could not read.
type unreadItem struct {
	rollover.Item
	row, n int // the tenant's position, and its own
}

func unreadValue(e unreadItem, field string) any {
	switch field {
	case "row":
		return e.row
	case "tenant":
		return edge.TenantName(e.Tenant)
	case "host":
		return e.Target.Host
	}
	return nil
}

func (e unreadItem) proto() *pb.ImportError {
	return &pb.ImportError{
		Row: int32(e.row), Tenant: edge.TenantName(e.Tenant), Host: e.Target.Host, Description: e.Detail, //nolint:gosec // A selection is far below 2^31.
		Reason: pb.RotationTask_Reason(pb.RotationTask_Reason_value["REASON_"+strings.ToUpper(string(e.Reason))]),
	}
}

// unread lists what a discovery could not read.
func (s *Service) unread(ctx context.Context, req *pb.ListInventoryJobErrorsRequest, j job) (*pb.ListInventoryJobErrorsResponse, error) {
	o, err := edge.ParseOrder(req.GetOrderBy(), "row", func(e unreadItem) string { return fmt.Sprintf("%09d", e.n) }, unreadValue, "row", "tenant", "host")
	if err != nil {
		return nil, err
	}
	found, err := s.c.Discovery.Store.Findings(ctx, j.ID)
	if err != nil {
		return nil, fmt.Errorf("reading what was discovered: %w", err)
	}
	var all []unreadItem
	for _, ord := range slices.Sorted(maps.Keys(found)) {
		for _, it := range found[ord].Items {
			all = append(all, unreadItem{it, ord, len(all)})
		}
	}
	fields := edge.FilterFields{Strings: []string{"tenant", "host"}, Ints: []string{"row"}}
	page, token, err := edge.List(req, edge.Listing[unreadItem, *pb.ImportError]{
		Order: o, Fields: fields, Value: unreadValue, Show: unreadItem.proto, Default: 100, Most: 1000,
		Args: []string{"ListInventoryJobErrors", req.GetParent()},
	}, edge.Each(all))
	if err != nil {
		return nil, err
	}
	return &pb.ListInventoryJobErrorsResponse{Errors: page, NextPageToken: token}, nil
}
