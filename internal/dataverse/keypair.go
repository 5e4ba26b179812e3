package dataverse

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// parseKeyPair reads the certificate and key with which our application signs
// in: PEM with both, or PKCS#12 without a password, as it is or in base64. The
// leaf comes first. Errors say what is wrong and nothing of the content.
func parseKeyPair(file secrets.Secret) ([]*x509.Certificate, crypto.PrivateKey, error) {
	text := file.Reveal()
	var certs []*x509.Certificate
	var key any
	var err error
	if strings.Contains(text, "-----BEGIN ") {
		certs, key, err = parsePEM([]byte(text))
	} else {
		certs, key, err = parsePKCS12(text)
	}
	if err != nil {
		return nil, nil, err
	}
	pair, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("its private key is not an RSA key, which Entra's client needs")
	}
	for i, c := range certs {
		if pair.PublicKey.Equal(c.PublicKey) {
			certs[0], certs[i] = certs[i], certs[0]
			return certs, pair, nil
		}
	}
	return nil, nil, errors.New("no certificate in it belongs to its private key")
}

// parsePEM reads certificates and one private key.
func parsePEM(rest []byte) (certs []*x509.Certificate, key any, err error) {
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		switch {
		case b.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("reading a certificate in it: %w", err)
			}
			certs = append(certs, c)
		case strings.HasSuffix(b.Type, "PRIVATE KEY") && key != nil:
			return nil, nil, errors.New("it has several private keys")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			if key = parseKey(b); key == nil {
				return nil, nil, fmt.Errorf("its block %q is encrypted or malformed", b.Type)
			}
		}
	}
	switch {
	case len(certs) == 0:
		return nil, nil, errors.New("it has no certificate")
	case key == nil:
		return nil, nil, errors.New("it has no private key")
	}
	return certs, key, nil
}

// parseKey returns nil for what cannot be read: errors of these parsers are not
// made for keys to be safe in them.
func parseKey(b *pem.Block) any {
	switch b.Type {
	case "RSA PRIVATE KEY":
		if k, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
			return k
		}
	case "PRIVATE KEY":
		if k, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			return k
		}
	case "EC PRIVATE KEY":
		if k, err := x509.ParseECPrivateKey(b.Bytes); err == nil {
			return k
		}
	}
	return nil
}

// parsePKCS12 reads a PFX file.
func parsePKCS12(text string) ([]*x509.Certificate, any, error) {
	file := []byte(text)
	if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
		file = b
	}
	key, leaf, chain, err := pkcs12.DecodeChain(file, "")
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, errors.New("it has a password; give one without, the file being a secret itself")
	case err != nil:
		return nil, nil, fmt.Errorf("it is neither PEM nor PKCS#12 with a key: %w", err)
	}
	return append([]*x509.Certificate{leaf}, chain...), key, nil
}
