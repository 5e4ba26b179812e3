package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"unicode/utf16"
)

// text returns data as UTF-8: without a byte order mark, and decoded where it is
// UTF-16, which Windows' tools like to write. What is no UTF-16 is returned as
// it is.
func (s *scratch) text(data []byte) []byte {
	if rest, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		return rest
	}
	if len(data) < 4 {
		return data
	}
	little := data[0] == 0xff && data[1] == 0xfe
	big := data[0] == 0xfe && data[1] == 0xff
	if !little && !big {
		// Without a mark: every second byte of ASCII in UTF-16 is zero. DER
		// begins 30 8x and never looks so.
		little = data[0] != 0 && data[1] == 0 && data[2] != 0 && data[3] == 0
		big = data[0] == 0 && data[1] != 0 && data[2] == 0 && data[3] != 0
	}
	if !little && !big {
		return data
	}
	units := make([]uint16, 0, len(data)/2)
	for i := 0; i+1 < len(data); i += 2 {
		u := uint16(data[i]) | uint16(data[i+1])<<8
		if big {
			u = u>>8 | u<<8
		}
		units = append(units, u)
	}
	runes := utf16.Decode(units)
	// Sized once, so that growing leaves no copies behind that wipe cannot reach.
	out := make([]byte, 0, len(runes)*4)
	for _, r := range runes {
		out = append(out, string(r)...)
	}
	clear(units)
	clear(runes)
	return s.keep(bytes.TrimPrefix(out, []byte("\xef\xbb\xbf")))
}

// keyFile names the kind of key store that data begins like, or returns "".
func keyFile(data []byte) string {
	magic := []struct{ start, form string }{
		{"\xfe\xed\xfe\xed", "Java key store (JKS)"},
		{"\xce\xce\xce\xce", "Java key store (JCEKS)"},
		{"\x1e\xf1\xb5\xb0", "PVK private key"},
		{"PuTTY-User-Key-File", "PuTTY private key"},
	}
	for _, m := range magic {
		if bytes.HasPrefix(data, []byte(m.start)) {
			return m.form
		}
	}
	if form := keyText(data); form != "" {
		return form
	}
	return keyDER(data)
}

// keyText names the private key in a PEM text, or in one of its relatives (PGP,
// SSH2), or returns "". It looks at the words alone: a damaged key is a key.
func keyText(text []byte) string {
	for rest := text; ; {
		at := bytes.Index(rest, []byte("PRIVATE KEY"))
		if at < 0 {
			return ""
		}
		line := rest[:at]
		line = line[max(0, len(line)-48):]
		rest = rest[at+len("PRIVATE KEY"):]
		begin := bytes.LastIndex(line, []byte("-- BEGIN "))
		if begin < 0 {
			begin = bytes.LastIndex(line, []byte("--BEGIN "))
		}
		if begin < 0 || bytes.ContainsAny(line[begin:], "\r\n") {
			continue
		}
		for _, kind := range []string{"RSA", "EC", "DSA", "ENCRYPTED", "OPENSSH", "PGP"} {
			if bytes.HasSuffix(line, []byte(" "+kind+" ")) {
				return "PEM with " + kind + " PRIVATE KEY"
			}
		}
		return "PEM with PRIVATE KEY"
	}
}

// keyDER names the key or key store that der is, or returns "". Whatever is a
// PKCS#12 file counts, also one that happens to hold certificates only: whether
// there is a key in it cannot be told without its password.
func keyDER(der []byte) string {
	if isPKCS12(der) {
		return "PFX (PKCS#12)"
	}
	der = firstElement(der)
	if len(der) == 0 || der[0] != 0x30 {
		return ""
	}
	var outer struct {
		First asn1.RawValue
		Rest  asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return ""
	}
	switch {
	case isKeyVersion(outer.First) && outer.Rest.Tag == asn1.TagSequence && outer.Rest.Class == asn1.ClassUniversal:
		return "PKCS#8 private key"
	case isKeyVersion(outer.First) && outer.Rest.Tag == asn1.TagInteger && outer.Rest.Class == asn1.ClassUniversal:
		return "RSA private key" // or DSA, which nobody has
	case isKeyVersion(outer.First) && outer.Rest.Tag == asn1.TagOctetString && outer.Rest.Class == asn1.ClassUniversal:
		return "EC private key"
	case outer.Rest.Tag == asn1.TagOctetString && isPasswordBased(outer.First):
		return "encrypted PKCS#8 private key"
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return "PKCS#8 private key"
	}
	return ""
}

// isKeyVersion reports whether v is INTEGER 0 or 1, which begins every
// unencrypted private key: RFC 5958, RFC 8017, RFC 5915.
func isKeyVersion(v asn1.RawValue) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger && len(v.Bytes) == 1 && v.Bytes[0] <= 1
}

// isPasswordBased reports whether v is the AlgorithmIdentifier of a
// password-based encryption, of PKCS#5 or PKCS#12.
func isPasswordBased(v asn1.RawValue) bool {
	var alg struct {
		OID    asn1.ObjectIdentifier
		Params asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(v.FullBytes, &alg); err != nil {
		return false
	}
	id := alg.OID.String() + "."
	return strings.HasPrefix(id, "1.2.840.113549.1.5.") || strings.HasPrefix(id, "1.2.840.113549.1.12.1.")
}

// isPKCS12 reports whether der begins as a PFX does, RFC 7292: a SEQUENCE, in
// DER or with the indefinite length of BER, that begins with INTEGER 3.
func isPKCS12(der []byte) bool {
	if len(der) < 2 || der[0] != 0x30 {
		return false
	}
	header := 2
	if n := der[1]; n > 0x80 {
		header += int(n & 0x7f)
	}
	return header <= 8 && len(der) > header && bytes.HasPrefix(der[header:], []byte{0x02, 0x01, 0x03})
}

// isSignedData reports whether der begins as a PKCS#7 ContentInfo with signed
// data does: a SEQUENCE that begins with the OID 1.2.840.113549.1.7.2.
func isSignedData(der []byte) bool {
	if len(der) < 2 || der[0] != 0x30 {
		return false
	}
	header := 2
	if n := der[1]; n > 0x80 {
		header += int(n & 0x7f)
	}
	oid := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}
	return header <= 8 && len(der) > header && bytes.HasPrefix(der[header:], oid)
}

// looksLikeCertificate reports whether der begins with a SEQUENCE whose first
// element is a SEQUENCE, as a certificate does.
func looksLikeCertificate(der []byte) bool {
	one := firstElement(der)
	if one == nil || one[0] != 0x30 {
		return false
	}
	var outer struct{ First asn1.RawValue }
	_, err := asn1.Unmarshal(one, &outer)
	return err == nil && outer.First.Class == asn1.ClassUniversal && outer.First.Tag == asn1.TagSequence
}

// firstElement returns the first ASN.1 element of der, header and all, or nil.
func firstElement(der []byte) []byte {
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		return nil
	}
	return v.FullBytes
}

// negativeSerial reports whether the certificate der has a negative serial
// number. x509 has no error to ask for it.
func negativeSerial(der []byte) bool {
	var c struct {
		TBS struct {
			Version int `asn1:"optional,explicit,default:0,tag:0"`
			Serial  *big.Int
		}
	}
	_, err := asn1.Unmarshal(der, &c)
	return err == nil && c.TBS.Serial.Sign() < 0
}

// hasNegativeSerial reports whether a certificate in the PKCS#7 container der has
// a negative serial number.
func hasNegativeSerial(der []byte) bool {
	var info struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Inner        asn1.RawValue
			Certificates asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return false
	}
	for rest := info.Content.Certificates.Bytes; len(rest) > 0; {
		one := firstElement(rest)
		if one == nil {
			return false
		}
		if negativeSerial(one) {
			return true
		}
		rest = rest[len(one):]
	}
	return false
}
