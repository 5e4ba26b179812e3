package identity_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// FuzzParseLists reads any file of revocation lists: what is taken was signed by one of
// the authorities, and says until when it holds.
func FuzzParseLists(f *testing.F) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", "openssl", name))
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	block, _ := pem.Decode(read("a.pem"))
	a, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	list := read("bob.crl")
	block, _ = pem.Decode(list)
	for _, b := range [][]byte{list, block.Bytes, append(list, read("none.crl")...), append(list, read("a.pem")...), read("a.pem"), {}, []byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"), list[:len(list)/2]} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := identity.ParseLists(b, []*x509.Certificate{a})
		if (err == nil) != (l != nil) {
			t.Fatalf("ParseLists = %v, %v, want one of them", l, err)
		}
		if err == nil && l.Until().IsZero() {
			t.Errorf("ParseLists(%q) takes a list without an end", b)
		}
		if l, err := identity.ParseLists(b, nil); err == nil {
			t.Errorf("ParseLists(%q) = %v, nil without an authority", b, l)
		}
	})
}
