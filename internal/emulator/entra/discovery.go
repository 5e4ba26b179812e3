package entra

import (
	"encoding/base64"
	"math/big"
	"net/http"
)

// instance answers the question which login hosts belong together. Clients that
// do not switch instance discovery off ask it first.
func (s *Server) instance(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	write(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + host + "/common/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{{
			"preferred_network": host, "preferred_cache": host, "aliases": []string{host},
		}},
	})
}

// openID serves a tenant's OpenID configuration.
func (s *Server) openID(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	s.mu.Lock()
	_, known := s.tenants[lower(tenant)]
	s.counters.Discoveries++
	s.mu.Unlock()
	if !known && tenant != "common" && tenant != "organizations" {
		refuse(w, tenantUnknown(tenant), s.now())
		return
	}
	base := "https://" + r.Host + "/" + tenant
	write(w, http.StatusOK, map[string]any{
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"issuer":                                base + "/v2.0",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code", "id_token", "token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"tenant_region_scope":                   "NA",
		"cloud_instance_name":                   r.Host,
	})
}

// keys serves the public half of the signing key.
func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	pub := s.signer.PublicKey
	write(w, http.StatusOK, map[string]any{"keys": []map[string]any{{
		"kty": "RSA", "use": "sig", "kid": s.keyID, "alg": "RS256",
		"n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
	}}})
}
