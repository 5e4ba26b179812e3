package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// overlap is how long both credentials stand where the caller names no instant.
// KB 3200643 left three days between the two; a day is the least that lets every
// cache of a sender run out.
const overlap = 24 * time.Hour

// CreateRotation checks what is asked for, stores it and returns. Planning
// follows by itself.
func (s *Service) CreateRotation(ctx context.Context, req *pb.CreateRotationRequest) (*pb.CreateRotationResponse, error) {
	r, err := s.create(ctx, req)
	if err != nil {
		return nil, err
	}
	return &pb.CreateRotationResponse{Rotation: r}, nil
}

func (s *Service) create(ctx context.Context, req *pb.CreateRotationRequest) (*pb.Rotation, error) {
	want, err := request(ctx, "CreateRotation", req, "")
	if err != nil {
		return nil, err
	}
	// A repeat is answered before anything is checked anew: the certificate may
	// have expired since, the rotation is there.
	if r, err := s.repeated(ctx, req, want); r != nil || err != nil {
		return r, err
	}
	r, selected, err := s.draft(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.room(ctx); err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		return rotationProto(r, rollover.Counts{}), nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making an id: %w", err)
	}
	want.Rotation = id.String()
	q, err := want.Begin(ctx, s.c.Requests)
	if err != nil {
		return nil, err
	}
	r.ID, r.RequestID, r.RequestHash = q.Rotation, q.Key, q.Hash
	if err := s.block(ctx, r); err != nil {
		return nil, err
	}
	stored, err := s.c.Store.CreateRotation(ctx, r, selected)
	if errors.Is(err, rollover.ErrExists) { // Another server was faster with the same request.
		return s.made(ctx, r.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("creating rotation: %w", err)
	}
	s.finish(ctx, q)
	return rotationProto(stored, rollover.Counts{}), nil
}

// repeated returns the rotation that the request id made before, as it is now, or
// nil. An id that was noted but whose rotation is not there was cut off half-way,
// and the call goes on from there.
func (s *Service) repeated(ctx context.Context, req *pb.CreateRotationRequest, want edge.Request) (*pb.Rotation, error) {
	if want.Key == "" || req.GetValidateOnly() {
		return nil, nil
	}
	q, err := want.Recall(ctx, s.c.Requests)
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	v, err := s.view(ctx, q.Rotation)
	switch {
	case q.Done && errors.Is(err, rollover.ErrNotFound), errors.Is(err, rollover.ErrGone): // It was made, and is not made twice.
		return nil, edge.About(edge.RotationName(q.Rotation), err)
	case errors.Is(err, rollover.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := s.may(ctx, edge.RotationName(q.Rotation)); err != nil {
		return nil, err
	}
	s.finish(ctx, q)
	return s.show(ctx, v), nil
}

// made returns the rotation that the same request has just made at another server, if it
// is wholly the caller's still.
func (s *Service) made(ctx context.Context, id string) (*pb.Rotation, error) {
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, edge.About(edge.RotationName(id), err)
	}
	if err := s.may(ctx, edge.RotationName(id)); err != nil {
		return nil, err
	}
	return s.show(ctx, v), nil
}

// draft returns the rotation that is asked for and the ids of its tenants,
// unless something stands against it.
func (s *Service) draft(ctx context.Context, req *pb.CreateRotationRequest) (rollover.Rotation, []string, error) {
	now := s.c.Now().UTC()
	// An incident blocks what is compromised, everywhere.
	if req.GetRotation().GetSpec().GetIncident() != nil && !edge.Holds(ctx, rights.Block).All() {
		return rollover.Rotation{}, nil, edge.Denied(rights.Block)
	}
	asked := aimed(req.GetRotation().GetSpec())
	spec, vs := specOf(asked)
	spec.Drift = s.driftPolicyOf(asked.GetDrift())
	spec.DriftedOf, _ = edge.ParseRotation(asked.GetTarget().GetDriftedOf())
	if !slices.Contains(s.c.Kinds, spec.Kind) {
		known := strings.Join(slices.Sorted(slices.Values(s.c.Kinds)), ", ")
		p := edge.InvalidFor(pb.ErrorReason_ERROR_REASON_UNKNOWN_KIND,
			append(vs, edge.Violated("rotation.spec.kind", "UNKNOWN", "must be one of "+known))...)
		return rollover.Rotation{}, nil, edge.With(p, "kinds", known)
	}
	cert, err := s.certificate(ctx, asked.GetCertificate(), now)
	if err != nil {
		return rollover.Rotation{}, nil, err
	}
	spec.New = cert.Credential.Named()
	unfit, err := s.usable(ctx, spec.Incident, cert, now)
	if err != nil {
		return rollover.Rotation{}, nil, err
	}
	vs = append(vs, unfit...)
	if spec.Retires() && spec.RetireNotBefore.IsZero() {
		spec.RetireNotBefore = later(now, cert.NotBefore).Add(overlap).UTC().Truncate(time.Second)
	}
	vs = append(vs, s.unknownChecks(spec.Strategy.Gates)...)
	if vs = append(append(vs, against(spec)...), untimely(spec, now)...); len(vs) > 0 {
		return rollover.Rotation{}, nil, edge.Invalid(vs...)
	}
	if err := s.inTime(spec, 1, now); err != nil { // How many tasks there are is not known yet.
		return rollover.Rotation{}, nil, edge.Unmeet("rotation.spec.schedule.stage_deadline", err)
	}
	if err := endpointFilter(spec.EndpointFilter); err != nil {
		return rollover.Rotation{}, nil, err
	}
	selected, err := s.selection(ctx, &spec, asked.GetTarget())
	if err != nil {
		return rollover.Rotation{}, nil, err
	}
	clouds, err := s.cloudsAsked(ctx, selected)
	if err != nil {
		return rollover.Rotation{}, nil, err
	}
	return rollover.Rotation{
		V: rollover.RecordVersion, DisplayName: req.GetRotation().GetDisplayName(), Labels: req.GetRotation().GetLabels(),
		Spec: spec, State: rollover.StatePlanning, Tenants: len(selected), Creator: edge.Caller(ctx), Trace: spans.Text(ctx),
		CreatorProven: edge.Subject(ctx).Name, Clouds: clouds, Within: edge.Reach(ctx).Filters(), CreatedAt: now, UpdatedAt: now,
	}, selected, nil
}

// against says what in a spec does not fit the new certificate.
func against(spec rollover.Spec) []*edge.Violation {
	var vs []*edge.Violation
	for i, p := range spec.Replaces {
		if rollover.SameThumbprint(p, spec.New) {
			vs = append(vs, edge.Violated(fmt.Sprintf("rotation.spec.replaces[%d]", i), "CONFLICT", "is the new certificate itself"))
		}
	}
	const at = "rotation.spec.retire_not_before"
	switch rnb := spec.RetireNotBefore; {
	case !spec.Retires():
	case rnb.Before(spec.New.NotBefore):
		vs = append(vs, edge.Violated(at, "RANGE", "must not be before the new certificate is valid, "+spec.New.NotBefore.UTC().Format(time.RFC3339)))
	case !rnb.Add(rollover.Margin).Before(spec.New.NotAfter):
		vs = append(vs, edge.Violated(at, "RANGE", fmt.Sprintf("must be more than %s before the new certificate ends, %s",
			rollover.Margin, spec.New.NotAfter.UTC().Format(time.RFC3339))))
	}
	return vs
}

// certificate returns the certificate of that name if it may be rotated to.
func (s *Service) certificate(ctx context.Context, name string, now time.Time) (certs.Certificate, error) {
	sha, _ := edge.ParseCertificate(name)
	c, err := s.c.Certificates.Certificate(ctx, sha)
	if err != nil {
		return c, edge.About(name, err)
	}
	var unmet []*edge.Unmet
	for _, f := range certs.Judge(c, now) {
		if f.Severity == certs.Error {
			unmet = append(unmet, &edge.Unmet{Type: strings.ToUpper(f.Code), Subject: name, Description: f.Message})
		}
	}
	if len(unmet) > 0 {
		return c, edge.Refused(pb.ErrorReason_ERROR_REASON_CERTIFICATE_UNUSABLE,
			"the certificate cannot be rotated to: "+unmet[0].GetDescription(), unmet...)
	}
	return c, s.unblocked(ctx, c)
}

// maxMissing bounds how many missing tenants an error names.
const maxMissing = 20

// tenants resolves a selector to ids, in a fixed order.
func (s *Service) tenants(ctx context.Context, in edge.Sight, t *pb.TargetSelector) ([]string, error) {
	if sel, ok := t.GetSelection().(*pb.TargetSelector_Filter); ok {
		return s.matching(ctx, in, sel.Filter)
	}
	if sel, ok := t.GetSelection().(*pb.TargetSelector_DriftedOf); ok {
		return s.drifted(ctx, sel.DriftedOf)
	}
	if sel, ok := t.GetSelection().(*pb.TargetSelector_FailedOf); ok {
		return s.failedTenants(ctx, sel.FailedOf)
	}
	if !t.GetAllTenants() {
		return s.named(ctx, t.GetTenants().GetNames())
	}
	ids, err := s.all(ctx)
	if ids = within(in, ids); err == nil && len(ids) == 0 {
		err = edge.Invalid(edge.Violated("rotation.spec.target", "RANGE", "selects no tenant: the inventory is empty"))
	}
	return ids, err
}

// all returns the ids of all tenants, sorted.
func (s *Service) all(ctx context.Context) ([]string, error) {
	list, err := s.c.Tenants.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	ids := make([]string, len(list))
	for i, t := range list {
		ids[i] = t.ID
	}
	slices.Sort(ids)
	return ids, nil
}

// fewTenants is up to how many tenants are read one by one. Reading the whole
// inventory for one would make a small rotation wait for its size.
const fewTenants = 32

// named returns the ids of tenants that are named, sorted, if all are there.
func (s *Service) named(ctx context.Context, names []string) ([]string, error) {
	known := func(id string) (bool, error) {
		_, err := s.c.Tenants.Tenant(ctx, id)
		if errors.Is(err, rollover.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	if len(names) > fewTenants {
		all, err := s.all(ctx)
		if err != nil {
			return nil, err
		}
		known = func(id string) (bool, error) {
			_, ok := slices.BinarySearch(all, id)
			return ok, nil
		}
	}
	var ids, missing []string
	for _, n := range names {
		id, _ := edge.ParseTenant(n)
		ok, err := known(id)
		if err != nil {
			return nil, fmt.Errorf("reading tenant %s: %w", id, err)
		}
		if ids = append(ids, id); !ok {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		err := edge.With(edge.Missing(missing[0], nil), "missing", strings.Join(missing[:min(len(missing), maxMissing)], ","))
		return nil, edge.With(err, "missing_count", strconv.Itoa(len(missing)))
	}
	slices.Sort(ids)
	return ids, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
