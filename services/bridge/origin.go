package bridge

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// origins are the web pages that may call. A browser says from which page a call comes;
// that keeps strangers' pages from using what a browser sends by itself, which here are
// client certificates, and the reach of the machine that it runs on.
type origins map[string]bool

// newOrigins takes origins as browsers write them.
func newOrigins(list []string) (origins, error) {
	out := origins{}
	for _, o := range list {
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.Scheme+"://"+u.Host != o || o != strings.ToLower(o) {
			return nil, fmt.Errorf("the origin %q is none: want scheme://host or scheme://host:port in lower case", o)
		}
		out[o] = true
	}
	return out, nil
}

// admit refuses a request that a browser sends for a page that is not listed, and says in
// h which page may read the answer.
func (o origins) admit(h http.Header, r *http.Request) error {
	h.Set("Vary", "Origin")
	refused := func(page string) error {
		return &edge.Problem{
			Code: codes.PermissionDenied, Reason: pb.ErrorReason_ERROR_REASON_PERMISSION_DENIED,
			Message: fmt.Sprintf("pages of %q may not call this server; its operator lists those that may in web.origins", page),
		}
	}
	if got := r.Header.Values("Origin"); len(got) > 0 {
		if len(got) > 1 || !o[got[0]] {
			return refused(got[0])
		}
		h.Set("Access-Control-Allow-Origin", got[0])
		// For client certificates. There are no cookies.
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "x-request-id, retry-after")
		return nil
	}
	// A page does not name itself when it reads from its own origin. That is whatever the
	// host header says, which a page that plays with its DNS chooses; so it has to be listed too.
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "none":
		return nil // No browser, or its user.
	default:
		if site == "same-origin" && (o["https://"+r.Host] || o["http://"+r.Host]) {
			return nil
		}
		return refused(r.Host)
	}
}

// headers are those of a request that a call takes along. Whatever else a request says,
// above all of where it came from, stays outside.
func headers() []string {
	return []string{"authorization", "x-request-id", "traceparent", "tracestate", edge.CallerHeader}
}

// preflight says what a page of a listed origin may send.
func preflight(h http.Header, m method) {
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", verbs(m))
	allowed := slices.Concat(headers(), []string{"content-type", "accept", "connect-protocol-version", "connect-timeout-ms", "last-event-id"})
	h.Set("Access-Control-Allow-Headers", strings.Join(allowed, ", "))
	h.Set("Access-Control-Max-Age", "7200") // As long as browsers keep it at most.
}
