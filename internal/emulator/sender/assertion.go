package sender

import (
	"bytes"
	"fmt"
	"time"

	"github.com/beevik/etree"
	"github.com/google/uuid"
	dsig "github.com/russellhaering/goxmldsig"
)

// The life of assertions. CRM makes them valid an hour both ways; one is used
// again for half of that, since signing is what costs.
const (
	validity  = time.Hour
	reuse     = validity / 2
	cacheSize = 8192
)

const samlTime = "2006-01-02T15:04:05.000Z"

// signed is an assertion with what it was made of.
type signed struct {
	xml  []byte
	cert string // "old" or "new"
	at   time.Time
}

// current returns the pair that CRM uses at now: the first certificate of its
// configuration and no other, so there is no overlap on its side.
func (s *Sender) current(now time.Time) (Pair, string) {
	if now.Before(s.c.New.Cert.NotBefore) {
		return s.c.Old, CertOld
	}
	return s.c.New, CertNew
}

// assertion returns a signed assertion for a host, made now or not long ago.
func (s *Sender) assertion(e Endpoint, host string) (signed, error) {
	now := s.c.Now()
	pair, which := s.current(now)
	key := host + " " + e.Issuer + " " + e.Organization + " " + which
	if a, ok := s.cache.Get(key); ok && a.freshAt(now) {
		return a, nil
	}
	xml, err := sign(e, host, pair, now)
	if err != nil {
		return signed{}, err
	}
	a := signed{xml: xml, cert: which, at: now}
	s.cache.Add(key, a)
	return a, nil
}

func (a signed) freshAt(now time.Time) bool { return now.Sub(a.at).Abs() < reuse }

// sign makes the assertion that CRM's server makes: SAML 2.0, no NameID, claims
// about the organisation, RSA-SHA256 over the exclusive canonical form, and the
// whole certificate in KeyInfo.
func sign(e Endpoint, host string, pair Pair, now time.Time) ([]byte, error) {
	root := etree.NewElement("Assertion")
	root.CreateAttr("xmlns", "urn:oasis:names:tc:SAML:2.0:assertion")
	root.CreateAttr("ID", "_"+uuid.NewString())
	root.CreateAttr("IssueInstant", now.UTC().Format(samlTime))
	root.CreateAttr("Version", "2.0")
	root.CreateElement("Issuer").SetText(e.Issuer)
	root.CreateElement("Subject").CreateElement("SubjectConfirmation").
		CreateAttr("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")
	conditions := root.CreateElement("Conditions")
	conditions.CreateAttr("NotBefore", now.Add(-validity).UTC().Format(samlTime))
	conditions.CreateAttr("NotOnOrAfter", now.Add(validity).UTC().Format(samlTime))
	conditions.CreateElement("AudienceRestriction").CreateElement("Audience").SetText("https://" + host + wrapPath)
	statement := root.CreateElement("AttributeStatement")
	for _, claim := range [][2]string{
		{"Organization", e.Organization},
		{"User", uuid.NewSHA1(uuid.NameSpaceURL, []byte(e.Tenant+"/user")).String()},
		{"InitiatingUser", uuid.NewSHA1(uuid.NameSpaceURL, []byte(e.Tenant+"/user")).String()},
		{"PluginAssembly", "microsoft.crm.servicebus"},
	} {
		attr := statement.CreateElement("Attribute")
		attr.CreateAttr("Name", "http://schemas.microsoft.com/xrm/2011/Claims/"+claim[0])
		attr.CreateElement("AttributeValue").SetText(claim[1])
	}
	signing, err := dsig.NewSigningContext(pair.Key, [][]byte{pair.DER})
	if err != nil {
		return nil, fmt.Errorf("signing an assertion: %w", err)
	}
	signing.Prefix = "ds"
	signing.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := signing.SetSignatureMethod(dsig.RSASHA256SignatureMethod); err != nil {
		return nil, fmt.Errorf("signing an assertion: %w", err)
	}
	signature, err := signing.ConstructSignature(root, true)
	if err != nil {
		return nil, fmt.Errorf("signing an assertion: %w", err)
	}
	root.InsertChildAt(1, signature) // The schema wants it right after Issuer.
	doc := etree.NewDocument()
	doc.SetRoot(root)
	var out bytes.Buffer
	if _, err := doc.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("writing an assertion: %w", err)
	}
	return out.Bytes(), nil
}
