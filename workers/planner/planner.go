// Package planner finds out what a rotation has to do for one tenant: it lists
// the tenant's service endpoints, makes targets of them, reads what stands on
// each, and saves the finding. It writes nothing to any target.
package planner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/spans"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// store is what planning needs of a [rollover.Store].
type store interface {
	Rotation(ctx context.Context, id string) (rollover.Rotation, error)
	SelectedTenants(ctx context.Context, rotation string) ([]string, error)
	SaveFinding(ctx context.Context, rotation string, ord int, f rollover.Finding) error
}

// inventory is where tenants are, and where their endpoints are kept as last
// seen.
type inventory interface {
	// Tenant returns rollover.ErrNotFound where there is no such tenant.
	Tenant(ctx context.Context, id string) (tenants.Tenant, error)
	SaveEndpoints(ctx context.Context, tenant string, endpoints []tenants.Seen) error
	// Endpoints returns rollover.ErrNotFound where nobody has looked yet.
	Endpoints(ctx context.Context, tenant string) ([]tenants.Seen, error)
}

// sets are the target sets.
type sets interface {
	// Rows returns the rows of the set with that id, or rollover.ErrNotFound where it
	// is not there, is not complete, or has another digest.
	Rows(ctx context.Context, id, digest string) (*targetset.Rows, error)
}

// resolver finds secrets by reference.
type resolver interface {
	Secret(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
	Anew(ctx context.Context, ref secrets.Ref, refused secrets.Secret) (secrets.Secret, bool, error)
}

// organisations reads CRM organisations, with errors marked as
// [dataverse.Client] does.
type organisations interface {
	Organisation(ctx context.Context, l dataverse.Login) (dataverse.Org, error)
}

// The defaults of [Config].
const (
	defaultListTimeout    = 2 * time.Minute
	defaultObserveTimeout = time.Minute
)

// Config is what a [Planner] is made of. Up to Now all
// fields but Sets are required.
type Config struct {
	Store         store
	Tenants       inventory
	Secrets       resolver
	Organisations organisations
	Sets          sets                                       // nil: there are none, and a rotation for one cannot be planned
	Driver        func(kind string) (rollover.Driver, error) // unknown kinds are an error
	Now           func() time.Time
	// Real is the machine's clock. A wait that the other side asked for is over
	// when either clock says so, since a test clock may stand still. Default
	// time.Now.
	Real func() time.Time
	// Drifts says which targets of a rotation drifted. Default: nobody does, and
	// rotations over drifted targets are not planned.
	Drifts drifts
	// Census has everybody's endpoints. Default: nobody has, and rotations of creators
	// with rights to some tenants only are not planned.
	Census census
	// Tried is told of each try of a tenant: how long it took, and whether it is "done",
	// "later" or "failed". It may be nil.
	Tried func(took time.Duration, result string)
	// Tracer makes a span of each nudge. It may be nil.
	Tracer *spans.Tracer
	// Log is told of tenants that end other than well. Default: nothing.
	Log *slog.Logger
	// Parallel is how many targets of one tenant are read at once. Default 4:
	// they are different hosts, so that none of them feels it.
	Parallel int
	// Attempts is how often a tenant's list, and each of its targets, is tried
	// before it counts as failed. Default 5. It is counted in this process only:
	// with several planners, or after a restart, there may be more.
	Attempts int
	// ListTimeout bounds one reading of an organisation, ObserveTimeout that of
	// one target. Defaults 2 minutes and 1 minute.
	ListTimeout    time.Duration
	ObserveTimeout time.Duration
	// Remember is of how many tenants the tries and the targets read so far are
	// kept between nudges. Default 4096. One that is forgotten starts anew.
	Remember int
	// Jitter returns a number in [0,1) for [rollover.Backoff]. Default: always 0.
	Jitter func() float64
}

// rememberRepairs is of how many rotations the drifted targets, and those of others, are
// kept.
const rememberRepairs = 8

// Planner plans tenants. It is safe for concurrent use.
type Planner struct {
	c Config

	mu     sync.Mutex // guards memory and the busy and done of what is in it
	memory *lru.Cache[rollover.Nudge, *attempt]

	repairs *lru.Cache[string, map[rollover.Target]bool] // drifted targets by the rotation that repairs them
	foreign *lru.Cache[string, map[identity]bool]        // what others use, by the rotation that must leave it alone
}

// New returns a planner.
func New(c Config) (*Planner, error) {
	if c.Store == nil || c.Tenants == nil || c.Secrets == nil || c.Organisations == nil || c.Driver == nil || c.Now == nil {
		return nil, errors.New("making a planner: a required field of Config is missing")
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Parallel, 4}, {&c.Attempts, 5}, {&c.Remember, 4096}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Real == nil {
		c.Real = time.Now
	}
	if c.ListTimeout <= 0 {
		c.ListTimeout = defaultListTimeout
	}
	if c.ObserveTimeout <= 0 {
		c.ObserveTimeout = defaultObserveTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = func() float64 { return 0 }
	}
	memory, err := lru.New[rollover.Nudge, *attempt](c.Remember)
	if err != nil {
		return nil, fmt.Errorf("making a planner: %w", err)
	}
	repairs, err := lru.New[string, map[rollover.Target]bool](rememberRepairs)
	if err != nil {
		return nil, fmt.Errorf("making a planner: %w", err)
	}
	foreign, err := lru.New[string, map[identity]bool](rememberRepairs)
	if err != nil {
		return nil, fmt.Errorf("making a planner: %w", err)
	}
	return &Planner{c: c, memory: memory, repairs: repairs, foreign: foreign}, nil
}

// Plan plans the tenant at the nudge's position of the rotation's selection and
// saves what it found. Nil means that there is nothing more to do for this
// nudge, also because there never was. Any other error means that the nudge is
// to come again: after the time in a [rollover.RetryAfter], or whenever it suits
// where the store failed or ctx ended.
//
// Being nudged twice changes nothing: the first finding stays. Being nudged
// before that time asks nobody and counts as no try.
func (p *Planner) Plan(ctx context.Context, n rollover.Nudge) error {
	a, err := p.begin(n)
	if err != nil || a == nil {
		return err
	}
	saved := false
	defer func() { p.end(a, saved) }()

	r, tenant, err := p.lookUp(ctx, n)
	if err != nil || tenant == "" {
		return err
	}
	spans.Note(ctx, spans.Tenant(tenant))
	f, err := p.find(ctx, r, tenant, a)
	if err != nil {
		p.hold(a, err)
		return err
	}
	if r.Discovers() { // What was found is in the inventory.
		f = f.Discovery()
	}
	if err := p.c.Store.SaveFinding(ctx, r.ID, n.Ord, f); err != nil {
		return fmt.Errorf("saving the finding for tenant %s: %w", tenant, err)
	}
	saved = true
	p.report(r, f)
	return nil
}

// lookUp returns the rotation and the tenant that a nudge names, or no tenant
// if there is nothing to plan.
func (p *Planner) lookUp(ctx context.Context, n rollover.Nudge) (rollover.Rotation, string, error) {
	r, err := p.c.Store.Rotation(ctx, n.Rotation)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		p.c.Log.Warn("nudged for a rotation that does not exist", "rotation", n.Rotation)
		return r, "", nil
	case err != nil:
		return r, "", fmt.Errorf("reading rotation %s: %w", n.Rotation, err)
	case r.State != rollover.StatePlanning:
		return r, "", nil
	}
	ids, err := p.c.Store.SelectedTenants(ctx, r.ID)
	if err != nil {
		return r, "", fmt.Errorf("reading the selection of rotation %s: %w", r.ID, err)
	}
	if n.Ord < 0 || n.Ord >= len(ids) {
		p.c.Log.Error("nudged for a tenant outside the selection", "rotation", r.ID, "ord", n.Ord, "selected", len(ids))
		return r, "", nil
	}
	return r, ids[n.Ord], nil
}

// report logs what may need a person: each tenant that could not be planned.
func (p *Planner) report(r rollover.Rotation, f rollover.Finding) {
	for _, it := range f.Items {
		if it.Outcome == rollover.Failed {
			p.c.Log.Warn("target cannot be planned", "rotation", r.ID, "tenant", f.Tenant,
				"host", it.Target.Host, "reason", string(it.Reason), "err", it.Detail)
		}
	}
	p.c.Log.Debug("tenant planned", "rotation", r.ID, "tenant", f.Tenant, "endpoints", len(f.Endpoints), "items", len(f.Items))
}
