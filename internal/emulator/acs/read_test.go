package acs_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// fill gives the CRM identity n password keys and nothing else.
func (b *bench) fill(n int) {
	b.t.Helper()
	keys := make([]acs.Key, n)
	for i := range keys {
		keys[i] = acs.Key{Usage: "Password", Type: "Password", Value: fmt.Appendf(nil, "p%d", i), DisplayName: fmt.Sprintf("key %03d", i%7)}
	}
	if err := b.s.SetKeys(host, crm, keys); err != nil {
		b.t.Fatal(err)
	}
}

func TestPaging_Is50AndFollowsLinks(t *testing.T) {
	for _, sw := range []acs.Switches{{}, {Shuffled: true}} {
		b := newBench(t, acs.Config{Switches: sw})
		id := b.identityID()
		for _, tt := range []struct {
			n     int
			query string
			pages []int
		}{
			{0, "", []int{0}},
			{50, "", []int{50}},
			{51, "", []int{50, 1}},
			{101, "", []int{50, 50, 1}},
			{101, "&$orderby=DisplayName desc", []int{50, 50, 1}},
			{101, "&$top=60", []int{50, 10}},
			{101, "&$top=50", []int{50}},
			{101, "&$skip=60", []int{41}},
			{101, "&$skip=20&$top=70", []int{50, 20}},
		} {
			b.fill(tt.n)
			next := "ServiceIdentityKeys()?$filter=ServiceIdentityId eq " + id + "L" + tt.query
			var got []int
			seen := map[string]bool{}
			for next != "" {
				f, r := b.feed(next)
				got = append(got, len(f.Entries))
				for _, e := range f.Entries {
					seen[e.ID] = true
				}
				next = f.next()
				if want := map[bool]string{true: "2.0;", false: "1.0;"}[next != ""]; r.header.Get("DataServiceVersion") != want {
					t.Errorf("DataServiceVersion = %s with the next link %q", r.header.Get("DataServiceVersion"), next)
				}
				if next != "" && !strings.HasPrefix(next, "https://"+host+"/v2/mgmt/service/ServiceIdentityKeys?") {
					t.Fatalf("the next link is %s", next)
				}
			}
			sum := 0
			for _, n := range tt.pages {
				sum += n
			}
			if !slices.Equal(got, tt.pages) || len(seen) != sum {
				t.Errorf("%d keys%s (shuffled %t): pages %v with %d different, want %v", tt.n, tt.query, sw.Shuffled, got, len(seen), tt.pages)
			}
		}
	}
}

func TestPaging_WithinAnExpansion(t *testing.T) {
	for _, tt := range []struct {
		whole bool
		want  int
	}{{false, 50}, {true, 51}} {
		b := newBench(t, acs.Config{Switches: acs.Switches{WholeExpands: tt.whole}})
		b.fill(51)
		f, _ := b.feed("ServiceIdentities()?$filter=Name eq '" + crm + "'&$expand=ServiceIdentityKeys")
		var inner *atomFeed
		for _, l := range f.Entries[0].Links {
			if l.Inline != nil {
				inner = l.Inline.Feed
			}
		}
		if inner == nil || len(inner.Entries) != tt.want || (inner.next() != "") == tt.whole {
			t.Fatalf("the inner feed is %+v", inner)
		}
		if !tt.whole {
			if rest, _ := b.feed(inner.next()); len(rest.Entries) != 1 {
				t.Errorf("the rest has %d entries, want 1", len(rest.Entries))
			}
		}
	}
}

func TestRules_ComeByTheHundred(t *testing.T) {
	b := newBench(t, acs.Config{})
	f, _ := b.feed("RuleGroups")
	group := f.Entries[0].Properties.ID
	f, _ = b.feed("Issuers?$filter=Name eq 'LOCAL AUTHORITY'")
	issuer := f.Entries[0].Properties.ID
	have, _ := b.feed("Rules")
	for i := len(have.Entries); i < 101; i++ {
		r := b.call("POST", "Rules", entry("Rule", "RuleGroupId="+group, "IssuerId="+issuer, "OutputClaimType=x"))
		if r.status != 201 {
			t.Fatalf("adding a rule = %d %s", r.status, r.body)
		}
	}
	if f, _ := b.feed("Rules"); len(f.Entries) != 100 || f.next() == "" {
		t.Errorf("a page has %d rules, want 100 and a link", len(f.Entries))
	}
}

func TestFilters(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	b64 := base64.StdEncoding.EncodeToString(b.old.der)
	for filter, want := range map[string]int{
		"ServiceIdentityId eq " + id + "L":      3,
		"ServiceIdentityId eq " + id:            3,
		"ServiceIdentity/Name eq '" + crm + "'": 3,
		"ServiceIdentity/Name eq 'CRM9'":        0,
		"Type eq 'X509Certificate'":             1,
		"Type ne 'X509Certificate'":             4,
		"not (Type eq 'X509Certificate')":       4,
		"not Type eq 'X509Certificate'":         -1,
		"Type eq 'Symmetric' or Type eq 'Password' and ServiceIdentityId eq " + id + "L":   3,
		"(Type eq 'Symmetric' or Type eq 'Password') and ServiceIdentityId eq " + id + "L": 2,
		"EndDate lt datetime'2017-01-01T00:00:00'":                                         1,
		"EndDate ge datetime'9999-01-01T00:00:00Z'":                                        4,
		"StartDate eq datetime'2014-11-04T01:00:00Z'":                                      1,
		"year(EndDate) eq 2016":                                                            1,
		"Value eq X'" + strings.Repeat("07", 32) + "'":                                     1,
		"SystemReserved eq true":                                                           0,
		"SystemReserved":                                                                   0,
		"not SystemReserved":                                                               5,
		"DisplayName eq null":                                                              0,
		"null ne DisplayName":                                                              5,
		"startswith(DisplayName, 'Cred')":                                                  1,
		"endswith(DisplayName, 'ials') eq true":                                            1,
		"substringof('ORE', toupper(DisplayName))":                                         1,
		"tolower(DisplayName) eq 'symmetrickey'":                                           1,
		"length(DisplayName) gt 10":                                                        2,
		"indexof(DisplayName, 'o') eq 1":                                                   1,
		"concat(Usage, Type) eq 'PasswordPassword'":                                        2,
		"substring(Type, 1, 3) eq 'ass'":                                                   2,
		"trim(' x ') eq 'x'":                                                               5,
		"replace(Type, 'Pass', 'Key') eq 'Keyword'":                                        2,
		"DisplayName eq 'it''s'":                                                           0,
		"Id gt 5L and Id lt 9223372036854775807L":                                          5,
		"Type eq":                      -1,
		"Type eq 'x":                   -1,
		"Type eq 5":                    -1,
		"Type":                         -1,
		"ServiceIdentity/Nothing eq 1": -1,
		"ServiceIdentity eq 1":         -1,
		"nothing(Type)":                -1,
		"startswith(Type)":             -1,
		"startswith(Type, 5)":          -1,
		"Id eq 99999999999999999999L":  -1,
		"Id eq 5Lx":                    -1,
		"EndDate lt datetime'x'":       -1,
		"Value eq X'0'":                -1,
		"Value lt X'00'":               -1,
		strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500): -1,
		"": -1,
	} {
		r := b.call("GET", "ServiceIdentityKeys/$count?$filter="+url.QueryEscape(filter), "")
		got := r.body
		if r.status == 400 {
			got = "-1"
		}
		if got != fmt.Sprint(want) {
			t.Errorf("$filter=%.80s counts %d %s, want %d", filter, r.status, got, want)
		}
	}
	if f, _ := b.feed("ServiceIdentityKeys?$filter=Type eq 'X509Certificate'"); f.Entries[0].Properties.Value != b64 {
		t.Errorf("the certificate reads %s", f.Entries[0].Properties.Value)
	}
}

func TestFoldNames_FindsNearMisses(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{FoldNames: true}})
	if f, _ := b.feed("ServiceIdentities?$filter=Name eq 'CRM9.Dynamics.com'"); len(f.Entries) != 1 {
		t.Errorf("found %d, want 1", len(f.Entries))
	}
}

func TestEntry_HasTheShapeOfTheService(t *testing.T) {
	b := newBench(t, acs.Config{})
	k := b.s.Identity(host, crm)[0]
	path := fmt.Sprintf("ServiceIdentityKeys(%dL)", k.ID)
	r := b.call("GET", path, "")
	tag := fmt.Sprintf(`W/"X'%016X'"`, k.Version)
	if r.header.Get("ETag") != tag || !strings.HasPrefix(r.header.Get("Content-Type"), "application/atom+xml") || r.header.Get("DataServiceVersion") != "1.0;" {
		t.Errorf("the headers are %v", r.header)
	}
	for _, want := range []string{
		`<entry xml:base="https://` + host + `/v2/mgmt/service/"`,
		`<id>https://` + host + `/v2/mgmt/service/` + path + `</id>`,
		`<link rel="edit" title="ServiceIdentityKey" href="` + path + `" />`,
		`<link rel="http://schemas.microsoft.com/ado/2007/08/dataservices/related/ServiceIdentity" type="application/atom+xml;type=entry" title="ServiceIdentity" href="` + path + `/ServiceIdentity" />`,
		`<category term="Microsoft.Cloud.AccessControl.Management.ServiceIdentityKey" scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" />`,
		`<d:StartDate m:type="Edm.DateTime">2014-11-04T01:00:00Z</d:StartDate>`,
		`<d:SystemReserved m:type="Edm.Boolean">false</d:SystemReserved>`,
		fmt.Sprintf(`<d:Id m:type="Edm.Int64">%d</d:Id>`, k.ID),
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the entry lacks %s:\n%s", want, r.body)
		}
	}
	order := regexp.MustCompile(`<d:(\w+)`).FindAllStringSubmatch(r.body, -1)
	var names []string
	for _, m := range order {
		names = append(names, m[1])
	}
	if got, want := strings.Join(names, ","), "Id,ServiceIdentityId,Usage,Type,Value,SystemReserved,StartDate,EndDate,DisplayName,Version"; got != want {
		t.Errorf("the properties are %s, want %s", got, want)
	}
	r = b.call("GET", "ServiceIdentities?$filter=Name eq '"+crm+"'", "")
	if !strings.Contains(r.body, `<d:Description m:null="true" />`) || r.header.Get("ETag") != "" {
		t.Errorf("a feed is %v %s", r.header, r.body)
	}
	if r := b.call("GET", path, "", "If-None-Match: "+tag); r.status != 304 {
		t.Errorf("If-None-Match = %d, want 304", r.status)
	}
	if r := b.call("GET", path+"/ServiceIdentity", ""); r.status != 200 || !strings.Contains(r.body, crm) {
		t.Errorf("the identity of the key = %d %s", r.status, r.body)
	}
}

func TestBareDates_HaveNoSuffix(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{BareDates: true}})
	f, _ := b.feed("ServiceIdentityKeys?$filter=Type eq 'X509Certificate'")
	if got := f.Entries[0].Properties.Start; got != "2014-11-04T01:00:00" {
		t.Errorf("StartDate = %s", got)
	}
}

func TestJSON_IsVerbose(t *testing.T) {
	b := newBench(t, acs.Config{})
	b.fill(51)
	id := b.identityID()
	path := "ServiceIdentityKeys?$filter=ServiceIdentityId eq " + id + "L&$inlinecount=allpages&$expand=ServiceIdentity"
	r := b.call("GET", path, "", "Accept: application/json;odata=verbose")
	var out struct {
		D struct {
			Results []map[string]any `json:"results"`
			Next    string           `json:"__next"`
			Count   string           `json:"__count"`
		} `json:"d"`
	}
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != 200 {
		t.Fatalf("%d %s (%v)", r.status, r.body, err)
	}
	if len(out.D.Results) != 50 || out.D.Next == "" || out.D.Count != "51" || r.header.Get("DataServiceVersion") != "2.0;" {
		t.Errorf("%d results, next %q, count %q, %v", len(out.D.Results), out.D.Next, out.D.Count, r.header)
	}
	e := out.D.Results[0]
	if e["ServiceIdentityId"] != id || e["SystemReserved"] != false || !strings.Contains(r.body, `"EndDate":"\/Date(253402300799000)\/"`) {
		t.Errorf("an entity is %v", e)
	}
	if si, _ := e["ServiceIdentity"].(map[string]any); si["Name"] != crm {
		t.Errorf("the expanded identity is %v", e["ServiceIdentity"])
	}
	r = b.call("GET", "Issuers", "", "Accept: application/json", "MaxDataServiceVersion: 1.0")
	if !strings.HasPrefix(r.body, `{"d":[{`) || r.header.Get("DataServiceVersion") != "1.0;" {
		t.Errorf("under version 1.0: %v %.60s", r.header, r.body)
	}
	r = b.call("GET", "ServiceIdentities(5L)", "", "Accept: application/json")
	if r.status != 404 || !strings.HasPrefix(r.body, `{"error":{"code":"","message":{"lang":"en-US","value":"`) {
		t.Errorf("an error is %d %s", r.status, r.body)
	}
	if r := b.call("GET", path, "", "MaxDataServiceVersion: 1.0;NetFx"); r.status != 400 {
		t.Errorf("a count under version 1.0 = %d, want 400", r.status)
	}
}

func TestSelect_LeavesOut(t *testing.T) {
	b := newBench(t, acs.Config{})
	r := b.call("GET", "ServiceIdentities?$filter=Name eq '"+crm+"'&$select=Name,ServiceIdentityKeys/Type&$expand=ServiceIdentityKeys", "")
	if r.status != 200 || strings.Contains(r.body, "<d:Value") || strings.Contains(r.body, "<d:Description") || strings.Count(r.body, "<d:Type>") != 3 || strings.Count(r.body, "<d:Name>") != 1 {
		t.Errorf("$select = %d %s", r.status, r.body)
	}
	if r := b.call("GET", "ServiceIdentities?$select=Nothing", ""); r.status != 400 {
		t.Errorf("$select of nothing = %d, want 400", r.status)
	}
}

func TestLinks_AreListedAndMoved(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	links := "ServiceIdentities(" + id + "L)/$links/ServiceIdentityKeys"
	r := b.call("GET", links, "")
	if r.status != 200 || strings.Count(r.body, "<uri>https://"+host+"/v2/mgmt/service/ServiceIdentityKeys(") != 3 {
		t.Fatalf("GET %s = %d %s", links, r.status, r.body)
	}
	f, _ := b.feed("ServiceIdentities?$filter=Name eq 'owner'")
	owner := f.Entries[0].Properties.ID
	key := b.s.Identity(host, crm)[2]
	body := fmt.Sprintf(`<uri xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices">https://%s/v2/mgmt/service/ServiceIdentityKeys(%dL)</uri>`, host, key.ID)
	if r := b.call("POST", "ServiceIdentities("+owner+"L)/$links/ServiceIdentityKeys", body, "Content-Type: application/xml"); r.status != 204 {
		t.Errorf("POST of a link = %d %s", r.status, r.body)
	}
	if n := len(b.s.Identity(host, "owner")); n != 3 {
		t.Errorf("owner has %d keys, want 3", n)
	}
	body = fmt.Sprintf(`<uri xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices">ServiceIdentities(%sL)</uri>`, id)
	if r := b.call("PUT", fmt.Sprintf("ServiceIdentityKeys(%dL)/$links/ServiceIdentity", key.ID), body, "Content-Type: application/xml"); r.status != 204 {
		t.Errorf("PUT of a link = %d %s", r.status, r.body)
	}
	if n := len(b.s.Identity(host, crm)); n != 3 {
		t.Errorf("the identity has %d keys, want 3 again", n)
	}
}

func TestMetadata_DescribesEverySet(t *testing.T) {
	b := newBench(t, acs.Config{})
	r := b.call("GET", "$metadata", "", "Authorization: ")
	var doc struct {
		Schema struct {
			Types []struct {
				Name string `xml:",attr"`
			} `xml:"EntityType"`
			Associations []struct {
				Name string `xml:",attr"`
			} `xml:"Association"`
			Container struct {
				Sets []struct {
					Name string `xml:",attr"`
				} `xml:"EntitySet"`
				Links []struct {
					Name string `xml:",attr"`
				} `xml:"AssociationSet"`
			} `xml:"EntityContainer"`
		} `xml:"DataServices>Schema"`
	}
	if err := xml.Unmarshal([]byte(r.body), &doc); err != nil {
		t.Fatalf("$metadata: %v\n%s", err, r.body)
	}
	s := doc.Schema
	if len(s.Types) != 18 || len(s.Associations) != 18 || len(s.Container.Sets) != 18 || len(s.Container.Links) != 18 {
		t.Errorf("%d types, %d associations, %d sets, %d association sets; want 18 of each", len(s.Types), len(s.Associations), len(s.Container.Sets), len(s.Container.Links))
	}
	for _, want := range []string{
		`<Association Name="ServiceIdentity_ServiceIdentityKeys_ServiceIdentityKey_ServiceIdentity">`,
		`<Property Name="Version" Type="Edm.Binary" Nullable="true" ConcurrencyMode="Fixed" />`,
		`m:IsDefaultEntityContainer="true"`, `xmlns="http://schemas.microsoft.com/ado/2007/05/edm"`,
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("$metadata lacks %s", want)
		}
	}
	services := b.call("GET", "", "", "Authorization: ")
	for _, set := range s.Container.Sets {
		if !strings.Contains(services.body, `<collection href="`+set.Name+`">`) {
			t.Errorf("the service document lacks %s", set.Name)
		}
		if r := b.call("GET", set.Name, ""); r.status != 200 {
			t.Errorf("GET %s = %d %s", set.Name, r.status, r.body)
		}
	}
}

func TestReadDelay_HidesWritesForAWhile(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{ReadDelay: 30 * time.Second, TokenDelay: 10 * time.Second}})
	id := b.identityID()
	fresh := newSigner(t, b.old.from, b.old.to)
	count := func() string {
		return b.call("GET", "ServiceIdentityKeys/$count?$filter=ServiceIdentityId eq "+id+"L", "").body
	}
	b.clock.add(time.Minute)
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(fresh)); r.status != 201 {
		t.Fatalf("POST = %d %s", r.status, r.body)
	}
	token := func() int { return b.saml(fresh.assertion(t, usual(b.clock.Now()))).status }
	for _, tt := range []struct {
		wait  time.Duration
		count string
		token int
	}{{0, "3", 401}, {10 * time.Second, "3", 200}, {19 * time.Second, "3", 200}, {time.Second, "4", 200}} {
		b.clock.add(tt.wait)
		if c, s := count(), token(); c != tt.count || s != tt.token {
			t.Errorf("at %v: count %s, token %d; want %s, %d", b.clock.Now(), c, s, tt.count, tt.token)
		}
	}
}
