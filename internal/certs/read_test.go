package certs_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/crossfade-project/crossfade/internal/certs"
)

// file returns a fixture; what is stored as base64 is decoded.
func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatalf("reading fixture: %v", err)
	}
	if strings.HasSuffix(name, ".b64") {
		if b, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(string(b), "\n", "")); err != nil {
			t.Fatalf("decoding fixture %s: %v", name, err)
		}
	}
	return b
}

// der returns the bytes of the first PEM block of a fixture.
func der(t testing.TB, name string) []byte {
	t.Helper()
	block, _ := pem.Decode(file(t, name))
	if block == nil {
		t.Fatalf("fixture %s has no PEM block", name)
	}
	return block.Bytes
}

// read returns the certificate of a fixture.
func read(t testing.TB, name string) certs.Certificate {
	t.Helper()
	c, err := certs.Read(file(t, name))
	if err != nil {
		t.Fatalf("Read(%s) = %v, want a certificate", name, err)
	}
	return c
}

// utf16Text encodes ASCII text as UTF-16, with a byte order mark if asked.
func utf16Text(text []byte, bigEndian, mark bool) []byte {
	units := utf16.Encode([]rune(string(text)))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var out []byte
	for _, u := range units {
		lo, hi := byte(u), byte(u>>8)
		if bigEndian {
			lo, hi = hi, lo
		}
		out = append(out, lo, hi)
	}
	return out
}

func crlf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }

func TestRead_EverySpellingGivesTheSameCertificate(t *testing.T) {
	text, raw := file(t, "new.pem"), der(t, "new.pem")
	bare := base64.StdEncoding.EncodeToString(raw)
	url := base64.RawURLEncoding.EncodeToString(raw)
	p7 := file(t, "chain.p7b.b64")
	for _, k := range []struct {
		name string
		data []byte
	}{
		{"PEM", text},
		{"PEM with CRLF", crlf(text)},
		{"PEM with a UTF-8 mark", append([]byte("\xef\xbb\xbf"), text...)},
		{"PEM in UTF-16 little endian", utf16Text(crlf(text), false, true)},
		{"PEM in UTF-16 big endian", utf16Text(text, true, true)},
		{"PEM in UTF-16 without a mark", utf16Text(text, false, false)},
		{"PEM in UTF-16 big endian without a mark", utf16Text(text, true, false)},
		{"PEM as X509 CERTIFICATE", bytes.ReplaceAll(text, []byte(" CERTIFICATE"), []byte(" X509 CERTIFICATE"))},
		{"OpenSSL's trusted certificate", file(t, "trusted.pem")},
		{"DER", raw},
		{"bare base64", []byte(bare)},
		{"bare base64 in lines of a mail", []byte(bare[:76] + "\r\n " + bare[76:] + "\r\n")},
		{"bare base64 in UTF-16", utf16Text([]byte(bare), false, true)},
		{"bare base64 for URLs", []byte(url)},
		{"PEM of a chain, root first", file(t, "chain.pem")},
		{"the certificate twice", append(bytes.Clone(text), text...)},
		{"DER of several", append(bytes.Clone(der(t, "inter.pem")), raw...)},
		{"PKCS#7 as DER", p7},
		{"PKCS#7 as PEM", file(t, "chain.p7b.pem")},
		{"PKCS#7 as bare base64", []byte(base64.StdEncoding.EncodeToString(p7))},
	} {
		t.Run(k.name, func(t *testing.T) {
			before := bytes.Clone(k.data)
			c, err := certs.Read(k.data)
			if err != nil {
				t.Fatalf("Read = %v, want the certificate", err)
			}
			if !bytes.Equal(c.DER, raw) {
				t.Errorf("Read gives %s (%s), want the certificate of new.pem", c.Subject, c.SHA1)
			}
			if !bytes.Equal(before, k.data) {
				t.Errorf("Read changed its input")
			}
		})
	}
}

func TestRead_TellsWhatACertificateIs(t *testing.T) {
	c := read(t, "chain.pem")
	got := map[string]string{
		"subject": c.Subject, "issuer": c.Issuer, "serial": c.Serial, "key": c.KeyAlgorithm, "names": strings.Join(c.Names, ","),
		"from": c.NotBefore.Format("2006-01-02T15:04:05Z07:00"), "until": c.NotAfter.Format("2006-01-02T15:04:05Z07:00"),
	}
	want := map[string]string{
		"subject": "CN=crm9.dynamics.com", "issuer": "CN=Test Issuer,O=Crossfade", "serial": "1003", "key": "RSA", "names": "crm9.dynamics.com",
		"from": "2016-11-04T01:00:00Z", "until": "2018-11-04T01:00:00Z",
	}
	for k, w := range want {
		if got[k] != w {
			t.Errorf("Read(chain.pem): %s = %q, want %q", k, got[k], w)
		}
	}
	if c.KeyBits != 2048 || len(c.SPKI) != 64 || len(c.SHA256) != 64 || len(c.SHA1) != 40 {
		t.Errorf("Read(chain.pem) = %d bits, SPKI %q, SHA-256 %q, SHA-1 %q", c.KeyBits, c.SPKI, c.SHA256, c.SHA1)
	}
	if len(c.Chain) != 2 || !bytes.Equal(c.Chain[0], der(t, "inter.pem")) || !bytes.Equal(c.Chain[1], der(t, "root.pem")) {
		t.Errorf("Read(chain.pem) has a chain of %d, want issuer, then root", len(c.Chain))
	}
	for name, want := range map[string]int{"rsa1024.pem": 1024, "ec.pem": 256, "ed25519.pem": 256} {
		if c := read(t, name); c.KeyBits != want {
			t.Errorf("Read(%s).KeyBits = %d, want %d", name, c.KeyBits, want)
		}
	}
	if c := read(t, "selfsigned.pem"); c.Subject != "CN=selfsigned" {
		t.Errorf("Read(selfsigned.pem) = %q, want it, though it is marked as an authority's", c.Subject)
	}
	if c := read(t, "chain-unmarked.pem"); c.Subject != "CN=below" || len(c.Chain) != 1 {
		t.Errorf("Read(chain-unmarked.pem) = %q with a chain of %d, want what was issued, and its issuer", c.Subject, len(c.Chain))
	}
	if c := read(t, "bag.pem"); c.Subject != "CN=rsa1024" {
		t.Errorf("Read(bag.pem) = %q, want what follows the text", c.Subject)
	}
}

func TestRead_RefusesPrivateKeysAndWipesThem(t *testing.T) {
	pkcs8, pkcs1, ec := der(t, "key-before.pem"), []byte(nil), der(t, "key-ec.pem")
	for rest := file(t, "key-after.pem"); ; {
		block, more := pem.Decode(rest)
		if block == nil {
			break
		}
		pkcs1, rest = block.Bytes, more
	}
	after := file(t, "key-after.pem")
	damaged := bytes.Replace(bytes.Clone(after), []byte("-----END RSA PRIVATE KEY-----"), nil, 1)
	for _, k := range []struct {
		name, says string
		data       []byte
	}{
		{"PFX of OpenSSL 3", "PFX (PKCS#12)", file(t, "key.pfx.b64")},
		{"PFX of old", "PFX (PKCS#12)", file(t, "key-legacy.pfx.b64")},
		{"PFX without a key, which cannot be told", "PFX (PKCS#12)", file(t, "keyless.pfx.b64")},
		{"PFX as base64", "PFX (PKCS#12)", []byte(base64.StdEncoding.EncodeToString(file(t, "key.pfx.b64")))},
		{"PFX with BER lengths", "PFX (PKCS#12)", append([]byte{0x30, 0x80, 0x02, 0x01, 0x03, 0x30}, make([]byte, 40)...)},
		{"certificate, then its key", "PEM with RSA PRIVATE KEY", bytes.Clone(after)},
		{"key, then its certificate", "PEM with PRIVATE KEY", file(t, "key-before.pem")},
		{"in UTF-16", "PEM with RSA PRIVATE KEY", utf16Text(after, false, true)},
		{"in UTF-16 without a mark", "PEM with RSA PRIVATE KEY", utf16Text(after, true, false)},
		{"a damaged key", "PEM with RSA PRIVATE KEY", damaged},
		{"encrypted", "PEM with ENCRYPTED PRIVATE KEY", file(t, "key-encrypted.pem")},
		{"encrypted of old", "PEM with RSA PRIVATE KEY", file(t, "key-encrypted-old.pem")},
		{"EC", "PEM with EC PRIVATE KEY", file(t, "key-ec.pem")},
		{"SSH", "PEM with OPENSSH PRIVATE KEY", []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n")},
		{"SSH2", "PEM with ENCRYPTED PRIVATE KEY", []byte("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/5\n")},
		{"PGP", "PEM with PGP PRIVATE KEY", []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n")},
		{"PuTTY", "PuTTY private key", []byte("PuTTY-User-Key-File-3: ssh-rsa\n")},
		{"Java key store", "Java key store (JKS)", append([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"), make([]byte, 40)...)},
		{"DER of PKCS#8", "PKCS#8 private key", pkcs8},
		{"DER of PKCS#1", "RSA private key", pkcs1},
		{"DER of EC", "EC private key", ec},
		{"DER of encrypted PKCS#8", "encrypted PKCS#8 private key", der(t, "key-encrypted.pem")},
		{"base64 of PKCS#8", "PKCS#8 private key", []byte(base64.StdEncoding.EncodeToString(pkcs8))},
		{"a certificate with a key behind it as DER", "PKCS#8 private key", append(der(t, "new.pem"), pkcs8...)},
		{"a key in a block that says certificate", "PKCS#8 private key", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pkcs8})},
		{"too long, with a key", "PEM with RSA PRIVATE KEY", append(bytes.Clone(after), bytes.Repeat([]byte("\n"), certs.MaxFile)...)},
	} {
		t.Run(k.name, func(t *testing.T) {
			_, err := certs.Read(k.data)
			if !errors.Is(err, certs.ErrPrivateKey) || !strings.Contains(err.Error(), k.says+": ") {
				t.Fatalf("Read = %v, want ErrPrivateKey that names %q", err, k.says)
			}
			if i := bytes.IndexFunc(k.data, func(r rune) bool { return r != 0 }); i >= 0 {
				t.Errorf("Read left byte %d of the key in memory, want zeros", i)
			}
		})
	}
}

func TestRead_SaysWhyThereIsNoCertificate(t *testing.T) {
	text := file(t, "new.pem")
	for _, k := range []struct {
		name, says string
		data       []byte
		want       error
	}{
		{"nothing", "no certificate", nil, certs.ErrNoCertificate},
		{"prose", "no certificate", []byte("Dear admin, please find attached the certificate that you asked for, many thanks, a colleague"), certs.ErrNoCertificate},
		{"a page of HTML", "no certificate", []byte("<html><body>Sign in to continue to your certificate, which is not here at all</body></html>"), certs.ErrNoCertificate},
		{"a request", "a certificate request only", file(t, "request.pem"), certs.ErrNoCertificate},
		{"an empty container", "empty", file(t, "empty.p7b.pem"), certs.ErrNoCertificate},
		{"a damaged block", "1 of 2 PEM blocks", append(bytes.Clone(text), bytes.Replace(text, []byte("MII"), []byte("M!!"), 1)...), certs.ErrNoCertificate},
		{"rubbish behind DER", "bytes behind", append(der(t, "new.pem"), 1, 2, 3), certs.ErrNoCertificate},
		{"a negative serial", "GODEBUG=x509negativeserial=1", file(t, "negative-serial.pem"), certs.ErrNegativeSerial},
		{"a negative serial in PKCS#7", "GODEBUG=x509negativeserial=1", file(t, "negative-serial.p7b.pem"), certs.ErrNegativeSerial},
		{"too long", "64 KiB", bytes.Repeat([]byte("A"), certs.MaxFile+1), certs.ErrTooLarge},
		{"two that may be meant", "CN=crm9.dynamics.com", file(t, "two-leaves.pem"), certs.ErrAmbiguous},
		{"authorities only", "CN=Test Root", file(t, "authorities.pem"), certs.ErrAmbiguous},
		{"too many", "more than 32", tooMany(t), certs.ErrAmbiguous},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, err := certs.Read(k.data)
			if !errors.Is(err, k.want) || !strings.Contains(err.Error(), k.says) {
				t.Errorf("Read = %q, %v, want %v that says %q", c.Subject, err, k.want, k.says)
			}
		})
	}
}

// tooMany returns a file within the size limit with more certificates than one
// is allowed to hold.
func tooMany(t *testing.T) []byte { return bytes.Repeat(der(t, "ed25519.pem"), 40) }

func TestRead_NamesTheCandidatesByThumbprint(t *testing.T) {
	_, err := certs.Read(file(t, "two-leaves.pem"))
	for _, name := range []string{"old.pem", "new.pem"} {
		if want := read(t, name).SHA1; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Read(two-leaves.pem) = %v, want %s of %s in it", err, want, name)
		}
	}
}

func FuzzRead(f *testing.F) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatalf("listing fixtures: %v", err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".pem" || ext == ".b64" {
			f.Add(file(f, e.Name()))
		}
	}
	f.Add(der(f, "new.pem"))
	f.Add(utf16Text(file(f, "ec.pem"), false, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.Clone(data)
		c, err := certs.Read(in)
		switch {
		case errors.Is(err, certs.ErrPrivateKey):
			if bytes.Count(in, []byte{0}) != len(in) {
				t.Errorf("Read(%q) refused a key and did not wipe it", data)
			}
			return
		case !bytes.Equal(in, data):
			t.Errorf("Read(%q) changed its input", data)
		}
		if err != nil {
			return
		}
		again, err := certs.Read(bytes.Clone(c.DER))
		if err != nil || again.SHA256 != c.SHA256 {
			t.Errorf("Read of what Read returned = %s, %v, want %s", again.SHA256, err, c.SHA256)
		}
		certs.Judge(c, c.NotBefore)
	})
}
