package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Revocation says whether a certificate of a chain was taken back.
type Revocation interface {
	// Revoked returns an error if one of the chain was revoked, or if that cannot be
	// known any more.
	Revoked(chain []*x509.Certificate, now time.Time) error
}

// Certificate returns the subject of a connection's client certificate, and false
// where the connection has none. The handshake has verified the chain; it is looked at
// again here whether the certificate has ended or was revoked since, because a
// connection may live for long.
//
// The name is the first URI of the certificate, else its first e-mail address, else its
// first DNS name, else its common name. Which authorities may give such names is what
// the file of client authorities says: everything that they sign is believed.
func Certificate(state *tls.ConnectionState, revoked Revocation, now time.Time) (Subject, bool, error) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Subject{}, false, nil
	}
	chain := state.VerifiedChains[0]
	leaf := chain[0]
	for _, c := range chain {
		if now.After(c.NotAfter) {
			return Subject{}, true, fmt.Errorf("the client certificate, or one above it, ended on %s: %w", c.NotAfter.UTC().Format(time.RFC3339), ErrInvalid)
		}
	}
	if revoked != nil {
		if err := revoked.Revoked(chain, now); err != nil {
			return Subject{}, true, err
		}
	}
	name := nameOf(leaf)
	s := Subject{Name: "cert:" + name, By: ByCertificate, Expires: leaf.NotAfter}
	if name == "" || !printable(s.Name) {
		return Subject{}, true, fmt.Errorf("the client certificate has no name that can be used: want a URI, an e-mail address, a DNS name or a common name of printable ASCII: %w", ErrInvalid)
	}
	return s, true, nil
}

func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	default:
		return c.Subject.CommonName
	}
}
