package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"
)

// browser calls the door for browsers with a client certificate, or without.
type browser struct {
	t      *testing.T
	url    string
	client *http.Client
}

func (c *castle) browser(t *testing.T, pair *tls.Certificate) *browser {
	t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.office.pool(), ServerName: "api.test"}
	if pair != nil {
		cfg.Certificates = []tls.Certificate{*pair}
	}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &browser{t, "https://" + c.web, &http.Client{Transport: tr}}
}

// post calls a method and returns the HTTP status, the code of the error, and the body.
func (b *browser) post(method, body string, headers ...string) (status int, code, text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+method, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	// Of a watch the first line is enough: some end with their reader only.
	var raw []byte
	if resp.Header.Get("Content-Type") == "application/x-ndjson" {
		raw, err = bufio.NewReader(resp.Body).ReadBytes('\n')
	} else {
		raw, err = io.ReadAll(resp.Body)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	var e struct {
		Code string `json:"code"`
	}
	if resp.StatusCode != http.StatusOK {
		if err := json.Unmarshal(raw, &e); err != nil {
			b.t.Fatalf("%s: the body of a %d is no JSON: %s", method, resp.StatusCode, raw)
		}
	}
	return resp.StatusCode, e.Code, string(raw)
}

const listTenants = "/crossfade.v1.InventoryService/ListTenants"

// Who calls by HTTP is who the connection or the token says, and may do what they may do
// by gRPC.
func TestWeb_CallersAreWhoTheyProveToBe(t *testing.T) {
	c := openCastle(t)
	portal, _ := c.office.pair("portal.test")
	stranger, _ := c.office.pair("stranger.test")
	for _, x := range []struct {
		who     string
		pair    *tls.Certificate
		headers []string
		status  int
		code    string
	}{
		{"nobody", nil, nil, 401, "unauthenticated"},
		{"one who claims to be", nil, []string{"crossfade-caller", "cert:portal.test"}, 401, "unauthenticated"},
		{"one who brings a certificate as a header", nil, []string{
			"x-forwarded-client-cert", "By=x;Subject=\"CN=portal.test\"", "x-client-cert", "portal.test", "ssl-client-verify", "SUCCESS",
		}, 401, "unauthenticated"},
		{"the portal, by its certificate", &portal, nil, 200, ""},
		{"the portal, with a token that is none", &portal, []string{"authorization", "Bearer rubbish"}, 401, "unauthenticated"},
		{"the portal, with a claim beside it", &portal, []string{"crossfade-caller", "ann"}, 400, "invalid_argument"},
		{"one without a grant", &stranger, nil, 403, "permission_denied"},
		{"a viewer, by token", nil, []string{"authorization", "Bearer " + c.issuer.token(t, "vera", "viewers")}, 200, ""},
		{"somebody, by token", nil, []string{"authorization", "Bearer " + c.issuer.token(t, "joe")}, 403, "permission_denied"},
	} {
		status, code, text := c.browser(t, x.pair).post(listTenants, "{}", x.headers...)
		if status != x.status || code != x.code {
			t.Errorf("%s: status %d, %q, want %d, %q\n%s", x.who, status, code, x.status, x.code, text)
		}
	}
	b := c.browser(t, &portal)
	if status, _, _ := b.post(listTenants, "{}"); status != 200 {
		t.Fatalf("the portal gets %d", status)
	}
	// The rights of an open connection end with its grant.
	rights, err := os.ReadFile(c.rights)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.rights, bytes.Replace(rights, []byte(`"cert:portal.test", `), nil, 1))
	for status := 200; status != 403; status, _, _ = b.post(listTenants, "{}") {
		if t.Context().Err() != nil {
			t.Fatal("the portal keeps its rights")
		}
	}
}

// TestWeb_EveryMethodByEachRole asks by HTTP for what TestAccess asks for by gRPC.
func TestWeb_EveryMethodByEachRole(t *testing.T) {
	c := openCastle(t)
	b := c.browser(t, nil)
	for role, may := range mayCall() {
		headers := []string{"authorization", "Bearer " + c.issuer.token(t, role, role), "accept", "application/x-ndjson"}
		allowed := map[string]bool{}
		for _, m := range may {
			allowed[m] = true
		}
		for _, m := range methods() {
			if m.IsStreamingClient() {
				continue
			}
			body, err := protojson.Marshal(dynamicpb.NewMessage(m.Input()))
			if err != nil {
				t.Fatal(err)
			}
			path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
			if _, code, _ := b.post(path, string(body), headers...); (code != "permission_denied") != allowed[string(m.Name())] {
				t.Errorf("%s by %s: %q, allowed: %v", path, role, code, allowed[string(m.Name())])
			}
		}
	}
}
