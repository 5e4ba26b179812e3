package identity_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// opensslFile returns a file that OpenSSL made.
func opensslFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "openssl", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func opensslCertificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(opensslFile(t, name))
	if block == nil {
		t.Fatalf("%s is no PEM", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificate_WhatOpenSSLMade(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := opensslCertificate(t, "a.pem"), opensslCertificate(t, "b.pem")
	block, _ := pem.Decode(opensslFile(t, "bob.crl"))
	lists := map[string]*identity.Lists{}
	for name, raw := range map[string][]byte{"none": opensslFile(t, "none.crl"), "bob": opensslFile(t, "bob.crl"), "bob, DER": block.Bytes} {
		l, err := identity.ParseLists(raw, []*x509.Certificate{a, b})
		if err != nil {
			t.Fatalf("ParseLists(%s) = %v", name, err)
		}
		lists[name] = l
	}
	if _, err := identity.ParseLists(opensslFile(t, "bob.crl"), []*x509.Certificate{b}); err == nil {
		t.Error("ParseLists takes a list of an authority that is not ours")
	}
	for file, want := range map[string]string{"jane.pem": "cert:jane@contoso.example", "bob.pem": "cert:spiffe://contoso.example/bob"} {
		leaf := opensslCertificate(t, file)
		roots := x509.NewCertPool()
		roots.AddCert(a)
		chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			t.Fatalf("Verify(%s) = %v", file, err)
		}
		for name, l := range lists {
			got, ok, err := identity.Certificate(state(chains[0]...), l, now)
			revoked := file == "bob.pem" && name != "none"
			if !ok || errors.Is(err, identity.ErrInvalid) != revoked || (!revoked && got.Name != want) {
				t.Errorf("Certificate(%s) with the list of %s = %+v, %t, %v, want %q and revoked: %t", file, name, got, ok, err, want, revoked)
			}
		}
	}
}
