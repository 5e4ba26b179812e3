package acs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// wrapped is a namespace with one identity, and an assertion that it signed.
type wrapped struct {
	x    *exchange
	good string
}

func newWrapped(tb testing.TB) wrapped {
	tb.Helper()
	const at, name = "contoso-sb.accesscontrol.windows.net", "crm9.dynamics.com"
	now := time.Date(2016, 10, 15, 12, 0, 0, 0, time.UTC)
	key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // It signs one text of a test.
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	s := New(Config{Now: func() time.Time { return now }})
	err = s.AddNamespace(Namespace{Host: at, Identities: []Identity{
		{Name: name, Keys: []Key{{Usage: "Signing", Type: typeCertificate, Value: der, Start: tmpl.NotBefore, End: tmpl.NotAfter}}}, {Name: "victim"},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return wrapped{&exchange{s: s, ns: s.namespace(at), now: now}, sign(tb, key, der, `<Assertion xmlns="`+nsSAML+`" ID="_a1" IssueInstant="2016-10-15T12:00:00Z" Version="2.0"><Issuer>`+name+
		`</Issuer><Subject><SubjectConfirmation Method="`+cmBear+`"/></Subject><Conditions NotBefore="2016-10-15T11:00:00Z" NotOnOrAfter="2016-10-15T13:00:00Z"><AudienceRestriction><Audience>https://`+at+
		`/WRAPv0.9/</Audience></AudienceRestriction></Conditions><AttributeStatement><Attribute Name="organization"><AttributeValue>contoso</AttributeValue></Attribute></AttributeStatement></Assertion>`)}
}

func sign(tb testing.TB, key *rsa.PrivateKey, der []byte, text string) string {
	tb.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		tb.Fatal(err)
	}
	ctx, err := dsig.NewSigningContext(key, [][]byte{der})
	if err != nil {
		tb.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signed, err := ctx.SignEnveloped(doc.Root())
	if err != nil {
		tb.Fatal(err)
	}
	out := etree.NewDocument()
	out.SetRoot(signed)
	made, err := out.WriteToString()
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

// admitted returns what an assertion that is let in says, "" where it is not.
func (w wrapped) admitted(text string) string {
	who, bad := w.x.admitSAML(w.x.ns.cur.Load(), text)
	if bad != nil || who == nil {
		return ""
	}
	said := who.name
	for _, c := range who.claims {
		said += "|" + c.Name + "=" + c.Value
	}
	return said
}

// FuzzAssertion_AWrappedOneSaysNothingElse cuts a piece out of a signed assertion and
// puts any text there, a copy of the whole or a part of it among them: whatever is let
// in says exactly what was signed. It cannot be another identity, nor another claim.
func FuzzAssertion_AWrappedOneSaysNothingElse(f *testing.F) {
	w := newWrapped(f)
	want := w.admitted(w.good)
	if want == "" {
		f.Fatal("the good assertion is not let in")
	}
	i, j := strings.Index(w.good, "<ds:Signature"), strings.Index(w.good, "</ds:Signature>")+len("</ds:Signature>")
	signature, bare := w.good[i:j], w.good[:i]+w.good[j:]
	evil := strings.ReplaceAll(strings.ReplaceAll(bare, "contoso<", "fabrikam<"), `ID="_a1"`, `ID="_evil"`)
	for _, insert := range []string{
		"", " ", "<!-- -->", "<?x?>", "WHOLE", "BARE", "SIGNATURE", "<Advice>WHOLE</Advice>", "<ds:Object>BARE</ds:Object>", evil, "<EncryptedAssertion/>",
		`<Advice ID="_a1"/>`, `<!DOCTYPE a [<!ENTITY b "victim">]>`, "&b;", "&#118;ictim", "<![CDATA[victim]]>", "victim<!---->", `xmlns:ds="urn:x"`, "\x00", "\ufeff",
		"<Issuer>victim</Issuer>", strings.Repeat("<a>", 300) + strings.Repeat("</a>", 300), `<AttributeStatement><Attribute Name="role"><AttributeValue>admin</AttributeValue></Attribute></AttributeStatement>`,
	} {
		for _, at := range []int{0, strings.Index(w.good, "<Issuer>"), strings.Index(w.good, "crm9"), i, j, len(w.good) - len("</Assertion>"), len(w.good)} {
			f.Add(at, 0, insert)
			f.Add(at, 8, insert)
		}
		f.Add(i, j-i, insert)
		f.Add(0, len(w.good), evil[:20]+insert+evil[20:])
	}
	f.Fuzz(func(t *testing.T, at, cut int, insert string) {
		if at < 0 || at > len(w.good) || cut < 0 || cut > len(w.good)-at || len(insert) > 16<<10 {
			return
		}
		insert = strings.NewReplacer("WHOLE", w.good, "BARE", bare, "SIGNATURE", signature).Replace(insert)
		text := w.good[:at] + insert + w.good[at+cut:]
		if got := w.admitted(text); got != "" && got != want {
			t.Errorf("an assertion with %q for %q at %d is let in as %s, want %s or nothing", insert, w.good[at:at+cut], at, got, want)
		}
	})
}

// FuzzSWT_AnAlteredOneIsRefused alters a signed token anywhere: no alteration is
// verified.
func FuzzSWT_AnAlteredOneIsRefused(f *testing.F) {
	key := []byte(strings.Repeat("k", 32))
	good := SignSWT([]Pair{{"Issuer", "owner"}, {"Audience", "https://a/"}, {"ExpiresOn", "1476532800"}}, key)
	for _, insert := range []string{"", "&", "&Issuer=victim", "%26", "+", "\x00", "&HMACSHA256=", "=", strings.Repeat("&a=b", 150)} {
		for _, at := range []int{0, 7, strings.Index(good, "&HMAC"), len(good)} {
			f.Add(at, 0, insert)
			f.Add(at, 1, insert)
		}
	}
	f.Fuzz(func(t *testing.T, at, cut int, insert string) {
		if at < 0 || at > len(good) || cut < 0 || cut > len(good)-at {
			return
		}
		text := good[:at] + insert + good[at+cut:]
		tok, err := parseSWT(text)
		if err != nil || !tok.verify(key) {
			return
		}
		whole, err := parseSWT(good)
		if err != nil {
			t.Fatal(err)
		}
		if tok.text != whole.text {
			t.Errorf("%q is verified, and was signed as %q", tok.text, whole.text)
		}
	})
}
