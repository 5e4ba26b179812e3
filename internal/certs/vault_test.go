package certs_test

import (
	"errors"
	"testing"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

// What was kept is found by another process, byte for byte, and is in no list.
func TestVault_KeepsForGoodAndListsNothing(t *testing.T) {
	bucket := tenantstest.NewBucket()
	s := certs.NewStore(bucket)
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	for range 2 {
		if err := s.Vault().Keep(t.Context(), c); err != nil {
			t.Fatalf("Keep = %v", err)
		}
	}
	other := certs.NewStore(bucket)
	got, err := other.Vault().Kept(t.Context(), c.SHA256)
	if err != nil || string(got.DER) != string(c.DER) || got.SHA256 != c.SHA256 || !got.NotAfter.Equal(c.NotAfter) {
		t.Errorf("Kept = %+v, %v, want what was kept", got, err)
	}
	if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %d certificates, %v, want none", len(list), err)
	}
	if _, err := other.Vault().Kept(t.Context(), "00"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Kept of another = %v, want ErrNotFound", err)
	}
}

func TestVault_RefusesWhatIsNoCertificate(t *testing.T) {
	s := certs.NewStore(tenantstest.NewBucket())
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	for name, bad := range map[string]rollover.Credential{
		"other bytes":    {SHA256: "ab", DER: c.DER},
		"no certificate": {SHA256: c.SHA256, DER: []byte("-----BEGIN PRIVATE KEY-----")},
		"no bytes":       c.Named(),
	} {
		if err := s.Vault().Keep(t.Context(), bad); err == nil {
			t.Errorf("Keep with %s = nil, want an error", name)
		}
	}
}
