package dataverse

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// FuzzRows reads any page of service endpoints: a row that is taken has a GUID and
// reads the same again, and a page has no more rows than the bound, however few bytes
// a row takes.
func FuzzRows(f *testing.F) {
	for _, s := range []string{
		`{"value":[{"serviceendpointid":"AAAAAAAA-0000-0000-0000-000000000001","name":"x","authtype":1,"connectionmode":"2","contract":null,"namespaceaddress":"sb://contoso.servicebus.windows.net/"}]}`,
		`{"value":[` + strings.Repeat("{},", 150) + `{}]}`, `{"value":[` + strings.Repeat("[", 150), `{"value":null,"@odata.nextLink":"https://169.254.169.254/"}`, `{"value":{}}`,
		`{"value":[null]}`, `{"value":[{"serviceendpointid":"{AAAAAAAA-0000-0000-0000-000000000001}","authtype":1e400}]}`, `{"value":[{"authtype":-2147483649}]}`,
		`{"VALUE":[],"value":[{"serviceendpointid":1}]}`, "{\"value\":[{\"serviceendpointid\":\"\x00\xff\"}]}", "\xef\xbb\xbf{}", "null", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p page
		err := decodeAnswer(body, &p)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
				t.Errorf("reading %q = %v, want a short error without the answer", body, err)
			}
			return
		}
		if p.Value != nil && len(*p.Value) > maxPageRows {
			t.Errorf("a page of %d rows is read, at most %d are allowed", len(*p.Value), maxPageRows)
		}
		if p.Value == nil {
			return
		}
		for _, w := range *p.Value {
			r, err := w.row()
			if err != nil {
				continue
			}
			if u, err := uuid.Parse(r.ID); err != nil || u.String() != r.ID {
				t.Errorf("a row has the id %q", r.ID)
			}
			b, err := json.Marshal(map[string]any{
				"serviceendpointid": r.ID, "name": r.Name, "authtype": r.AuthType, "connectionmode": r.Connection, "contract": r.Contract, "namespaceformat": r.Format,
				"namespaceaddress": r.Address, "solutionnamespace": r.Namespace, "path": r.Path, "usekeyvaultconfiguration": r.KeyVault, "_managedidentityid_value": r.ManagedIdentity,
			})
			if err != nil {
				t.Fatal(err)
			}
			var again wireRow
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if got, err := again.row(); err != nil || got != r {
				t.Errorf("a row %+v reads %+v, %v", r, got, err)
			}
		}
	})
}

// FuzzFollow follows any link to a next page: a token is sent to the organisation's
// own Web API, by https, and nowhere else.
func FuzzFollow(f *testing.F) {
	const host = "contoso.crm4.dynamics.com"
	for _, s := range []string{
		"https://" + host + "/api/data/v9.2/serviceendpoints?$skiptoken=x", "https://" + host + "@evil.example/api/data/", "https://evil.example/api/data/",
		"https://169.254.169.254/api/data/", "https://[::ffff:127.0.0.1]/api/data/", "https://" + host + ".:443/api/data/", "https://" + host + ".evil.example/api/data/",
		"https://" + host + ":8443/api/data/", "http://" + host + "/api/data/", "//" + host + "/api/data/", "https://" + host + "/api/data/../../admin", "https://\u217aontoso.crm4.dynamics.com/api/data/",
		"https:" + host + "/api/data/", "https://" + host + "\\@evil/api/data/", "\x00", "https://" + host + "/api/data/%2e%2e/x", "https://con\u00adtoso.crm4.dynamics.com/api/data/",
	} {
		f.Add(s)
	}
	s := &session{base: &url.URL{Scheme: "https", Host: host}}
	f.Fuzz(func(t *testing.T, link string) {
		u, err := s.follow(link)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 600 {
				t.Errorf("follow(%q) = %v, want a short error", link, err)
			}
			return
		}
		// What net/http will do with it.
		req, err := http.NewRequest(http.MethodGet, u.String(), nil) //nolint:noctx // It is not sent.
		if err != nil {
			return
		}
		if name := req.URL.Hostname(); req.URL.Scheme != "https" || !strings.EqualFold(name, host) || req.URL.User != nil ||
			(req.URL.Port() != "" && req.URL.Port() != "443") || !strings.HasPrefix(req.URL.Path, "/api/data/") || strings.Contains(req.URL.Path+"/", "/../") {
			t.Errorf("follow(%q) leads to %s", link, req.URL)
		}
	})
}

// FuzzOrganisation reads any text as the address of an organisation: what is taken is
// a host below a domain of Dynamics and nothing else.
func FuzzOrganisation(f *testing.F) {
	for _, s := range []string{
		"https://contoso.crm4.dynamics.com", " https://CONTOSO.api.crm9.dynamics.com:443/ ", "https://contoso.crm4.dynamics.com.", "https://127.0.0.1/", "https://u:p@contoso.crm4.dynamics.com",
		"https://contoso.crm4.dynamics.com%2eevil.example", "https://contoso.crm4.d\u0443namics.com", "https://contoso.\u212Arm.dynamics.com", "https://[::1]/", "https://contoso.crm4.dynamics.com\\.evil.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		u, cloud, err := organisation(address)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 600 {
				t.Errorf("organisation(%q) = %v, want a short error", address, err)
			}
			return
		}
		got, ok := CloudOf(u.Host)
		if !ok || got != cloud || u.String() != "https://"+u.Host || u.Host != strings.ToLower(u.Host) || !isASCII(u.Host) || strings.HasSuffix(u.Host, ".") {
			t.Errorf("organisation(%q) = %s in %s", address, u, cloud)
		}
		if again, _, err := organisation(u.String()); err != nil || *again != *u {
			t.Errorf("organisation(%s) = %v, %v, want itself", u, again, err)
		}
	})
}

// FuzzRefusal reads any answer that is none, of the organisation and of Entra: it is
// an error that is short, names no token and no secret, and does not make us wait
// longer than the bound.
func FuzzRefusal(f *testing.F) {
	f.Add(429, "00:05:00", `{"error":{"code":"0x80072322","message":"token-xxxxxxxx is bad"}}`)
	f.Add(503, "1e308", `{"error":{"code":-2147015902}}`)
	f.Add(401, "-1", `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret s3cret~value","error_codes":[7000215]}`)
	f.Add(400, "NaN", `{"error":"`+strings.Repeat("x", 150)+`","error_codes":[-9223372036854775808]}`)
	f.Add(403, "Inf", "\xff\xfe\x00")
	f.Add(500, "Fri, 31 Dec 9999 23:59:59 GMT", strings.Repeat(`{"error":`, 150))
	f.Add(429, "-99:-99:-99", `{"error":{"message":"\u202e\u0000"}}`)
	const token, secret = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln", "s3cret~value"
	now := time.Date(2016, 10, 20, 12, 0, 0, 0, time.UTC)
	client, err := New(Config{Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	s := &session{c: client, base: &url.URL{Scheme: "https", Host: "contoso.crm4.dynamics.com"}, login: Login{EntraTenant: "d", ClientID: "c", Secret: secrets.NewSecret(secret)}}
	f.Fuzz(func(t *testing.T, status int, after, body string) {
		if status < 100 || status > 999 || status == http.StatusOK {
			return // net/http gives none, or it is no refusal.
		}
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader(body))}
		if d, _ := retryAfter(resp.Header, now); d < 0 || d > longestPause {
			t.Errorf("Retry-After %q makes us wait %s", after, d)
		}
		// The body has our own token in it, as a proxy's page may have.
		told := s.statusError(resp, []byte(strings.ReplaceAll(body, "TOKEN", token)), token)
		if told == nil || strings.Contains(told.Error(), token) || !utf8.ValidString(told.Error()) || len(told.Error()) > 3000 || strings.ContainsAny(told.Error(), "\x00\r\n") {
			t.Errorf("an answer %d %q says %v", status, body, told)
		}
		word, number := entraCode(resp)
		if len(word) > 40 || strings.Contains(triage(number), secret) || len(triage(number)) > 200 {
			t.Errorf("Entra's %q says %q %d", body, word, number)
		}
	})
}

// FuzzParseVersion reads any text as a version.
func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"9.2.24011.00165", "8.1", "-1.0", "65536.0", "9.", "٩.٢", "9.2\x00", strings.Repeat("9.", 150)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("ParseVersion of %d bytes says %d", len(s), len(err.Error()))
			}
			return
		}
		if v.Major < 0 || v.Minor < 0 || len(v.columns()) == 0 || !v.AtLeast(v.Major, v.Minor) || v.AtLeast(v.Major, v.Minor+1) {
			t.Errorf("ParseVersion(%q) = %+v", s, v)
		}
		if v.AtLeast(8, 1) && !strings.Contains(v.columns()[len(v.columns())-1], "authtype") {
			t.Errorf("ParseVersion(%q) = %+v is read without authtype", s, v)
		}
	})
}

// FuzzKeyPair reads any bytes as our application's login: it is refused without a word
// of its content, or has a key with its certificate first.
func FuzzKeyPair(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x80, 0x02, 0x01, 0x03})
	f.Add(bytes.Repeat([]byte("-----BEGIN X-----\n"), 150))
	f.Add([]byte("MIACAQMwgA=="))
	f.Fuzz(func(t *testing.T, file []byte) {
		chain, key, err := parseKeyPair(secrets.NewSecret(string(file)))
		if err != nil {
			if key != nil || len(err.Error()) > 400 {
				t.Errorf("parseKeyPair = %v with a key: %v", err, key != nil)
			}
			return
		}
		if key == nil || len(chain) == 0 {
			t.Errorf("parseKeyPair gives %d certificates, key: %v", len(chain), key != nil)
		}
	})
}
