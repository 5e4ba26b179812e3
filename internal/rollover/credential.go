package rollover

import (
	"crypto/sha1" //nolint:gosec // The thumbprint that Microsoft's tools show; nothing rests on it.
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// FromDER returns the credential that a certificate's DER bytes are. The two
// hashes and the bytes are always set; the rest is empty, and the error says
// why, where the certificate cannot be parsed. A standing credential that does
// not parse is no reason to stop: it is somebody's, and we leave it alone.
func FromDER(der []byte) (Credential, error) {
	s1, s2 := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // As above.
	c := Credential{
		SHA256: hex.EncodeToString(s2[:]),
		SHA1:   strings.ToUpper(hex.EncodeToString(s1[:])),
		DER:    der,
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return c, fmt.Errorf("parsing certificate %s: %w", c.SHA1, err)
	}
	c.Subject, c.NotBefore, c.NotAfter = x.Subject.String(), x.NotBefore.UTC(), x.NotAfter.UTC()
	return c, nil
}
