package inventory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// DiscoveryStore is what discoveries need of a [rollover.Store].
type DiscoveryStore interface {
	CreateRotation(ctx context.Context, r rollover.Rotation, tenants []string) (rollover.Rotation, error)
	Rotation(ctx context.Context, id string) (rollover.Rotation, error)
	SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error)
	Findings(ctx context.Context, id string) (map[int]rollover.Finding, error)
}

// DiscoveryMirror is what discoveries need of a [mirror.Mirror].
type DiscoveryMirror interface {
	Ready() <-chan struct{}
	Discoveries() []mirror.View
}

// Discovery is what discoveries are made of. All fields are required.
type Discovery struct {
	Store  DiscoveryStore
	Mirror DiscoveryMirror
	Kind   string // of the credentials that are looked for
}

// The bounds of discoveries.
const (
	// discoveriesLive is how many may be under way that one caller asked for.
	discoveriesLive = 4
	// discoveryTenants is how many tenants of one discovery are in hand at once: it is in
	// no hurry, and rotations are planned by the same workers.
	discoveryTenants = 32
	// discoveryWait is how long a call waits for the live copy after a start.
	discoveryWait = 5 * time.Second
	// roomIn is after how long it may be worth asking again whether one has ended.
	roomIn = time.Minute
	// maxMissing bounds how many missing tenants an error names.
	maxMissing = 20
)

// DiscoverEndpoints stores what is asked for and returns. The rest is the workers'.
func (s *Service) DiscoverEndpoints(ctx context.Context, req *pb.DiscoverEndpointsRequest) (*pb.DiscoverEndpointsResponse, error) {
	if s.c.Discovery.Store == nil {
		return nil, &edge.Problem{
			Code: codes.Unimplemented, Reason: pb.ErrorReason_ERROR_REASON_UNKNOWN_METHOD, Message: "this server discovers no endpoints",
		}
	}
	id, hash, err := discoveryID(ctx, req)
	if err != nil {
		return nil, err
	}
	// A repeat is answered before anything is checked anew: tenants may have come and gone
	// since, the job is there.
	if j, err := s.repeated(ctx, req, id, hash); j != nil || err != nil {
		return &pb.DiscoverEndpointsResponse{Job: j}, err
	}
	selected, err := s.selected(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.room(ctx); err != nil {
		return nil, err
	}
	now := s.c.Now().UTC()
	r := rollover.Rotation{
		V: rollover.RecordVersion, ID: id, State: rollover.StatePlanning, Tenants: len(selected), Creator: edge.Caller(ctx), Trace: spans.Text(ctx),
		RequestID: strings.ToLower(req.GetRequestId()), RequestHash: hash, CreatedAt: now, UpdatedAt: now,
		Spec: rollover.Spec{
			Purpose: rollover.ToDiscover, Kind: s.c.Discovery.Kind, Filter: req.GetFilter(), AllTenants: req.GetFilter() == "" && len(req.GetTenants()) == 0,
			MaxInFlight: discoveryTenants, MaxTries: 1,
		},
	}
	if req.GetValidateOnly() {
		j := discoveryJob(r, rollover.Discovered{}).proto()
		j.Name, j.ValidateOnly = "", true
		return &pb.DiscoverEndpointsResponse{Job: j}, nil
	}
	stored, err := s.c.Discovery.Store.CreateRotation(ctx, r, selected)
	if errors.Is(err, rollover.ErrExists) { // Another server was faster with the same request.
		j, err := s.repeated(ctx, req, id, hash)
		return &pb.DiscoverEndpointsResponse{Job: j}, err
	}
	if err != nil {
		return nil, fmt.Errorf("creating a discovery: %w", err)
	}
	s.heard(ctx, id)
	return &pb.DiscoverEndpointsResponse{Job: discoveryJob(stored, rollover.Discovered{}).proto()}, nil
}

// discoveryID returns the id of the job that a request makes, and the hash of what it
// asks for. The same caller with the same request id gets the same job, so that nothing
// else has to be remembered of it; without one each call gets another.
func discoveryID(ctx context.Context, req *pb.DiscoverEndpointsRequest) (id, hash string, err error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q", req.GetFilter(), req.GetTenants())
	hash = hex.EncodeToString(sum.Sum(nil))
	if req.GetRequestId() == "" {
		u, err := uuid.NewV7()
		if err != nil {
			return "", "", fmt.Errorf("naming a job: %w", err)
		}
		return u.String(), hash, nil
	}
	name := fmt.Sprintf("DiscoverEndpoints %q %s", edge.Caller(ctx), strings.ToLower(req.GetRequestId()))
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(), hash, nil
}

// repeated returns the job that the request id made before, as it is now, or nil.
func (s *Service) repeated(ctx context.Context, req *pb.DiscoverEndpointsRequest, id, hash string) (*pb.InventoryJob, error) {
	if req.GetRequestId() == "" || req.GetValidateOnly() {
		return nil, nil
	}
	j, err := s.discovered(ctx, id)
	switch {
	case errors.Is(err, rollover.ErrGone): // It was made, and is not made twice.
		return nil, edge.About(edge.JobName(id), err)
	case errors.Is(err, rollover.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case j.discovery.record.RequestHash != hash:
		return nil, edge.Reused(edge.JobName(id))
	}
	return j.proto(), nil
}

// selected returns the ids of the tenants that are asked for, sorted: each within the
// rights of the caller, by the inventory of now.
func (s *Service) selected(ctx context.Context, req *pb.DiscoverEndpointsRequest) ([]string, error) {
	wanted, err := edge.ParseFilter(req.GetFilter(), filter.TenantFields())
	if err != nil {
		return nil, err
	}
	all, err := s.inventory.List(ctx) // Sorted by id.
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	reach := edge.Reach(ctx)
	all = slices.DeleteFunc(all, func(t tenants.Tenant) bool { return !reach.Has(t) })
	if len(req.GetTenants()) > 0 {
		return named(ctx, all, req.GetTenants())
	}
	var ids []string
	for _, t := range all {
		if wanted.Match(filter.TenantValue(t)) {
			ids = append(ids, t.ID)
		}
	}
	if len(ids) == 0 {
		return nil, edge.Invalid(edge.Violated("filter", "RANGE", fmt.Sprintf("selects none of the %d tenants of the inventory", len(all))))
	}
	return ids, nil
}

// named returns the ids of tenants that are named, sorted, if each is among all, which
// are those that the caller may know. Another's is refused as one that is not there.
func named(ctx context.Context, all []tenants.Tenant, names []string) ([]string, error) {
	var ids, missing []string
	for _, n := range names {
		id, _ := edge.ParseTenant(n)
		_, ok := slices.BinarySearchFunc(all, id, func(t tenants.Tenant, id string) int { return strings.Compare(t.ID, id) })
		if ids = append(ids, id); !ok {
			missing = append(missing, n)
		}
	}
	switch {
	case len(missing) > 0 && !edge.Reach(ctx).All():
		return nil, edge.Denied(edge.Scope(ctx))
	case len(missing) > 0:
		err := edge.With(edge.Missing(missing[0], nil), "missing", strings.Join(missing[:min(len(missing), maxMissing)], ","))
		return nil, edge.With(err, "missing_count", strconv.Itoa(len(missing)))
	}
	slices.Sort(ids)
	return ids, nil
}

// room refuses a caller who has as many discoveries under way as one may. With several
// servers there may be a few more.
func (s *Service) room(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	live, who := 0, edge.Caller(ctx)
	for _, v := range s.c.Discovery.Mirror.Discoveries() {
		if v.Rotation.Creator == who && !v.Rotation.State.Ended() {
			live++
		}
	}
	if live < discoveriesLive {
		return nil
	}
	return edge.With(edge.Exhausted(pb.ErrorReason_ERROR_REASON_TOO_MANY_DISCOVERIES, "live_discoveries",
		fmt.Sprintf("you have %d discoveries that have not ended, and may have %d; wait for one, cancel one, or ask for several tenants in one", live, discoveriesLive), roomIn),
		"live", strconv.Itoa(live))
}

// heard waits until the live copy has a discovery, so that whoever began it sees it in
// this server's lists, and it counts among those under way. It is stored already: what
// goes wrong with waiting is no failure of the call.
func (s *Service) heard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, discoveryWait)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if slices.ContainsFunc(s.c.Discovery.Mirror.Discoveries(), func(v mirror.View) bool { return v.Rotation.ID == id }) {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// ready waits until the live copy has read what was stored when it began.
func (s *Service) ready(ctx context.Context) error {
	t := time.NewTimer(discoveryWait)
	defer t.Stop()
	select {
	case <-s.c.Discovery.Mirror.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("the live copy has not caught up with the store: %w", rollover.ErrUnavailable)
	}
}
