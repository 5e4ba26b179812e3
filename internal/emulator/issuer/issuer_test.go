package issuer_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/MicahParks/keyfunc/v3"

	"github.com/crossfade-project/crossfade/internal/emulator/issuer"
)

const audience = "api://crossfade"

func newIssuer(t *testing.T) *issuer.Server {
	t.Helper()
	s, err := issuer.New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Register(issuer.Application{ID: "portal", Secret: "s3cret", Groups: []string{"rotators"}})
	return s
}

func get(t *testing.T, s http.Handler, r *http.Request) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s %s = %d %q: %v", r.Method, r.URL, w.Code, w.Body, err)
	}
	return w.Code, body
}

func ask(form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer.URL+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// parse judges a token as others' libraries do, by the published keys.
func parse(t *testing.T, s http.Handler, text string) (jwt.MapClaims, error) {
	t.Helper()
	_, keys := get(t, s, httptest.NewRequest(http.MethodGet, issuer.URL+"/keys", nil))
	b, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyfunc.NewJWKSetJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(text, claims, k.Keyfunc, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer.URL), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	return claims, err
}

func TestToken_IsGivenToWhoIsKnown(t *testing.T) {
	s := newIssuer(t)
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
	r := ask(form)
	r.SetBasicAuth("portal", "s3cret")
	status, body := get(t, s, r)
	text, ok := body["access_token"].(string)
	if status != http.StatusOK || !ok {
		t.Fatalf("token = %d %v", status, body)
	}
	claims, err := parse(t, s, text)
	if err != nil || claims["sub"] != "portal" {
		t.Errorf("the token says %v, %v, want the application", claims, err)
	}
	for name, change := range map[string]url.Values{
		"wrong secret":  {"client_id": {"portal"}, "client_secret": {"guess"}},
		"no secret":     {"client_id": {"portal"}},
		"nobody":        {"client_id": {"nobody"}, "client_secret": {""}},
		"another grant": {"client_id": {"portal"}, "client_secret": {"s3cret"}, "grant_type": {"password"}},
		"no audience":   {"client_id": {"portal"}, "client_secret": {"s3cret"}, "audience": {""}},
	} {
		f := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
		for k, v := range change {
			f[k] = v
		}
		if status, body := get(t, s, ask(f)); status == http.StatusOK || body["access_token"] != nil {
			t.Errorf("%s: %d %v, want no token", name, status, body)
		}
	}
}

func TestTokens_ThatMustBeRefusedAre(t *testing.T) {
	s := newIssuer(t)
	good := issuer.Claims{Subject: "portal", Audience: audience}
	late, elsewhere := good, good
	late.Issued, late.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	elsewhere.Audience = "api://another"
	for name, make := range map[string]func() (string, error){
		"another key": func() (string, error) { return s.Forge(good) },
		"unsigned":    func() (string, error) { return s.Unsigned(good) },
		"expired":     func() (string, error) { return s.Sign(late) },
		"elsewhere":   func() (string, error) { return s.Sign(elsewhere) },
	} {
		text, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(t, s, text); err == nil {
			t.Errorf("%s: the token is believed", name)
		}
	}
	text, err := s.Sign(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, s, text); err != nil {
		t.Errorf("a good token: %v", err)
	}
}

func TestDiscovery_NamesTheKeys(t *testing.T) {
	_, body := get(t, newIssuer(t), httptest.NewRequest(http.MethodGet, issuer.URL+"/.well-known/openid-configuration", nil))
	if body["issuer"] != issuer.URL || body["jwks_uri"] != issuer.URL+"/keys" {
		t.Errorf("discovery = %v", body)
	}
}
