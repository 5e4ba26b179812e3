package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// authority signs client certificates and lists of revoked ones.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string, above *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(100), Subject: pkix.Name{CommonName: name}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, by := tmpl, key
	if above != nil {
		parent, by = above.cert, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) issue(t *testing.T, serial int64, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "portal"}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(24 * time.Hour),
	}
	if change != nil {
		change(tmpl)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) list(t *testing.T, until time.Time, serials ...int64) []byte {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: noon.Add(-time.Hour), NextUpdate: until}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: noon})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func state(chain ...*x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}
}

func TestCertificate_ItsName(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	u, err := url.Parse("spiffe://contoso.example/portal")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*x509.Certificate){
		"cert:portal": nil,
		"cert:portal.contoso.example": func(c *x509.Certificate) {
			c.DNSNames = []string{"portal.contoso.example"}
		},
		"cert:jane@contoso.example": func(c *x509.Certificate) {
			c.EmailAddresses, c.DNSNames = []string{"jane@contoso.example"}, []string{"x.example"}
		},
		"cert:spiffe://contoso.example/portal": func(c *x509.Certificate) {
			c.URIs, c.EmailAddresses = []*url.URL{u}, []string{"jane@contoso.example"}
		},
		"": func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"Contoso"}} },
	} {
		leaf := ca.issue(t, 1, change)
		got, ok, err := identity.Certificate(state(leaf, ca.cert), nil, noon)
		if got.Name != want || !ok || (err == nil) != (want != "") || len(got.Groups) > 0 {
			t.Errorf("Certificate = %+v, %t, %v, want %q", got, ok, err, want)
		}
	}
	leaf := ca.issue(t, 2, func(c *x509.Certificate) { c.Subject.CommonName = "zoë" })
	if got, ok, err := identity.Certificate(state(leaf, ca.cert), nil, noon); !ok || !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("Certificate = %+v, %t, %v for a name that is not ASCII", got, ok, err)
	}
}

func TestCertificate_WithoutOneThereIsNobody(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	leaf := ca.issue(t, 1, nil)
	for name, s := range map[string]*tls.ConnectionState{
		"no TLS": nil, "none sent": {}, "sent and not verified": {PeerCertificates: []*x509.Certificate{leaf}},
	} {
		if got, ok, err := identity.Certificate(s, nil, noon); ok || err != nil || got.Name != "" {
			t.Errorf("%s: Certificate = %+v, %t, %v", name, got, ok, err)
		}
	}
}

// A connection lives on when its certificate has ended.
func TestCertificate_EndsWhileConnected(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	leaf := ca.issue(t, 1, nil)
	_, _, err := identity.Certificate(state(leaf, ca.cert), nil, noon.Add(25*time.Hour))
	if !errors.Is(err, identity.ErrInvalid) || !strings.Contains(err.Error(), "ended on 2016-11-02") {
		t.Errorf("Certificate = %v", err)
	}
}

func TestLists_WhatIsRevoked(t *testing.T) {
	root := newAuthority(t, "root", nil)
	mid := newAuthority(t, "mid", root)
	namesake := newAuthority(t, "mid", root)
	leaf, other := mid.issue(t, 1, nil), mid.issue(t, 2, nil)
	until := noon.Add(time.Hour)
	read := func(b ...byte) *identity.Lists {
		t.Helper()
		l, err := identity.ParseLists(b, []*x509.Certificate{root.cert, mid.cert, namesake.cert})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	of := func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c, mid.cert, root.cert} }
	both := append(mid.list(t, until, 1), root.list(t, until)...)
	for name, tt := range map[string]struct {
		lists *identity.Lists
		chain []*x509.Certificate
		at    time.Time
		want  error
	}{
		"revoked":                  {read(both...), of(leaf), noon, identity.ErrInvalid},
		"another":                  {read(both...), of(other), noon, nil},
		"authority revoked":        {read(append(mid.list(t, until), root.list(t, until, 100)...)...), of(other), noon, identity.ErrInvalid},
		"without the root's list":  {read(mid.list(t, until)...), of(leaf), noon, nil},
		"without its own list":     {read(root.list(t, until)...), of(leaf), noon, identity.ErrInvalid},
		"list of a namesake":       {read(namesake.list(t, until)...), of(leaf), noon, identity.ErrInvalid},
		"list has ended":           {read(mid.list(t, until)...), of(leaf), until.Add(time.Second), identity.ErrUnavailable},
		"revoked by the namesake":  {read(append(mid.list(t, until), namesake.list(t, until, 1)...)...), of(leaf), noon, nil},
		"leaf of the root, signed": {read(root.list(t, until)...), []*x509.Certificate{root.issue(t, 5, nil), root.cert}, noon, nil},
	} {
		_, ok, err := identity.Certificate(state(tt.chain...), tt.lists, tt.at)
		if !ok || !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
			t.Errorf("%s: Certificate = %t, %v, want %v", name, ok, err, tt.want)
		}
	}
	if got := read(append(mid.list(t, until.Add(time.Hour)), root.list(t, until)...)...).Until(); !got.Equal(until) {
		t.Errorf("Until = %s, want %s", got, until)
	}
}

func TestParseLists_OnlyOfOurAuthorities(t *testing.T) {
	ca, stranger := newAuthority(t, "clients", nil), newAuthority(t, "clients", nil)
	der, _ := pem.Decode(ca.list(t, noon))
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"PEM":          {ca.list(t, noon), ""},
		"DER":          {der.Bytes, ""},
		"a stranger's": {stranger.list(t, noon), "none of the client authorities"},
		"no list":      {[]byte("nothing"), "is no certificate revocation list"},
		"a certificate": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}),
			"want X509 CRL only"},
	} {
		_, err := identity.ParseLists(tt.b, []*x509.Certificate{ca.cert})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: ParseLists = %v, want %q", name, err, tt.want)
		}
	}
}
