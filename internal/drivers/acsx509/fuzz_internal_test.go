package acsx509

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// FuzzTokenAnswer reads any answer of a token endpoint by both protocols: what comes
// out can stand in a header, its life is bounded and never in the past, and no error
// repeats the answer.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(sample(f, "oauth-token.json"))
	f.Add(sample(f, "wrap-token.txt"))
	for _, s := range []string{
		`{"access_token":"a\r\nX-Evil: 1","expires_in":"60"}`, `{"access_token":"t","expires_in":1e99}`, `{"access_token":"t","expires_in":-1}`,
		`{"access_token":"ExpiresOn=9223372036854775807","expires_in":"4294967296"}`, "wrap_access_token=%zz", "wrap_access_token=a%00b",
		"wrap_access_token=a%26ExpiresOn%3d-62135596801&wrap_access_token_expires_in=99999999999999999999", "<html>", "",
	} {
		f.Add([]byte(s))
	}
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	a := &api{}
	a.kit.Now = func() time.Time { return now }
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func([]byte) (string, time.Duration, error){readOAuth, readWRAP} {
			swt, life, err := read(body)
			if err != nil {
				if swt != "" || life != 0 || err.Error() != errNoProtocol.Error() {
					t.Errorf("reading %q = %q, %s, %v; want nothing but the one error", body, swt, life, err)
				}
				continue
			}
			h := http.Header{}
			h.Set("Authorization", "Bearer "+swt)
			if strings.ContainsAny(swt, "\r\n\x00 ") || len(swt) > maxTokenBytes || swt == "" {
				t.Errorf("reading %q gives a token that cannot be sent: %q", body, swt)
			}
			if life < 0 || life > 1<<31*time.Second {
				t.Errorf("reading %q gives a life of %s", body, life)
			}
			until := a.usableUntil(swt, life)
			if life > 0 && until.After(now.Add(life)) {
				t.Errorf("a token of %s is used until %s, want its life at most", life, until)
			}
			if again, l, err := read(body); err != nil || again != swt || l != life {
				t.Errorf("reading %q twice = %q, %s, %v after %q, %s", body, again, l, err, swt, life)
			}
			_ = secrets.NewSecret(swt)
		}
	})
}

// FuzzStatusError reads any refusal: of a hostile answer nothing gets into the error
// but codes and a trace of known shape, and it cannot make us wait longer than the
// bound.
func FuzzStatusError(f *testing.F) {
	f.Add(503, "120", "", []byte(`{"error":"x","error_description":"ACS50008: bad. Trace ID: 1b4e28ba-2fa1-11d2-883f-0016d3cca427"}`))
	f.Add(429, "Fri, 31 Dec 9999 23:59:59 GMT", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", []byte("<html>"))
	f.Add(401, "-9223372036854775808", "x\x00y", bytes.Repeat([]byte("ACS10000 ACS10001 ACS10002 ACS10003 ACS10004 "), 20))
	f.Add(999, "99999999999999999999999", "trace", []byte("trace id: \xff\xfe"))
	shape := regexp.MustCompile(`^op on h: HTTP \d+( [A-Za-z' -]+)?(, ACS\d{5}( ACS\d{5}){0,3})?(, trace [0-9a-fA-F-]{36})?$`)
	now := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, after, id string, body []byte) {
		if status < 0 {
			return // net/http gives none.
		}
		r := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}, "X-Ms-Request-Id": {id}}}
		e := statusError("op", "h", r, body, now)
		if e.After < 0 || e.After > maxRetryAfter {
			t.Errorf("Retry-After %q gives %s, want 0 to %s", after, e.After, maxRetryAfter)
		}
		if !shape.MatchString(e.Error()) {
			t.Errorf("an answer %d with %q and %q reads %q, want codes and trace alone", status, id, body, e.Error())
		}
		if err := markToken(e); err == nil || !utf8.ValidString(err.Error()) {
			t.Errorf("markToken(%v) = %v", e, err)
		}
	})
}

// FuzzNextPage follows any link: whatever comes out is on the host's own management
// service, by https, without a user.
func FuzzNextPage(f *testing.F) {
	const at = "contoso-sb.accesscontrol.windows.net"
	current := "https://" + at + servicePath + "ServiceIdentities()"
	for _, s := range []string{
		"ServiceIdentities()?$skiptoken=50L", "//169.254.169.254/v2/mgmt/service/", "https://" + at + "@evil.example/v2/mgmt/service/", "https://evil.example/",
		"https://" + at + ".:443/v2/mgmt/service/", "https://" + at + ":443/v2/mgmt/service/x", "https://[::ffff:169.254.169.254]/v2/mgmt/service/",
		"http://" + at + "/v2/mgmt/service/", "../../../etc", "/v2/mgmt/service/../../admin", "/v2/mgmt/service/%2e%2e/%2e%2e/x", "javascript:x", "\x00", "https:/\\evil",
		"https://contoso\u2024sb.accesscontrol.windows.net/v2/mgmt/service/", "https://xn--a/v2/mgmt/service/",
	} {
		f.Add("", s)
		f.Add(s, "ServiceIdentities()")
	}
	f.Fuzz(func(t *testing.T, base, href string) {
		next, err := nextPage(current, base, href, at)
		if err != nil {
			if next != "" || len(err.Error()) > 300 {
				t.Errorf("nextPage(%q, %q) = %q, %v", base, href, next, err)
			}
			return
		}
		u, err := url.Parse(next)
		if err != nil || u.Scheme != "https" || u.Host != at || u.User != nil || !strings.HasPrefix(u.Path, servicePath) || strings.Contains(u.Path+"/", "/../") {
			t.Errorf("nextPage(%q, %q) = %q, want a page of the host's own service", base, href, next)
		}
	})
}

// FuzzAtomRead reads any page, and with it all keys of an identity: what is written of
// a key that was read reads the same again.
func FuzzAtomRead(f *testing.F) {
	for _, name := range []string{"identity.xml", "prefixed.xml", "odata-error.xml", "gateway.html"} {
		f.Add(sample(f, name))
	}
	for _, s := range []string{
		`<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><feed><entry><content><properties><Id>&b;</Id></properties></content></entry></feed>`,
		`<feed>` + strings.Repeat("<entry>", 200) + strings.Repeat("</entry>", 200) + `</feed>`,
		"<feed " + strings.Repeat(`a='>' b="<" `, 150) + "/>", "<!-- ' --><feed a='\"'/>", `<feed>` + strings.Repeat("<entry/>", 150) + `</feed>`,
		`<feed>` + strings.Repeat("<entry><link><inline><feed>", 50) + strings.Repeat("</feed></inline></link></entry>", 50) + `</feed>`,
		"<feed><entry><content><properties><Id>1</Id><Id>2</Id><Type>X509Certificate</Type><Value>!!</Value></properties></content></entry></feed>",
		"<feed><entry><content><properties><Id>99999999999999999999</Id></properties></content></entry></feed>", "\xff\xfe<\x00f\x00", "<feed>\x00</feed>",
	} {
		f.Add([]byte(s))
	}
	at := At{"contoso", "contoso-sb.accesscontrol.windows.net"}
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := parseFeed(bytes.NewReader(body))
		again, err2 := parseFeed(bytes.NewReader(body))
		if (err == nil) != (err2 == nil) || len(page.Entries) != len(again.Entries) {
			t.Fatalf("parseFeed twice = %d entries, %v, then %d, %v", len(page.Entries), err, len(again.Entries), err2)
		}
		if err != nil {
			if !errors.Is(err, errAnswer) || len(page.Entries) != 0 {
				t.Errorf("parseFeed = %d entries, %v; want none and %v", len(page.Entries), err, errAnswer)
			}
			return
		}
		if len(page.Entries) > maxEntries {
			t.Errorf("parseFeed gives %d entries, at most %d are read", len(page.Entries), maxEntries)
		}
		for _, e := range page.Entries {
			keys := expandedKeys(e)
			i, err := identityOf(e.Content.ID, at, keys)
			if err != nil {
				continue
			}
			for _, k := range i.Keys {
				if k.IdentityID != e.Content.ID || !k.X509 {
					t.Errorf("identity %d has key %+v of another", e.Content.ID, k)
				}
				if len(k.DER) > 0 && k.SHA256 == "" {
					t.Errorf("key %d has bytes and no name", k.ID)
				}
			}
		}
	})
}
