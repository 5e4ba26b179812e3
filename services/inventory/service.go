// Package inventory is InventoryService: it takes tenants in, and shows them and
// what planning found of them.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/filter"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Inventory is what the service needs of a [tenants.Inventory].
type Inventory interface {
	Put(ctx context.Context, t tenants.Tenant) (created, changed bool, err error)
	Tenant(ctx context.Context, id string) (tenants.Tenant, error)
	List(ctx context.Context) ([]tenants.Tenant, error)
	Endpoints(ctx context.Context, tenant string) ([]tenants.Seen, error)
	AllEndpoints(ctx context.Context) (map[string][]tenants.Seen, error)
	Change(ctx context.Context, id string, rule func(old *tenants.Tenant) (*tenants.Tenant, error)) (*tenants.Tenant, error)
}

// Config is what a [Service] is made of. All fields are required.
type Config struct {
	Inventory Inventory
	Jobs      JobBucket // forgets after 30 days
	Discovery Discovery // the zero one: endpoints cannot be discovered here
	// InUse returns the id of a rotation that has not ended and is for a tenant, or "".
	InUse func(ctx context.Context, tenant string) (string, error)
	Now   func() time.Time
	Log   *slog.Logger
}

// Service answers the calls of InventoryService.
type Service struct {
	pb.UnimplementedInventoryServiceServer
	c         Config
	inventory Inventory
}

// New returns the service.
func New(c Config) *Service { return &Service{c: c, inventory: c.Inventory} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { pb.RegisterInventoryServiceServer(r, s) }

// The bounds of an import.
const (
	maxErrors = 1000 // that one answer lists
	writers   = 16   // rows stored at once: each waits for a disk
)

// maxPage bounds the tenants of one page in bytes: one tenant alone may have
// thousands of namespaces.
const maxPage = 1 << 20

// row is what became of one tenant of an import.
type row struct {
	created, changed bool
	errors           []*pb.ImportError
}

// ImportTenants stores tenants. A row that is wrong is reported, the others are
// stored; if the store fails in between, the call fails and a repeat goes on.
func (s *Service) ImportTenants(ctx context.Context, req *pb.ImportTenantsRequest) (*pb.ImportTenantsResponse, error) {
	rows, err := s.take(ctx, req.GetTenants(), taking{validateOnly: req.GetValidateOnly(), seen: map[string]int{}})
	if err != nil {
		return nil, err
	}
	return summed(rows), nil
}

// taking is how rows are taken in.
type taking struct {
	validateOnly bool
	first        int            // position of the first of them
	seen         map[string]int // positions of the names before
}

// take takes rows in, and says what became of each.
func (s *Service) take(ctx context.Context, of []*pb.Tenant, how taking) ([]row, error) {
	rows := make([]row, len(of))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i, p := range of {
		t, problems := checked(p)
		if !edge.Reach(ctx).All() && len(problems) == 0 {
			foreign, err := s.foreign(ctx, t)
			if err != nil {
				return nil, err
			}
			problems = append(problems, foreign...)
		}
		if first, twice := how.seen[p.GetName()]; twice {
			problems = append(problems, tenants.FieldError{
				Field: "name", Problem: fmt.Sprintf("is also that of row %d", first), Fix: "give each tenant once",
			})
		} else {
			how.seen[p.GetName()] = how.first + i
		}
		if len(problems) > 0 {
			rows[i].errors = importErrors(how.first+i, p.GetName(), problems)
			continue
		}
		g.Go(func() (err error) {
			if how.validateOnly {
				rows[i].created, rows[i].changed, err = s.compare(gctx, t)
			} else {
				rows[i].created, rows[i].changed, err = s.inventory.Put(gctx, t)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("importing tenants: %w", err)
	}
	return rows, nil
}

// foreign says that the caller may not bring in a tenant, since it is, or would become,
// one that is not within its rights. It says the same of both, and of one that is not
// there.
func (s *Service) foreign(ctx context.Context, t tenants.Tenant) ([]tenants.FieldError, error) {
	theirs := edge.Reach(ctx).Has(t)
	old, err := s.inventory.Tenant(ctx, t.ID)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("reading tenant %s: %w", t.ID, err)
	default:
		theirs = theirs && edge.Reach(ctx).Has(old)
	}
	if theirs {
		return nil, nil
	}
	return []tenants.FieldError{{Field: "name", Problem: "is not within your rights", Fix: "leave the row out, or have somebody with rights to all tenants import it"}}, nil
}

// checked returns a row's tenant and what is wrong with it.
func checked(p *pb.Tenant) (tenants.Tenant, []tenants.FieldError) {
	t := tenantOf(p)
	problems := t.Validate()
	for i := range problems { // Our names for the same fields.
		if problems[i].Field == "id" {
			problems[i].Field, problems[i].Fix = "name", "write tenants/{id}; for the id "+problems[i].Fix
		}
	}
	return t, problems
}

// compare says what Put would do.
func (s *Service) compare(ctx context.Context, t tenants.Tenant) (created, changed bool, err error) {
	old, err := s.inventory.Tenant(ctx, t.ID)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		return true, false, nil
	case err != nil:
		return false, false, err
	default:
		return false, !proto.Equal(tenantProto(old), tenantProto(t)), nil
	}
}

func importErrors(i int, name string, problems []tenants.FieldError) []*pb.ImportError {
	if _, ok := edge.ParseTenant(name); !ok {
		name = "" // What is no name may be anything.
	}
	out := make([]*pb.ImportError, len(problems))
	for j, f := range problems {
		out[j] = &pb.ImportError{Row: int32(i), Tenant: name, Field: f.Field, Description: f.Problem + "; " + f.Fix} //nolint:gosec // At most a million.
	}
	return out
}

func summed(rows []row) *pb.ImportTenantsResponse {
	resp := &pb.ImportTenantsResponse{}
	for _, r := range rows {
		switch {
		case len(r.errors) > 0:
			resp.FailedCount++
			resp.Errors = append(resp.Errors, r.errors[:min(len(r.errors), maxErrors-len(resp.Errors))]...)
		case r.created:
			resp.CreatedCount++
		case r.changed:
			resp.UpdatedCount++
		default:
			resp.UnchangedCount++
		}
	}
	return resp
}

// GetTenant reads one tenant.
func (s *Service) GetTenant(ctx context.Context, req *pb.GetTenantRequest) (*pb.GetTenantResponse, error) {
	t, err := s.tenant(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.GetTenantResponse{Tenant: tenantProto(t)}, nil
}

// tenant reads a tenant that the caller may see. Another is not there, word for word.
func (s *Service) tenant(ctx context.Context, name string) (tenants.Tenant, error) {
	id, _ := edge.ParseTenant(name)
	t, err := s.inventory.Tenant(ctx, id)
	if err == nil && !edge.Reach(ctx).Has(t) {
		err = rollover.ErrNotFound
	}
	if err != nil {
		return t, edge.About(name, err)
	}
	return t, nil
}

// ListTenants lists tenants by name.
func (s *Service) ListTenants(ctx context.Context, req *pb.ListTenantsRequest) (*pb.ListTenantsResponse, error) {
	wanted, err := edge.ParseFilter(req.GetFilter(), filter.TenantFields())
	if err != nil {
		return nil, err
	}
	if req.GetOrderBy() != "" {
		return s.orderedTenants(ctx, req, wanted)
	}
	args := []string{"ListTenants", req.GetFilter()}
	after, err := edge.Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, err
	}
	all, err := s.inventory.List(ctx) // Sorted by id.
	if err != nil {
		return nil, err
	}
	size, bytes := edge.PageSize(req.GetPageSize(), 100, 1000), 0
	resp := &pb.ListTenantsResponse{}
	last, full := "", false
	for _, t := range all {
		if !edge.Reach(ctx).Has(t) || !wanted.Match(filter.TenantValue(t)) {
			continue
		}
		resp.TotalSize++
		if full || t.ID <= after {
			continue
		}
		p := tenantProto(t)
		bytes += proto.Size(p)
		if len(resp.Tenants) == size || (bytes > maxPage && len(resp.Tenants) > 0) {
			full, resp.NextPageToken = true, edge.PageToken(last, args...)
			continue
		}
		resp.Tenants, last = append(resp.Tenants, p), t.ID
	}
	return resp, nil
}
