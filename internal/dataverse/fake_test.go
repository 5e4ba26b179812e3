package dataverse_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

const (
	entraHost = "login.example.test"
	orgHost   = "contoso.crm4.dynamics.com"
	directory = "11111111-2222-3333-4444-555555555555"
	clientID  = "66666666-7777-8888-9999-000000000000"
	password  = "s3cret~value+with/marks"
	orgID     = "0c0ffee0-0000-4000-8000-00000000abcd"
)

// world plays Entra and organisations on one TLS listener, told apart by host
// name, and complains when a call is not as it must be.
type world struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex // guards all below
	entra   http.HandlerFunc
	orgs    map[string]http.HandlerFunc
	tokens  map[string]string // token → audience
	revoked map[string]bool
	calls   map[string]int // host → requests
	now     time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, orgs: map[string]http.HandlerFunc{}, tokens: map[string]string{}, revoked: map[string]bool{},
		calls: map[string]int{}, now: time.Date(2016, 10, 20, 12, 0, 0, 0, time.UTC),
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{serverCertificate(t)}}
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // Cut connections are meant.
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

// serverCertificate is for every host name that the tests use.
func serverCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{entraHost, "*.crm4.dynamics.com", "*.crm9.dynamics.com", "evil.example.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// http returns a client that finds every host at the listener.
func (w *world) http() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(w.server.TLS.Certificates[0].Leaf)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.server.Listener.Addr().String())
		},
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// client returns a client of the world.
func (w *world) client(change ...func(*dataverse.Config)) *dataverse.Client {
	w.t.Helper()
	c := dataverse.Config{HTTP: w.http(), Now: w.clock, Authority: "https://" + entraHost + "/", DisableInstanceDiscovery: true}
	for _, f := range change {
		f(&c)
	}
	d, err := dataverse.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) asked(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[host]
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.calls[r.Host]++
	entra, org := w.entra, w.orgs[r.Host]
	w.mu.Unlock()
	switch {
	case r.Host == entraHost && entra != nil:
		entra(rw, r)
	case r.Host == entraHost:
		w.signIn(rw, r)
	case org != nil:
		org(rw, r)
	default:
		w.t.Errorf("request to %s, which nobody may ask", r.Host)
	}
}

// signIn is Entra: discovery and tokens for the one client and its secret.
func (w *world) signIn(rw http.ResponseWriter, r *http.Request) {
	if w.discover(rw, r) {
		return
	}
	if r.PostFormValue("client_secret") != password || r.PostFormValue("client_id") != clientID {
		w.t.Errorf("sign-in with client %q and another secret", r.PostFormValue("client_id"))
	}
	w.issue(rw, r)
}

// discover answers the question where tokens are had.
func (w *world) discover(rw http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	if r.URL.Path != "/"+directory+"/v2.0/.well-known/openid-configuration" {
		w.t.Errorf("Entra was asked for %s", r.URL.Path)
	}
	at := "https://" + entraHost + "/" + directory
	answer(rw, http.StatusOK, map[string]string{
		"token_endpoint": at + "/oauth2/v2.0/token", "authorization_endpoint": at + "/oauth2/v2.0/authorize", "issuer": at + "/v2.0",
	})
	return true
}

// issue gives a token for the scope that was asked for.
func (w *world) issue(rw http.ResponseWriter, r *http.Request) {
	scope, _, _ := strings.Cut(r.PostFormValue("scope"), " ")
	audience, ok := strings.CutSuffix(scope, "/.default")
	if !ok || r.PostFormValue("grant_type") != "client_credentials" {
		w.t.Errorf("token asked for with scope %q, grant %q", scope, r.PostFormValue("grant_type"))
	}
	w.mu.Lock()
	token := fmt.Sprintf("token-%d-%s", len(w.tokens)+1, strings.Repeat("x", 60))
	w.tokens[token] = audience
	w.mu.Unlock()
	answer(rw, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": token})
}

func (w *world) issued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tokens)
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v) // The client may have gone.
}

// refuse answers as the Web API does.
func refuse(rw http.ResponseWriter, status int, code, message string) {
	answer(rw, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// org is an organisation as the Web API shows it.
type org struct {
	w        *world
	host     string
	version  string
	paths    []string // that there are
	columns  []string // that there are
	rows     []map[string]any
	pageSize int
	// before is asked first; true means that it has answered.
	before func(rw http.ResponseWriter, r *http.Request) bool
}

func allColumns() []string {
	return []string{
		"serviceendpointid", "name", "connectionmode", "contract", "solutionnamespace", "path", "namespaceformat",
		"namespaceaddress", "authtype", "usekeyvaultconfiguration", "_managedidentityid_value",
	}
}

// organisation adds one of version 9.2 with three rows.
func (w *world) organisation(host string) *org {
	o := &org{
		w: w, host: host, version: "9.2.24011.00165", pageSize: 500, columns: allColumns(),
		paths: []string{"v8.0", "v8.1", "v8.2", "v9.0", "v9.1", "v9.2"}, rows: rows(3),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orgs[host] = o.serve
	return o
}

// rows makes n rows that sign in through ACS.
func rows(n int) []map[string]any {
	var out []map[string]any
	for i := range n {
		out = append(out, map[string]any{
			"serviceendpointid": fmt.Sprintf("AAAAAAAA-0000-0000-0000-%012d", i), "name": fmt.Sprintf("endpoint %d", i),
			"connectionmode": 1, "contract": 2, "solutionnamespace": "contoso", "path": "orders", "namespaceformat": 2,
			"namespaceaddress": "sb://contoso.servicebus.windows.net/", "authtype": 1,
			"usekeyvaultconfiguration": false, "_managedidentityid_value": nil,
		})
	}
	return out
}

func (o *org) serve(rw http.ResponseWriter, r *http.Request) {
	for h, want := range map[string]string{
		"Accept": "application/json", "Odata-Maxversion": "4.0", "Odata-Version": "4.0", "If-None-Match": "null",
	} {
		if got := r.Header.Get(h); got != want {
			o.w.t.Errorf("header %s = %q, want %q", h, got, want)
		}
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	o.w.mu.Lock()
	audience, revoked := o.w.tokens[token], o.w.revoked[token]
	o.w.mu.Unlock()
	if audience != "https://"+o.host {
		o.w.t.Errorf("%s was sent a token for %q", o.host, audience)
	}
	if o.before != nil && o.before(rw, r) {
		return
	}
	if revoked {
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	path, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/data/"), "/")
	switch {
	case !slices.Contains(o.paths, path):
		refuse(rw, http.StatusNotFound, "0x80060888", "no such version")
	case what == "RetrieveVersion()":
		answer(rw, http.StatusOK, map[string]string{"Version": o.version})
	case what == "WhoAmI()":
		answer(rw, http.StatusOK, map[string]string{"BusinessUnitId": orgID, "UserId": orgID, "OrganizationId": strings.ToUpper(orgID)})
	case what == "serviceendpoints":
		o.list(rw, r, path)
	default:
		refuse(rw, http.StatusNotFound, "", "no such resource")
	}
}

func (o *org) list(rw http.ResponseWriter, r *http.Request, path string) {
	q := r.URL.Query()
	chosen := strings.Split(q.Get("$select"), ",")
	for _, c := range chosen {
		if !slices.Contains(o.columns, c) {
			refuse(rw, http.StatusBadRequest, "0x80060888", "Could not find a property named '"+c+"'")
			return
		}
	}
	from, _ := strconv.Atoi(q.Get("$skiptoken"))
	to := min(from+o.pageSize, len(o.rows))
	page := []map[string]any{}
	for _, row := range o.rows[from:to] {
		out := map[string]any{"@odata.etag": `W/"1"`}
		for _, c := range chosen {
			out[c] = row[c]
		}
		page = append(page, out)
	}
	body := map[string]any{"@odata.context": "…#serviceendpoints", "value": page}
	if to < len(o.rows) {
		q.Set("$skiptoken", strconv.Itoa(to))
		next := url.URL{Scheme: "https", Host: o.host, Path: "/api/data/" + path + "/serviceendpoints", RawQuery: q.Encode()}
		body["@odata.nextLink"] = next.String()
	}
	answer(rw, http.StatusOK, body)
}

func login() dataverse.Login {
	return dataverse.Login{
		Organization: "https://" + orgHost + "/", EntraTenant: directory, ClientID: clientID, Secret: secrets.NewSecret(password),
	}
}
