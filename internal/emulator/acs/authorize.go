package acs

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// managementAudience says whether a URL is the management service of this
// namespace, with or without a port and a last slash.
func (x *exchange) managementAudience(scope string) bool {
	u, err := url.Parse(scope)
	return err == nil && u.Scheme == "https" && hostName(u.Host) == x.ns.host &&
		strings.EqualFold(strings.TrimSuffix(u.Path, "/"), managementPath)
}

// authorized checks the Authorization header of a management call.
func (x *exchange) authorized() *refusal {
	raw, ok := bearer(x.r.Header.Get("Authorization"))
	if !ok {
		return refuse(http.StatusUnauthorized, "ACS50009: The request has no management token")
	}
	token, err := parseSWT(raw)
	if err != nil || !token.verify(x.ns.derive("management tokens")) {
		return refuse(http.StatusUnauthorized, msgToken)
	}
	audience, one := token.get("Audience")
	until, dated := token.get("ExpiresOn")
	n, err := strconv.ParseInt(until, 10, 64)
	if err != nil || !one || !dated || !x.managementAudience(audience) {
		return refuse(http.StatusUnauthorized, msgToken)
	}
	if !x.now.Before(time.Unix(n, 0)) {
		return refuse(http.StatusUnauthorized, "%s. The token has expired", msgToken)
	}
	return nil
}

// bearer takes the token out of either form of the header.
func bearer(header string) (string, bool) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case !ok:
		return "", false
	case strings.EqualFold(scheme, "Bearer"):
		return rest, rest != ""
	case strings.EqualFold(scheme, "WRAP"):
		name, value, ok := strings.Cut(rest, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "access_token") {
			return "", false
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		return value, value != ""
	}
	return "", false
}
