// Package inventory is InventoryService: it takes tenants in, and shows them and
// what planning found of them.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
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
	Tenant(ctx context.Context, id string) (tenants.Tenant, error)
	List(ctx context.Context) ([]tenants.Tenant, error)
	Endpoints(ctx context.Context, tenant string) ([]tenants.Seen, error)
	AllEndpoints(ctx context.Context) (map[string][]tenants.Seen, error)
	Change(ctx context.Context, id string, rule tenants.Rule) (*tenants.Tenant, error)
}

// Config is what a [Service] is made of. All fields are required.
type Config struct {
	Inventory Inventory
	Jobs      JobBucket   // forgets after 30 days
	JobErrors ErrorBucket // forgets after 30 days
	Discovery Discovery   // the zero one: endpoints cannot be discovered here
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
	tallies   tallies
}

// New returns the service.
func New(c Config) *Service { return &Service{c: c, inventory: c.Inventory} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { pb.RegisterInventoryServiceServer(r, s) }

// The bounds of an import.
const (
	maxErrors    = 1000    // that one answer lists
	maxRowErrors = 20      // of one row: each of its namespaces may have several
	maxRow       = 3 << 20 // bytes of one row: 10,000 namespaces with names of usual length
	writers      = 16      // rows stored at once: each waits for a disk
)

// row is what became of one tenant of an import.
type row struct {
	created, changed bool
	errors           []*pb.ImportError
}

// ImportTenants stores tenants. A row that is wrong is reported, the others are
// stored; if the store fails in between, the call fails and a repeat goes on.
func (s *Service) ImportTenants(ctx context.Context, req *pb.ImportTenantsRequest) (*pb.ImportTenantsResponse, error) {
	rows, err := s.take(ctx, req.GetTenants(), taking{validateOnly: req.GetValidateOnly(), seen: newSeen()})
	if err != nil {
		return nil, err
	}
	return summed(rows), nil
}

// taking is how rows are taken in.
type taking struct {
	validateOnly bool
	first        int // position of the first of them
	seen         *seen
}

// seen knows the rows of the tenants that came before, by a hash of their names: an
// import has up to a million, and a stream holds them for as long as it lasts.
type seen struct {
	seed maphash.Seed // so that nobody can look for two names of one hash
	rows map[uint64]int32
}

func newSeen() *seen { return &seen{maphash.MakeSeed(), map[uint64]int32{}} }

// before returns the row that had the id already, or notes it for this one.
func (s *seen) before(id string, row int) (first int32, twice bool) {
	h := maphash.String(s.seed, id)
	if first, twice = s.rows[h]; !twice {
		s.rows[h] = int32(row) //nolint:gosec // At most a million.
	}
	return first, twice
}

// take takes rows in, and says what became of each. Nothing is stored any more when it
// has returned.
func (s *Service) take(ctx context.Context, of []*pb.Tenant, how taking) ([]row, error) {
	rows := make([]row, len(of))
	others, err := s.belongings(ctx)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i, p := range of {
		t, problems := checked(p)
		if len(problems) == 0 {
			problems = others.refuse(t)
		}
		if tenants.ValidID(t.ID) {
			if first, twice := how.seen.before(t.ID, how.first+i); twice {
				problems = append(problems, tenants.FieldError{
					Field: "name", Problem: fmt.Sprintf("is also that of row %d", first), Fix: "give each tenant once",
				})
			}
		}
		if len(problems) > 0 {
			rows[i].errors = importErrors(how.first+i, t.ID, problems)
			continue
		}
		g.Go(func() (err error) {
			rows[i], err = s.store(gctx, t, how.validateOnly)
			if errors.Is(err, errForeign) {
				rows[i], err = row{errors: importErrors(how.first+i, t.ID, notTheirs())}, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("importing tenants: %w", err)
	}
	return rows, nil
}

// store stores a tenant, or says what that would do. It returns errForeign for one that
// the caller may not bring in.
func (s *Service) store(ctx context.Context, t tenants.Tenant, validateOnly bool) (row, error) {
	var r row
	_, err := s.inventory.Change(ctx, t.ID, func(old, former *tenants.Tenant) (*tenants.Tenant, error) {
		if !mayBring(ctx, t, old, former) {
			return nil, errForeign
		}
		r = row{created: old == nil, changed: old != nil && old.Etag() != t.Etag()}
		if validateOnly {
			return nil, errTried
		}
		return &t, nil
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return r, err
}

// errForeign says that a tenant is not the caller's to bring in.
var errForeign = errors.New("the tenant is not within the caller's rights")

// mayBring reports whether the caller may make t of what is there. Who may not see all
// makes a new one only if its id alone says that it is theirs: otherwise a refusal would
// say that there is a tenant of others by that name. Where there was one before, it must
// have been theirs too, since its rotations then are.
func mayBring(ctx context.Context, t tenants.Tenant, old, former *tenants.Tenant) bool {
	r := edge.Reach(ctx)
	switch {
	case !r.Has(t):
		return false
	case old != nil:
		return r.Has(*old)
	default:
		return r.Decides(t.ID) && (former == nil || r.Has(*former))
	}
}

// checked returns a row's tenant and what is wrong with it.
func checked(p *pb.Tenant) (tenants.Tenant, []tenants.FieldError) {
	t := tenantOf(p)
	if proto.Size(p) > maxRow {
		return t, []tenants.FieldError{{Problem: "is too large", Fix: fmt.Sprintf("use at most %d bytes", maxRow)}}
	}
	problems := t.Validate()
	for i := range problems { // Our names for the same fields.
		if problems[i].Field == "id" {
			problems[i].Field, problems[i].Fix = "name", "write tenants/{id}; for the id "+problems[i].Fix
		}
	}
	return t, problems
}

// importErrors tells what is wrong with a row of the tenant with that id, "" where the
// row names none: what is no name may be anything.
func importErrors(i int, id string, problems []tenants.FieldError) []*pb.ImportError {
	name := ""
	if id != "" {
		name = edge.TenantName(id)
	}
	var out []*pb.ImportError
	add := func(field, description string) {
		out = append(out, &pb.ImportError{Row: int32(i), Tenant: name, Field: field, Description: description}) //nolint:gosec // At most a million.
	}
	for j, f := range problems {
		if j == maxRowErrors {
			add("", fmt.Sprintf("%d more of its fields are wrong; mend these first", len(problems)-j))
			break
		}
		add(f.Field, f.Problem+"; "+f.Fix)
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
	room := edge.NewRoom(edge.PageSize(req.GetPageSize(), 100, 1000))
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
		if !room.Takes(p) {
			full, resp.NextPageToken = true, edge.PageToken(last, args...)
			continue
		}
		resp.Tenants, last = append(resp.Tenants, p), t.ID
	}
	return resp, nil
}
