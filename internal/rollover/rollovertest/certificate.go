package rollovertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Epoch is where the clocks of tests begin: the deadline of KB 3200643.
var Epoch = time.Date(2016, 11, 1, 1, 0, 0, 0, time.UTC)

// Certificate returns a self-signed certificate for a subject such as
// "CN=crm.dynamics.com", valid between the two instants (whole seconds), and its
// key. It is an elliptic one because those are made fast; no rule looks at it.
func Certificate(t testing.TB, subject string, from, to time.Time) (rollover.Credential, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, NotBefore: from, NotAfter: to,
		Subject: pkix.Name{CommonName: strings.TrimPrefix(subject, "CN=")},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rollover.FromDER(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}
