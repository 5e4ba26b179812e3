package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/handover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestSaveHandovers_OnlyWhoNeedsAPersonGetsAText(t *testing.T) {
	task := func(tenant, host string, o crossfadev1.RotationTask_Outcome) *crossfadev1.RotationTask {
		return &crossfadev1.RotationTask{
			Tenant: "tenants/" + tenant, Host: host, Identity: "crm9.dynamics.com", Outcome: o,
			Reason:    crossfadev1.RotationTask_REASON_NO_ACCESS,
			Endpoints: []*crossfadev1.TaskEndpoint{{Name: "tenants/" + tenant + "/endpoints/e-" + tenant}},
		}
	}
	r := &report{rotation: &crossfadev1.Rotation{Name: "rotations/r1"}, byTenant: map[string][]*crossfadev1.RotationTask{
		"contoso":  {task("contoso", "contoso-sb.example", crossfadev1.RotationTask_OUTCOME_HANDED_OVER)},
		"fabrikam": {task("fabrikam", "fabrikam-sb.example", crossfadev1.RotationTask_OUTCOME_SUCCEEDED)},
	}}
	now := timestamppb.New(time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC))
	cert := &crossfadev1.Certificate{Name: "certificates/cd34", Sha1Thumbprint: "AB12", Der: []byte{1}, NotBeforeTime: now, NotAfterTime: now}
	dir, out := t.TempDir(), &bytes.Buffer{}
	a := &app{out: out}
	if err := a.saveHandovers(r, cert, dir, ""); err != nil {
		t.Fatalf("saveHandovers() = %v, want nil", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "contoso.md")) //nolint:gosec // A folder of this test.
	if err != nil || !strings.Contains(string(text), "https://contoso-sb.example/") || !strings.Contains(string(text), "`AB12`") || strings.Contains(string(text), "fabrikam") {
		t.Errorf("contoso.md = %q, %v, want contoso's namespace and the thumbprint only", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "fabrikam.md")); !os.IsNotExist(err) {
		t.Errorf("Stat(fabrikam.md) = %v, want that it is not there", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "new.pem")); err != nil || !strings.Contains(string(got), "BEGIN CERTIFICATE") { //nolint:gosec // As above.
		t.Errorf("new.pem = %q, %v, want a certificate", got, err)
	}
	if err := a.saveHandovers(r, cert, dir, "fabrikam"); err == nil {
		t.Error("saveHandovers(fabrikam) = nil, want an error: nothing of it needs a person")
	}
}

func TestSaveHandovers_NobodyIsAskedToAddABlockedCertificate(t *testing.T) {
	r := &report{rotation: &crossfadev1.Rotation{Name: "rotations/r1"}, byTenant: map[string][]*crossfadev1.RotationTask{
		"contoso": {{Tenant: "tenants/contoso", Outcome: crossfadev1.RotationTask_OUTCOME_HANDED_OVER, Reason: crossfadev1.RotationTask_REASON_NO_ACCESS}},
		"zulu":    {{Tenant: "tenants/zulu", Outcome: crossfadev1.RotationTask_OUTCOME_FAILED, Reason: crossfadev1.RotationTask_REASON_BLOCKED}},
	}}
	dir := filepath.Join(t.TempDir(), "out")
	a := &app{out: &bytes.Buffer{}}
	if err := a.saveHandovers(r, &crossfadev1.Certificate{}, dir, "contoso"); !errors.Is(err, handover.ErrBlocked) {
		t.Errorf("saveHandovers() = %v, want ErrBlocked", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Stat(%s) = %v, want that nothing was written", dir, err)
	}
}

func TestHandoverLetter_TakesTheRotationsInstants(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2016, 11, day, 1, 0, 0, 0, time.UTC) }
	r := &crossfadev1.Rotation{Name: "rotations/r1", Spec: &crossfadev1.RotationSpec{
		Schedule: &crossfadev1.Schedule{StageDeadline: timestamppb.New(at(3))}, RetireNotBefore: timestamppb.New(at(5)),
	}}
	got := handoverLetter(r, &crossfadev1.Certificate{}, tenantReport{id: "contoso"}, at(1))
	if !got.StageDeadline.Equal(at(3)) || !got.RetireNotBefore.Equal(at(5)) || !got.Now.Equal(at(1)) || got.Retires {
		t.Errorf("handoverLetter() = %+v, want the deadline of day 3, day 5, written on day 1, nothing retired", got)
	}
	r.Spec.Replaces = []string{"ab"}
	if got := handoverLetter(r, &crossfadev1.Certificate{}, tenantReport{id: "contoso"}, at(1)); !got.Retires {
		t.Error("handoverLetter().Retires with a replaced certificate = false, want true")
	}
	r.Spec.Replaces, r.Spec.ReplacesSameSubject = nil, true
	if got := handoverLetter(r, &crossfadev1.Certificate{}, tenantReport{id: "contoso"}, at(1)); !got.Retires {
		t.Error("handoverLetter().Retires with the same subject = false, want true")
	}
}
