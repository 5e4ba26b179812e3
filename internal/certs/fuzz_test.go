package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/certs"
)

// FuzzRead_APrivateKeyIsRefused puts a real private key into a file in any of the ways
// that people do, with anything around it: the file is refused as one with a key, and
// nothing of it is left in memory.
func FuzzRead_APrivateKeyIsRefused(f *testing.F) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // For its form alone.
	if err != nil {
		f.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	ofEC, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		f.Fatal(err)
	}
	var keys [][]byte
	for _, k := range []any{rsaKey, ecKey} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			f.Fatal(err)
		}
		keys = append(keys, der)
	}
	keys = append(keys, x509.MarshalPKCS1PrivateKey(rsaKey), ofEC)
	public := file(f, "new.pem")
	for way := range byte(8) {
		f.Add(way, way%4, "", "")
		f.Add(way, way%4, "Bag Attributes\n    friendlyName: x\n", "\n-----BEGIN X-----\n")
		f.Add(way, way%4, "\x01\xc3\xa4\n", "-----END CERTIFICATE-----")
	}
	f.Fuzz(func(t *testing.T, way, which byte, before, after string) {
		if len(before)+len(after) > 8<<10 || strings.Contains(before, "-----") || bytes.ContainsFunc([]byte(before), func(r rune) bool { return r == 0 || r == utf8.RuneError }) {
			return // What makes other armour or UTF-16 of it leaves no key to be read.
		}
		key := keys[int(which)%len(keys)]
		var in []byte
		switch way % 8 {
		case 0: // the key's own block, behind the certificate
			in = bytes.Join([][]byte{[]byte(before), public, pemOf("PRIVATE KEY", key), []byte(after)}, []byte("\n"))
		case 1: // before it
			in = bytes.Join([][]byte{[]byte(before), pemOf("RSA PRIVATE KEY", key), public, []byte(after)}, []byte("\n"))
		case 2: // in a block that says certificate
			in = bytes.Join([][]byte{[]byte(before), pemOf("CERTIFICATE", key)}, []byte("\n"))
		case 3: // in a block of any other name
			in = bytes.Join([][]byte{[]byte(before), public, pemOf("SOME THING", key)}, []byte("\n"))
		case 4: // DER, alone
			in = append(bytes.Clone(key), after...)
		case 5: // DER, behind a certificate
			in = append(bytes.Clone(der(t, "new.pem")), key...)
		case 6: // bare base64
			in = []byte(base64.StdEncoding.EncodeToString(key))
		case 7: // in UTF-16
			in = utf16Text([]byte(string(public)+"\n"+string(pemOf("EC PRIVATE KEY", key))), false, true)
		}
		got, err := certs.Read(in)
		if !errors.Is(err, certs.ErrPrivateKey) {
			t.Fatalf("Read of a key put in by way %d = %q, %v, want ErrPrivateKey", way%8, got.Subject, err)
		}
		if n := bytes.Count(in, []byte{0}); n != len(in) {
			t.Errorf("%d of %d bytes of a file with a key are left", len(in)-n, len(in))
		}
		if bytes.Contains([]byte(err.Error()), key[:16]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	})
}

func pemOf(name string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: b})
}

// FuzzRead_OfAContainer reads any bytes as PKCS#7, also armoured: what comes out is a
// bounded number of whole certificates, the same each time and in every armour.
func FuzzRead_OfAContainer(f *testing.F) {
	f.Add(file(f, "chain.p7b.b64"))
	f.Add([]byte{0x30, 0x80, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02, 0xa0, 0x80})
	f.Add(append([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}, bytes.Repeat([]byte{0x30, 0x80}, 150)...))
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 150))
	f.Add(bytes.Repeat([]byte{0x24, 0x80}, 150))
	f.Fuzz(func(t *testing.T, body []byte) {
		plain, err := certs.Read(bytes.Clone(body))
		if err == nil {
			if len(plain.Chain) > 32 || len(plain.DER) > len(body) || len(plain.Subject) > certs.MaxFile {
				t.Errorf("%d bytes give a certificate of %d with a chain of %d", len(body), len(plain.DER), len(plain.Chain))
			}
			for _, issuer := range plain.Chain {
				if _, err := x509.ParseCertificate(issuer); err != nil {
					t.Errorf("the chain has what is no certificate: %v", err)
				}
			}
		}
		if len(body) < 64 || len(body) > 32<<10 || !bytes.HasPrefix(body, []byte{0x30}) {
			return // Not binary, or too long once it is armoured.
		}
		armoured, err2 := certs.Read(pemOf("PKCS7", body))
		if (err == nil) != (err2 == nil) || armoured.SHA256 != plain.SHA256 {
			t.Errorf("Read = %s, %v; in armour %s, %v", plain.SHA256, err, armoured.SHA256, err2)
		}
	})
}

// FuzzParseThumbprint reads any text as a thumbprint: what comes out is 40 or 64 hex
// digits and reads as itself.
func FuzzParseThumbprint(f *testing.F) {
	for _, s := range []string{
		"\u200eAB 12 cd 34 AB 12 cd 34 AB 12 cd 34 AB 12 cd 34 AB 12 cd 34", strings.Repeat("ab:", 31) + "ab", "", "\x00", strings.Repeat("0", 41), "ＡＢ", strings.Repeat("a", 1<<16),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := certs.ParseThumbprint(s)
		if err != nil {
			return
		}
		if (len(got) != 40 && len(got) != 64) || strings.Trim(got, "0123456789abcdef") != "" {
			t.Errorf("ParseThumbprint(%q) = %q, want 40 or 64 hex digits in lower case", s, got)
		}
		if again, err := certs.ParseThumbprint(got); err != nil || again != got {
			t.Errorf("ParseThumbprint(%q) = %q, %v, want itself", got, again, err)
		}
	})
}

// FuzzBlockID reads any text as an entry's id, and as the hash that a caller would
// block: both are refused, or have the one spelling under which they are kept.
func FuzzBlockID(f *testing.F) {
	f.Add("sha256." + strings.Repeat("a", 64))
	f.Add("sha1." + strings.Repeat("B", 40))
	f.Add("key_hash.../../x")
	f.Add("..")
	f.Add("sha1.\x00" + strings.Repeat("b", 39))
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := certs.ParseBlockID(s); ok && id.String() != s {
			t.Errorf("ParseBlockID(%q) = %q, want no second spelling", s, id)
		}
		for _, sort := range []certs.BlockSort{certs.BlockSHA256, certs.BlockSHA1, certs.BlockKeyHash, certs.BlockSort(s)} {
			id, err := certs.NewBlockID(sort, s)
			if err != nil {
				continue
			}
			if again, ok := certs.ParseBlockID(id.String()); !ok || again != id {
				t.Errorf("NewBlockID(%q, %q) = %q, which reads %q, %v", sort, s, id, again, ok)
			}
		}
	})
}
