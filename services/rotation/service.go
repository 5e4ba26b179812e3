// Package rotation is RotationService: it translates, checks and calls the room.
// It has no rules of its own.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Store is what the service needs of a [rollover.Store].
type Store interface {
	CreateRotation(ctx context.Context, r rollover.Rotation, tenants []string) (rollover.Rotation, error)
	Rotation(ctx context.Context, id string) (rollover.Rotation, error)
	// SelectedTenants returns the ids of the rotation's tenants, sorted.
	SelectedTenants(ctx context.Context, id string) ([]string, error)
	SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error)
	// SaveTasks saves each task under the rule of SaveTask and joins the errors of
	// those that were not saved; those that were have a greater Rev.
	SaveTasks(ctx context.Context, ks []rollover.Task) ([]rollover.Task, error)
}

// Mirror is what the service needs of a [mirror.Mirror]: lists, counts, watches.
type Mirror interface {
	Ready() <-chan struct{}
	Rotation(ctx context.Context, id string) (mirror.View, error)
	Rotations() []mirror.View
	// Version returns a number that changes whenever anything was taken in.
	Version() uint64
	Tasks(ctx context.Context, id string, from, to int) ([]rollover.Task, error)
	Drifts(id string) []mirror.Seen
	NeedPerson(id string, from, limit int) []int
	Succeeded(ctx context.Context, id string, t rollover.Target) (bool, error)
	Watch(id string, since *mirror.Position) (*mirror.Watch, error)
	Lost(ctx context.Context, v mirror.View, p mirror.Position) (bool, error)
}

// Certificates finds certificates by thumbprint.
type Certificates interface {
	Certificate(ctx context.Context, thumbprint string) (certs.Certificate, error)
}

// Tenants finds tenants.
type Tenants interface {
	Tenant(ctx context.Context, id string) (tenants.Tenant, error)
	List(ctx context.Context) ([]tenants.Tenant, error)
}

// TargetSets finds target sets.
type TargetSets interface {
	Set(ctx context.Context, id string) (targetset.Set, error)
	Rows(ctx context.Context, id, digest string) (*targetset.Rows, error)
}

// Config is what a [Service] is made of. Everything up to Now is required.
type Config struct {
	Store        Store
	Mirror       Mirror
	Requests     edge.RequestBucket // forgets after 24 hours
	Certificates Certificates
	Tenants      Tenants
	Blocks       Blocks
	TargetSets   TargetSets
	Kinds        []string // of credentials; there is a driver for each
	Checks       []string // that gates may name
	Now          func() time.Time
	Log          *slog.Logger

	// Approvals says when how many others must approve. Default: nobody but for early
	// removal.
	Approvals rollover.ApprovalPolicy
	// Rights returns the grants and people as they are now, by which approvals are judged
	// when they are needed. Default: nobody is asked who they are, and names are compared.
	Rights func() *rights.Table
	// Drift is how often rotations are checked for drift that say nothing of it.
	// Default: never.
	Drift rollover.DriftPolicy
	// LiveRotations is how many rotations that have not ended one caller may have asked
	// for. With several servers there may be a few more. Default: as many as they like.
	LiveRotations int
	// Checkpoint is how often a watch without news says that it is alive.
	// Default 15 s, below the minute after which proxies cut idle streams.
	Checkpoint time.Duration
	// LookAgain is how often a watch looks again which tenants its caller sees, though
	// there is no news.
	// Default: 10 s.
	LookAgain time.Duration
	// SlowAfter is how long a reader of a watch may take no message before it is
	// sent away. Default 30 s.
	SlowAfter time.Duration
}

// Service answers the calls of RotationService. It keeps no state but schedules that
// it has read: any number of servers may stand before one store.
type Service struct {
	pb.UnimplementedRotationServiceServer
	c       Config
	shelf   *shelf
	sights  *edge.Sights
	extents *extents

	panorama panorama
	needs    *lru.Cache[string, int32] // how many must approve the start of a rotation: only told, never decided by
}

// cachedNeeds bounds how many planned rotations are remembered.
const cachedNeeds = 1000

// New returns the service.
func New(c Config) *Service {
	if c.Checkpoint <= 0 {
		c.Checkpoint = 15 * time.Second
	}
	if c.LookAgain <= 0 {
		c.LookAgain = sightEvery
	}
	if c.SlowAfter <= 0 {
		c.SlowAfter = 30 * time.Second
	}
	needs, err := lru.New[string, int32](cachedNeeds)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	c.Store = rotationsOnly{c.Store}
	return &Service{c: c, shelf: newShelf(), sights: edge.NewSights(c.Tenants), extents: newExtents(), needs: needs}
}

// Register adds the service, and the desk that shares all with it, to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	pb.RegisterRotationServiceServer(r, s)
	pb.RegisterDeskServiceServer(r, &desk{s: s})
}

// catchUp bounds how long a call waits for the mirror. It is behind by
// milliseconds, or by seconds after a restart.
const catchUp = 5 * time.Second

// errBehind says that the mirror did not catch up in time.
var errBehind = fmt.Errorf("the live copy has not caught up with the store: %w", rollover.ErrUnavailable)

// ready waits until the mirror has read what was stored when it began.
func (s *Service) ready(ctx context.Context) error {
	t := time.NewTimer(catchUp)
	defer t.Stop()
	select {
	case <-s.c.Mirror.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return errBehind
	}
}

// view returns a rotation as the mirror knows it, once that is at least what the
// store has now. So whoever has just changed a rotation, through any server,
// sees the change.
func (s *Service) view(ctx context.Context, id string) (mirror.View, error) {
	r, err := s.c.Store.Rotation(ctx, id)
	if err != nil {
		return mirror.View{}, err
	}
	if err := s.ready(ctx); err != nil {
		return mirror.View{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, catchUp, errBehind)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		v, err := s.c.Mirror.Rotation(ctx, id)
		if err == nil && v.Rotation.Rev >= r.Rev {
			return v, nil
		}
		if err != nil && !errors.Is(err, rollover.ErrNotFound) {
			return v, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return v, context.Cause(ctx)
		case <-t.C:
		}
	}
}
