package acs_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// entry is an Atom entry as the .NET client writes it: properties in
// alphabetical order, Id 0, Version null.
func entry(typeName string, props ...string) string {
	var b strings.Builder
	b.WriteString("\xef\xbb\xbf" + `<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<entry xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom">
  <category scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" term="Microsoft.Cloud.AccessControl.Management.` + typeName + `" />
  <title /><author><name /></author><updated>2016-10-15T12:00:00Z</updated><id />
  <content type="application/xml"><m:properties>`)
	for _, p := range props {
		name, value, _ := strings.Cut(p, "=")
		b.WriteString("<d:" + name + ">" + value + "</d:" + strings.Fields(name)[0] + ">")
	}
	b.WriteString(`</m:properties></content></entry>`)
	return b.String()
}

// keyEntry is the entry of a certificate; what is left out is for the service
// to fill in.
func keyEntry(s signer, more ...string) string {
	props := []string{"DisplayName=Credentials", "Type=X509Certificate", "Usage=Signing",
		"Value=" + base64.StdEncoding.EncodeToString(s.der)}
	return entry("ServiceIdentityKey", append(props, more...)...)
}

func TestStatuses(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	fresh := newSigner(t, time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC), time.Date(2018, 11, 4, 1, 0, 0, 0, time.UTC))
	keys := b.s.Identity(host, crm)
	key := fmt.Sprintf("ServiceIdentityKeys(%dL)", keys[0].ID)
	tag := fmt.Sprintf(`W/"X'%016X'"`, keys[0].Version)
	sym := "Value=" + base64.StdEncoding.EncodeToString(make([]byte, 31))
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		want                     int
	}{
		{"a set", "GET", "ServiceIdentities", "", nil, 200},
		{"a set that is none", "GET", "Nothings", "", nil, 404},
		{"an entity", "GET", key, "", nil, 200},
		{"an entity by name of its key", "GET", fmt.Sprintf("ServiceIdentityKeys(Id=%dL)", keys[0].ID), "", nil, 200},
		{"an entity that is absent", "GET", "ServiceIdentityKeys(5L)", "", nil, 404},
		{"a key without L", "GET", strings.Replace(key, "L)", ")", 1), "", nil, 400},
		{"a key in text", "GET", "ServiceIdentityKeys('5')", "", nil, 400},
		{"a property", "GET", key + "/Usage", "", nil, 200},
		{"a property's value", "GET", key + "/Usage/$value", "", nil, 200},
		{"a property that is none", "GET", key + "/Nothing", "", nil, 404},
		{"a count", "GET", "ServiceIdentityKeys/$count", "", []string{"Accept: text/plain"}, 200},
		{"a filter that makes no sense", "GET", "ServiceIdentityKeys?$filter=Id eq", "", nil, 400},
		{"a filter over a property that is none", "GET", "ServiceIdentityKeys?$filter=Nothing eq 1", "", nil, 400},
		{"a filter over kinds that do not fit", "GET", "ServiceIdentityKeys?$filter=Usage eq 1", "", nil, 400},
		{"an option that is none", "GET", "ServiceIdentityKeys?$nothing=1", "", nil, 400},
		{"an option without a dollar", "GET", "ServiceIdentityKeys?nothing=1", "", nil, 200},
		{"$format", "GET", "ServiceIdentityKeys?$format=json", "", nil, 400},
		{"another Accept", "GET", key, "", []string{"Accept: image/png"}, 415},
		{"JSON light", "GET", key, "", []string{"Accept: application/json;odata=minimalmetadata"}, 415},
		{"a version from the future", "GET", key, "", []string{"DataServiceVersion: 3.0"}, 400},
		{"no token", "GET", key, "", []string{"Authorization: "}, 401},
		{"a token that is none", "GET", key, "", []string{"Authorization: Bearer a=b&HMACSHA256=c"}, 401},
		{"the service document without a token", "GET", "", "", []string{"Authorization: "}, 200},
		{"$metadata without a token", "GET", "$metadata", "", []string{"Authorization: "}, 200},
		{"an unknown host", "GET", "https://nobody-sb.accesscontrol.windows.net/v2/mgmt/service/", "", nil, 404},
		{"DELETE on a set", "DELETE", "ServiceIdentities", "", []string{"If-Match: *"}, 405},
		{"POST on an entity", "POST", key, keyEntry(fresh), nil, 405},
		{"PATCH", "PATCH", key, keyEntry(fresh), []string{"If-Match: *"}, 501},
		{"a verb that is none", "BREW", key, "", nil, 501},
		{"MERGE without If-Match", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), nil, 400},
		{"MERGE with a stale tag", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), []string{`If-Match: W/"X'0000000000000001'"`}, 412},
		{"MERGE with two tags", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), []string{"If-Match: " + tag + ", " + tag}, 400},
		{"MERGE with If-None-Match", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), []string{"If-None-Match: *", "If-Match: *"}, 400},
		{"DELETE without If-Match", "DELETE", key, "", nil, 400},
		{"DELETE of what is absent", "DELETE", "ServiceIdentityKeys(5L)", "", []string{"If-Match: *"}, 404},
		{"a body of another type", "POST", "ServiceIdentityKeys", "hello", []string{"Content-Type: text/plain"}, 415},
		{"a body without a type", "POST", "ServiceIdentityKeys", keyEntry(fresh), []string{"Content-Type: "}, 415},
		{"a body that is not XML", "POST", "ServiceIdentityKeys", "hello", nil, 400},
		{"a body with a DTD", "POST", "ServiceIdentities", `<!DOCTYPE entry>` + entry("ServiceIdentity", "Name=x")[3:], nil, 400},
		{"an entry of another type", "POST", "ServiceIdentities", keyEntry(fresh), nil, 400},
		{"an unknown property", "POST", "ServiceIdentities", entry("ServiceIdentity", "Nothing=x"), nil, 400},
		{"a key without a parent", "POST", "ServiceIdentityKeys", keyEntry(fresh), nil, 400},
		{"a key of an identity that is absent", "POST", "ServiceIdentities(5L)/ServiceIdentityKeys", keyEntry(fresh), nil, 404},
		{"an identity of the same name", "POST", "ServiceIdentities", entry("ServiceIdentity", "Name="+crm), nil, 400},
		{"dates before the certificate's", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			keyEntry(fresh, "StartDate=2016-11-04T00:59:59Z", "EndDate=2018-11-04T01:00:00Z"), nil, 400},
		{"dates after the certificate's", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			keyEntry(fresh, "StartDate=2016-11-04T01:00:00Z", "EndDate=2018-11-04T01:00:00.1Z"), nil, 400},
		{"a start after the end", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			keyEntry(fresh, "StartDate=2017-11-04T01:00:00Z", "EndDate=2017-11-04T01:00:00Z"), nil, 400},
		{"a symmetric key of 31 bytes", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=Symmetric", "Usage=Signing", sym), nil, 400},
		{"a usage that does not fit", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=Password", "Usage=Signing", sym), nil, 400},
		{"a type in another case", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=password", "Usage=Password", sym), nil, 400},
		{"no value", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=Password", "Usage=Password"), nil, 400},
		{"a certificate that is none", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=X509Certificate", "Usage=Signing", sym), nil, 400},
		{"a value that is too large", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys",
			entry("ServiceIdentityKey", "Type=Password", "Usage=Password", "Value="+strings.Repeat("AAAA", 22<<10)), nil, 413},
		{"a URL that is too long", "GET", "ServiceIdentities?x=" + strings.Repeat("x", 9<<10), "", nil, 400},
		{"a new key", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys", keyEntry(fresh), nil, 201},
		{"the same certificate again", "POST", "ServiceIdentities(" + id + "L)/ServiceIdentityKeys", keyEntry(fresh), nil, 201},
		{"MERGE", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), []string{"If-Match: " + tag}, 204},
		{"MERGE with the tag of before", "MERGE", key, entry("ServiceIdentityKey", "DisplayName=x"), []string{"If-Match: " + tag}, 412},
		{"a tunnelled MERGE", "POST", key, entry("ServiceIdentityKey", "DisplayName=y"), []string{"If-Match: *", "X-HTTP-Method: MERGE"}, 204},
		{"DELETE", "DELETE", key, "", []string{"If-Match: *"}, 204},
		{"DELETE again", "DELETE", key, "", []string{"If-Match: *"}, 404},
	} {
		r := b.call(tt.method, tt.path, tt.body, tt.header...)
		if r.status != tt.want {
			t.Errorf("%s: %s %.90s = %d, want %d\n%s", tt.name, tt.method, tt.path, r.status, tt.want, r.body)
		}
		if r.status >= 400 && tt.name != "an unknown host" {
			if !strings.Contains(r.body, "<code></code>") && !strings.Contains(r.body, `"code":""`) || !strings.Contains(r.body, "Trace ID: "+r.header.Get("x-ms-request-id")) {
				t.Errorf("%s: the error is %s (trace %s)", tt.name, r.body, r.header.Get("x-ms-request-id"))
			}
		}
	}
}

func TestReserved_CannotBeChanged(t *testing.T) {
	for _, tt := range []struct {
		switches acs.Switches
		want     int
	}{{acs.Switches{}, 400}, {acs.Switches{ReservedWith403: true}, 403}} {
		b := newBench(t, acs.Config{Switches: tt.switches})
		keys := b.s.Identity(host, crm)
		keys[0].SystemReserved = true
		if err := b.s.SetKeys(host, crm, keys); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("ServiceIdentityKeys(%dL)", keys[0].ID)
		if r := b.call("DELETE", path, "", "If-Match: *"); r.status != tt.want {
			t.Errorf("DELETE of a reserved key = %d, want %d", r.status, tt.want)
		}
		r := b.call("POST", "ServiceIdentities", entry("ServiceIdentity", "Name=other", "SystemReserved=true"))
		if r.status != 201 || !strings.Contains(r.body, `<d:SystemReserved m:type="Edm.Boolean">false<`) {
			t.Errorf("POST with SystemReserved = %d %s, want it stored as false", r.status, r.body)
		}
	}
}
