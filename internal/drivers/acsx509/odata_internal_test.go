package acsx509

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// sampleSHA is the SHA-256 of the certificate in testdata.
const sampleSHA = "1db74af0f69c8fbd67ccbff5c3181cfe810a94874165935142ac84e7a2a29c97"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseFeed_ReadsAnExpandedIdentity(t *testing.T) {
	f, err := parseFeed(bytes.NewReader(sample(t, "identity.xml")))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) != 1 || f.Entries[0].Content.ID != 77 || f.Entries[0].Content.Name != "crm9.dynamics.com" || f.next() != "" {
		t.Fatalf("parseFeed = %d entries, next %q", len(f.Entries), f.next())
	}
	keys := expandedKeys(f.Entries[0])
	if len(keys) != 3 {
		t.Fatalf("expandedKeys = %d keys, want 3", len(keys))
	}
	k := keys[0].key()
	begin := time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	if !k.X509 || k.SHA256 != sampleSHA || !k.Start.Equal(begin) || !k.End.Equal(begin.AddDate(2, 0, 0)) ||
		k.Mark != "0199a1b2-0000-7000-8000-000000000001" || k.Version != `W/"X'00000000000007D1'"` || k.ID != 501 || k.Reserved {
		t.Errorf("key = %+v", k)
	}
}

// The values of passwords and symmetric keys must not outlive parsing, whether
// the type comes before or after the value.
func TestParseFeed_ForgetsWhatIsNoCertificate(t *testing.T) {
	f, err := parseFeed(bytes.NewReader(sample(t, "identity.xml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range expandedKeys(f.Entries[0])[1:] {
		if k.Content.Value != nil || k.key().X509 || k.key().DER != nil {
			t.Errorf("key %d of type %s has a value", k.Content.ID, k.Content.Type)
		}
	}
}

func TestParseFeed_TakesAnyPrefixAndOrder(t *testing.T) {
	f, err := parseFeed(bytes.NewReader(append([]byte("\ufeff"), sample(t, "prefixed.xml")...)))
	if err != nil {
		t.Fatal(err)
	}
	k := f.Entries[0].key()
	if k.SHA256 != sampleSHA || !k.Reserved || k.Start.Unix() != 1478221200 || k.End.Unix() != 1541293200 || k.Mark != "" {
		t.Errorf("key = %+v", k)
	}
	if want := "https://contoso-sb.accesscontrol.windows.net/v2/mgmt/service/ServiceIdentityKeys()?$skiptoken=501"; f.next() != want {
		t.Errorf("next = %q, want %q", f.next(), want)
	}
}

func TestParseFeed_NeverTakesRubbishForAnEmptyList(t *testing.T) {
	whole := sample(t, "identity.xml")
	for name, body := range map[string][]byte{
		"nothing":               nil,
		"blanks":                []byte(" \n"),
		"a proxy's page":        sample(t, "gateway.html"),
		"an error":              sample(t, "odata-error.xml"),
		"JSON":                  []byte(`{"d":{"results":[]}}`),
		"a cut feed":            whole[:len(whole)/2],
		"a feed cut at an end":  whole[:bytes.LastIndex(whole, []byte("</feed>"))],
		"an entry, not a feed":  []byte(`<entry xmlns="http://www.w3.org/2005/Atom"/>`),
		"an entry without Id":   []byte(`<feed><entry><content/></entry></feed>`),
		"a number that is none": []byte(`<feed><entry><content><properties><Id>x1</Id></properties></content></entry></feed>`),
	} {
		if f, err := parseFeed(bytes.NewReader(body)); !errors.Is(err, errAnswer) {
			t.Errorf("parseFeed(%s) = %d entries, %v, want %v", name, len(f.Entries), err, errAnswer)
		}
	}
}

// A parser's own words quote the document, which may be a token in the wrong
// place.
func TestParseFeed_DoesNotQuoteTheAnswer(t *testing.T) {
	for _, body := range []string{
		"wrap_access_token=s3cret&s3cret;x", "<feed><s3cret></feed>", "<s3cret/>", "<feed>&s3cret;</feed>", `<feed a="s3cret<`,
		"<feed><entry><content><properties><Value>s3cret!</Value><Type>X509Certificate</Type></properties></content></entry></feed>",
		"<feed><entry><content><properties><StartDate>s3cret</StartDate></properties></content></entry></feed>",
	} {
		if _, err := parseFeed(strings.NewReader(body)); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("parseFeed(%q) = %v, want an error without the text", body, err)
		}
	}
}

func TestParseDate_TakesEveryFormSeen(t *testing.T) {
	want := time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2016-11-04T01:00:00Z", "2016-11-04T01:00:00", "2016-11-04T01:00:00+00:00", "2016-11-04T02:30:00+01:30", "2016-11-04T01:00",
		"2016-11-04T01:00Z", "2016-11-04T01:00:00.0000000", "2016-11-04T01:00:00.0000000Z", "/Date(1478221200000)/", "/Date(1478221200000+0120)/",
	} {
		if got, err := parseDate(s); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("parseDate(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	if got, err := parseDate("9999-12-31T23:59:59.9999999"); err != nil || got.Year() != 9999 {
		t.Errorf("parseDate of the last instant = %v, %v", got, err)
	}
	for _, s := range []string{"", "tomorrow", "/Date()/", "/Date(1", "2016-11-04"} {
		if got, err := parseDate(s); err == nil {
			t.Errorf("parseDate(%q) = %v, want an error", s, got)
		}
	}
}

// What is no certificate may be a container with a private key: it is named by
// its hash and its bytes are not kept.
func TestKey_DropsBytesThatAreNoCertificate(t *testing.T) {
	body := `<feed><entry><content><properties><Id>1</Id><Type>X509Certificate</Type><Value>` +
		base64.StdEncoding.EncodeToString([]byte("a PFX, perhaps")) + `</Value></properties></content></entry></feed>`
	f, err := parseFeed(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if k := f.Entries[0].key(); k.DER != nil || k.SHA256 == "" || !k.X509 {
		t.Errorf("key = %+v, want a hash without bytes", k)
	}
}

func TestNewKey_IsReadBackAsItWasMeant(t *testing.T) {
	der := sampleDER(t)
	c, err := rollover.FromDER(der)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(newKey(rollover.Standing{Credential: c, Start: c.NotBefore, End: c.NotAfter, Name: `Crossfade <&>"'`, Usage: usageSigning}, time.Unix(0, 0)), []byte("?>"))
	f, err := parseFeed(strings.NewReader("<feed>" + string(body) + "</feed>"))
	if err != nil {
		t.Fatal(err)
	}
	e := f.Entries[0]
	k := e.key()
	if k.SHA256 != c.SHA256 || !sameDates(k.Standing, c) || k.Mark != `<&>"'` || k.Reserved || e.Content.Usage != "Signing" {
		t.Errorf("newKey is read as %+v", k)
	}
}

func sampleDER(t testing.TB) []byte {
	t.Helper()
	f, err := parseFeed(bytes.NewReader(sample(t, "prefixed.xml")))
	if err != nil {
		t.Fatal(err)
	}
	return f.Entries[0].Content.Value
}

func TestNextPage_StaysOnTheHost(t *testing.T) {
	const host = "contoso-sb.accesscontrol.windows.net"
	const root = "https://" + host + "/v2/mgmt/service/"
	for _, c := range []struct{ base, href, want string }{
		{"", root + "ServiceIdentityKeys?$skiptoken=5", root + "ServiceIdentityKeys?$skiptoken=5"},
		{root, "ServiceIdentityKeys?$skiptoken=5", root + "ServiceIdentityKeys?$skiptoken=5"},
		{"", "ServiceIdentityKeys?$skiptoken=5", root + "ServiceIdentityKeys?$skiptoken=5"},
		{"", "https://" + host + ":443/v2/mgmt/service/X?$skiptoken=5", root + "X?$skiptoken=5"},
		{"", "https://evil.example/v2/mgmt/service/X", ""},
		{"https://evil.example/", "v2/mgmt/service/X", ""},
		{"", "http://" + host + "/v2/mgmt/service/X", ""},
		{"", "https://" + host + ":8443/v2/mgmt/service/X", ""},
		{"", "https://u:p@" + host + "/v2/mgmt/service/X", ""},
		{"", "//evil.example/v2/mgmt/service/X", ""},
		{"", "/WRAPv0.9/", ""},
		{"", root + "../../../x", ""},
		{"", "%zz", ""},
	} {
		if got, err := nextPage(root+"ServiceIdentityKeys()", c.base, c.href, host); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("nextPage(%q, %q) = %q, %v, want %q", c.base, c.href, got, err, c.want)
		}
	}
}

func FuzzAtom(f *testing.F) {
	for _, name := range []string{"identity.xml", "prefixed.xml", "odata-error.xml", "gateway.html"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := parseFeed(bytes.NewReader(body))
		if err != nil {
			if !errors.Is(err, errAnswer) {
				t.Errorf("parseFeed: %v is not %v", err, errAnswer)
			}
			return
		}
		for _, e := range page.Entries {
			for _, k := range append([]entry{e}, expandedKeys(e)...) {
				if k.Content.Type != typeX509 && k.Content.Value != nil {
					t.Errorf("a value of type %q was kept", k.Content.Type)
				}
				_ = k.key()
			}
		}
	})
}
