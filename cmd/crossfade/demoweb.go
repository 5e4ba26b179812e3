package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"github.com/crossfade-project/crossfade/internal/ownca"
)

// maxPage bounds what a page of the demo reads of one answer.
const maxPage = 16 << 20

// pageCall is a call as pages make it.
type pageCall struct {
	who    string // nobody: without proof
	method string
	body   map[string]any // nil: a watch, by GET
	query  url.Values
	status int // that is wanted
}

// browse calls as pages do, by HTTP with JSON, those who may and those who may not, and
// watches the rotation.
func (s *secureDemo) browse(ctx context.Context, rotation string) error {
	s.say("pages look at it by HTTP, and %s watches", demoPortal)
	for _, c := range []pageCall{
		{demoViewer, "InventoryService/ListTenants", map[string]any{"pageSize": 5}, nil, http.StatusOK},
		{demoPortal, "RotationService/GetRotation", map[string]any{"name": rotation}, nil, http.StatusOK},
		{demoAdmin, "CertificateService/ListCertificates", map[string]any{}, nil, http.StatusOK},
		{"", "RotationService/ListRotations", map[string]any{}, nil, http.StatusUnauthorized},
		{"forger", "RotationService/ListRotations", map[string]any{}, nil, http.StatusUnauthorized},
		{demoViewer, "RotationService/CancelRotation", map[string]any{"name": rotation, "reason": "mine"}, nil, http.StatusForbidden},
		{demoPortal, "RotationService/WatchRotation", nil, url.Values{"name": {rotation}, "include_tasks": {"true"}}, http.StatusOK},
	} {
		status, err := s.page(ctx, c)
		if err != nil {
			return err
		}
		if status != c.status {
			s.unexpected = append(s.unexpected, fmt.Sprintf("a page of %q calls %s: answered %d, want %d", c.who, c.method, status, c.status))
		}
	}
	return nil
}

// page makes a call, and writes down what is answered until the end.
func (s *secureDemo) page(ctx context.Context, c pageCall) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	address, method, text := "https://"+s.web.Addr().String()+"/crossfade.v1."+c.method, http.MethodGet, ""
	if c.body != nil {
		b, err := json.Marshal(c.body)
		if err != nil {
			return 0, fmt.Errorf("encoding a page's call: %w", err)
		}
		method, text = http.MethodPost, string(b)
	} else {
		address += "?" + c.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("making a page's call: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.body == nil {
		r.Header.Set("Accept", "text/event-stream")
	}
	if token, ok := s.tokens[c.who]; ok {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client, err := s.browser(c.who)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("calling %s as a page: %w", c.method, err)
	}
	defer func() { _ = answer.Body.Close() }() // Read to its end below.
	head, err := httputil.DumpResponse(answer, false)
	if err != nil {
		return 0, fmt.Errorf("writing down what a page is answered: %w", err)
	}
	if _, err := fmt.Fprintf(s.pages, "%s %s\n\n%s", method, r.URL.Path, head); err != nil {
		return 0, fmt.Errorf("writing down what a page is answered: %w", err)
	}
	if _, err := io.Copy(s.pages, io.LimitReader(answer.Body, maxPage)); err != nil {
		return 0, fmt.Errorf("reading what a page is answered: %w", err)
	}
	_, err = io.WriteString(s.pages, "\n\n")
	return answer.StatusCode, err
}

// browser is somebody's, with their certificate if they have one.
func (s *secureDemo) browser(who string) (*http.Client, error) {
	ca, err := os.ReadFile(s.own(ownca.AuthorityFile))
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(ca)
	if _, token := s.tokens[who]; !token && who != "" {
		pair, err := tls.LoadX509KeyPair(s.own(who+".pem"), s.own(who+".key"))
		if err != nil {
			return nil, fmt.Errorf("reading the certificate of %s: %w", who, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}, nil
}
