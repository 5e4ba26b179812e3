package dataverse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

const (
	host   = "contoso.crm4.dynamics.com"
	tenant = "11111111-2222-4333-8444-555555555555"
)

// web is a server with one organisation and a client that reaches it by name.
type web struct {
	*dataverse.Server
	t      *testing.T
	client *http.Client
}

func newWeb(t *testing.T, version string, rows int) *web {
	t.Helper()
	s, err := dataverse.New(dataverse.Config{Check: func(token, audience string) (dataverse.Caller, error) {
		// The token names its holder and its audience.
		who, aud, ok := strings.Cut(token, " for ")
		if !ok || aud != audience {
			return dataverse.Caller{}, errors.New("no such token")
		}
		return dataverse.Caller{Tenant: tenant, ClientID: who}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	org := dataverse.Org{Host: host, ID: "o", Tenant: tenant, Version: version, Users: []string{"us", "weak"}, Powerless: []string{"weak"}}
	for i := range rows {
		org.Endpoints = append(org.Endpoints, dataverse.Endpoint{
			ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", (i*7)%rows), Name: fmt.Sprintf("feed %d", i),
			AuthType: i%3 + 1, ConnectionMode: 1, Contract: 2, NamespaceFormat: 2,
			NamespaceAddress: "sb://contoso.servicebus.windows.net/", SolutionNamespace: "contoso", Path: fmt.Sprintf("q%d", i),
		})
	}
	if err := s.AddOrg(org); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(s)
	t.Cleanup(srv.Close)
	client := srv.Client()
	transport := client.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	transport.TLSClientConfig.ServerName = "example.com"
	t.Cleanup(transport.CloseIdleConnections)
	return &web{s, t, &http.Client{Transport: transport}}
}

// answer is what a call came to.
type answer struct {
	status int
	header http.Header
	body   struct {
		Value    []map[string]any `json:"value"`
		Next     string           `json:"@odata.nextLink"`
		Count    int              `json:"@odata.count"`
		Version  string           `json:"Version"`
		UserID   string           `json:"UserId"`
		OrgID    string           `json:"OrganizationId"`
		ID       string           `json:"serviceendpointid"`
		AuthType *int             `json:"authtype"`
		Error    struct{ Code, Message string }
	}
	err error
}

// get asks as who, with headers in pairs.
func (w *web) get(address, who string, headers ...string) answer {
	w.t.Helper()
	if !strings.HasPrefix(address, "https://") {
		address = "https://" + host + "/api/data/" + address
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who+" for https://"+host)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	var a answer
	res, err := w.client.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			w.t.Fatalf("GET %s: %v in %s", address, err, raw)
		}
	}
	return a
}

func TestPaths_VersionsAboveTheOrganisationAreNotFound(t *testing.T) {
	for _, tt := range []struct {
		version string
		found   []string
	}{
		{"8.0.1.89", []string{"v8.0"}},
		{"8.2.2.112", []string{"v8.0", "v8.1", "v8.2"}},
		{"9.1.0.1", []string{"v8.0", "v8.1", "v8.2", "v9.0", "v9.1"}},
		{"9.2.24011.165", []string{"v8.0", "v8.1", "v8.2", "v9.0", "v9.1", "v9.2"}},
	} {
		w := newWeb(t, tt.version, 1)
		for _, path := range []string{"v8.0", "v8.1", "v8.2", "v8.3", "v9.0", "v9.1", "v9.2", "v9.3", "9.2", "v9.2.1", "vx"} {
			want := http.StatusNotFound
			if slices.Contains(tt.found, path) {
				want = http.StatusOK
			}
			a := w.get(path+"/RetrieveVersion()", "us")
			if a.status != want || want == 200 && a.body.Version != tt.version {
				t.Errorf("organisation %s, GET %s/RetrieveVersion() = %d %q, want %d", tt.version, path, a.status, a.body.Version, want)
			}
		}
	}
}

func TestSelect_ColumnsDependOnTheVersion(t *testing.T) {
	w := newWeb(t, "9.2.24011.165", 2)
	for _, tt := range []struct {
		path, column string
		status       int
	}{
		{"v8.0", "name,connectionmode,contract,solutionnamespace,path", 200},
		{"v8.0", "authtype", 400},
		{"v8.0", "namespaceaddress", 400},
		{"v8.1", "authtype,namespaceformat,namespaceaddress,issaskeyset", 200},
		{"v9.1", "_managedidentityid_value", 400},
		{"v9.2", "_managedidentityid_value,usekeyvaultconfiguration", 200},
		{"v9.2", "saskey", 400},
		{"v9.2", "nonsense", 400},
	} {
		a := w.get(tt.path+"/serviceendpoints?$select="+tt.column, "us")
		if a.status != tt.status {
			t.Errorf("GET %s $select=%s = %d, want %d", tt.path, tt.column, a.status, tt.status)
		}
		if tt.status == 400 && (a.body.Error.Code == "" || !strings.Contains(a.body.Error.Message, tt.column)) {
			t.Errorf("GET %s $select=%s: error %+v, want an envelope that names the column", tt.path, tt.column, a.body.Error)
		}
		if tt.status != 200 {
			continue
		}
		for _, row := range a.body.Value {
			for _, name := range append(strings.Split(tt.column, ","), "serviceendpointid", "@odata.etag") {
				if _, ok := row[name]; !ok {
					t.Errorf("GET %s $select=%s: row without %s: %v", tt.path, tt.column, name, row)
				}
			}
			if n := len(strings.Split(tt.column, ",")) + 2; len(row) != n {
				t.Errorf("GET %s $select=%s: row has %d members, want %d: %v", tt.path, tt.column, len(row), n, row)
			}
		}
	}
}

func TestList_PagesGiveEachRowOnce(t *testing.T) {
	w := newWeb(t, "9.2.1.1", 23)
	next := "v9.2/serviceendpoints?$select=name&$orderby=serviceendpointid"
	var ids []string
	pages := 0
	for ; next != ""; pages++ {
		a := w.get(next, "us", "Prefer", "odata.maxpagesize=5")
		if a.status != 200 {
			t.Fatalf("page %d = %d %s", pages+1, a.status, a.body.Error.Message)
		}
		for _, row := range a.body.Value {
			ids = append(ids, row["serviceendpointid"].(string))
		}
		next = a.body.Next
		if next != "" && !strings.HasPrefix(next, "https://"+host+"/api/data/v9.2/serviceendpoints?") {
			t.Errorf("nextLink = %s, want an absolute one of the organisation", next)
		}
	}
	if pages != 5 || len(ids) != 23 || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != 23 {
		t.Errorf("%d pages with ids %v, want 5 pages, 23 ids, each once and sorted", pages, ids)
	}
	if n := w.Counters().Lists; n != 5 {
		t.Errorf("Counters().Lists = %d, want 5", n)
	}
}

func TestList_AnotherPreferenceOnTheNextPageIsRefused(t *testing.T) {
	w := newWeb(t, "9.2.1.1", 23)
	first := w.get("v9.2/serviceendpoints?$select=name", "us", "Prefer", "odata.maxpagesize=5")
	for _, headers := range [][]string{nil, {"Prefer", "odata.maxpagesize=6"}} {
		if a := w.get(first.body.Next, "us", headers...); a.status != 400 {
			t.Errorf("next page with %v = %d, want 400", headers, a.status)
		}
	}
	if a := w.get("v9.2/serviceendpoints?$skiptoken=AAAA", "us"); a.status != 400 {
		t.Errorf("made-up $skiptoken = %d, want 400", a.status)
	}
}

func TestFilterOrderTopAndCount(t *testing.T) {
	w := newWeb(t, "9.2.1.1", 9) // authtype is 1, 2, 3, 1, 2, 3 …
	for _, tt := range []struct {
		query string
		names []string // nil: refused with 400
	}{
		{"$filter=authtype eq 1&$orderby=name", []string{"feed 0", "feed 3", "feed 6"}},
		{"$filter=authtype eq 1 and name ne 'feed 3'&$orderby=name desc", []string{"feed 6", "feed 0"}},
		{"$filter=(name eq 'feed 1' or name eq 'feed 2') and not (authtype eq 3)", []string{"feed 1"}},
		{"$filter=authtype ge 2 and path lt 'q3'&$orderby=authtype desc,name", []string{"feed 2", "feed 1"}},
		{"$filter=saskeyname eq null and path eq 'q4'", []string{"feed 4"}},
		{"$orderby=name&$top=2", []string{"feed 0", "feed 1"}},
		{"$filter=nonsense eq 1", nil},
		{"$filter=authtype like 1", nil},
		{"$filter=(authtype eq 1", nil},
		{"$filter=authtype eq", nil},
		{"$filter=name eq 'open", nil},
		{"$orderby=name sideways", nil},
		{"$skip=2", nil},
		{"$expand=x", nil},
		{"$top=0", nil},
	} {
		name, rest, _ := strings.Cut(strings.ReplaceAll(tt.query, " ", "%20"), "?")
		a := w.get("v9.2/serviceendpoints?$count=true&"+name+rest, "us")
		if tt.names == nil {
			if a.status != 400 || a.body.Error.Message == "" {
				t.Errorf("GET ?%s = %d %q, want 400 with a message", tt.query, a.status, a.body.Error.Message)
			}
			continue
		}
		var names []string
		for _, row := range a.body.Value {
			names = append(names, row["name"].(string))
		}
		if a.status != 200 || !slices.Equal(names, tt.names) || a.body.Count < len(names) {
			t.Errorf("GET ?%s = %d %v, want %v", tt.query, a.status, names, tt.names)
		}
	}
}

func TestAdmit_WhoMayAsk(t *testing.T) {
	w := newWeb(t, "9.2.1.1", 1)
	list := "v9.2/serviceendpoints?$select=name"
	a := w.get(list, "")
	challenge := a.header.Get("WWW-Authenticate")
	if a.status != 401 || !strings.Contains(challenge, "authorization_uri=https://login.microsoftonline.com/"+tenant+"/oauth2/authorize") {
		t.Errorf("without a token = %d %q, want 401 and where to log in", a.status, challenge)
	}
	if a := w.get(list, "", "Authorization", "Bearer us for https://other.crm4.dynamics.com"); a.status != 401 {
		t.Errorf("with a token for another organisation = %d, want 401", a.status)
	}
	if a := w.get(list, "stranger"); a.status != 403 || a.body.Error.Code != "0x80072560" {
		t.Errorf("as no user of the organisation = %d %s, want 403 0x80072560", a.status, a.body.Error.Code)
	}
	if a := w.get(list, "weak"); a.status != 403 || a.body.Error.Code != "0x80040220" {
		t.Errorf("without the privilege = %d %s, want 403 0x80040220", a.status, a.body.Error.Code)
	}
	if a := w.get("v9.2/WhoAmI()", "weak"); a.status != 200 || a.body.OrgID != "o" || a.body.UserID == "" {
		t.Errorf("WhoAmI = %d %+v, want the organisation's id", a.status, a.body)
	}
	if a := w.get("https://unknown.crm4.dynamics.com/api/data/v9.2/WhoAmI()", "us"); a.status != 404 {
		t.Errorf("unknown organisation = %d, want 404", a.status)
	}
	if n := w.Counters().Refusals; n != 4 {
		t.Errorf("Counters().Refusals = %d, want 4", n)
	}
}

func TestOne_EndpointByItsID(t *testing.T) {
	w := newWeb(t, "8.2.1.1", 3)
	a := w.get("v8.2/serviceendpoints(00000001-0000-4000-8000-000000000000)?$select=authtype", "us")
	if a.status != 200 || a.body.ID[:8] != "00000001" || a.body.AuthType == nil {
		t.Errorf("GET one = %d %+v", a.status, a.body)
	}
	if a := w.get("v8.2/serviceendpoints(00000009-0000-4000-8000-000000000000)", "us"); a.status != 404 || a.body.Error.Code != "0x80040217" {
		t.Errorf("GET one that is not there = %d %s, want 404 0x80040217", a.status, a.body.Error.Code)
	}
	if a := w.get("v8.2/accounts", "us"); a.status != 404 {
		t.Errorf("GET another table = %d, want 404", a.status)
	}
	a = w.get("v8.2/EntityDefinitions(LogicalName='serviceendpoint')/Attributes?$select=LogicalName,IsValidForRead", "us")
	readable := map[string]any{}
	for _, row := range a.body.Value {
		readable[row["LogicalName"].(string)] = row["IsValidForRead"]
	}
	if readable["authtype"] != true || readable["saskey"] != false || readable["managedidentityid"] != nil {
		t.Errorf("GET attributes of 8.2 = %v, want authtype readable, saskey not, managedidentityid absent", readable)
	}
}

func TestFaults_ByRule(t *testing.T) {
	w := newWeb(t, "9.2.1.1", 9)
	list := "v9.2/serviceendpoints?$select=name"
	w.SetFaults(fault.Rule{Kind: fault.Status, Status: 429, RetryAfter: 90 * time.Second, Times: 1, Host: host})
	if a := w.get(list, "us"); a.status != 429 || a.header.Get("Retry-After") != "90" || a.body.Error.Code != "0x80072322" {
		t.Errorf("throttled = %d, Retry-After %q, code %s, want 429, 90, 0x80072322", a.status, a.header.Get("Retry-After"), a.body.Error.Code)
	}
	if a := w.get(list, "us"); a.status != 200 {
		t.Errorf("after the throttling = %d, want 200", a.status)
	}
	w.SetFaults(fault.Rule{Kind: fault.Reset, Path: "serviceendpoints"})
	if a := w.get(list, "us"); a.err == nil {
		t.Errorf("reset = %d, want no answer", a.status)
	}
	if a := w.get("v9.2/WhoAmI()", "us"); a.status != 200 {
		t.Errorf("a call that the rule is not for = %d, want 200", a.status)
	}
	w.SetFaults(fault.Rule{Kind: fault.Hostile, Target: "evil.example"})
	a := w.get(list, "us", "Prefer", "odata.maxpagesize=5")
	u, err := url.Parse(a.body.Next)
	if err != nil || u.Host != "evil.example" {
		t.Errorf("hostile nextLink = %q, want one to evil.example", a.body.Next)
	}
}
