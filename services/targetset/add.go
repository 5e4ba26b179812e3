package targetset

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/crossfade-project/crossfade/internal/rollover"
	sets "github.com/crossfade-project/crossfade/internal/targetset"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// The bounds of what is told of wrong rows.
const (
	maxErrors = 100
	maxShown  = 200 // characters of a row
)

// fewTenants is up to how many tenants of a chunk are read one by one. Reading the
// whole inventory for one would make a short list wait for its size.
const fewTenants = 32

// AddTargets stores one chunk.
func (s *Service) AddTargets(ctx context.Context, req *pb.AddTargetsRequest) (*pb.AddTargetsResponse, error) {
	set, wrong, err := s.add(ctx, req.GetName(), chunk{req.GetFirstRow(), req.GetTargets()}, s.known(ctx))
	if err != nil {
		return nil, err
	}
	return &pb.AddTargetsResponse{TargetSet: setProto(set), Errors: wrong.first, ErrorCount: wrong.count}, nil
}

// UploadTargets stores chunks until the caller ends or one has wrong rows.
func (s *Service) UploadTargets(stream grpc.ClientStreamingServer[pb.UploadTargetsRequest, pb.UploadTargetsResponse]) error {
	ctx := stream.Context()
	known := s.known(ctx) // One look at the inventory for all of them.
	name, set := "", sets.Set{}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case name == "" && req.GetName() == "":
			return edge.Invalid(edge.Violated("name", "REQUIRED", "must be set in the first message, as targetSets/{id}"))
		case name == "":
			name = req.GetName()
		case req.GetName() != "" && req.GetName() != name:
			return edge.Invalid(edge.Violated("name", "CONFLICT", "must be the one of the first message, or absent"))
		}
		var wrong wrongRows
		if set, wrong, err = s.add(ctx, name, chunk{req.GetFirstRow(), req.GetTargets()}, known); err != nil {
			return err
		}
		if wrong.count > 0 {
			return stream.SendAndClose(&pb.UploadTargetsResponse{TargetSet: setProto(set), Errors: wrong.first, ErrorCount: wrong.count})
		}
	}
	if name == "" {
		return edge.Invalid(edge.Violated("targets", "REQUIRED", "nothing was sent"))
	}
	return stream.SendAndClose(&pb.UploadTargetsResponse{TargetSet: setProto(set)})
}

// chunk is what is to be stored.
type chunk struct {
	first   int32
	targets []string
}

// wrongRows are the rows that cannot be taken.
type wrongRows struct {
	count int32
	first []*pb.TargetSetError
}

func (w *wrongRows) add(row int32, target, why string) {
	w.count++
	if len(w.first) == maxErrors {
		return
	}
	if r := []rune(target); len(r) > maxShown {
		target = string(r[:maxShown-1]) + "…"
	}
	w.first = append(w.first, &pb.TargetSetError{Row: row, Target: target, Description: why})
}

// add stores a chunk, unless rows of it are wrong.
func (s *Service) add(ctx context.Context, name string, c chunk, known func([]sets.Row) (map[string]bool, error)) (sets.Set, wrongRows, error) {
	id, _ := edge.ParseTargetSet(name)
	set, err := s.set(ctx, name)
	if err != nil {
		return set, wrongRows{}, err
	}
	in, err := s.sights.Now(ctx) // It is a change: what was moved away a moment ago is not theirs.
	if err != nil {
		return set, wrongRows{}, err
	}
	var wrong wrongRows
	rows := make([]sets.Row, len(c.targets))
	bad := make([]bool, len(rows))
	for i, t := range c.targets {
		if rows[i], bad[i] = rowOf(t); bad[i] {
			rows[i] = sets.Row{}
		}
	}
	there, err := known(rows)
	if err != nil {
		return set, wrong, fmt.Errorf("looking for the tenants of %s: %w", name, err)
	}
	for i, t := range c.targets {
		at := c.first + int32(i) //nolint:gosec // A chunk has at most 1,000 rows.
		switch {
		case bad[i]:
			wrong.add(at, t, "is neither tenants/{id} nor tenants/{id}/endpoints/{endpoint} with a GUID in lower case")
		case !there[rows[i].Tenant] || !in.Has(rows[i].Tenant):
			wrong.add(at, t, "the tenant is not in the inventory; import it, or leave the row out")
		}
	}
	if wrong.count > 0 {
		return set, wrong, nil
	}
	set, err = s.c.Store.Add(ctx, id, int(c.first), rows)
	var misfit *sets.ChunkError
	if errors.As(err, &misfit) {
		return set, wrong, edge.Invalid(edge.Violated("targets", "RANGE", misfit.Error()))
	}
	if err != nil {
		return set, wrong, edge.About(name, err)
	}
	return set, wrong, nil
}

// rowOf reads a row, and reports whether it is none.
func rowOf(name string) (row sets.Row, bad bool) {
	if id, ok := edge.ParseTenant(name); ok {
		return sets.Row{Tenant: id}, false
	}
	tenant, endpoint, ok := edge.ParseEndpoint(name)
	return sets.Row{Tenant: tenant, Endpoint: endpoint}, !ok
}

// known returns a function that says which tenants of rows are in the inventory. It
// lists the inventory once, when there are many.
func (s *Service) known(ctx context.Context) func([]sets.Row) (map[string]bool, error) {
	seen := map[string]bool{}
	listed := false
	return func(rows []sets.Row) (map[string]bool, error) {
		var missing []string
		for _, r := range rows {
			if _, asked := seen[r.Tenant]; !asked && r.Tenant != "" && !listed {
				seen[r.Tenant] = false
				missing = append(missing, r.Tenant)
			}
		}
		if len(missing) > fewTenants {
			all, err := s.c.Tenants.List(ctx)
			if err != nil {
				return nil, err
			}
			for _, t := range all {
				seen[t.ID] = true
			}
			listed = true
			return seen, nil
		}
		for _, id := range missing {
			switch _, err := s.c.Tenants.Tenant(ctx, id); {
			case err == nil:
				seen[id] = true
			case !errors.Is(err, rollover.ErrNotFound):
				return nil, err
			}
		}
		return seen, nil
	}
}
