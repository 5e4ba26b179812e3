package ownca_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/ownca"
)

func TestWrite_CertificatesThatFitTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	c := ownca.Config{APINames: []string{"api-1", "127.0.0.1"}, NATSNames: []string{"nats-1"}, Callers: []string{"jane", "health"}, Life: 24 * time.Hour, Now: time.Now()}
	if err := ownca.Write(dir, c); err != nil {
		t.Fatalf("Write = %v", err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, ownca.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := func(b []byte) *x509.CertPool {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(b) {
			t.Fatal("the authority's file has no certificate")
		}
		return roots
	}
	processes := pool(ca)
	b, err := os.ReadFile(filepath.Join(dir, ownca.Callers+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	callers := pool(b)
	for _, tt := range []struct {
		name, host string
		usage      x509.ExtKeyUsage
		ok         bool
		roots      *x509.CertPool
	}{
		{"jane", "", x509.ExtKeyUsageClientAuth, true, callers},
		{"health", "", x509.ExtKeyUsageClientAuth, true, callers},
		{"jane", "", x509.ExtKeyUsageServerAuth, false, callers},
		{"jane", "", x509.ExtKeyUsageClientAuth, false, processes}, // or the brokers would let callers in
		{ownca.Client, "", x509.ExtKeyUsageClientAuth, false, callers},
		{ownca.API, "api-1", x509.ExtKeyUsageServerAuth, true, processes},
		{ownca.API, "127.0.0.1", x509.ExtKeyUsageServerAuth, true, processes},
		{ownca.API, "nats-1", x509.ExtKeyUsageServerAuth, false, processes},
		{ownca.API, "", x509.ExtKeyUsageClientAuth, false, processes},
		{ownca.NATS, "nats-1", x509.ExtKeyUsageServerAuth, true, processes},
		{ownca.NATS, "nats-1", x509.ExtKeyUsageClientAuth, true, processes},
		{ownca.Client, "", x509.ExtKeyUsageClientAuth, true, processes},
		{ownca.Client, "", x509.ExtKeyUsageServerAuth, false, processes},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, tt.name+".pem"), filepath.Join(dir, tt.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: tt.roots, DNSName: tt.host, KeyUsages: []x509.ExtKeyUsage{tt.usage}})
		if (err == nil) != tt.ok {
			t.Errorf("Verify %s for %q and usage %d = %v, want it to fit: %t", tt.name, tt.host, tt.usage, err, tt.ok)
		}
		if info, err := os.Stat(filepath.Join(dir, tt.name+".key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key of %s has mode %v, %v, want 0600", tt.name, info.Mode(), err)
		}
	}
	if err := ownca.Write(dir, c); !errors.Is(err, ownca.ErrThere) {
		t.Errorf("Write again = %v, want %v", err, ownca.ErrThere)
	}
	if again, err := os.ReadFile(filepath.Join(dir, ownca.AuthorityFile)); err != nil || !bytes.Equal(ca, again) {
		t.Errorf("the authority was changed, %v", err)
	}
}

func TestWrite_CallersHaveNamesOfTheirOwn(t *testing.T) {
	for _, name := range []string{"", "ca", "api", "client", "callers", "audit", "../jane", "Jane", "a b", ".hidden"} {
		dir := t.TempDir()
		if err := ownca.Write(dir, ownca.Config{Callers: []string{name}, Life: time.Hour, Now: time.Now()}); err == nil {
			t.Errorf("Write for caller %q = nil, want an error", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("Write for caller %q left %v, %v, want nothing", name, left, err)
		}
	}
}

func TestRevoke_NamesWhoIsOutAndNobodyElse(t *testing.T) {
	dir := t.TempDir()
	if err := ownca.Write(dir, ownca.Config{Callers: []string{"jane", "mallory"}, Life: time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := ownca.Revoke(dir, []string{"mallory"}, time.Now(), time.Hour); err != nil {
		t.Fatalf("Revoke = %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, ownca.RevokedFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(name string) *x509.Certificate {
		b, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := list.CheckSignatureFrom(cert(ownca.Callers)); err != nil {
		t.Errorf("the list is not the authority's: %v", err)
	}
	if n := len(list.RevokedCertificateEntries); n != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(cert("mallory").SerialNumber) != 0 {
		t.Errorf("%d are revoked, want mallory alone", n)
	}
	if err := ownca.Revoke(dir, []string{"../jane"}, time.Now(), time.Hour); err == nil {
		t.Error("Revoke of a path = nil, want an error")
	}
	if err := ownca.Revoke(dir, []string{"nobody"}, time.Now(), time.Hour); err == nil {
		t.Error("Revoke of nobody = nil, want an error")
	}
}
