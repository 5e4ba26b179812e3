package acs

import (
	"bytes"
	"crypto/sha1" // #nosec G505 -- A thumbprint is SHA-1 by definition.
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	nsSAML  = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsDSig  = "http://www.w3.org/2000/09/xmldsig#"
	cmBear  = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	msgSAML = "ACS50008: SAML token is invalid"
	msgSign = "ACS50006: Unable to verify token signature"
)

// admitSAML takes an assertion that an identity issued for itself and signed
// with one of its certificates. Nothing in the assertion is believed before
// its signature has been verified, except for choosing the key to verify with.
func (x *exchange) admitSAML(st *state, text string) (*visitor, *refusal) {
	root, err := readAssertion(text)
	if err != nil {
		return nil, x.unauthorized("%s. %s", msgSAML, err)
	}
	ti, t := x.s.model.byName["ServiceIdentity"], x.s.model.byName["ServiceIdentityKey"]
	id := st.byName(ti, childText(root, "Issuer"), x.sameName())
	if id == nil {
		return nil, x.unauthorized("%s. ACS50012: Authentication failed", msgSAML)
	}
	who := &visitor{name: id.str(ti.at("Name"))}
	der, err := presented(root)
	if err != nil {
		return who, x.unauthorized("%s. %s", msgSAML, err)
	}
	var key *row
	for _, k := range x.keysOf(st, id) {
		if k.str(t.at("Type")) == typeCertificate && k.str(t.at("Usage")) == "Signing" && x.usable(t, k) &&
			bytes.Equal(k.bytes(t.at("Value")), der) {
			key = k
			break
		}
	}
	if key == nil {
		return who, x.unauthorized("%s. ACS50016: X509Certificate with subject '%s' and thumbprint '%s' does not match any configured certificate",
			msgSAML, subjectOf(der), thumbprint(der))
	}
	who.key = key
	signed, r := x.verified(root, der)
	if r != nil {
		return who, r
	}
	if err := x.judge(signed, who.name); err != nil {
		return who, x.unauthorized("%s. %s", msgSAML, err)
	}
	who.claims = attributes(signed)
	return who, nil
}

// readAssertion parses text and refuses every shape in which what is signed
// could differ from what is read: a DTD, a second assertion or signature, an
// Id that stands twice, and comments or instructions between texts.
func readAssertion(text string) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings.PreserveCData = false
	if err := doc.ReadFromString(text); err != nil {
		return nil, errors.New("the XML is not well formed")
	}
	roots := 0
	for _, c := range doc.Child {
		switch c := c.(type) {
		case *etree.Element:
			roots++
		case *etree.Directive:
			return nil, errors.New("a DTD is not allowed")
		case *etree.CharData:
			if !c.IsWhitespace() {
				return nil, errors.New("there is text outside the assertion")
			}
		}
	}
	root := doc.Root()
	if roots != 1 || root.Tag != "Assertion" || root.NamespaceURI() != nsSAML || root.SelectAttrValue("Version", "") != "2.0" {
		return nil, errors.New("the root is not one SAML 2.0 assertion")
	}
	ids, signatures, assertions := make(map[string]int), 0, 0
	if err := survey(root, 0, func(e *etree.Element) {
		for _, a := range e.Attr {
			if a.Space == "" && strings.EqualFold(a.Key, "id") {
				ids[a.Value]++
			}
		}
		switch {
		case e.Tag == "Signature" && e.NamespaceURI() == nsDSig:
			signatures++
		case e.Tag == "Assertion" || e.Tag == "EncryptedAssertion":
			assertions++
		}
	}); err != nil {
		return nil, err
	}
	id := root.SelectAttrValue("ID", "")
	if assertions != 1 || signatures != 1 || id == "" || ids[id] != 1 {
		return nil, errors.New("there must be one assertion with one signature and an ID of its own")
	}
	return root, nil
}

// survey calls visit for e and all below it.
func survey(e *etree.Element, depth int, visit func(*etree.Element)) error {
	const deepest = 32
	if depth > deepest {
		return errors.New("the XML is nested too deeply")
	}
	visit(e)
	for _, c := range e.Child {
		switch c := c.(type) {
		case *etree.Element:
			if err := survey(c, depth+1, visit); err != nil {
				return err
			}
		case *etree.CharData:
		default:
			return errors.New("comments, instructions and directives are not allowed within")
		}
	}
	return nil
}

func child(e *etree.Element, space, tag string) *etree.Element {
	for _, c := range e.ChildElements() {
		if c.Tag == tag && c.NamespaceURI() == space {
			return c
		}
	}
	return nil
}

func childText(e *etree.Element, tag string) string {
	c := child(e, nsSAML, tag)
	if c == nil {
		return ""
	}
	return strings.TrimSpace(c.Text())
}

// presented is the certificate in the KeyInfo of the signature, which must
// refer to the assertion as a whole.
func presented(root *etree.Element) ([]byte, error) {
	sig := child(root, nsDSig, "Signature")
	if sig == nil {
		return nil, errors.New(msgSign + ". The signature is not in its place")
	}
	info := child(sig, nsDSig, "SignedInfo")
	if info == nil {
		return nil, errors.New(msgSign)
	}
	refs := 0
	for _, c := range info.ChildElements() {
		if c.Tag == "Reference" {
			refs++
			if c.SelectAttrValue("URI", "") != "#"+root.SelectAttrValue("ID", "") {
				return nil, errors.New(msgSign + ". The signature does not cover the assertion")
			}
		}
	}
	if refs != 1 {
		return nil, errors.New(msgSign + ". The signature must have one reference")
	}
	var data *etree.Element
	if ki := child(sig, nsDSig, "KeyInfo"); ki != nil {
		data = child(ki, nsDSig, "X509Data")
	}
	if data == nil || child(data, nsDSig, "X509Certificate") == nil {
		return nil, errors.New(msgSign + ". The signature names no certificate")
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(child(data, nsDSig, "X509Certificate").Text()), ""))
	if err != nil {
		return nil, errors.New(msgSign + ". The certificate is not base64")
	}
	return der, nil
}

// verified checks the certificate and the signature, and returns what was
// signed, parsed anew from the signed bytes.
func (x *exchange) verified(root *etree.Element, der []byte) (*etree.Element, *refusal) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, x.unauthorized("%s. ACS50017: The certificate could not be read", msgSAML)
	}
	if x.now.Before(cert.NotBefore) || x.now.After(cert.NotAfter) {
		return nil, x.unauthorized("%s. ACS50017: The certificate with subject '%s' and issuer '%s' failed validation. It is not valid at this time",
			msgSAML, cert.Subject, cert.Issuer)
	}
	if cert.PublicKeyAlgorithm != x509.RSA {
		// Stored like any other, but nothing shows that ACS could verify with it (D15).
		return nil, x.unauthorized("%s. %s. The algorithm of the key is not supported", msgSAML, msgSign)
	}
	if x.s.cfg.Switches.Chain && !x.chains(cert) {
		return nil, x.unauthorized("%s. ACS50017: The certificate with subject '%s' and issuer '%s' failed validation",
			msgSAML, cert.Subject, cert.Issuer)
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	ctx.IdAttribute = "ID"
	ctx.Clock = dsig.NewFakeClockAt(x.now)
	signed, err := ctx.Validate(root)
	if err != nil || signed == nil || signed.Tag != "Assertion" || signed.NamespaceURI() != nsSAML {
		return nil, x.unauthorized("%s. %s", msgSAML, msgSign)
	}
	return signed, nil
}

// chains says whether a certificate is self-signed or leads to a trusted root.
func (x *exchange) chains(cert *x509.Certificate) bool {
	if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return true
	}
	pool := x509.NewCertPool()
	for _, der := range x.s.cfg.Switches.Roots {
		if c, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(c)
		}
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: x.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// judge checks what a signed assertion says about itself: who, when, for whom.
func (x *exchange) judge(a *etree.Element, name string) error {
	if !x.sameName()(childText(a, "Issuer"), name) {
		return errors.New("the issuer is another one")
	}
	skew := x.s.cfg.Switches.AssertionSkew
	c := child(a, nsSAML, "Conditions")
	if c == nil {
		return errors.New("the assertion has no conditions")
	}
	if from := c.SelectAttrValue("NotBefore", ""); from != "" {
		t, err := parseDateTime(from)
		if err != nil || x.now.Add(skew).Before(t) {
			return errors.New("the assertion is not yet valid")
		}
	}
	until, err := parseDateTime(c.SelectAttrValue("NotOnOrAfter", ""))
	if err != nil || !x.now.Add(-skew).Before(until) {
		return errors.New("the assertion has expired or says no end")
	}
	if err := bearerOnly(a, x.now.Add(-skew)); err != nil {
		return err
	}
	if x.s.cfg.Switches.AnyAudience {
		return nil
	}
	restricted := false
	for _, r := range c.ChildElements() {
		if r.Tag != "AudienceRestriction" || r.NamespaceURI() != nsSAML {
			continue
		}
		restricted = true
		fits := false
		for _, au := range r.ChildElements() {
			fits = fits || (au.Tag == "Audience" && x.ownAudience(strings.TrimSpace(au.Text())))
		}
		if !fits {
			return errors.New("the audience is another one")
		}
	}
	if !restricted {
		return errors.New("the assertion has no audience")
	}
	return nil
}

// bearerOnly looks for a subject that is confirmed as a bearer.
func bearerOnly(a *etree.Element, now time.Time) error {
	subject := child(a, nsSAML, "Subject")
	if subject == nil {
		return errors.New("the assertion has no subject")
	}
	for _, c := range subject.ChildElements() {
		if c.Tag != "SubjectConfirmation" || c.SelectAttrValue("Method", "") != cmBear {
			continue
		}
		if d := child(c, nsSAML, "SubjectConfirmationData"); d != nil {
			if until := d.SelectAttrValue("NotOnOrAfter", ""); until != "" {
				if t, err := parseDateTime(until); err != nil || !now.Before(t) {
					continue
				}
			}
		}
		return nil
	}
	return errors.New("the subject is not confirmed as a bearer")
}

// ownAudience says whether an audience is this namespace's token endpoint or
// root, whatever the port (D10).
func (x *exchange) ownAudience(audience string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" || hostName(u.Host) != x.ns.host || u.RawQuery != "" {
		return false
	}
	switch strings.ToLower(strings.TrimSuffix(u.Path, "/")) {
	case "", "/wrapv0.9", "/v2/oauth2-13":
		return true
	}
	return false
}

func attributes(a *etree.Element) []Pair {
	var out []Pair
	for _, s := range a.ChildElements() {
		if s.Tag != "AttributeStatement" || s.NamespaceURI() != nsSAML {
			continue
		}
		for _, at := range s.ChildElements() {
			for _, v := range at.ChildElements() {
				if v.Tag == "AttributeValue" {
					out = append(out, Pair{at.SelectAttrValue("Name", ""), v.Text()})
				}
			}
		}
	}
	return out
}

func subjectOf(der []byte) string {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "unknown"
	}
	return cert.Subject.String()
}

// thumbprint is how Windows shows a certificate: SHA-1 in upper-case hex.
func thumbprint(der []byte) string {
	sum := sha1.Sum(der) // #nosec G401 -- By definition; nothing is decided by it.
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
