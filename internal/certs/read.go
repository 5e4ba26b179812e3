package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/smallstep/pkcs7"
)

// MaxFile bounds a certificate file: 64 KiB. Certificates are of one or two.
const MaxFile = 64 << 10

// maxCertificates bounds how many certificates one file may hold.
const maxCertificates = 32

var (
	// ErrPrivateKey says that a file holds a private key. It was wiped from
	// memory and is stored nowhere; the text before it names its form.
	ErrPrivateKey = errors.New("the file holds a private key: hand in the public certificate alone (.cer), and think of the key as exposed")
	// ErrTooLarge says that a file is longer than [MaxFile].
	ErrTooLarge = errors.New("certificate file is larger than 64 KiB")
	// ErrNoCertificate says that a file holds no certificate in a form we know.
	ErrNoCertificate = errors.New("no certificate found: want DER, PEM, PKCS#7 (.p7b) or base64")
	// errNotDER says that bytes are nothing that begins as a certificate does.
	errNotDER = fmt.Errorf("%w", ErrNoCertificate)
	// ErrAmbiguous says that a file holds several certificates and none of them
	// is plainly the one that is meant.
	ErrAmbiguous = errors.New("several certificates and no single end certificate among them: hand in a file with just one")
	// ErrNegativeSerial says that a certificate has a negative serial number.
	// RFC 5280, section 4.1.2.2, forbids it, and Go does not parse it unless the
	// process runs with GODEBUG=x509negativeserial=1.
	ErrNegativeSerial = errors.New("the serial number is negative, which RFC 5280 forbids; have it issued anew, or run with GODEBUG=x509negativeserial=1")
)

// Read finds the certificate in a file: DER, PEM, PKCS#7 as DER or PEM, bare
// base64 of any of them, each also in UTF-8 with a byte order mark or in UTF-16.
// Of several certificates it takes the one that is no authority and issued none
// of the others; the others become its Chain.
//
// A file with a private key gives [ErrPrivateKey], and then data is overwritten
// with zeros. Other errors wrap [ErrTooLarge], [ErrNoCertificate],
// [ErrAmbiguous], [ErrNegativeSerial] or what x509 said. No error repeats the
// file's content but the subjects and thumbprints of certificates.
func Read(data []byte) (Certificate, error) {
	if len(data) > MaxFile {
		// Too long to be looked at whole, yet it may well be a bundle with its
		// key: what can be told from the start is told.
		if form := keyFile(data); form != "" {
			clear(data)
			return Certificate{}, fmt.Errorf("%s: %w", form, ErrPrivateKey)
		}
		return Certificate{}, ErrTooLarge
	}
	var s scratch
	certs, err := s.certificates(data)
	if errors.Is(err, ErrPrivateKey) {
		clear(data)
		s.wipe()
	}
	if err != nil {
		return Certificate{}, err
	}
	leaf, chain, err := chooseLeaf(unique(certs))
	if err != nil {
		return Certificate{}, err
	}
	return describe(leaf, chain)
}

// scratch remembers the copies that reading makes of a file, so that a private
// key can be wiped from all of them.
type scratch struct{ bufs [][]byte }

func (s *scratch) keep(b []byte) []byte {
	s.bufs = append(s.bufs, b)
	return b
}

func (s *scratch) wipe() {
	for _, b := range s.bufs {
		clear(b)
	}
}

// certificates returns every certificate of a file, in its order.
func (s *scratch) certificates(data []byte) ([]*x509.Certificate, error) {
	if form := keyFile(data); form != "" {
		return nil, fmt.Errorf("%s: %w", form, ErrPrivateKey)
	}
	text := s.text(data)
	if form := keyText(text); form != "" {
		return nil, fmt.Errorf("%s: %w", form, ErrPrivateKey)
	}
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		return s.fromPEM(text)
	}
	if certs, err := s.fromDER(data); !errors.Is(err, errNotDER) {
		return certs, err
	}
	der, ok := s.bareBase64(text)
	if !ok {
		return nil, ErrNoCertificate
	}
	return s.fromDER(der)
}

// fromPEM reads the blocks of a PEM text. A damaged block is an error: what it
// was to say, nobody knows.
func (s *scratch) fromPEM(text []byte) ([]*x509.Certificate, error) {
	begun := bytes.Count(text, []byte("-----BEGIN "))
	var out []*x509.Certificate
	var other []string
	blocks := 0
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		der := s.keep(block.Bytes)
		if form := keyDER(der); form != "" { // Whatever the block calls itself.
			return nil, fmt.Errorf("%s: %w", form, ErrPrivateKey)
		}
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE":
		case "TRUSTED CERTIFICATE":
			der = firstElement(der) // OpenSSL puts its trust settings behind the certificate.
		case "PKCS7", "PKCS #7 SIGNED DATA", "CMS":
		default:
			other = append(other, block.Type)
			continue
		}
		certs, err := s.fromDER(der)
		if err != nil {
			return nil, fmt.Errorf("reading PEM block %d: %w", blocks, err)
		}
		if out = append(out, certs...); len(out) > maxCertificates {
			return nil, fmt.Errorf("more than %d certificates: %w", maxCertificates, ErrAmbiguous)
		}
	}
	switch {
	case blocks != begun:
		return nil, fmt.Errorf("%d of %d PEM blocks are damaged: %w", begun-blocks, begun, ErrNoCertificate)
	case len(out) == 0 && len(other) > 0:
		return nil, fmt.Errorf("the PEM file holds %s only: %w", blockNames(other), ErrNoCertificate)
	}
	return out, nil
}

// blockNames lists PEM types that are known to be harmless to repeat, and counts
// the rest.
func blockNames(types []string) string {
	known := map[string]string{
		"CERTIFICATE REQUEST": "a certificate request", "NEW CERTIFICATE REQUEST": "a certificate request",
		"PUBLIC KEY": "a public key", "RSA PUBLIC KEY": "a public key", "X509 CRL": "a revocation list",
		"DH PARAMETERS": "parameters", "EC PARAMETERS": "parameters",
	}
	if name, ok := known[types[0]]; ok {
		return name
	}
	return "a block of another type"
}

// fromDER reads certificates one behind the other, or a PKCS#7 container.
func (s *scratch) fromDER(der []byte) ([]*x509.Certificate, error) {
	if form := keyDER(der); form != "" {
		return nil, fmt.Errorf("%s: %w", form, ErrPrivateKey)
	}
	switch {
	case isSignedData(der):
		return fromPKCS7(der)
	case !looksLikeCertificate(der):
		return nil, errNotDER
	}
	var out []*x509.Certificate
	for rest := der; len(rest) > 0; {
		one := firstElement(rest)
		x, err := parse(one)
		if err != nil {
			return nil, err
		}
		if out = append(out, x); len(out) > maxCertificates {
			return nil, fmt.Errorf("more than %d certificates: %w", maxCertificates, ErrAmbiguous)
		}
		if rest = rest[len(one):]; len(rest) > 0 {
			if form := keyDER(rest); form != "" {
				return nil, fmt.Errorf("%s: %w", form, ErrPrivateKey)
			}
			if !looksLikeCertificate(rest) {
				return nil, fmt.Errorf("%d bytes behind the certificate: %w", len(rest), ErrNoCertificate)
			}
		}
	}
	return out, nil
}

func fromPKCS7(der []byte) ([]*x509.Certificate, error) {
	p7, err := parsePKCS7(der)
	switch {
	case err != nil && hasNegativeSerial(der):
		return nil, fmt.Errorf("reading PKCS#7 file: %w", ErrNegativeSerial)
	case err != nil:
		return nil, fmt.Errorf("reading PKCS#7 file: %w: %w", ErrNoCertificate, err)
	case len(p7.Certificates) == 0:
		return nil, fmt.Errorf("the PKCS#7 file is empty: %w", ErrNoCertificate)
	case len(p7.Certificates) > maxCertificates:
		return nil, fmt.Errorf("more than %d certificates: %w", maxCertificates, ErrAmbiguous)
	}
	return p7.Certificates, nil
}

// parsePKCS7 is pkcs7.Parse, with a panic of that package turned into an error:
// it is fed by strangers.
func parsePKCS7(der []byte) (p *pkcs7.PKCS7, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, errors.New("malformed container")
		}
	}()
	return pkcs7.Parse(der)
}

// parse is x509.ParseCertificate with a better word for what we can name.
func parse(der []byte) (*x509.Certificate, error) {
	x, err := x509.ParseCertificate(der)
	switch {
	case err == nil:
		return x, nil
	case negativeSerial(der):
		return nil, fmt.Errorf("reading certificate: %w", ErrNegativeSerial)
	default:
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
}

// bareBase64 decodes base64 without armour, as copied from a portal: the
// alphabet of RFC 4648 or the one for URLs, padded or not, in lines or not.
func (s *scratch) bareBase64(text []byte) ([]byte, bool) {
	plain := s.keep(bytes.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(" \t\r\n\"'=", r) || r == 0:
			return -1
		case r == '-':
			return '+'
		case r == '_':
			return '/'
		}
		return r
	}, text))
	if len(plain) < 64 { // Shorter than any certificate.
		return nil, false
	}
	der := s.keep(make([]byte, base64.RawStdEncoding.DecodedLen(len(plain))))
	n, err := base64.RawStdEncoding.Decode(der, plain)
	return der[:n], err == nil
}
