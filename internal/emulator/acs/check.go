package acs

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	typeCertificate = "X509Certificate"
	typeSymmetric   = "Symmetric"
	typePassword    = "Password"
	symmetricBytes  = 32
	weakestRSA      = 1024
)

// check refuses what the service would not store, and fills in what it would
// fill in. old is nil for a new entity.
func (x *exchange) check(tx *txn, t *entityType, r, old *row) *refusal {
	for i := range t.navs {
		nav := &t.navs[i]
		if nav.many {
			continue
		}
		id := r.num(nav.fk)
		if id == 0 {
			return badRequest("ACS: the entity needs a %s", nav.name)
		}
		if tx.st.find(nav.target, id) == nil {
			return badRequest("ACS: there is no %s with the Id %d", nav.name, id)
		}
	}
	switch t.name {
	case "ServiceIdentity":
		return x.checkIdentity(tx, t, r)
	case "ServiceIdentityKey":
		return x.checkKey(tx, t, r, old)
	case "ServiceKey":
		return x.checkServiceKey(t, r)
	case "RelyingPartyKey", "IdentityProviderKey":
		return x.checkOtherKey(t, r)
	case "RelyingPartyAddress":
		return oneOf(t, r, "EndpointType", "Realm", "Reply", "Error")
	case "RelyingParty":
		return x.checkRelyingParty(t, r)
	}
	return nil
}

func oneOf(t *entityType, r *row, prop string, legal ...string) *refusal {
	v := r.str(t.at(prop))
	for _, l := range legal {
		if v == l {
			return nil
		}
	}
	return badRequest("ACS: '%s' is not a legal value of %s", printable(v), prop)
}

// checkIdentity refuses a second identity of one name (D2).
func (x *exchange) checkIdentity(tx *txn, t *entityType, r *row) *refusal {
	name, ok := r.vals[t.at("Name")].(string)
	if !ok || x.s.cfg.Switches.AllowDuplicateNames {
		return nil
	}
	same := x.sameName()
	for _, other := range tx.st.sets[t.index] {
		if s, ok := other.vals[t.at("Name")].(string); ok && other.id != r.id && same(s, name) {
			return badRequest("ACS: a service identity with the name '%s' already exists", name)
		}
	}
	return nil
}

func (x *exchange) checkRelyingParty(t *entityType, r *row) *refusal {
	if bad := oneOf(t, r, "TokenType", "SWT", "SAML_1_1", "SAML_2_0", "JWT"); bad != nil {
		return bad
	}
	life, _ := r.vals[t.at("TokenLifetime")].(int32)
	const day = 24 * 60 * 60
	if life < 0 || life > day {
		return badRequest("ACS: the token lifetime must be between 0 and %d seconds", day)
	}
	return nil
}

// checkKey checks a service identity's key (D2, D4, D6, D13, D14).
func (x *exchange) checkKey(tx *txn, t *entityType, r, old *row) *refusal {
	if bad := valueFits(t, r); bad != nil {
		return bad
	}
	if bad := x.datesFit(t, r); bad != nil {
		return bad
	}
	if r.str(t.at("Type")) != typeCertificate {
		return nil
	}
	value := r.bytes(t.at("Value"))
	if cert, err := x509.ParseCertificate(value); err == nil && old == nil &&
		x.s.cfg.Switches.RefuseExpired && x.now.After(cert.NotAfter) {
		return badRequest("ACS: the certificate has expired")
	}
	if x.s.cfg.Switches.RefuseDuplicateCertificates {
		for _, other := range tx.st.sets[t.index] {
			if other.id != r.id && other.num(t.at("ServiceIdentityId")) == r.num(t.at("ServiceIdentityId")) &&
				bytes.Equal(other.bytes(t.at("Value")), value) {
				return badRequest("ACS: the service identity already has this certificate")
			}
		}
	}
	return nil
}

// valueFits checks Type, Usage and Value of a service identity's key against
// one another. A Value is a public certificate, 32 bytes, or a password.
func valueFits(t *entityType, r *row) *refusal {
	typ, usage, value := r.str(t.at("Type")), r.str(t.at("Usage")), r.bytes(t.at("Value"))
	switch {
	case len(value) == 0:
		return badRequest("ACS: the Value of a key must not be empty")
	case len(value) > maxValue:
		return refuse(413, "ACS: the Value of a key must not exceed %d bytes", maxValue)
	}
	want := "Signing"
	switch typ {
	case typeCertificate:
		return certificateFits(value, usage)
	case typeSymmetric:
		if len(value) != symmetricBytes {
			return badRequest("ACS: a symmetric key must have %d bytes", symmetricBytes)
		}
	case typePassword:
		want = "Password"
		if !utf8.Valid(value) {
			return badRequest("ACS: a password must be UTF-8 text")
		}
	default:
		return badRequest("ACS: '%s' is not a legal value of Type", printable(typ))
	}
	if usage != want {
		return badRequest("ACS: '%s' is not a legal Usage of a key of Type %s", printable(usage), typ)
	}
	return nil
}

func certificateFits(value []byte, usage string) *refusal {
	if usage != "Signing" {
		return badRequest("ACS: '%s' is not a legal Usage of a key of Type %s", printable(usage), typeCertificate)
	}
	cert, err := x509.ParseCertificate(value)
	if err != nil {
		return badRequest("ACS: the Value is not an X.509 certificate without a private key")
	}
	if k, ok := cert.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < weakestRSA {
		return badRequest("ACS: the key of the certificate must have at least %d bits", weakestRSA)
	}
	return nil
}

// fillDates puts in what a client left out: now, or the start of the
// certificate; the distant future, or its end (D6).
func (s *Server) fillDates(t *entityType, r *row, now time.Time) {
	start, end := t.at("StartDate"), t.at("EndDate")
	from, until := now.Truncate(time.Second), distantFuture()
	if r.str(t.at("Type")) == typeCertificate {
		if cert, err := x509.ParseCertificate(r.bytes(t.at("Value"))); err == nil {
			from, until = cert.NotBefore.UTC(), cert.NotAfter.UTC()
		}
	}
	if r.when(start).IsZero() {
		r.vals[start] = from
	}
	if r.when(end).IsZero() {
		r.vals[end] = until
	}
}

// datesFit fills in the dates and checks that the key is used within the
// validity of its certificate; both ends may be equal (D4).
func (x *exchange) datesFit(t *entityType, r *row) *refusal {
	start, end := t.at("StartDate"), t.at("EndDate")
	if x.s.cfg.Switches.RefuseEmptyDates && (r.when(start).IsZero() || r.when(end).IsZero()) {
		return badRequest("ACS: a key needs a start and an end date")
	}
	x.s.fillDates(t, r, x.now)
	if !r.when(start).Before(r.when(end)) {
		return badRequest("ACS: the start date of a key must be before its end date")
	}
	if x.s.cfg.Switches.AnyKeyDates || r.str(t.at("Type")) != typeCertificate {
		return nil
	}
	cert, err := x509.ParseCertificate(r.bytes(t.at("Value")))
	if err != nil { // A ServiceKey holds a pfx, whose dates need its password.
		return nil
	}
	if r.when(start).Before(cert.NotBefore) || r.when(end).After(cert.NotAfter) {
		return badRequest("ACS: key dates must be within the certificate's validity period")
	}
	return nil
}

// checkServiceKey checks a key of the namespace. A certificate is a pfx with
// its private key there, which is not opened.
func (x *exchange) checkServiceKey(t *entityType, r *row) *refusal {
	if bad := oneOf(t, r, "Usage", "Signing", "Encrypting", "Management"); bad != nil {
		return bad
	}
	if bad := x.checkOtherKey(t, r); bad != nil {
		return bad
	}
	if r.str(t.at("Type")) == typePassword && r.str(t.at("Usage")) != "Management" {
		return badRequest("ACS: a password is for management only")
	}
	return nil
}

// checkOtherKey checks what all keys have in common.
func (x *exchange) checkOtherKey(t *entityType, r *row) *refusal {
	if bad := oneOf(t, r, "Type", typeCertificate, typeSymmetric, typePassword, "ApplicationKey", "FederationMetadata"); bad != nil {
		return bad
	}
	value := r.bytes(t.at("Value"))
	switch {
	case len(value) == 0:
		return badRequest("ACS: the Value of a key must not be empty")
	case len(value) > maxValue:
		return refuse(413, "ACS: the Value of a key must not exceed %d bytes", maxValue)
	case r.str(t.at("Type")) == typeSymmetric && len(value) != symmetricBytes:
		return badRequest("ACS: a symmetric key must have %d bytes", symmetricBytes)
	}
	return x.datesFit(t, r)
}

// checkSeedKey says whether a key given to AddNamespace is one that could be
// stored. Dates outside the certificate's validity are let through, so that a
// test can begin there.
func (s *Server) checkSeedKey(k Key) error {
	t := s.model.byName["ServiceIdentityKey"]
	r := blank(t)
	r.vals[t.at("Type")], r.vals[t.at("Usage")], r.vals[t.at("Value")] = k.Type, k.Usage, k.Value
	if bad := valueFits(t, r); bad != nil {
		return fmt.Errorf("checking the value: %s", bad.msg)
	}
	return nil
}
