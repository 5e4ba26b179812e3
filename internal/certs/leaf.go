package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// unique returns certs without repetitions.
func unique(certs []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, x := range certs {
		if !slices.ContainsFunc(out, func(y *x509.Certificate) bool { return bytes.Equal(x.Raw, y.Raw) }) {
			out = append(out, x)
		}
	}
	return out
}

// chooseLeaf returns the certificate that a file is about, and the rest with the
// leaf's issuers first. A file with one certificate is about that one, also if
// it is an authority's: `openssl req -x509` marks what it signs itself as such.
func chooseLeaf(certs []*x509.Certificate) (*x509.Certificate, [][]byte, error) {
	switch len(certs) {
	case 0:
		return nil, nil, ErrNoCertificate
	case 1:
		return certs[0], nil, nil
	}
	var candidates []*x509.Certificate
	for _, x := range certs {
		if !x.IsCA && !slices.ContainsFunc(certs, func(y *x509.Certificate) bool { return x != y && issued(x, y) }) {
			candidates = append(candidates, x)
		}
	}
	if len(candidates) != 1 {
		shown := candidates
		if len(shown) == 0 {
			shown = certs
		}
		lines := make([]string, len(shown))
		for i, x := range shown {
			lines[i] = label(x)
		}
		return nil, nil, fmt.Errorf("%w: %s", ErrAmbiguous, strings.Join(lines, ", "))
	}
	return candidates[0], chainOf(candidates[0], certs), nil
}

// chainOf returns all of certs but leaf: first those that lead from it upwards,
// then the others in their order.
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) [][]byte {
	var chain [][]byte
	left := slices.DeleteFunc(slices.Clone(certs), func(x *x509.Certificate) bool { return x == leaf })
	for at := leaf; ; {
		i := slices.IndexFunc(left, func(x *x509.Certificate) bool { return issued(x, at) })
		if i < 0 {
			break
		}
		at = left[i]
		chain = append(chain, slices.Clone(at.Raw))
		left = slices.Delete(left, i, i+1)
	}
	for _, x := range left {
		chain = append(chain, slices.Clone(x.Raw))
	}
	return chain
}

// issued reports whether a signed b. Where the signature's algorithm is too old
// to be checked, the names decide.
func issued(a, b *x509.Certificate) bool {
	if !bytes.Equal(a.RawSubject, b.RawIssuer) {
		return false
	}
	err := a.CheckSignature(b.SignatureAlgorithm, b.RawTBSCertificate, b.Signature)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}
