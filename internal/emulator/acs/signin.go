package acs

import (
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// readSignIn reads the form of either protocol.
func (x *exchange) readSignIn(body []byte) (signIn, *refusal) {
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if x.r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/x-www-form-urlencoded") {
		return signIn{}, refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested")
	}
	form, ok := parseForm(string(body))
	if !ok {
		return signIn{}, badRequest("ACS90014: The request body is not a well-formed form")
	}
	if x.door == doorOAuth {
		return readOAuth(form)
	}
	return readWRAP(form)
}

// parseForm splits a form at "&" only, since some clients send a scope with
// characters in it that a strict reader takes for separators.
func parseForm(body string) (map[string]string, bool) {
	form := make(map[string]string)
	for _, part := range strings.Split(body, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, false
		}
		if _, twice := form[n]; twice {
			return nil, false
		}
		form[n] = v
	}
	return form, true
}

func missing(form map[string]string, names ...string) *refusal {
	for _, n := range names {
		if form[n] == "" {
			return badRequest("ACS90014: The required field '%s' is missing", n)
		}
	}
	return nil
}

func readWRAP(form map[string]string) (signIn, *refusal) {
	if _, ok := form["wrap_assertion"]; ok || form["wrap_assertion_format"] != "" {
		if r := missing(form, "wrap_scope", "wrap_assertion_format", "wrap_assertion"); r != nil {
			return signIn{}, r
		}
		in := signIn{scope: form["wrap_scope"], assertion: form["wrap_assertion"]}
		switch strings.ToUpper(form["wrap_assertion_format"]) {
		case formatSAML:
			in.format = formatSAML
		case formatSWT:
			in.format = formatSWT
		default:
			return signIn{}, badRequest("ACS90014: The assertion format is not supported")
		}
		return in, nil
	}
	if r := missing(form, "wrap_name", "wrap_password", "wrap_scope"); r != nil {
		return signIn{}, r
	}
	return signIn{format: formatPassword, name: form["wrap_name"], secret: form["wrap_password"], scope: form["wrap_scope"]}, nil
}

// readOAuth takes client credentials, and a SAML bearer under any of the grant
// types that the drafts of the time used (D3).
func readOAuth(form map[string]string) (signIn, *refusal) {
	if r := missing(form, "grant_type", "scope"); r != nil {
		return signIn{}, r
	}
	switch form["grant_type"] {
	case "client_credentials":
		if r := missing(form, "client_id", "client_secret"); r != nil {
			return signIn{}, r
		}
		return signIn{format: formatPassword, name: form["client_id"], secret: form["client_secret"], scope: form["scope"]}, nil
	case "urn:oasis:names:tc:SAML:2.0:assertion", "http://oauth.net/grant_type/saml/2.0/bearer",
		"urn:ietf:params:oauth:grant-type:saml2-bearer":
		if r := missing(form, "assertion"); r != nil {
			return signIn{}, r
		}
		a := form["assertion"]
		if !strings.Contains(a, "<") {
			// The bearer profile of SAML sends the assertion in base64url.
			plain, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(a), "="))
			if err != nil {
				return signIn{}, badRequest("ACS50008: SAML token is invalid")
			}
			a = string(plain)
		}
		return signIn{format: formatSAML, assertion: a, scope: form["scope"]}, nil
	}
	r := badRequest("ACS90014: The grant type is not supported")
	r.kind = "unsupported_grant_type"
	return signIn{}, r
}
