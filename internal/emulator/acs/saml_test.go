package acs_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// claimed is what an assertion says.
type claimed struct {
	issuer, audience string
	at               time.Time
}

// assertion is what a CRM server posts: signed as a whole, with the raw
// certificate in its KeyInfo.
func (s signer) assertion(t testing.TB, c claimed) string {
	t.Helper()
	doc := etree.NewDocument()
	a := doc.CreateElement("Assertion")
	a.CreateAttr("xmlns", "urn:oasis:names:tc:SAML:2.0:assertion")
	a.CreateAttr("ID", "_5d1b2c7e")
	a.CreateAttr("IssueInstant", c.at.Format(time.RFC3339))
	a.CreateAttr("Version", "2.0")
	a.CreateElement("Issuer").SetText(c.issuer)
	a.CreateElement("Subject").CreateElement("SubjectConfirmation").CreateAttr("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")
	cond := a.CreateElement("Conditions")
	cond.CreateAttr("NotBefore", c.at.Add(-time.Hour).Format(time.RFC3339))
	cond.CreateAttr("NotOnOrAfter", c.at.Add(time.Hour).Format(time.RFC3339))
	cond.CreateElement("AudienceRestriction").CreateElement("Audience").SetText(c.audience)
	at := a.CreateElement("AttributeStatement").CreateElement("Attribute")
	at.CreateAttr("Name", "http://schemas.microsoft.com/xrm/2011/Claims/Organization")
	at.CreateElement("AttributeValue").SetText("contoso.crm9.dynamics.com")
	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.der})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signed, err := ctx.SignEnveloped(a)
	if err != nil {
		t.Fatal(err)
	}
	out := etree.NewDocument()
	out.SetRoot(signed)
	raw, err := out.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	out = etree.NewDocument()
	if err := out.ReadFromBytes(raw); err != nil {
		t.Fatal(err)
	}
	// WIF puts the signature after the issuer.
	sig := out.Root().SelectElement("Signature")
	out.Root().RemoveChild(sig)
	out.Root().InsertChildAt(1, sig)
	text, err := out.WriteToString()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func usual(at time.Time) claimed {
	return claimed{issuer: crm, audience: "https://" + host + "/WRAPv0.9/", at: at}
}

func (b *bench) saml(assertion string) reply {
	b.t.Helper()
	return b.form("/WRAPv0.9/", "wrap_scope", realm+"queue", "wrap_assertion_format", "SAML", "wrap_assertion", assertion)
}

func TestSAML_GivesATokenThatMaySend(t *testing.T) {
	b := newBench(t, acs.Config{})
	r := b.saml(b.old.assertion(t, usual(day())))
	form, err := url.ParseQuery(r.body)
	if err != nil || r.status != 200 {
		t.Fatalf("sign-in = %d %s", r.status, r.body)
	}
	swt := form.Get("wrap_access_token")
	if !strings.HasPrefix(swt, "net.windows.servicebus.action=Send&http%3a%2f%2fschemas.microsoft.com%2faccesscontrolservice") ||
		!strings.Contains(swt, "&Audience=http%3a%2f%2fcontoso.servicebus.windows.net%2fqueue&") || form.Get("wrap_access_token_expires_in") != "10800" {
		t.Errorf("the token is %s", swt)
	}
	j := b.s.Journal()
	keys := b.s.Identity(host, crm)
	if e := j[len(j)-1]; e.Op != acs.OpToken || e.Identity != crm || e.KeyID != keys[0].ID || len(e.SHA256) != 64 || e.Status != 200 || !e.Applied {
		t.Errorf("the journal says %+v", e)
	}
	for _, grant := range []string{"urn:oasis:names:tc:SAML:2.0:assertion", "http://oauth.net/grant_type/saml/2.0/bearer", "urn:ietf:params:oauth:grant-type:saml2-bearer"} {
		r := b.form("/v2/OAuth2-13", "grant_type", grant, "assertion", b.old.assertion(t, usual(day())), "scope", realm)
		if r.status != 200 {
			t.Errorf("%s = %d %s", grant, r.status, r.body)
		}
	}
}

func TestSAML_Refuses(t *testing.T) {
	b := newBench(t, acs.Config{})
	at := day()
	stranger := newSigner(t, b.old.from, b.old.to)
	good := b.old.assertion(t, usual(at))
	forged := strings.Replace(b.old.assertion(t, usual(at)), "contoso.crm9", "fabrikam.crm9", 1)
	stolen := stranger
	stolen.der = b.old.der
	evil := `<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_evil" Version="2.0"><Issuer>` + crm + `</Issuer>`
	for _, tt := range []struct {
		name, assertion, says string
	}{
		{"text", "hello", "ACS50008"},
		{"an altered claim", forged, "ACS50006"},
		{"an altered issuer", strings.Replace(good, "<Issuer>crm9", "<Issuer>crm4", 1), "ACS50012"},
		{"a stranger's certificate", stranger.assertion(t, usual(at)), "ACS50016"},
		{"a stranger's key under our certificate", stolen.assertion(t, usual(at)), "ACS50006"},
		{"an unknown issuer", b.old.assertion(t, claimed{"crm4.dynamics.com", "https://" + host + "/", at}), "ACS50012"},
		{"the issuer in another case", b.old.assertion(t, claimed{"CRM9.dynamics.com", "https://" + host + "/", at}), "ACS50012"},
		{"another audience", b.old.assertion(t, claimed{crm, "https://" + plain + "/WRAPv0.9/", at}), "audience"},
		{"an audience over http", b.old.assertion(t, claimed{crm, "http://" + host + "/WRAPv0.9/", at}), "audience"},
		{"an old one", b.old.assertion(t, usual(at.Add(-66*time.Minute))), "expired"},
		{"one from the future", b.old.assertion(t, usual(at.Add(66*time.Minute))), "not yet valid"},
		{"a DTD", `<!DOCTYPE x [<!ENTITY a "b">]>` + good, "DTD"},
		{"a comment within", strings.Replace(good, "<Issuer>crm9", "<Issuer>crm9<!-- -->", 1), "comments"},
		{"no signature", regexpSignature(good), "one signature"},
		{"the signed one wrapped in another", evil + good + `</Assertion>`, "one assertion"},
		{"the signed one moved below the signature's object", wrapInObject(good), "one assertion"},
		{"a second root", good + good, "ACS50008"},
		{"a second element of the same ID", strings.Replace(good, "<Subject>", `<Advice ID="_5d1b2c7e"/><Subject>`, 1), "ID of its own"},
		{"a reference to nothing", strings.Replace(good, `URI="#_5d1b2c7e"`, `URI=""`, 1), "does not cover"},
		{"a reference to another", strings.Replace(good, `URI="#_5d1b2c7e"`, `URI="#other"`, 1), "does not cover"},
		{"a root of another name", strings.ReplaceAll(strings.ReplaceAll(good, "<Assertion ", "<Assertions "), "</Assertion>", "</Assertions>"), "root"},
	} {
		r := b.saml(tt.assertion)
		if r.status != 401 || !strings.Contains(r.body, tt.says) {
			t.Errorf("%s = %d %s, want 401 with %s", tt.name, r.status, r.body, tt.says)
		}
	}
	if r := b.saml(good); r.status != 200 {
		t.Errorf("the good one = %d %s", r.status, r.body)
	}
	for _, audience := range []string{"https://" + host, "https://" + host + "/", "https://" + host + ":443/WRAPv0.9", "https://" + host + ":8443/WRAPv0.9/"} {
		if r := b.saml(b.old.assertion(t, claimed{crm, audience, at})); r.status != 200 {
			t.Errorf("audience %s = %d %s", audience, r.status, r.body)
		}
	}
}

func regexpSignature(s string) string {
	i, j := strings.Index(s, "<ds:Signature"), strings.Index(s, "</ds:Signature>")
	return s[:i] + s[j+len("</ds:Signature>"):]
}

// wrapInObject puts the signed assertion into the Object of its own signature,
// under a root that says something else: the classic wrapping.
func wrapInObject(good string) string {
	bare := regexpSignature(good)
	i, j := strings.Index(good, "<ds:Signature"), strings.Index(good, "</ds:Signature>")
	sig := good[i:j] + "<ds:Object>" + bare + "</ds:Object></ds:Signature>"
	root := strings.Replace(bare, "contoso.crm9", "fabrikam.crm9", 1)
	root = strings.Replace(root, `ID="_5d1b2c7e"`, `ID="_other"`, 1)
	return strings.Replace(root, "<Subject>", sig+"<Subject>", 1)
}

// TestSAML_FollowsTheKeysDates plays the rotation of 2016: the new certificate
// is registered ahead of its start, the old one ends, then is deleted.
func TestSAML_FollowsTheKeysDates(t *testing.T) {
	b := newBench(t, acs.Config{})
	start := time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	fresh := newSigner(t, start, start.AddDate(2, 0, 0))
	id := b.identityID()
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(fresh)); r.status != 201 {
		t.Fatalf("adding the new certificate = %d %s", r.status, r.body)
	}
	check := func(when string, old, new int) {
		t.Helper()
		at := b.clock.Now()
		if r := b.saml(b.old.assertion(t, usual(at))); r.status != old {
			t.Errorf("%s the old one = %d, want %d: %s", when, r.status, old, r.body)
		}
		if r := b.saml(fresh.assertion(t, usual(at))); r.status != new {
			t.Errorf("%s the new one = %d, want %d: %s", when, r.status, new, r.body)
		}
	}
	check("at first", 200, 401)
	b.clock.add(start.Sub(day()) - time.Second)
	check("a second before the switch", 200, 401)
	b.clock.add(time.Second)
	check("at the switch", 200, 200)
	b.clock.add(24 * time.Hour)
	check("at the old one's end", 401, 200)
}

func TestVerify_NamesTheKey(t *testing.T) {
	b := newBench(t, acs.Config{})
	ask := func(assertion string) (v acs.Verdict) {
		r := b.form("/_emulator/verify", "wrap_scope", realm, "wrap_assertion_format", "SAML", "wrap_assertion", assertion)
		if err := json.Unmarshal([]byte(r.body), &v); err != nil || r.status != 200 {
			t.Fatalf("verify = %d %s", r.status, r.body)
		}
		return v
	}
	if v := ask(b.old.assertion(t, usual(day()))); !v.Accepted || v.KeyID != b.s.Identity(host, crm)[0].ID || v.Identity != crm {
		t.Errorf("verify of a good one = %+v", v)
	}
	if v := ask(newSigner(t, b.old.from, b.old.to).assertion(t, usual(day()))); v.Accepted || !strings.Contains(v.Reason, "ACS50016") {
		t.Errorf("verify of a stranger's = %+v", v)
	}
	if n := len(b.s.Journal()); n != 0 {
		t.Errorf("verify left %d journal entries, want none", n)
	}
}
