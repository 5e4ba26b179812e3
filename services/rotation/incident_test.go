package rotation_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// as is a context of calls by somebody.
func as(t *testing.T, who string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "crossfade-caller", who)
}

// fresh adds a certificate that is valid since yesterday, with a key of its own.
func (h *house) fresh(t *testing.T) certs.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(4711), NotBefore: rollovertest.Epoch.AddDate(0, 0, -1), NotAfter: rollovertest.Epoch.AddDate(2, 0, 0),
		Subject: pkix.Name{CommonName: "crm.dynamics.com"}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := certs.FromDER(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.certs.Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	known := h.store.Certificate
	h.store.Certificate = func(sha string) (rollover.Credential, error) {
		if sha == c.SHA256 {
			return c.Credential, nil
		}
		return known(sha)
	}
	return c
}

// emergency is a request that gets rid of the house's certificate.
func (h *house) emergency(t *testing.T) *pb.CreateRotationRequest {
	t.Helper()
	return &pb.CreateRotationRequest{RequestId: requestID, Rotation: &pb.Rotation{Spec: &pb.RotationSpec{
		Kind: "acs-x509", Certificate: "certificates/" + h.fresh(t).SHA256,
		Incident: &pb.Incident{
			Compromised:      []*pb.Compromised{{Subject: &pb.Compromised_Sha1{Sha1: strings.ToUpper(h.cert.SHA1)}}},
			ShortenedOverlap: durationpb.New(15 * time.Minute), Summary: "the key was in a public repository",
		},
	}}}
}

func TestCreateRotation_IncidentBlocksFirstAndIsUrgentForAllTenants(t *testing.T) {
	h := open(t, nil)
	req := h.emergency(t)
	dry := proto.CloneOf(req)
	dry.ValidateOnly = true
	if _, err := h.client().CreateRotation(as(t, "alice"), dry); err != nil {
		t.Fatalf("CreateRotation with validate_only = %v", err)
	}
	if _, blocked, err := h.blocks.Blocked(t.Context(), h.cert.Credential); blocked || err != nil {
		t.Fatalf("blocked by validate_only: %t, %v", blocked, err)
	}
	resp, err := h.client().CreateRotation(as(t, "alice"), req)
	if err != nil {
		t.Fatal(err)
	}
	r := resp.GetRotation()
	switch s := r.GetSpec(); {
	case r.GetCreator() != "alice", r.GetTenantCount() != 3, !s.GetTarget().GetAllTenants(), s.GetLane() != pb.Lane_LANE_URGENT:
		t.Errorf("CreateRotation = %v, want alice's urgent one for all tenants", r)
	case s.GetIncident().GetCompromised()[0].GetSha1() != strings.ToLower(h.cert.SHA1), s.GetIncident().GetShortenedOverlap().AsDuration() != 15*time.Minute:
		t.Errorf("CreateRotation answers %v, want what was asked for", s.GetIncident())
	case !s.GetRetireNotBefore().AsTime().Equal(rollovertest.Epoch.Add(24 * time.Hour)):
		t.Errorf("retire_not_before = %s, want a day from now", s.GetRetireNotBefore().AsTime())
	}
	bs, err := h.blocks.List(t.Context())
	if err != nil || len(bs) != 1 || bs[0].By != "alice" || !strings.Contains(bs[0].Reason, r.GetName()) || !strings.Contains(bs[0].Reason, "public repository") {
		t.Fatalf("blocks = %+v, %v, want one of alice's that names %s", bs, err, r.GetName())
	}
	h.clock.set(rollovertest.Epoch.Add(73 * time.Hour))
	back := h.request()
	_, err = h.client().CreateRotation(as(t, "alice"), back)
	refused(t, err, codes.FailedPrecondition, "CERTIFICATE_BLOCKED")
	again, err := h.clients[1].CreateRotation(as(t, "alice"), req)
	if err != nil || again.GetRotation().GetName() != r.GetName() {
		t.Errorf("CreateRotation again = %v, %v, want the first one", again.GetRotation().GetName(), err)
	}
}

func TestCreateRotation_IncidentThatCannotBlockIsNotCreated(t *testing.T) {
	bucket := tenantstest.NewBucket()
	h := open(t, func(c *rotation.Config) { c.Blocks = certs.NewBlocks(bucket, time.Now) })
	req := h.emergency(t)
	bucket.Before = func(op, _ string) error {
		if op == "Create" {
			return rollover.ErrUnavailable
		}
		return nil
	}
	_, err := h.client().CreateRotation(as(t, "alice"), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
	bucket.Before = nil
	if _, err := h.client().CreateRotation(as(t, "alice"), req); err != nil {
		t.Errorf("CreateRotation when the list is back = %v", err)
	}
}

func TestCreateRotation_IncidentRefusesWhatWouldNotContain(t *testing.T) {
	h := open(t, nil)
	good := h.emergency(t)
	key, err := rollover.KeyHash(h.cert.DER)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		by     string
		change func(*pb.RotationSpec)
		code   codes.Code
		reason string
	}{
		{"nobody asks", "anonymous", func(*pb.RotationSpec) {}, codes.PermissionDenied, "SECOND_PERSON_NEEDED"},
		{"not valid yet", "alice", func(s *pb.RotationSpec) {
			s.Certificate = "certificates/" + h.cert.SHA256
			s.Incident.Compromised[0].Subject = &pb.Compromised_Sha256{Sha256: strings.Repeat("a", 64)}
		}, codes.FailedPrecondition, "CERTIFICATE_UNUSABLE"},
		{"the new one itself", "alice", func(s *pb.RotationSpec) {
			s.Incident.Compromised[0].Subject = &pb.Compromised_Sha256{Sha256: strings.TrimPrefix(s.GetCertificate(), "certificates/")}
		}, codes.InvalidArgument, "INVALID_FIELDS"},
		{"nothing", "alice", func(s *pb.RotationSpec) { s.Incident.Compromised = nil }, codes.InvalidArgument, "INVALID_FIELDS"},
		{"no hash", "alice", func(s *pb.RotationSpec) {
			s.Incident.Compromised[0].Subject = &pb.Compromised_KeyHash{KeyHash: key[:40]}
		}, codes.InvalidArgument, "INVALID_FIELDS"},
		{"twice", "alice", func(s *pb.RotationSpec) {
			s.Incident.Compromised = append(s.Incident.Compromised, s.Incident.Compromised[0])
		}, codes.InvalidArgument, "INVALID_FIELDS"},
		{"and replaces", "alice", func(s *pb.RotationSpec) { s.ReplacesSameSubject = true }, codes.InvalidArgument, "INVALID_FIELDS"},
		{"in the bulk lane", "alice", func(s *pb.RotationSpec) { s.Lane = pb.Lane_LANE_BULK }, codes.InvalidArgument, "INVALID_FIELDS"},
		{"an overlap before now", "alice", func(s *pb.RotationSpec) { s.Incident.ShortenedOverlap = durationpb.New(-1) }, codes.InvalidArgument, "INVALID_FIELDS"},
		{"a caller with too long a name", strings.Repeat("x", 129), func(*pb.RotationSpec) {}, codes.InvalidArgument, "INVALID_FIELDS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := proto.CloneOf(good)
			req.RequestId = ""
			tt.change(req.GetRotation().GetSpec())
			_, err := h.client().CreateRotation(as(t, tt.by), req)
			refused(t, err, tt.code, tt.reason)
		})
	}
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
	if bs, err := h.blocks.List(t.Context()); err != nil || len(bs) != 0 {
		t.Errorf("%d blocks, %v, want none of a refused request", len(bs), err)
	}
}

// A block that somebody removed between two tries of one request stays removed: the
// rotation is not created as if it held.
func TestCreateRotation_IncidentWhoseBlockWasRemovedMeanwhile(t *testing.T) {
	bucket := tenantstest.NewBucket()
	blocks := certs.NewBlocks(bucket, time.Now)
	h := open(t, func(c *rotation.Config) { c.Blocks = blocks })
	req := h.emergency(t)
	i := req.GetRotation().GetSpec().GetIncident()
	i.Compromised = append(i.Compromised, &pb.Compromised{Subject: &pb.Compromised_Sha256{Sha256: strings.Repeat("a", 64)}})
	bucket.Before = func(op, key string) error {
		if op == "Create" && strings.HasPrefix(key, "sha256.") {
			return rollover.ErrUnavailable
		}
		return nil
	}
	_, err := h.client().CreateRotation(as(t, "alice"), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	bucket.Before = nil
	bs, err := blocks.List(t.Context())
	if err != nil || len(bs) != 1 {
		t.Fatalf("blocks = %v, %v, want one", bs, err)
	}
	if _, err := blocks.Unblock(t.Context(), bs[0].ID, certs.Removal{By: "carol", Reason: "a mistake", At: time.Now()}, ""); err != nil {
		t.Fatal(err)
	}
	_, err = h.client().CreateRotation(as(t, "alice"), req)
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
}

func TestApproveRotation_OnlyASecondPersonForThePlanThatWasShown(t *testing.T) {
	h := open(t, nil)
	resp, err := h.client().CreateRotation(as(t, "alice"), h.emergency(t))
	if err != nil {
		t.Fatal(err)
	}
	name := resp.GetRotation().GetName()
	r := h.plan(t, name, 2)
	ask := func(digest string) *pb.ApproveRotationRequest {
		return &pb.ApproveRotationRequest{Name: name, PlanDigest: digest, Reason: "seen with alice", RequestId: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a42"}
	}
	c := r.GetContainment()
	if c.GetCarriers() != 2 || c.GetContained() != 0 || c.GetContainedTime() != nil || c.GetApproval() != nil ||
		!c.GetRetireNotBefore().AsTime().Equal(r.GetSpec().GetRetireNotBefore().AsTime()) {
		t.Fatalf("containment of the plan = %v", c)
	}
	for who, do := range map[string]context.Context{"alice": as(t, "alice"), "Alice": as(t, "Alice"), "nobody": t.Context()} {
		req := ask(r.GetPlanDigest())
		req.RequestId = ""
		_, err := h.client().ApproveRotation(do, req)
		refused(t, err, codes.PermissionDenied, "SECOND_PERSON_NEEDED")
		if h.get(t, name).GetContainment().GetApproval() != nil {
			t.Fatalf("%s approved", who)
		}
	}
	wrong := ask(strings.Repeat("0", 64))
	wrong.RequestId = ""
	_, err = h.client().ApproveRotation(as(t, "bob"), wrong)
	refused(t, err, codes.FailedPrecondition, "PLAN_CHANGED")

	stale := ask(r.GetPlanDigest())
	stale.RequestId, stale.Etag = "", "r0"
	_, err = h.client().ApproveRotation(as(t, "bob"), stale)
	refused(t, err, codes.Aborted, "ETAG_MISMATCH")

	h.clock.set(rollovertest.Epoch.Add(time.Hour))
	h.store.loseNext(1)
	_, err = h.client().ApproveRotation(as(t, "bob"), ask(r.GetPlanDigest()))
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	h.clock.set(rollovertest.Epoch.Add(2 * time.Hour))
	got, err := h.clients[1].ApproveRotation(as(t, "bob"), ask(r.GetPlanDigest()))
	if err != nil {
		t.Fatalf("ApproveRotation again = %v", err)
	}
	c = got.GetRotation().GetContainment()
	want := &pb.Approval{
		Approver: "bob", ApproveTime: timestamppb.New(rollovertest.Epoch.Add(time.Hour)), Reason: "seen with alice", PlanDigest: r.GetPlanDigest(),
	}
	if !proto.Equal(c.GetApproval(), want) || !c.GetRetireNotBefore().AsTime().Equal(rollovertest.Epoch.Add(75*time.Minute)) {
		t.Errorf("containment = %v, want the approval %v and an hour and a quarter", c, want)
	}
	if e := c.GetElapsed().AsDuration(); e != 2*time.Hour {
		t.Errorf("elapsed = %s, want 2h", e)
	}
	other := ask(r.GetPlanDigest())
	other.Reason = "another"
	_, err = h.client().ApproveRotation(as(t, "bob"), other)
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
}

func TestApproveRotation_OthersHaveNothingToContain(t *testing.T) {
	h := open(t, nil)
	resp, err := h.client().CreateRotation(as(t, "alice"), h.request())
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 1)
	_, err = h.client().ApproveRotation(as(t, "bob"), &pb.ApproveRotationRequest{
		Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Reason: "why not", Act: pb.ApprovalAct_APPROVAL_ACT_CONTAIN,
	})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if r.GetContainment() != nil {
		t.Errorf("containment = %v of what is no incident", r.GetContainment())
	}
	_, err = h.client().ApproveRotation(as(t, "bob"), &pb.ApproveRotationRequest{
		Name: "rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a99", PlanDigest: r.GetPlanDigest(), Reason: "why not",
	})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}
