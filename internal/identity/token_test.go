package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// signer is one key of an issuer.
type signer struct {
	id  string
	key crypto.Signer
}

func rsaKey(t *testing.T, id string) signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, k}
}

func ecKey(t *testing.T, id string) signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, k}
}

func (s signer) jwk() map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := s.key.Public().(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": s.id, "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		return map[string]any{"kty": "EC", "kid": s.id, "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	}
	panic("unknown key")
}

// provider is an issuer over TLS.
type provider struct {
	*httptest.Server
	mu     sync.Mutex
	keys   []signer
	extra  []map[string]any // further entries of the key set
	status int
	issuer string // what it calls itself; "": its URL
	asked  atomic.Int64
}

func newProvider(t *testing.T, keys ...signer) *provider {
	t.Helper()
	p := &provider{keys: keys}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		iss := p.issuer
		if iss == "" {
			iss = p.URL
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": iss, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.status != 0 {
			w.WriteHeader(p.status)
			return
		}
		list := slices.Clone(p.extra)
		for _, k := range p.keys {
			list = append(list, k.jwk())
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

var noon = time.Date(2016, 11, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func claims(iss string) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": iss, "aud": "crossfade", "sub": "jane", "groups": []string{"operators", "emea"},
		"exp": noon.Add(time.Hour).Unix(), "iat": noon.Unix(),
	}
}

func sign(t *testing.T, s signer, method jwt.SigningMethod, c jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	if s.id != "" {
		tok.Header["kid"] = s.id
	}
	raw, err := tok.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func verifier(t *testing.T, p *provider, now func() time.Time, change ...func(*identity.Issuer)) *identity.Verifier {
	t.Helper()
	i := identity.Issuer{Name: "corp", URL: p.URL, Audience: "crossfade"}
	for _, f := range change {
		f(&i)
	}
	v, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{i}, HTTP: p.Client(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestToken_WhoIsBelieved(t *testing.T) {
	rs, ec := rsaKey(t, "r1"), ecKey(t, "e1")
	p := newProvider(t, rs, ec)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	for name, raw := range map[string]string{
		"RS256": sign(t, rs, jwt.SigningMethodRS256, claims(p.URL)),
		"ES256": sign(t, ec, jwt.SigningMethodES256, claims(p.URL)),
	} {
		got, err := v.Token(t.Context(), raw)
		if err != nil || got.Name != "corp:jane" || got.By != identity.ByToken || !got.Expires.Equal(noon.Add(time.Hour)) ||
			!slices.Equal(got.Groups, []string{"corp:operators", "corp:emea"}) {
			t.Errorf("%s: Token = %+v, %v", name, got, err)
		}
	}
	other := claims(p.URL)
	other["aud"], other["oid"], other["roles"] = []string{"x", "crossfade"}, "0a", []any{"r", 7, "zoë"}
	v = verifier(t, p, c.now, func(i *identity.Issuer) { i.Subject, i.Groups, i.Keys = "oid", "roles", p.URL+"/keys" })
	got, err := v.Token(t.Context(), sign(t, rs, jwt.SigningMethodRS256, other))
	if err != nil || got.Name != "corp:0a" || !slices.Equal(got.Groups, []string{"corp:r"}) {
		t.Errorf("other claims: Token = %+v, %v", got, err)
	}
}

// Each way in which others let somebody in, and none of them quotes the token.
func TestToken_WhoIsNot(t *testing.T) {
	rs, stranger := rsaKey(t, "r1"), rsaKey(t, "r1")
	p := newProvider(t, rs)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	with := func(key string, value any) jwt.MapClaims {
		m := claims(p.URL)
		if m[key] = value; value == nil {
			delete(m, key)
		}
		return m
	}
	good := sign(t, rs, jwt.SigningMethodRS256, claims(p.URL))
	public, err := x509.MarshalPKIXPublicKey(rs.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	shared := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(p.URL))
	shared.Header["kid"] = "r1"
	withPublic, err := shared.SignedString(public)
	if err != nil {
		t.Fatal(err)
	}
	none := jwt.NewWithClaims(jwt.SigningMethodNone, claims(p.URL))
	none.Header["kid"] = "r1"
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 501)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	parts := strings.Split(good, ".")
	for name, tt := range map[string]struct{ raw, want string }{
		"expired":             {sign(t, rs, jwt.SigningMethodRS256, with("exp", noon.Add(-time.Minute).Unix())), "has expired"},
		"no end":              {sign(t, rs, jwt.SigningMethodRS256, with("exp", nil)), "lacks a claim"},
		"not yet":             {sign(t, rs, jwt.SigningMethodRS256, with("nbf", noon.Add(time.Minute).Unix())), "not valid yet"},
		"of the future":       {sign(t, rs, jwt.SigningMethodRS256, with("iat", noon.Add(time.Hour).Unix())), "of the future"},
		"wrong audience":      {sign(t, rs, jwt.SigningMethodRS256, with("aud", "other")), "another audience"},
		"audience begins so":  {sign(t, rs, jwt.SigningMethodRS256, with("aud", "crossfade2")), "another audience"},
		"no audience":         {sign(t, rs, jwt.SigningMethodRS256, with("aud", nil)), ""},
		"unknown issuer":      {sign(t, rs, jwt.SigningMethodRS256, with("iss", "https://evil.example")), "does not name"},
		"issuer with a slash": {sign(t, rs, jwt.SigningMethodRS256, with("iss", p.URL+"/")), "does not name"},
		"no issuer":           {sign(t, rs, jwt.SigningMethodRS256, with("iss", nil)), "does not name"},
		"another's key":       {sign(t, stranger, jwt.SigningMethodRS256, claims(p.URL)), "signature"},
		"alg none":            {unsigned, "signature"},
		"HS256 with the public key as the secret": {withPublic, "signature"},
		"algorithm not configured":                {sign(t, rs, jwt.SigningMethodPS256, claims(p.URL)), "signature"},
		"unknown key":                             {sign(t, signer{"r9", rs.key}, jwt.SigningMethodRS256, claims(p.URL)), "signature"},
		"signature of another":                    {parts[0] + "." + strings.Split(sign(t, rs, jwt.SigningMethodRS256, with("sub", "boss")), ".")[1] + "." + parts[2], "signature"},
		"no signature":                            {parts[0] + "." + parts[1] + ".", "signature"},
		"no token":                                {"secret", "no signed JWT"},
		"empty":                                   {"", "no signed JWT"},
		"too long":                                {strings.Repeat("a", 17<<10), "longer than"},
		"no subject":                              {sign(t, rs, jwt.SigningMethodRS256, with("sub", nil)), "is no name"},
		"subject is a number":                     {sign(t, rs, jwt.SigningMethodRS256, with("sub", 7)), "is no name"},
		"subject with a line break":               {sign(t, rs, jwt.SigningMethodRS256, with("sub", "jane\nboss")), "is no name"},
		"too many groups":                         {sign(t, rs, jwt.SigningMethodRS256, with("groups", many)), "more than 500 groups"},
	} {
		got, err := v.Token(t.Context(), tt.raw)
		if !errors.Is(err, identity.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || got.Name != "" {
			t.Errorf("%s: Token = %+v, %v, want %q", name, got, err, tt.want)
		}
		for _, part := range strings.Split(tt.raw, ".") {
			if err != nil && len(part) > 4 && strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error quotes the token: %v", name, err)
			}
		}
	}
	if _, err := v.Token(t.Context(), good); err != nil {
		t.Errorf("Token = %v for a good one", err)
	}
}

// A key set may hold a shared key, by mistake or malice: it verifies nothing.
func TestToken_SharedKeysOfASetAreNotUsed(t *testing.T) {
	rs := rsaKey(t, "r1")
	p := newProvider(t, rs)
	p.extra = []map[string]any{{"kty": "oct", "kid": "s1", "k": base64.RawURLEncoding.EncodeToString([]byte("shared secret of 32 bytes length"))}}
	v := verifier(t, p, (&clock{at: noon}).now)
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(p.URL))
	tok.Header["kid"] = "s1"
	raw, err := tok.SignedString([]byte("shared secret of 32 bytes length"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Token(t.Context(), raw); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("Token = %v, want that it is not believed", err)
	}
	if _, err := v.Token(t.Context(), sign(t, rs, jwt.SigningMethodRS256, claims(p.URL))); err != nil {
		t.Errorf("Token of the other key = %v", err)
	}
	for _, alg := range []string{"HS256", "none", "RS257"} {
		if _, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{Name: "a", URL: "https://a", Audience: "b", Algorithms: []string{alg}}}}); err == nil {
			t.Errorf("NewVerifier took the algorithm %s", alg)
		}
	}
}

// A token is remembered, and not for longer than it holds.
func TestToken_IsRememberedUntilItEnds(t *testing.T) {
	rs := rsaKey(t, "r1")
	p := newProvider(t, rs)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	m := claims(p.URL)
	m["exp"] = noon.Add(2 * time.Minute).Unix()
	raw := sign(t, rs, jwt.SigningMethodRS256, m)
	for range 3 {
		if _, err := v.Token(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	c.add(2*time.Minute + 31*time.Second)
	if _, err := v.Token(t.Context(), raw); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("after its end Token = %v", err)
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked for keys %d times, want once", n)
	}
}

// Tokens with made-up key ids make us ask at most once in ten seconds, and a new key is
// taken then.
func TestToken_UnknownKeysAreNoAmplifier(t *testing.T) {
	r1, r2 := rsaKey(t, "r1"), rsaKey(t, "r2")
	p := newProvider(t, r1)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	if _, err := v.Token(t.Context(), sign(t, r1, jwt.SigningMethodRS256, claims(p.URL))); err != nil {
		t.Fatal(err)
	}
	c.add(10 * time.Second)
	for i := range 50 {
		raw := sign(t, signer{fmt.Sprintf("made-up-%d", i), r2.key}, jwt.SigningMethodRS256, claims(p.URL))
		if _, err := v.Token(t.Context(), raw); !errors.Is(err, identity.ErrInvalid) {
			t.Fatalf("Token = %v", err)
		}
	}
	if n := p.asked.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times, want 2", n)
	}
	p.set(func() { p.keys = append(p.keys, r2) })
	second := sign(t, r2, jwt.SigningMethodRS256, claims(p.URL))
	if _, err := v.Token(t.Context(), second); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("within ten seconds Token = %v", err)
	}
	c.add(10 * time.Second)
	if _, err := v.Token(t.Context(), second); err != nil {
		t.Errorf("after ten seconds Token = %v", err)
	}
}

// While the issuer does not answer its last keys hold for a day; before there are any,
// and after that day, nobody is told that their token is wrong.
func TestToken_WhileTheIssuerIsAway(t *testing.T) {
	rs := rsaKey(t, "r1")
	p := newProvider(t, rs)
	p.status = http.StatusServiceUnavailable
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	token := func() error {
		m := claims(p.URL)
		m["exp"], m["iat"] = c.now().Add(time.Hour).Unix(), c.now().Unix()
		_, err := v.Token(context.Background(), sign(t, rs, jwt.SigningMethodRS256, m))
		return err
	}
	if err := token(); !errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrInvalid) {
		t.Errorf("without any keys Token = %v", err)
	}
	p.set(func() { p.status = 0 })
	c.add(10 * time.Second)
	if err := token(); err != nil {
		t.Errorf("with the issuer back Token = %v", err)
	}
	p.set(func() { p.status = http.StatusServiceUnavailable })
	c.add(23 * time.Hour)
	if err := token(); err != nil {
		t.Errorf("with keys of yesterday Token = %v", err)
	}
	c.add(2 * time.Hour)
	if err := token(); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("with keys of more than a day Token = %v", err)
	}
}

// A key that the issuer has taken out is not believed after an hour.
func TestToken_AKeyThatIsTakenOut(t *testing.T) {
	r1, r2 := rsaKey(t, "r1"), rsaKey(t, "r2")
	p := newProvider(t, r1, r2)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	if _, err := v.Token(t.Context(), sign(t, r1, jwt.SigningMethodRS256, claims(p.URL))); err != nil {
		t.Fatal(err)
	}
	p.set(func() { p.keys = []signer{r2} })
	c.add(time.Hour)
	m := claims(p.URL)
	m["exp"] = noon.Add(3 * time.Hour).Unix()
	if _, err := v.Token(t.Context(), sign(t, r1, jwt.SigningMethodRS256, m)); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("Token = %v", err)
	}
}

// Whoever answers for the issuer must call itself by its name.
func TestToken_ADiscoveryOfAnother(t *testing.T) {
	rs := rsaKey(t, "r1")
	p := newProvider(t, rs)
	p.issuer = "https://evil.example"
	v := verifier(t, p, (&clock{at: noon}).now)
	if _, err := v.Token(t.Context(), sign(t, rs, jwt.SigningMethodRS256, claims(p.URL))); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("Token = %v", err)
	}
}

func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiamFuZSIsImF1ZCI6ImNyb3NzZmFkZSIsImV4cCI6OTk5OTk5OTk5OX0.")
	f.Add("eyJhbGciOiJSUzI1NiIsImtpZCI6MX0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.AA")
	f.Add("")
	v, err := identity.NewVerifier(identity.Config{
		Issuers: []identity.Issuer{{Name: "corp", URL: "https://issuer.example", Audience: "crossfade"}}, Now: func() time.Time { return noon },
		HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no network") })},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := v.Token(context.Background(), raw)
		if err == nil || s.Name != "" || !errors.Is(err, identity.ErrInvalid) && !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("Token(%q) = %+v, %v", raw, s, err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
