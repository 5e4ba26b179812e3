package main

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

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/daemon"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// estate is a castle with tenants: emea-1 and emea-2, which corp:emea may see, and
// apac-1, which it may not; and a certificate.
type estate struct {
	*castle
	conn        *grpc.ClientConn
	admin, emea context.Context
	certificate string
}

func openEstate(t *testing.T, adjust ...func(*daemon.Config)) *estate {
	t.Helper()
	e := &estate{castle: openCastle(t, adjust...)}
	e.conn = e.castle.conn(t, nil)
	e.admin, e.emea = e.as(t, "root", "admins"), e.as(t, "emea")
	resp, err := e.inventory().ImportTenants(e.admin, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{
		tenantOf("emea-1", "emea"), tenantOf("emea-2", "emea"), tenantOf("apac-1", "apac"),
	}})
	if err != nil || resp.GetCreatedCount() != 3 {
		t.Fatalf("ImportTenants = %v, %v", resp, err)
	}
	sender := newSender(t)
	up, err := crossfadev1.NewCertificateServiceClient(e.conn).UploadCertificate(e.admin, &crossfadev1.UploadCertificateRequest{Content: sender.DER})
	if err != nil {
		t.Fatal(err)
	}
	e.certificate = up.GetCertificate().GetName()
	return e
}

// as returns the context of a subject's calls.
func (e *estate) as(t *testing.T, sub string, groups ...string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+e.issuer.token(t, sub, groups...))
}

func (e *estate) inventory() crossfadev1.InventoryServiceClient {
	return crossfadev1.NewInventoryServiceClient(e.conn)
}

func (e *estate) rotations() crossfadev1.RotationServiceClient {
	return crossfadev1.NewRotationServiceClient(e.conn)
}

func tenantOf(id, region string) *crossfadev1.Tenant {
	return &crossfadev1.Tenant{
		Name: "tenants/" + id, Organization: "https://" + id + ".crm4.dynamics.com", EntraTenant: id + ".example.com", Labels: map[string]string{"region": region},
		Login: &crossfadev1.Login{ClientId: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Secret: "env:CROSSFADE_SECRET_OF_" + strings.ToUpper(region)},
	}
}

// move gives a tenant to another region.
func (e *estate) move(t *testing.T, id, region string) {
	t.Helper()
	resp, err := e.inventory().ImportTenants(e.admin, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{tenantOf(id, region)}})
	if err != nil || resp.GetFailedCount() != 0 {
		t.Fatalf("ImportTenants = %v, %v", resp, err)
	}
}

// rotate creates a rotation.
func (e *estate) rotate(ctx context.Context, target *crossfadev1.TargetSelector) (*crossfadev1.Rotation, error) {
	resp, err := e.rotations().CreateRotation(ctx, &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{
		DisplayName: "for apac-1", Spec: &crossfadev1.RotationSpec{Kind: "acs-x509", Certificate: e.certificate, Target: target},
	}})
	return resp.GetRotation(), err
}

func named(ids ...string) *crossfadev1.TargetSelector {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = "tenants/" + id
	}
	return &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_Tenants{Tenants: &crossfadev1.TenantNames{Names: names}}}
}

// same says whether two errors are told in the same words, but for the names in them.
func same(a, b error, nameA, nameB string) bool {
	x, y := status.Convert(a).Proto(), status.Convert(b).Proto()
	x.Details, y.Details = x.GetDetails()[:0], y.GetDetails()[:0]
	x.Message = strings.ReplaceAll(x.GetMessage(), nameA, nameB)
	return proto.Equal(x, y)
}

func second[T any](_ T, err error) error { return err }

// newSender returns a certificate that rotations can be made for.
func newSender(t *testing.T) certs.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
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
	return c
}
