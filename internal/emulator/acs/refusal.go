package acs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	msgThrottled = "ACS90055: Too many requests. The namespace has made more token requests than are allowed; retry later"
	msgBusy      = "ACS90046: ACS is busy, please retry again"
	msgInternal  = "ACS20000: An internal error occurred while processing the request"
	msgTimeout   = "ACS90005: A request to an external server timed out"
	msgRefused   = "ACS50012: Authentication failed"
	msgToken     = "ACS50009: SWT token is invalid"
)

// refusal is an answer that is not what was asked for.
type refusal struct {
	status int
	msg    string // without Trace ID and Timestamp
	allow  string // the Allow header of a 405
	kind   string // the OAuth 2.0 error, where it is not what the status says
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.msg) }

func refuse(status int, format string, args ...any) *refusal {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return &refusal{status: status, msg: msg}
}

func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, format, args...)
}

// answer is a whole response, made before any of it is sent: what comes of it
// may still be lost on the way.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newAnswer(status int, contentType string, body []byte) *answer {
	a := &answer{status: status, header: make(http.Header), body: body}
	if contentType != "" {
		a.header.Set("Content-Type", contentType)
	}
	return a
}

const timeForm = "2006-01-02 15:04:05Z"

// odataError is the error document of the management service. The code is
// empty and the ACS code stands in the message, as the service did it.
func (x *exchange) odataError(r *refusal, asJSON bool) *answer {
	msg := fmt.Sprintf("%s. Trace ID: %s. Timestamp: %s", strings.TrimSuffix(r.msg, "."), x.trace, x.now.UTC().Format(timeForm))
	var a *answer
	if asJSON {
		body, err := json.Marshal(map[string]any{"error": map[string]any{"code": "",
			"message": map[string]string{"lang": "en-US", "value": msg}}})
		if err != nil {
			body = nil
		}
		a = newAnswer(r.status, mimeJSON+";charset=utf-8", body)
	} else {
		var b bytes.Buffer
		b.WriteString(xmlHead + "\n" + `<error xmlns="` + nsMetadata + `">` + "\n  <code></code>\n" + `  <message xml:lang="en-US">`)
		escape(&b, msg)
		b.WriteString("</message>\n</error>")
		a = newAnswer(r.status, mimeXML+";charset=utf-8", b.Bytes())
	}
	a.header.Set("DataServiceVersion", "1.0;")
	x.manners(a, r)
	if r.status == http.StatusUnauthorized && x.s.cfg.Switches.Challenge {
		a.header.Set("WWW-Authenticate", "WRAP")
	}
	return a
}

// manners adds the headers that depend on the refusal only.
func (x *exchange) manners(a *answer, r *refusal) {
	if r.allow != "" {
		a.header.Set("Allow", r.allow)
	}
	wait := x.s.cfg.Switches.RetryAfter
	if x.fault != nil && x.fault.RetryAfter > 0 {
		wait = x.fault.RetryAfter
	}
	if wait > 0 && (r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable) {
		a.header.Set("Retry-After", fmt.Sprint(int((wait+time.Second-1)/time.Second)))
	}
}

// wrapError is the one line of plain text in which WRAP refuses.
func (x *exchange) wrapError(r *refusal) *answer {
	line := fmt.Sprintf("Error:Code:%d:SubCode:T0:Detail:%s. :TraceID:%s:TimeStamp:%s",
		r.status, strings.TrimSuffix(r.msg, "."), x.trace, x.now.UTC().Format(timeForm))
	a := newAnswer(r.status, "text/plain; charset=us-ascii", []byte(line))
	x.manners(a, r)
	return a
}

// oauthError is the JSON in which OAuth 2.0 draft 13 refuses. A refused
// credential is a 400 there.
func (x *exchange) oauthError(r *refusal) *answer {
	status, kind := r.status, r.kind
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		status = http.StatusBadRequest
		if kind == "" {
			kind = "invalid_client"
		}
	}
	if kind == "" {
		kind = "invalid_request"
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{kind, fmt.Sprintf("%s.\r\nTrace ID: %s\r\nTimestamp: %s", strings.TrimSuffix(r.msg, "."), x.trace, x.now.UTC().Format(timeForm))})
	if err != nil {
		body = nil
	}
	a := newAnswer(status, "application/json; charset=utf-8", body)
	x.manners(a, r)
	return a
}

// gateway is the page of something in front of the service.
func gateway(status int) *answer {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return newAnswer(status, "text/html", []byte("<!DOCTYPE html>\r\n<html><head><title>"+title+"</title></head>\r\n<body><h2>"+
		title+"</h2></body></html>\r\n"))
}

func escape(b *bytes.Buffer, s string) {
	// EscapeText fails only when its writer does, and a Buffer does not.
	_ = xml.EscapeText(b, []byte(s))
}
