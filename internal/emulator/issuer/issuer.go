// Package issuer plays an OpenID Connect provider that knows a few applications: it
// tells where its keys are, and gives tokens by client credentials (RFC 6749 §4.4). It
// also makes the tokens that must be refused, for who tries whether they are.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Host is the name that the issuer has in its tokens and certificate.
const Host = "login.corp.example"

// URL is the iss of its tokens.
const URL = "https://" + Host

// maxForm bounds a token request, in bytes.
const maxForm = 16 << 10

// life is for how long a token holds.
const life = time.Hour

// Application is who may ask for tokens.
type Application struct {
	ID     string // its tokens' sub
	Secret string
	Groups []string // its tokens' groups
}

// Claims are what a token says.
type Claims struct {
	Subject  string
	Groups   []string
	Audience string
	Issued   time.Time
	Expires  time.Time
}

// Server is an http.Handler. It is safe for concurrent use.
type Server struct {
	now   func() time.Time
	key   *ecdsa.PrivateKey
	kid   string
	other *ecdsa.PrivateKey // one that is never told of
	mux   *http.ServeMux

	mu   sync.Mutex
	apps map[string]Application
}

// New returns an issuer with a key of its own. now is the machine's clock, which those
// who judge tokens go by.
func New(now func() time.Time) (*Server, error) {
	s := &Server{now: now, kid: uuid.NewString(), apps: map[string]Application{}, mux: http.NewServeMux()}
	for _, k := range []**ecdsa.PrivateKey{&s.key, &s.other} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key of the issuer: %w", err)
		}
		*k = key
	}
	s.mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	s.mux.HandleFunc("GET /keys", s.keys)
	s.mux.HandleFunc("POST /token", s.token)
	return s, nil
}

// Register makes an application known. One of the same id is replaced.
func (s *Server) Register(a Application) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[a.ID] = a
}

// ServeHTTP answers what providers are asked.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": URL, "jwks_uri": URL + "/keys", "token_endpoint": URL + "/token",
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

// keys serves the public half of the signing key (RFC 7517, RFC 7518 §6.2).
func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := s.key.PublicKey.Bytes() // 4, x, y (SEC 1 §2.3.3)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	half := (len(point) - 1) / 2
	text := base64.RawURLEncoding.EncodeToString
	answer(w, http.StatusOK, map[string]any{"keys": []map[string]any{{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": s.kid,
		"x": text(point[1 : 1+half]), "y": text(point[1+half:]),
	}}})
}

// token is the token endpoint. The audience is the parameter "audience", as many
// providers have it.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	s.mu.Lock()
	a, known := s.apps[id]
	s.mu.Unlock()
	if subtle.ConstantTimeCompare([]byte(secret), []byte(a.Secret)) != 1 || !known || secret == "" {
		w.Header().Set("WWW-Authenticate", "Basic")
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	audience := r.PostForm.Get("audience")
	if audience == "" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": "audience is missing"})
		return
	}
	text, err := s.Sign(Claims{Subject: a.ID, Groups: a.Groups, Audience: audience})
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	answer(w, http.StatusOK, map[string]any{"access_token": text, "token_type": "Bearer", "expires_in": int(life.Seconds())})
}

// claims returns what a token says; what c leaves out is as the token endpoint would say.
func (s *Server) claims(c Claims) jwt.MapClaims {
	if c.Issued.IsZero() {
		c.Issued = s.now()
	}
	if c.Expires.IsZero() {
		c.Expires = c.Issued.Add(life)
	}
	return jwt.MapClaims{
		"iss": URL, "sub": c.Subject, "groups": c.Groups, "aud": c.Audience, "jti": uuid.NewString(),
		"iat": c.Issued.Unix(), "nbf": c.Issued.Unix(), "exp": c.Expires.Unix(),
	}
}

// Sign returns a token that is right in all that c does not make wrong.
func (s *Server) Sign(c Claims) (string, error) { return s.sign(c, s.key) }

// Forge returns a token that names the issuer's key and is signed with another.
func (s *Server) Forge(c Claims) (string, error) { return s.sign(c, s.other) }

// Unsigned returns a token of the algorithm "none" (RFC 7519 §6), which says all the
// right things and proves nothing.
func (s *Server) Unsigned(c Claims) (string, error) {
	text, err := jwt.NewWithClaims(jwt.SigningMethodNone, s.claims(c)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		return "", fmt.Errorf("making an unsigned token: %w", err)
	}
	return text, nil
}

func (s *Server) sign(c Claims, key *ecdsa.PrivateKey) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, s.claims(c))
	t.Header["kid"] = s.kid
	text, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return strings.TrimSpace(text), nil
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // A caller that went away misses it.
}
