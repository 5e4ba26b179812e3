package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	leafCache = 4096                // certificates kept; one more host costs one signature
	caLife    = 30 * 24 * time.Hour // by the machine's clock, which TLS goes by
	backdate  = time.Hour           // against clocks that are behind
)

// authority is a certificate authority that lives as long as the process. It
// goes by the machine's clock whatever the emulated one shows, since every TLS
// client does.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	leaf   *ecdsa.PrivateKey // one key for all leaves: they all live here
	issued *lru.Cache[string, *tls.Certificate]
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the authority: %w", err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the listener: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Crossfade emulator authority"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the authority: %w", err)
	}
	issued, err := lru.New[string, *tls.Certificate](leafCache)
	if err != nil {
		return nil, fmt.Errorf("making the cache of certificates: %w", err)
	}
	return &authority{cert: cert, key: key, leaf: leaf, issued: issued}, nil
}

// serial is a random positive number of 127 bits at most.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // It does not fail: crypto/rand ends the process first.
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b)
}

// pem is the authority's certificate as clients load it.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// certificate answers a TLS hello with a certificate for the name it asks for.
// Two hellos at once may both sign; the later one is kept.
func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if c, ok := a.issued.Get(name); ok {
		return c, nil
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Crossfade emulator"},
		NotBefore: now.Add(-backdate), NotAfter: a.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if name == "" {
		// Dialled by address: there is no name in such a hello.
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.DNSNames = []string{"localhost"}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %q: %w", name, err)
	}
	c := &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf}
	a.issued.Add(name, c)
	return c, nil
}
