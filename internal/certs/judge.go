package certs

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Severity says how much a finding weighs.
type Severity string

// The severities. An error forbids the certificate's use, a warning wants a
// person's look, an info is for the record.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// The codes of findings. They are part of what callers see and do not change.
const (
	Expired         = "expired"          // its validity is over
	NotYetValid     = "not_yet_valid"    // its validity has not begun: the normal case of a rotation
	ExpiresSoon     = "expires_soon"     // its validity ends in less than 30 days
	WeakKey         = "weak_key"         // RSA of less than 2048 bits
	NotRSA          = "not_rsa"          // ACS takes RSA keys only
	SHA1Signature   = "sha1_signature"   // signed over SHA-1
	MD5Signature    = "md5_signature"    // signed over MD5 or MD2
	KeyUsage        = "key_usage"        // names usages, and not digital signature
	ExtKeyUsage     = "eku"              // names extended usages, and not client authentication
	CACertificate   = "ca_certificate"   // is marked as an authority's
	Unreadable      = "unreadable"       // its bytes do not parse
	SameCertificate = "same_certificate" // old and new are one
	SameKey         = "same_key"         // a new certificate over the old key
	SubjectDiffers  = "subject_differs"  // issued to another name
	ValidityGap     = "validity_gap"     // between old and new there is an instant when neither is valid
	OnBlockList     = "blocked"          // it, or its key, is on the block list
	EndsSooner      = "ends_sooner"      // the new one ends before the old one: perhaps they were mixed up
)

// soon is how long before its end a certificate is worth a warning.
const soon = 30 * 24 * time.Hour

// minRSABits is the least size of an RSA key, in bits, that NIST SP 800-131A
// allows for signatures.
const minRSABits = 2048

// Finding is one thing to know about a certificate.
type Finding struct {
	Code     string   // one of the codes of this package
	Severity Severity //
	Message  string   // a sentence for people
}

// Worst returns the weightiest severity among findings, or "" if there are none.
func Worst(findings []Finding) Severity {
	worst := Severity("")
	for _, s := range []Severity{Info, Warning, Error} {
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == s }) {
			worst = s
		}
	}
	return worst
}

// Judge says what is to be known about a certificate before it is put on
// service identities of ACS, as of now.
func Judge(c Certificate, now time.Time) []Finding {
	x, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return []Finding{{Unreadable, Error, "The certificate's bytes cannot be read."}}
	}
	return slices.Concat(judgeValidity(x, now), judgeKey(c), judgeUse(x))
}

func judgeValidity(x *x509.Certificate, now time.Time) []Finding {
	switch {
	case now.After(x.NotAfter):
		return []Finding{{Expired, Error, fmt.Sprintf("It expired on %s.", day(x.NotAfter))}}
	case now.Before(x.NotBefore):
		return []Finding{{NotYetValid, Info, fmt.Sprintf("It becomes valid on %s; until then the old one must stay.", day(x.NotBefore))}}
	case x.NotAfter.Sub(now) < soon:
		return []Finding{{ExpiresSoon, Warning, fmt.Sprintf("It expires on %s, in less than 30 days.", day(x.NotAfter))}}
	}
	return nil
}

func judgeKey(c Certificate) []Finding {
	switch {
	case c.KeyAlgorithm != x509.RSA.String():
		return []Finding{{NotRSA, Error, fmt.Sprintf("Its key is %s; ACS takes RSA keys only.", c.KeyAlgorithm)}}
	case c.KeyBits < minRSABits:
		return []Finding{{WeakKey, Error, fmt.Sprintf("Its RSA key has %d bits, fewer than %d.", c.KeyBits, minRSABits)}}
	}
	return nil
}

func judgeUse(x *x509.Certificate) []Finding {
	var out []Finding
	switch x.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		out = append(out, Finding{SHA1Signature, Warning, "It is signed over SHA-1. ACS trusts the certificate itself and not its issuer, so it works; others will refuse it."})
	case x509.MD2WithRSA, x509.MD5WithRSA:
		out = append(out, Finding{MD5Signature, Warning, "It is signed over MD5 or MD2. ACS trusts the certificate itself and not its issuer, so it works; others will refuse it."})
	}
	if x.KeyUsage != 0 && x.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		out = append(out, Finding{KeyUsage, Warning, "It names key usages without digital signature, which signing tokens needs."})
	}
	if named := len(x.ExtKeyUsage) + len(x.UnknownExtKeyUsage); named > 0 &&
		!slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageAny) {
		out = append(out, Finding{ExtKeyUsage, Warning, "It names extended key usages without client authentication."})
	}
	if x.IsCA {
		out = append(out, Finding{CACertificate, Info, "It is marked as an authority's certificate, as self-signed ones often are."})
	}
	return out
}

// Compare says what is to be known about replacing one certificate by the other.
func Compare(old, replacement Certificate) []Finding {
	if old.SHA256 == replacement.SHA256 {
		return []Finding{{SameCertificate, Info, "Old and new are the same certificate: there is nothing to replace."}}
	}
	var out []Finding
	if old.SPKI != "" && old.SPKI == replacement.SPKI {
		out = append(out, Finding{SameKey, Warning, "The new certificate is over the old key: whoever has the old key has the new one."})
	}
	if old.Subject != replacement.Subject {
		out = append(out, Finding{SubjectDiffers, Warning, fmt.Sprintf("The old one is issued to %q, the new one to %q.", old.Subject, replacement.Subject)})
	}
	if replacement.NotBefore.After(old.NotAfter) {
		out = append(out, Finding{ValidityGap, Error, fmt.Sprintf("The old one ends on %s and the new one begins on %s: between them neither is valid.",
			day(old.NotAfter), day(replacement.NotBefore))})
	}
	if replacement.NotAfter.Before(old.NotAfter) {
		out = append(out, Finding{EndsSooner, Warning, fmt.Sprintf("The new one ends on %s, before the old one does: perhaps they were mixed up.", day(replacement.NotAfter))})
	}
	return out
}

// day writes an instant as people read it, in UTC.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
