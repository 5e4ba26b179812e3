package identity

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Lists are certificate revocation lists (RFC 5280 §5), each of one authority.
type Lists struct {
	lists []list
}

type list struct {
	crl     *x509.RevocationList
	serials map[string]time.Time // of revoked certificates
}

// maxLists bounds the lists of one file.
const maxLists = 64

// ParseLists reads PEM or one DER list, each of which must be signed by one of the
// authorities.
func ParseLists(b []byte, authorities []*x509.Certificate) (*Lists, error) {
	var ders [][]byte
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("there is a PEM block %q in it; want X509 CRL only", block.Type)
		}
		ders = append(ders, block.Bytes)
	}
	if len(ders) == 0 {
		ders = [][]byte{b}
	}
	if len(ders) > maxLists {
		return nil, fmt.Errorf("there are more than %d lists", maxLists)
	}
	l := &Lists{}
	for i, der := range ders {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("list %d: is no certificate revocation list", i)
		}
		if !signed(crl, authorities) {
			return nil, fmt.Errorf("list %d, of %q: none of the client authorities signed it", i, crl.Issuer)
		}
		if crl.NextUpdate.IsZero() {
			return nil, fmt.Errorf("list %d, of %q: says not until when it holds", i, crl.Issuer)
		}
		one := list{crl: crl, serials: map[string]time.Time{}}
		for _, e := range crl.RevokedCertificateEntries {
			one.serials[e.SerialNumber.String()] = e.RevocationTime
		}
		l.lists = append(l.lists, one)
	}
	return l, nil
}

func signed(crl *x509.RevocationList, authorities []*x509.Certificate) bool {
	for _, a := range authorities {
		if crl.CheckSignatureFrom(a) == nil {
			return true
		}
	}
	return false
}

// Until is when the first of the lists ends.
func (l *Lists) Until() time.Time {
	var until time.Time
	for _, one := range l.lists {
		if until.IsZero() || one.crl.NextUpdate.Before(until) {
			until = one.crl.NextUpdate
		}
	}
	return until
}

// errOldList says that a list has ended.
var errOldList = errors.New("the revocation list has ended, so nobody knows which certificates hold")

// Revoked implements [Revocation]. The list of the authority that signed the caller's
// own certificate must be there and hold; lists of authorities above it count where
// they are there.
func (l *Lists) Revoked(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:max(len(chain)-1, 1)] {
		found := false
		for _, one := range l.lists {
			if string(one.crl.RawIssuer) != string(c.RawIssuer) {
				continue
			}
			if i+1 < len(chain) && one.crl.CheckSignatureFrom(chain[i+1]) != nil {
				continue // Of another authority with the same name.
			}
			found = true
			if now.After(one.crl.NextUpdate) {
				return fmt.Errorf("%w: %w", ErrUnavailable, errOldList)
			}
			if at, ok := one.serials[c.SerialNumber.String()]; ok {
				return fmt.Errorf("the client certificate, or one above it, was revoked on %s: %w", at.UTC().Format(time.RFC3339), ErrInvalid)
			}
		}
		if i == 0 && !found {
			return fmt.Errorf("there is no revocation list of the authority that signed the client certificate: %w", ErrInvalid)
		}
	}
	return nil
}
