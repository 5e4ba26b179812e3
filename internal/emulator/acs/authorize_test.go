package acs

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAuthorized_ChecksWhatTheTokenSays is in the package, since only in it
// can a token of any content be signed with the namespace's own key.
func TestAuthorized_ChecksWhatTheTokenSays(t *testing.T) {
	now := time.Date(2016, 10, 15, 12, 0, 0, 0, time.UTC)
	s := New(Config{Now: func() time.Time { return now }})
	if err := s.AddNamespace(Namespace{Host: "contoso-sb.accesscontrol.windows.net"}); err != nil {
		t.Fatal(err)
	}
	ns := s.namespace("contoso-sb.accesscontrol.windows.net")
	good, later := "https://contoso-sb.accesscontrol.windows.net/v2/mgmt/service/", now.Add(time.Second)
	for _, tt := range []struct {
		name  string
		pairs []Pair
		want  bool
	}{
		{"as issued", []Pair{{"Audience", good}, {"ExpiresOn", fmt.Sprint(later.Unix())}}, true},
		{"with a port", []Pair{{"Audience", "https://contoso-sb.accesscontrol.windows.net:8443/v2/mgmt/service"}, {"ExpiresOn", fmt.Sprint(later.Unix())}}, true},
		{"for another host", []Pair{{"Audience", "https://fabrikam-sb.accesscontrol.windows.net/v2/mgmt/service/"}, {"ExpiresOn", fmt.Sprint(later.Unix())}}, false},
		{"for Service Bus", []Pair{{"Audience", "http://contoso.servicebus.windows.net/"}, {"ExpiresOn", fmt.Sprint(later.Unix())}}, false},
		{"for two audiences", []Pair{{"Audience", good}, {"Audience", good}, {"ExpiresOn", fmt.Sprint(later.Unix())}}, false},
		{"expired", []Pair{{"Audience", good}, {"ExpiresOn", fmt.Sprint(now.Unix())}}, false},
		{"without an end", []Pair{{"Audience", good}}, false},
	} {
		r := httptest.NewRequest("GET", good, nil)
		r.Header.Set("Authorization", "Bearer "+SignSWT(tt.pairs, ns.derive("management tokens")))
		x := &exchange{s: s, ns: ns, r: r, now: now}
		if got := x.authorized() == nil; got != tt.want {
			t.Errorf("a token %s lets in: %t, want %t", tt.name, got, tt.want)
		}
	}
}
