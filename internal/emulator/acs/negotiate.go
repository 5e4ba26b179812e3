package acs

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// negotiate picks one of the offers by an Accept header. Offers are in the
// server's own order of preference; no header, or any, takes the first.
func negotiate(accept string, offers ...string) (string, bool) {
	if strings.TrimSpace(accept) == "" {
		return offers[0], true
	}
	best, bestQ := "", 0.0
	for _, item := range strings.Split(accept, ",") {
		kind, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		if v, ok := params["odata"]; ok && v != "verbose" {
			continue // The light and minimal forms came with version 3.
		}
		if offer := offerFor(kind, offers); offer != "" && q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best, best != ""
}

func offerFor(kind string, offers []string) string {
	for _, o := range offers {
		if kind == "*/*" || kind == o || strings.HasSuffix(kind, "/*") && strings.HasPrefix(o, strings.TrimSuffix(kind, "*")) {
			return o
		}
	}
	// Some clients ask for an entry as XML, or for the service document as
	// what AtomPub calls it.
	switch kind {
	case mimeXML, "text/xml", "application/atomsvc+xml":
		for _, o := range offers {
			if o == mimeAtom || o == mimeXML {
				return o
			}
		}
	case mimeAtom:
		for _, o := range offers {
			if o == mimeXML || o == mimeText {
				return o
			}
		}
	}
	return ""
}

// format picks Atom, or another XML, or JSON for an operation.
func (x *exchange) format(h http.Header, xmlKind string) (string, *refusal) {
	offers := []string{xmlKind, mimeJSON}
	if x.s.cfg.Switches.NoJSON {
		offers = offers[:1]
	}
	accept := strings.Join(h.Values("Accept"), ",")
	kind, ok := negotiate(accept, offers...)
	if !ok {
		return "", refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested")
	}
	return kind, nil
}

// versions reads the version headers: that of the request must be one that is
// known, and the highest that the client understands is returned as 10 or 20.
func versions(h http.Header) (int, *refusal) {
	sent, ok1 := version(h.Get("DataServiceVersion"), 20)
	highest, ok2 := version(h.Get("MaxDataServiceVersion"), 20)
	switch {
	case !ok1 || !ok2:
		return 0, badRequest("The version header is not well formed")
	case sent > 20:
		return 0, badRequest("The DataServiceVersion of the request is higher than '2.0', which is the highest known")
	case highest < 10:
		return 0, badRequest("The MaxDataServiceVersion of the request is too low")
	}
	return highest, nil
}

// version reads "2.0;NetFx" as 20.
func version(s string, absent int) (int, bool) {
	s, _, _ = strings.Cut(strings.TrimSpace(s), ";")
	if s = strings.TrimSpace(s); s == "" {
		return absent, true
	}
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		return 0, false
	}
	a, err1 := strconv.ParseUint(major, 10, 8)
	b, err2 := strconv.ParseUint(minor, 10, 8)
	return int(a)*10 + int(b), err1 == nil && err2 == nil && b < 10
}

// wantsJSON says whether errors are to be written in JSON.
func wantsJSON(h http.Header) bool {
	a := strings.ToLower(h.Get("Accept"))
	return strings.Contains(a, "application/json") && !strings.Contains(a, "atom+xml")
}
