package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// provider is an OpenID Connect provider at issuer.test.
type provider struct {
	key  *ecdsa.PrivateKey
	addr string
}

const issuerURL = "https://issuer.test"

func newIssuer(t *testing.T, o *office) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	mux := http.NewServeMux()
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
	}
	answer("/.well-known/openid-configuration", map[string]string{"issuer": issuerURL, "jwks_uri": issuerURL + "/keys"})
	answer("/keys", map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	pair, _ := o.pair("issuer.test")
	lis, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() { _, _ = srv.Close(), <-done })
	return &provider{key, lis.Addr().String()}
}

func (i *provider) claims(sub string, groups ...string) jwt.MapClaims {
	return jwt.MapClaims{"iss": issuerURL, "aud": "crossfade", "sub": sub, "groups": groups, "exp": time.Now().Add(time.Hour).Unix()}
}

func token(t *testing.T, key any, method jwt.SigningMethod, c jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	tok.Header["kid"] = "k1"
	raw, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (i *provider) token(t *testing.T, sub string, groups ...string) string {
	t.Helper()
	return token(t, i.key, jwt.SigningMethodES256, i.claims(sub, groups...))
}
