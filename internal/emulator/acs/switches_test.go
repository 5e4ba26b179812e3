package acs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

func TestSwitches_OfHeadersAndFormats(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{Challenge: true, ServerHeader: true, NoJSON: true}})
	if r := b.call("GET", "Issuers", "", "Authorization: "); r.status != 401 || r.header.Get("WWW-Authenticate") != "WRAP" {
		t.Errorf("without a token = %d %v, want a challenge", r.status, r.header)
	}
	if r := b.call("GET", "Issuers", ""); r.header.Get("Server") != "Microsoft-IIS/7.5" {
		t.Errorf("Server = %q", r.header.Get("Server"))
	}
	if r := b.call("GET", "Issuers", "", "Accept: application/json"); r.status != 415 {
		t.Errorf("a wish for JSON = %d, want 415", r.status)
	}
	if r := b.call("POST", "Issuers", `{"Name":"x"}`, "Content-Type: application/json"); r.status != 415 {
		t.Errorf("a body in JSON = %d, want 415", r.status)
	}
}

func TestManagementCounts_TakesFromTheBucket(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{TokenRate: 0.05, ManagementCounts: true}})
	b.login()
	for _, want := range []int{200, 200, 429} {
		if r := b.call("GET", "Issuers", ""); r.status != want {
			t.Errorf("a management call = %d, want %d", r.status, want)
		}
	}
}

func TestAnyAudience_TakesAnotherACS(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{AnyAudience: true}})
	if r := b.saml(b.old.assertion(t, claimed{crm, "https://" + plain + "/", day()})); r.status != 200 {
		t.Errorf("another audience = %d %s", r.status, r.body)
	}
}

func TestKeySkew_WidensBothEnds(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{KeySkew: time.Minute}})
	at := day()
	if err := b.s.SetKeys(host, crm, []acs.Key{
		{Usage: "Password", Type: "Password", Value: []byte("early"), Start: at.Add(time.Minute), End: at.Add(time.Hour)},
		{Usage: "Password", Type: "Password", Value: []byte("too early"), Start: at.Add(61 * time.Second), End: at.Add(time.Hour)},
		{Usage: "Password", Type: "Password", Value: []byte("late"), Start: at.Add(-time.Hour), End: at.Add(-59 * time.Second)},
		{Usage: "Password", Type: "Password", Value: []byte("too late"), Start: at.Add(-time.Hour), End: at.Add(-time.Minute)},
	}); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]int{"early": 200, "too early": 401, "late": 200, "too late": 401} {
		if r := b.form("/WRAPv0.9", "wrap_name", crm, "wrap_password", secret, "wrap_scope", realm); r.status != want {
			t.Errorf("the %s key = %d, want %d", secret, r.status, want)
		}
	}
}

// issue makes a certificate under another one.
func issue(t *testing.T, subject string, pub any, parent *x509.Certificate, by any) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: subject}, BasicConstraintsValid: true, IsCA: parent == nil,
		NotBefore: day().AddDate(-1, 0, 0), NotAfter: day().AddDate(1, 0, 0)}
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestChain_WantsATrustedRoot(t *testing.T) {
	ca := newSigner(t, day(), day().AddDate(1, 0, 0))
	ca.der = issue(t, "Root Agency", &ca.key.PublicKey, nil, ca.key)
	root, err := x509.ParseCertificate(ca.der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := newSigner(t, day(), day().AddDate(1, 0, 0))
	leaf.der = issue(t, crm, &leaf.key.PublicKey, root, ca.key)
	for _, tt := range []struct {
		name  string
		roots [][]byte
		want  int
	}{{"a trusted root", [][]byte{ca.der}, 200}, {"no trusted root", nil, 401}} {
		b := newBench(t, acs.Config{Switches: acs.Switches{Chain: true, Roots: tt.roots}})
		if err := b.s.SetKeys(host, crm, []acs.Key{{Usage: "Signing", Type: "X509Certificate", Value: leaf.der}}); err != nil {
			t.Fatal(err)
		}
		r := b.saml(leaf.assertion(t, usual(day())))
		if r.status != tt.want || (tt.want == 401) != strings.Contains(r.body, "ACS50017: The certificate with subject 'CN="+crm+"' and issuer 'CN=Root Agency' failed validation") {
			t.Errorf("%s = %d %s, want %d", tt.name, r.status, r.body, tt.want)
		}
	}
}

// TestKeys_OfOtherAlgorithms: an EC certificate is stored and never lets in;
// a short RSA key and SHA-1 do, as in 2016 (D15).
func TestKeys_OfOtherAlgorithms(t *testing.T) {
	b := newBench(t, acs.Config{})
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := issue(t, crm, &ec.PublicKey, nil, ec)
	id := b.identityID()
	r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(signer{der: der}))
	if r.status != 201 {
		t.Fatalf("adding an EC certificate = %d %s", r.status, r.body)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromString(regexpSignature(b.old.assertion(t, usual(day())))); err != nil {
		t.Fatal(err)
	}
	ctx, err := dsig.NewSigningContext(ec, [][]byte{der})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signed, err := ctx.SignEnveloped(doc.Root())
	if err != nil {
		t.Fatal(err)
	}
	out := etree.NewDocument()
	out.SetRoot(signed)
	text, err := out.WriteToString()
	if err != nil {
		t.Fatal(err)
	}
	if r := b.saml(text); r.status != 401 || !strings.Contains(r.body, "ACS50006") {
		t.Errorf("signing in with EC = %d %s", r.status, r.body)
	}

	short := signer{from: day().AddDate(-1, 0, 0), to: day().AddDate(1, 0, 0)}
	if short.key, err = rsa.GenerateKey(rand.Reader, 1024); err != nil {
		t.Fatal(err)
	}
	short.der = certificate(t, short.key, short.from, short.to)
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(short)); r.status != 201 {
		t.Fatalf("adding a short key = %d %s", r.status, r.body)
	}
	if r := b.saml(short.assertion(t, usual(day()))); r.status != 200 {
		t.Errorf("signing in with a short key = %d %s", r.status, r.body)
	}
}

// TestForeignKeys_ReadBackAsTheyWere reads the values of a password and a
// symmetric key, which the service gave out, before and after a write nearby.
func TestForeignKeys_ReadBackAsTheyWere(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	raw := func() string {
		var all strings.Builder
		for _, k := range b.s.Identity(host, crm)[:3] {
			r := b.call("GET", fmt.Sprintf("ServiceIdentityKeys(%dL)/Value/$value", k.ID), "")
			all.WriteString(r.body + "|" + b.call("GET", fmt.Sprintf("ServiceIdentityKeys(%dL)", k.ID), "").header.Get("ETag") + "\n")
		}
		return all.String()
	}
	before := raw()
	if !strings.Contains(before, "pass & word|") || !strings.Contains(before, string(bytes.Repeat([]byte{7}, 32))) {
		t.Fatalf("the values read %q", before)
	}
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(next2016(t))); r.status != 201 {
		t.Fatal(r.body)
	}
	if after := raw(); after != before {
		t.Errorf("the values read %q, before %q", after, before)
	}
}
