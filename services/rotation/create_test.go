package rotation_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

const requestID = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"

func (h *house) count(t *testing.T) int {
	t.Helper()
	resp, err := h.clients[0].ListRotations(t.Context(), &pb.ListRotationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.GetRotations())
}

func TestCreateRotation_FillsInTheDefaults(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	if _, ok := edge.ParseRotation(r.GetName()); !ok || r.GetState() != pb.Rotation_STATE_PLANNING || r.GetTenantCount() != 3 || r.GetEtag() == "" {
		t.Errorf("CreateRotation = %v, want PLANNING for three tenants", r)
	}
	s := r.GetSpec()
	if want := h.cert.NotBefore.Add(24 * time.Hour); !s.GetRetireNotBefore().AsTime().Equal(want) {
		t.Errorf("retire_not_before = %s, want a day after the certificate's begin, %s", s.GetRetireNotBefore().AsTime(), want)
	}
	if tol := s.GetTolerance(); tol.GetPercent() != 10 || tol.GetMode() != pb.Tolerance_MODE_STRICT {
		t.Errorf("tolerance = %v, want 10 percent, strict", tol)
	}
	if got := s.GetStrategy(); got.GetStart() != pb.Strategy_START_SLOW || len(got.GetWaves()) != 0 || got.GetBakeTime() != nil {
		t.Errorf("strategy = %v, want a slow start", got)
	}
	if s.GetMaxInFlight() != 256 || s.GetMaxTries() != 5 || s.GetRetirePolicy() != pb.RotationSpec_RETIRE_POLICY_AUTOMATIC {
		t.Errorf("spec = %v, want the defaults of the contract", s)
	}
	if got := h.get(t, r.GetName()); !proto.Equal(got, r) {
		t.Errorf("GetRotation = %v\nwant %v", got, r)
	}
}

func TestCreateRotation_SameRequestIDGivesTheSameRotation(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.RequestId = requestID
	names := make([]string, 16)
	var wg sync.WaitGroup
	for i := range names { // At once, and at two servers.
		wg.Go(func() {
			resp, err := h.clients[i%2].CreateRotation(t.Context(), req)
			if err != nil {
				t.Errorf("CreateRotation %d = %v", i, err)
				return
			}
			names[i] = resp.GetRotation().GetName()
		})
	}
	wg.Wait()
	for _, n := range names {
		if n != names[0] {
			t.Errorf("the same request gave %s and %s", names[0], n)
		}
	}
	if n := h.count(t); n != 1 {
		t.Errorf("there are %d rotations, want 1", n)
	}
	planned := h.plan(t, names[0], 2)
	req.RequestId = strings.ToUpper(requestID)
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil || !proto.Equal(resp.GetRotation(), planned) {
		t.Errorf("CreateRotation again = %v, %v, want the rotation as it is now", resp, err)
	}
	req.Rotation.DisplayName = "December"
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
}

// The first call dies between noting the request and creating the rotation, or
// after creating it; the repeat finishes or finds it.
func TestCreateRotation_RepeatFinishesWhatWasCutOff(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.RequestId = requestID
	h.store.loseNext(1)
	_, err := h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	h.clock.set(rollovertest.Epoch.AddDate(3, 0, 0)) // The certificate has expired; the rotation is there.
	resp, err := h.clients[1].CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatalf("CreateRotation again = %v", err)
	}
	if n := h.count(t); n != 1 || resp.GetRotation().GetName() == "" {
		t.Errorf("%d rotations, answer %v, want one", n, resp)
	}
}

func TestCreateRotation_ValidateOnlyStoresNothing(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.ValidateOnly, req.RequestId = true, requestID
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetName() != "" || resp.GetRotation().GetTenantCount() != 3 {
		t.Errorf("CreateRotation(validate_only) = %v, %v, want three tenants and no name", resp, err)
	}
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
	req.ValidateOnly = false
	if _, err := h.client().CreateRotation(t.Context(), req); err != nil {
		t.Errorf("CreateRotation after validate_only with its id = %v", err)
	}
}

func TestCreateRotation_Refuses(t *testing.T) {
	h := open(t, nil)
	weak := certificate(t, rollovertest.Epoch.AddDate(-2, 0, 0), rollovertest.Epoch.AddDate(-1, 0, 0))
	if _, err := h.certs.Add(t.Context(), weak); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil  func(s *pb.RotationSpec)
		code   codes.Code
		reason string
	}{
		"an unknown kind":        {func(s *pb.RotationSpec) { s.Kind = "ssh" }, codes.InvalidArgument, "UNKNOWN_KIND"},
		"an unknown certificate": {func(s *pb.RotationSpec) { s.Certificate = "certificates/" + strings.Repeat("0", 64) }, codes.NotFound, "NOT_FOUND"},
		"an expired certificate": {func(s *pb.RotationSpec) { s.Certificate = "certificates/" + weak.SHA256 }, codes.FailedPrecondition, "CERTIFICATE_UNUSABLE"},
		"an unknown tenant": {func(s *pb.RotationSpec) {
			s.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_Tenants{Tenants: &pb.TenantNames{Names: []string{"tenants/contoso", "tenants/nobody"}}}}
		}, codes.NotFound, "NOT_FOUND"},
		"an instant before the certificate is valid": {func(s *pb.RotationSpec) {
			s.RetireNotBefore = timestamppb.New(h.cert.NotBefore.Add(-time.Second))
		}, codes.InvalidArgument, "INVALID_FIELDS"},
		"an instant after it ends": {func(s *pb.RotationSpec) {
			s.RetireNotBefore = timestamppb.New(h.cert.NotAfter)
		}, codes.InvalidArgument, "INVALID_FIELDS"},
		"a thumbprint that is none":    {func(s *pb.RotationSpec) { s.Replaces = []string{"xyz"} }, codes.InvalidArgument, "INVALID_FIELDS"},
		"to replace the new one":       {func(s *pb.RotationSpec) { s.Replaces = []string{h.cert.SHA1} }, codes.InvalidArgument, "INVALID_FIELDS"},
		"a field that is out of range": {func(s *pb.RotationSpec) { s.MaxTries = 99 }, codes.InvalidArgument, "INVALID_FIELDS"},
	} {
		req := h.request()
		c.spoil(req.GetRotation().GetSpec())
		_, err := h.client().CreateRotation(t.Context(), req)
		info := refused(t, err, c.code, c.reason)
		if c.reason == "UNKNOWN_KIND" && info.GetMetadata()["kinds"] != "acs-x509" {
			t.Errorf("%s: metadata is %v, want the known kinds", name, info.GetMetadata())
		}
		if name == "an unknown tenant" && info.GetMetadata()["missing"] != "tenants/nobody" {
			t.Errorf("%s: metadata is %v, want the missing tenant", name, info.GetMetadata())
		}
	}
	if n := h.count(t); n != 0 {
		t.Errorf("there are %d rotations, want none", n)
	}
}
