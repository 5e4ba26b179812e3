package acs_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

func next2016(t testing.TB) signer {
	t.Helper()
	from := time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
	return newSigner(t, from, from.AddDate(2, 0, 0))
}

// golden reads a raw request and puts in what the test knows.
func golden(t testing.TB, name string, crlf bool, pairs ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer(append(pairs, "{{HOST}}", host)...).Replace(string(raw))
	if crlf {
		s = strings.ReplaceAll(s, "\n", "\r\n")
	}
	return s
}

// TestCreate_TakesAllThreeStyles adds one certificate by property, by URL and
// by link, and looks at everything else each time.
func TestCreate_TakesAllThreeStyles(t *testing.T) {
	fresh := next2016(t)
	link := `<link rel="http://schemas.microsoft.com/ado/2007/08/dataservices/related/ServiceIdentity" type="application/atom+xml;type=entry" title="ServiceIdentity" href="%s" /><content`
	for _, tt := range []struct {
		name, path string
		body       func(id string) string
		header     string
	}{
		{"by property", "ServiceIdentityKeys", func(id string) string {
			return keyEntry(fresh, "ServiceIdentityId="+id, "StartDate=2016-11-04T01:00:00", "EndDate=2018-11-04T02:00:00+01:00")
		}, "Content-Type: application/atom+xml"},
		{"by URL, which wins", "ServiceIdentities(%sL)/ServiceIdentityKeys", func(string) string { return keyEntry(fresh, "ServiceIdentityId=0") }, "Content-Type: application/atom+xml;type=entry"},
		{"by an absolute link", "ServiceIdentityKeys", func(id string) string {
			return strings.Replace(keyEntry(fresh, "ServiceIdentityId=0"), "<content", fmt.Sprintf(link, "https://"+host+"/v2/mgmt/service/ServiceIdentities("+id+"L)"), 1)
		}, "Content-Type: application/atom+xml"},
		{"by a relative link", "ServiceIdentityKeys", func(id string) string {
			return strings.Replace(keyEntry(fresh, "ServiceIdentityId=0"), "<content", fmt.Sprintf(link, "ServiceIdentities("+id+"L)"), 1)
		}, "Content-Type: application/atom+xml"},
		{"in JSON", "ServiceIdentityKeys", func(id string) string {
			return `{"__metadata":{"type":"Microsoft.Cloud.AccessControl.Management.ServiceIdentityKey"},"ServiceIdentityId":"` + id + `","Type":"X509Certificate","Usage":"Signing","DisplayName":"Credentials","Value":"` +
				base64.StdEncoding.EncodeToString(fresh.der) + `","StartDate":"\/Date(1478221200000)\/","EndDate":"2018-11-04T01:00:00"}`
		}, "Content-Type: application/json"},
		{"in JSON by link", "ServiceIdentityKeys", func(id string) string {
			return `{"ServiceIdentity":{"__metadata":{"uri":"ServiceIdentities(` + id + `L)"}},"Type":"X509Certificate","Usage":"Signing","DisplayName":"Credentials","Value":"` +
				base64.StdEncoding.EncodeToString(fresh.der) + `"}`
		}, "Content-Type: application/json;odata=verbose"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, acs.Config{})
			id := b.identityID()
			before := b.s.Identity(host, crm)
			path := tt.path
			if strings.Contains(path, "%s") {
				path = fmt.Sprintf(path, id)
			}
			r := b.call("POST", path, tt.body(id), tt.header)
			if r.status != 201 {
				t.Fatalf("POST = %d %s", r.status, r.body)
			}
			after := b.s.Identity(host, crm)
			if len(after) != 4 || !reflect.DeepEqual(after[:3], before) {
				t.Fatalf("the keys are %+v, want those of before and one more", after)
			}
			k := after[3]
			if !bytes.Equal(k.Value, fresh.der) || !k.Start.Equal(fresh.from) || !k.End.Equal(fresh.to) || k.DisplayName != "Credentials" || k.ID == 0 {
				t.Errorf("the new key is %+v", k)
			}
			if want := fmt.Sprintf("https://%s/v2/mgmt/service/ServiceIdentityKeys(%dL)", host, k.ID); r.header.Get("Location") != want {
				t.Errorf("Location = %s, want %s", r.header.Get("Location"), want)
			}
			if want := fmt.Sprintf(`W/"X'%016X'"`, k.Version); r.header.Get("ETag") != want {
				t.Errorf("ETag = %s, want %s", r.header.Get("ETag"), want)
			}
			if !strings.Contains(r.body, fmt.Sprintf(`<d:Id m:type="Edm.Int64">%d<`, k.ID)) {
				t.Errorf("the body is %s", r.body)
			}
		})
	}
}

// TestRawRequest_OfTheDotNetClient writes bytes to the socket: LF and BOM,
// 100-continue aside, as that client does.
func TestRawRequest_OfTheDotNetClient(t *testing.T) {
	b := newBench(t, acs.Config{})
	fresh := next2016(t)
	raw := golden(t, "post_key.txt", false, "{{ID}}", b.identityID(), "{{TOKEN}}", b.login(), "{{NAME}}", crm,
		"{{CERT}}", base64.StdEncoding.EncodeToString(fresh.der))
	head, body, _ := strings.Cut(raw, "\n\n")
	head = strings.ReplaceAll(strings.Replace(head, "{{LENGTH}}", fmt.Sprint(len(body)), 1), "\n", "\r\n")
	conn, err := tls.Dial("tcp", b.srv.Listener.Addr().String(), b.client.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, head+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 201 Created\r\n") {
		t.Fatalf("the answer is %s (%v)", got, err)
	}
	if keys := b.s.Identity(host, crm); len(keys) != 4 || !bytes.Equal(keys[3].Value, fresh.der) {
		t.Errorf("the keys are %+v", keys)
	}
}

func (b *bench) batch(body string) reply {
	b.t.Helper()
	return b.call("POST", "$batch", body, "Content-Type: multipart/mixed; boundary=batch_8f1e")
}

func TestBatch_MakesAnIdentityWithItsKey(t *testing.T) {
	fresh := next2016(t)
	for _, file := range []string{"batch_absolute.txt", "batch_relative.txt", "batch_from_host.txt"} {
		for _, crlf := range []bool{false, true} {
			b := newBench(t, acs.Config{})
			body := golden(t, file, crlf, "{{NAME}}", "crm4.dynamics.com", "{{CERT}}", base64.StdEncoding.EncodeToString(fresh.der))
			r := b.batch(body)
			if r.status != 202 || !strings.HasPrefix(r.header.Get("Content-Type"), "multipart/mixed; boundary=batchresponse_") {
				t.Fatalf("%s = %d %v", file, r.status, r.header)
			}
			if n := strings.Count(r.body, "HTTP/1.1 201 Created\r\n"); n != 2 || strings.Count(r.body, "Content-ID: ") != 2 {
				t.Errorf("%s (CRLF %t): %d made\n%s", file, crlf, n, r.body)
			}
			keys := b.s.Identity(host, "crm4.dynamics.com")
			if len(keys) != 1 || !bytes.Equal(keys[0].Value, fresh.der) {
				t.Errorf("%s (CRLF %t): the keys are %+v", file, crlf, keys)
			}
		}
	}
}

func TestBatch_DoesAllOrNothing(t *testing.T) {
	b := newBench(t, acs.Config{})
	body := golden(t, "batch_failing.txt", true, "{{NAME}}", "crm4.dynamics.com", "{{CERT}}", base64.StdEncoding.EncodeToString(next2016(t).der))
	r := b.batch(body)
	if r.status != 202 || strings.Count(r.body, "HTTP/1.1 400 Bad Request") != 1 || strings.Contains(r.body, "changesetresponse") || strings.Contains(r.body, "201 Created") {
		t.Errorf("the answer is %d %s", r.status, r.body)
	}
	if keys := b.s.Identity(host, "crm4.dynamics.com"); keys != nil {
		t.Errorf("the identity stands, with %d keys", len(keys))
	}
	for _, e := range b.s.Journal() {
		if e.Op == acs.OpCreate && e.Applied {
			t.Errorf("the journal has %+v", e)
		}
	}
}

func TestBatch_TakesQueriesBesideChangesets(t *testing.T) {
	b := newBench(t, acs.Config{})
	r := b.batch(golden(t, "batch_mixed.txt", true, "{{NAME}}", "crm4.dynamics.com"))
	var got []string
	for _, m := range regexp.MustCompile(`HTTP/1\.1 (\d+)`).FindAllStringSubmatch(r.body, -1) {
		got = append(got, m[1])
	}
	if fmt.Sprint(got) != "[200 201 404]" || !strings.Contains(r.body, "<d:Name>owner</d:Name>") {
		t.Errorf("the answers are %v\n%s", got, r.body)
	}
	id := b.s.Identity(host, crm)[0].ID
	r = b.batch(golden(t, "batch_delete.txt", true, "{{ID}}", fmt.Sprint(id)))
	if !strings.Contains(r.body, "HTTP/1.1 204 No Content\r\nContent-ID: 7\r\n") || len(b.s.Identity(host, crm)) != 2 {
		t.Errorf("a delete within = %s", r.body)
	}
}

func TestBatch_Limits(t *testing.T) {
	b := newBench(t, acs.Config{})
	one := "--batch_8f1e\r\nContent-Type: application/http\r\n\r\nGET Issuers/$count HTTP/1.1\r\n\r\n\r\n"
	if r := b.batch(strings.Repeat(one, 100) + "--batch_8f1e--\r\n"); r.status != 202 {
		t.Errorf("100 operations = %d, want 202", r.status)
	}
	if r := b.batch(strings.Repeat(one, 101) + "--batch_8f1e--\r\n"); r.status != 400 {
		t.Errorf("101 operations = %d, want 400", r.status)
	}
	if r := b.batch("hello"); r.status != 400 {
		t.Errorf("a batch that is none = %d, want 400", r.status)
	}
	if r := b.call("POST", "$batch", one, "Content-Type: application/json"); r.status != 415 {
		t.Errorf("a batch in JSON = %d, want 415", r.status)
	}
	if r := b.batch(strings.Replace(one, "GET Issuers", "GET https://"+plain+"/v2/mgmt/service/Issuers", 1) + "--batch_8f1e--\r\n"); !strings.Contains(r.body, "HTTP/1.1 400") {
		t.Errorf("an operation on another host = %s", r.body)
	}
}

func TestPut_PutsWhatIsLeftOutBack(t *testing.T) {
	b := newBench(t, acs.Config{})
	k := b.s.Identity(host, crm)[0]
	path := fmt.Sprintf("ServiceIdentityKeys(%dL)", k.ID)
	tag := fmt.Sprintf(`If-Match: W/"X'%016X'"`, k.Version)
	r := b.call("PUT", path, entry("ServiceIdentityKey", "Type=X509Certificate", "Usage=Signing", "Value="+base64.StdEncoding.EncodeToString(k.Value)), tag)
	if r.status != 204 {
		t.Fatalf("PUT = %d %s", r.status, r.body)
	}
	got := b.s.Identity(host, crm)[0]
	if got.DisplayName != "" || got.ID != k.ID || got.Version <= k.Version || r.header.Get("ETag") != fmt.Sprintf(`W/"X'%016X'"`, got.Version) {
		t.Errorf("after PUT the key is %+v, ETag %s", got, r.header.Get("ETag"))
	}
	r = b.call("MERGE", path, entry("ServiceIdentityKey", "Id=5", "DisplayName=again", "Version=AAAAAAAAAAE="), "If-Match: *")
	if now := b.s.Identity(host, crm)[0]; r.status != 204 || now.DisplayName != "again" || now.ID != k.ID || now.Version <= got.Version || !bytes.Equal(now.Value, k.Value) {
		t.Errorf("after MERGE (%d) the key is %+v", r.status, now)
	}
	r = b.call("PUT", path, entry("ServiceIdentityKey", "Type=Symmetric", "Usage=Signing", "Value=AAAA"), "If-Match: *")
	if r.status != 400 {
		t.Errorf("PUT of a value that is none = %d, want 400", r.status)
	}
}

func TestDelete_TakesTheKeysWithTheIdentity(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	if r := b.call("DELETE", "ServiceIdentities("+id+"L)", "", "If-Match: *"); r.status != 204 {
		t.Fatalf("DELETE = %d %s", r.status, r.body)
	}
	if r := b.call("GET", "ServiceIdentityKeys/$count", ""); r.body != "2" {
		t.Errorf("%s keys are left, want owner's 2", r.body)
	}
	if keys := b.s.Identity(plain, crm); len(keys) != 3 {
		t.Errorf("the other namespace has %d keys, want 3", len(keys))
	}
}

func TestSwitches_OfWriting(t *testing.T) {
	fresh := next2016(t)
	expired := newSigner(t, day().AddDate(-2, 0, 0), day().AddDate(-1, 0, 0))
	outside := keyEntry(fresh, "StartDate=2016-10-01T00:00:00Z")
	for _, tt := range []struct {
		name     string
		switches acs.Switches
		set      string
		body     string
		times    int
		want     int
	}{
		{"a name again", acs.Switches{}, "ServiceIdentities", entry("ServiceIdentity", "Name="+crm), 1, 400},
		{"a name again, allowed", acs.Switches{AllowDuplicateNames: true}, "ServiceIdentities", entry("ServiceIdentity", "Name="+crm), 1, 201},
		{"a certificate again", acs.Switches{}, "", keyEntry(fresh), 2, 201},
		{"a certificate again, refused", acs.Switches{RefuseDuplicateCertificates: true}, "", keyEntry(fresh), 2, 400},
		{"dates outside", acs.Switches{}, "", outside, 1, 400},
		{"dates outside, allowed", acs.Switches{AnyKeyDates: true}, "", outside, 1, 201},
		{"no dates", acs.Switches{}, "", keyEntry(fresh, "StartDate=0001-01-01T00:00:00"), 1, 201},
		{"no dates, refused", acs.Switches{RefuseEmptyDates: true}, "", keyEntry(fresh, "StartDate=0001-01-01T00:00:00"), 1, 400},
		{"an expired one", acs.Switches{}, "", keyEntry(expired), 1, 201},
		{"an expired one, refused", acs.Switches{RefuseExpired: true}, "", keyEntry(expired), 1, 400},
	} {
		b := newBench(t, acs.Config{Switches: tt.switches})
		path := tt.set
		if path == "" {
			path = "ServiceIdentities(" + b.identityID() + "L)/ServiceIdentityKeys"
		}
		var r reply
		for range tt.times {
			r = b.call("POST", path, tt.body)
		}
		if r.status != tt.want {
			t.Errorf("%s = %d %s, want %d", tt.name, r.status, r.body, tt.want)
		}
	}
}

func TestLenient_TakesThreeThingsOfVersion3(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{Lenient: true, NoIfMatch: true}})
	k := b.s.Identity(host, crm)[0]
	if r := b.call("GET", fmt.Sprintf("ServiceIdentityKeys(%d)?$format=json", k.ID), ""); r.status != 200 || !strings.HasPrefix(r.body, `{"d":{`) {
		t.Errorf("a bare key with $format = %d %s", r.status, r.body)
	}
	if r := b.call("PATCH", fmt.Sprintf("ServiceIdentityKeys(%d)", k.ID), `{"DisplayName":"x"}`, "Content-Type: application/json"); r.status != 204 {
		t.Errorf("PATCH = %d %s", r.status, r.body)
	}
}
