package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// CheckRotation begins a check for drift.
func (s *Service) CheckRotation(ctx context.Context, req *pb.CheckRotationRequest) (*pb.CheckRotationResponse, error) {
	if err := s.may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(req.GetName())
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(req.GetName(), err)
	}
	by := rollover.Check{RequestID: strings.ToLower(req.GetRequestId())}
	r, err := s.change(ctx, transition{
		name: req.GetName(), etag: req.GetEtag(), requestID: req.GetRequestId(), body: req,
		rule: func(r rollover.Rotation, now time.Time) (rollover.Rotation, error) {
			return r.BeginCheck(v.Counts, by, now)
		},
		happened: func(r rollover.Rotation) bool {
			return r.Check.State == rollover.CheckRunning || (r.Check.Number > 0 && r.Check.RequestID == by.RequestID)
		},
	})
	return &pb.CheckRotationResponse{Rotation: r}, err
}

func driftFields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"tenant", "host", "identity"},
		Enums:   map[string]protoreflect.EnumType{"kind": pb.Drift_KIND_UNSPECIFIED.Type()},
	}
}

// driftValue returns the value of a field that filters know.
func driftValue(t mirror.Seen, d rollover.Drift) func(string) any {
	return func(field string) any {
		switch field {
		case "tenant":
			return edge.TenantName(t.Tenant)
		case "host":
			return t.Target.Host
		case "identity":
			return t.Target.Identity
		case "kind":
			return driftKindProto(d.Kind).String()
		default:
			return nil
		}
	}
}

// driftPlace is where a page of drifts begins: behind this drift of this target.
type driftPlace struct {
	rotation string
	ord, n   int
}

func (p driftPlace) String() string { return fmt.Sprintf("%s/%d/%d", p.rotation, p.ord, p.n) }

// readDriftPlace reads a place; the zero place is before all.
func readDriftPlace(token string) (driftPlace, error) {
	if token == "" {
		return driftPlace{}, nil
	}
	parts := strings.Split(token, "/")
	if len(parts) == 3 {
		ord, err1 := strconv.Atoi(parts[1])
		n, err2 := strconv.Atoi(parts[2])
		if err1 == nil && err2 == nil {
			return driftPlace{parts[0], ord, n}, nil
		}
	}
	return driftPlace{}, edge.InvalidFor(pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
		edge.Violated("page_token", "FORMAT", "is not one that was given out"))
}

// told reports whether a drift was on an earlier page. Rotations are told newest
// first, and ids sort by age.
func (p driftPlace) told(rotation string, ord, n int) bool {
	switch {
	case p.rotation == "":
		return false
	case rotation != p.rotation:
		return rotation > p.rotation
	default:
		return ord < p.ord || (ord == p.ord && n <= p.n)
	}
}

// ListDrifts lists what checks found.
func (s *Service) ListDrifts(ctx context.Context, req *pb.ListDriftsRequest) (*pb.ListDriftsResponse, error) {
	filter, err := edge.ParseFilter(req.GetFilter(), driftFields())
	if err != nil {
		return nil, err
	}
	if req.GetOrderBy() != "" {
		return s.orderedDrifts(ctx, req)
	}
	args := []string{"ListDrifts", req.GetParent(), req.GetFilter()}
	token, err := edge.Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, err
	}
	after, err := readDriftPlace(token)
	if err != nil {
		return nil, err
	}
	ids, err := s.driftParents(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	in, err := s.sights.Of(ctx)
	if err != nil {
		return nil, err
	}
	room := edge.NewRoom(edge.PageSize(req.GetPageSize(), 100, 2000))
	resp := &pb.ListDriftsResponse{}
	var last driftPlace
	for _, id := range ids {
		if after.rotation != "" && id > after.rotation {
			continue
		}
		e, err := s.extent(ctx, in, id)
		if err != nil {
			return nil, err
		}
		for _, t := range s.c.Mirror.Drifts(id) {
			if !(lens{in, e}).drift(t) {
				continue
			}
			for n, d := range t.Drifts {
				if after.told(id, t.Ord, n) || !filter.Match(driftValue(t, d)) {
					continue
				}
				p := driftProto(id, t, d)
				if !room.Takes(p) {
					resp.NextPageToken = edge.PageToken(last.String(), args...)
					return resp, nil
				}
				resp.Drifts = append(resp.Drifts, p)
				last = driftPlace{id, t.Ord, n}
			}
		}
	}
	return resp, nil
}

// driftParents returns the ids of the rotations that a parent names, newest first.
func (s *Service) driftParents(ctx context.Context, parent string) ([]string, error) {
	if parent != edge.AllRotations {
		id, _ := edge.ParseRotation(parent)
		if _, err := s.view(ctx, id); err != nil {
			return nil, edge.About(parent, err)
		}
		if _, err := s.lens(ctx, parent, id); err != nil {
			return nil, err
		}
		return []string{id}, nil
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	var ids []string
	for _, v := range s.c.Mirror.Rotations() {
		ids = append(ids, v.Rotation.ID)
	}
	return ids, nil
}

// drifted returns the ids of the tenants behind the targets that the last check
// of a rotation found to be in need of repair, sorted.
func (s *Service) drifted(ctx context.Context, name string) ([]string, error) {
	if err := s.may(ctx, name); err != nil {
		return nil, err
	}
	id, _ := edge.ParseRotation(name)
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(name, err)
	}
	refuse := func(why string) error {
		return edge.Refused(pb.ErrorReason_ERROR_REASON_NOT_CHECKED, name+": "+why,
			&edge.Unmet{Type: "CHECK", Subject: name, Description: why})
	}
	switch {
	case v.Rotation.Check.State == rollover.CheckRunning:
		return nil, refuse("its check is running; wait until it has ended")
	case v.Rotation.Check.State != rollover.CheckDone:
		return nil, refuse("it has no check that has ended; check it first")
	case !v.Rotation.CheckSettled(v.Counts):
		return nil, errBehind
	case v.Counts.Drift.Repairable == 0:
		return nil, refuse("its last check found nothing that a rotation mends")
	}
	behind := map[string]bool{}
	for _, t := range s.c.Mirror.Drifts(id) {
		if !t.Repairable() {
			continue
		}
		ks, err := s.c.Mirror.Tasks(ctx, id, t.Ord, t.Ord+1)
		if err != nil {
			return nil, edge.About(name, err)
		}
		behind[t.Tenant] = true
		for _, k := range ks {
			for _, e := range k.Item.Endpoints {
				behind[e.Tenant] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(behind)), nil
}
