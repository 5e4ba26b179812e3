// Package certs reads certificate files as people hand them in, judges what it
// finds, and keeps certificates by their content. It takes public certificates
// only: a file with a private key in it is refused by name and wiped.
//
// The rules are those of reference/dataverse-sas-entra.md, section 9.
package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Certificate is a public certificate with what people and the rules ask of it.
// Everything but Chain is derived from the credential's DER bytes.
type Certificate struct {
	rollover.Credential          // with its bytes
	Issuer              string   // RFC 2253 text, for people
	Serial              string   // lower-case hex, no separators, no leading zeros
	KeyAlgorithm        string   // "RSA", "ECDSA", "Ed25519", or as x509 calls it
	KeyBits             int      // size of the public key; 0 where that is not known
	SPKI                string   // lower-case hex of SHA-256 over the SubjectPublicKeyInfo: names the key
	Names               []string // subject alternative names: DNS, mail, IP, URI
	Chain               [][]byte // DER of the file's other certificates, issuers first
}

// FromDER returns the certificate that der is, without a chain. der is copied.
func FromDER(der []byte) (Certificate, error) {
	x, err := parse(der)
	if err != nil {
		return Certificate{}, err
	}
	return describe(x, nil)
}

// describe fills in a Certificate from its parsed form.
func describe(x *x509.Certificate, chain [][]byte) (Certificate, error) {
	cred, err := rollover.FromDER(slices.Clone(x.Raw))
	if err != nil {
		return Certificate{}, err
	}
	spki := sha256.Sum256(x.RawSubjectPublicKeyInfo)
	c := Certificate{
		Credential:   cred,
		Issuer:       x.Issuer.String(),
		Serial:       x.SerialNumber.Text(16),
		KeyAlgorithm: x.PublicKeyAlgorithm.String(),
		SPKI:         hex.EncodeToString(spki[:]),
		Names:        names(x),
		Chain:        chain,
	}
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey:
		c.KeyBits = k.N.BitLen()
	case *ecdsa.PublicKey:
		c.KeyBits = k.Curve.Params().BitSize
	case ed25519.PublicKey:
		c.KeyBits = len(k) * 8
	}
	return c, nil
}

// names returns the subject alternative names, in the order of their kinds.
func names(x *x509.Certificate) []string {
	out := slices.Concat(x.DNSNames, x.EmailAddresses)
	for _, ip := range x.IPAddresses {
		out = append(out, ip.String())
	}
	for _, u := range x.URIs {
		out = append(out, u.String())
	}
	return out
}

// clone returns c with memory of its own, so that no holder can change what
// another sees.
func (c Certificate) clone() Certificate {
	c.DER = slices.Clone(c.DER)
	c.Names = slices.Clone(c.Names)
	c.Chain = slices.Clone(c.Chain)
	for i, der := range c.Chain {
		c.Chain[i] = slices.Clone(der)
	}
	return c
}

// label names a certificate in an error: its subject and its thumbprint.
func label(x *x509.Certificate) string {
	c, err := rollover.FromDER(x.Raw)
	if err != nil {
		return c.SHA1
	}
	return fmt.Sprintf("%q (thumbprint %s)", c.Subject, c.SHA1)
}
