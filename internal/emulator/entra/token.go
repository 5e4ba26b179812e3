package entra

import (
	"crypto/sha1" //nolint:gosec // x5t is defined as a SHA-1; RFC 7515 section 4.1.7.
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// maxForm bounds a token request. Real ones are a few kilobytes.
const maxForm = 64 << 10

// assertionType is the only client assertion that Entra takes (RFC 7523).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func lower(s string) string { return strings.ToLower(s) }

// token is the token endpoint, for the client_credentials grant.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	tenant := r.PathValue("tenant")
	answer, p := s.grant(r, tenant)
	s.mu.Lock()
	if p != nil {
		s.counters.Refusals++
	} else {
		s.counters.Tokens++
	}
	s.mu.Unlock()
	if p != nil {
		refuse(w, p, s.now())
		return
	}
	write(w, http.StatusOK, answer)
}

// grant decides on a token request.
func (s *Server) grant(r *http.Request, tenant string) (map[string]any, *problem) {
	if err := r.ParseForm(); err != nil {
		return nil, parameterMissing("grant_type")
	}
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if r.PostForm.Get(name) == "" {
			return nil, parameterMissing(name)
		}
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		return nil, grantUnsupported()
	}
	a, p := s.lookUp(tenant, r.PostForm.Get("client_id"))
	if p != nil {
		return nil, p
	}
	if p := s.authenticate(a, r); p != nil {
		return nil, p
	}
	resource, p := resourceOf(r.PostForm.Get("scope"))
	if p != nil {
		return nil, p
	}
	if !s.hasResource(tenant, resource) {
		return nil, resourceUnknown(resource, tenant)
	}
	text, err := s.issue(a, resource, "https://"+r.Host+"/"+tenant+"/v2.0")
	if err != nil {
		return nil, busy(http.StatusInternalServerError)
	}
	seconds := int(s.lifetime.Seconds()) - 1
	return map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": text}, nil
}

// resourceOf finds the one resource in a scope. azidentity adds openid, profile
// and offline_access to it.
func resourceOf(scope string) (string, *problem) {
	var found []string
	for _, part := range strings.Fields(scope) {
		if resource, ok := strings.CutSuffix(part, "/.default"); ok {
			found = append(found, resource)
		}
	}
	if len(found) != 1 {
		return "", scopeInvalid(scope)
	}
	return found[0], nil
}

// authenticate checks the secret or the assertion of a request.
func (s *Server) authenticate(a *app, r *http.Request) *problem {
	form := r.PostForm
	switch {
	case form.Get("client_assertion") != "":
		if form.Get("client_assertion_type") != assertionType {
			return parameterMissing("client_assertion_type")
		}
		return s.checkAssertion(a, form.Get("client_assertion"), "https://"+r.Host+r.URL.Path)
	case form.Get("client_secret") != "":
		return s.checkSecret(a, form.Get("client_secret"))
	default:
		return credentialMissing()
	}
}

func (s *Server) checkSecret(a *app, given string) *problem {
	expired := false
	for _, secret := range a.Secrets {
		if subtle.ConstantTimeCompare([]byte(secret.Value), []byte(given)) != 1 {
			continue
		}
		if secret.Expires.IsZero() || s.now().Before(secret.Expires) {
			return nil
		}
		expired = true
	}
	if expired {
		return secretExpired(a.ClientID)
	}
	return secretWrong(a.ClientID)
}

// checkAssertion verifies a client assertion: signed by a registered
// certificate that its header names, for this endpoint, by and about the
// application, within its time.
func (s *Server) checkAssertion(a *app, assertion, endpoint string) *problem {
	claims := jwt.RegisteredClaims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"PS256", "RS256"}),
		jwt.WithTimeFunc(s.now), jwt.WithExpirationRequired(),
	)
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		cert := named(a.certs, t.Header)
		if cert == nil {
			return nil, errors.New("the key was not found")
		}
		if now := s.now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return nil, errors.New("the key used is expired or not yet valid")
		}
		return cert.PublicKey, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return assertionTime()
	case err != nil:
		return assertionUnsigned(reason(err))
	case !strings.EqualFold(claims.Issuer, a.ClientID):
		return assertionClaim("iss")
	case !strings.EqualFold(claims.Subject, a.ClientID):
		return assertionClaim("sub")
	}
	for _, aud := range claims.Audience {
		if strings.EqualFold(strings.TrimRight(aud, "/"), strings.TrimRight(endpoint, "/")) {
			return nil
		}
	}
	return assertionClaim("aud")
}

// reason shortens a parser's error to what a client may know.
func reason(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "The signature is invalid."
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return "The key was not found, or is expired."
	default:
		return "The assertion is malformed."
	}
}

// named finds the certificate that a header names by x5t#S256 or x5t. MSAL for
// Go writes x5t#S256 in standard base64, others in base64url; both pass.
func named(certs []*x509.Certificate, header map[string]any) *x509.Certificate {
	for _, cert := range certs {
		s1, s2 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw) //nolint:gosec // see the import
		if x5t, ok := header["x5t#S256"].(string); ok {
			if isBase64(x5t, s2[:]) {
				return cert
			}
			continue
		}
		if x5t, ok := header["x5t"].(string); ok && isBase64(x5t, s1[:]) {
			return cert
		}
	}
	return nil
}

// isBase64 reports whether text is raw in either alphabet, padded or not.
func isBase64(text string, raw []byte) bool {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return text == base64.RawURLEncoding.EncodeToString(raw)
}

// accessClaims are what an issued token says.
type accessClaims struct {
	jwt.RegisteredClaims
	AppID   string `json:"appid"`
	Tenant  string `json:"tid"`
	Version string `json:"ver"`
}

// issue makes a token. Clients must take it as opaque.
func (s *Server) issue(a *app, resource, issuer string) (string, error) {
	now := s.now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: a.ClientID, Audience: jwt.ClaimStrings{resource}, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(s.lifetime)),
		},
		AppID: a.ClientID, Tenant: a.Tenant, Version: "1.0",
	})
	t.Header["kid"] = s.keyID
	text, err := t.SignedString(s.signer)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text, nil
}

// Check returns who holds token, if this server issued it, it has not expired
// and it is for audience. A resource asks it for every call. The error never
// holds the token.
func (s *Server) Check(token, audience string) (Bearer, error) {
	claims := accessClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(s.now), jwt.WithExpirationRequired()).
		ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return &s.signer.PublicKey, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Bearer{}, errors.New("checking a token: it has expired")
	case err != nil:
		return Bearer{}, errors.New("checking a token: it is not one of ours")
	case len(claims.Audience) != 1 || normal(claims.Audience[0]) != normal(audience):
		return Bearer{}, fmt.Errorf("checking a token: it is for another audience than %s", audience)
	}
	return Bearer{Tenant: claims.Tenant, ClientID: claims.AppID, Audience: claims.Audience[0]}, nil
}
