package acs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Server is the emulator: an http.Handler that serves every namespace added to
// it, each under its own host name. All its methods may be called from many
// goroutines at once.
type Server struct {
	cfg   Config
	model *model

	metadata []byte // $metadata, which is the same for all

	count   counters
	journal journal
	faults  atomic.Pointer[faultPlan]

	mu         sync.RWMutex // guards namespaces
	namespaces map[string]*namespace
}

// New makes a Server without namespaces. Faults that Faults.Check refuses are
// left out; call it first where they come from a user.
func New(c Config) *Server {
	s := &Server{cfg: c.withDefaults(), model: newModel(), namespaces: make(map[string]*namespace)}
	s.metadata = s.model.metadata()
	s.journal.limit = s.cfg.JournalLimit
	s.SetFaults(c.Faults)
	return s
}

// SetFaults replaces the faults and starts their counts anew. Faults that
// Check refuses are left out.
func (s *Server) SetFaults(f Faults) {
	if f.Check() != nil {
		f = Faults{}
	}
	s.faults.Store(newFaultPlan(f))
}

func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// door is what a path leads to.
type door uint8

const (
	doorNone door = iota
	doorPortal
	doorManagement
	doorWRAP
	doorOAuth
	doorVerify
	doorRenumber
)

const managementPath = "/v2/mgmt/service"

func doorOf(path string) door {
	p := strings.ToLower(path)
	switch strings.TrimSuffix(p, "/") {
	case "", "/v2/mgmt/web":
		return doorPortal
	case "/wrapv0.9":
		return doorWRAP
	case "/v2/oauth2-13":
		return doorOAuth
	case "/_emulator/verify":
		return doorVerify
	case "/_emulator/renumber":
		return doorRenumber
	}
	if p == managementPath || strings.HasPrefix(p, managementPath+"/") {
		return doorManagement
	}
	return doorNone
}

// exchange is one request and what must be known to answer it.
type exchange struct {
	s     *Server
	ns    *namespace
	r     *http.Request
	door  door
	base  string // scheme and host as the client named them
	now   time.Time
	trace string
	fault *FaultRule
}

func (x *exchange) faultKind() string {
	if x.fault == nil {
		return ""
	}
	return x.fault.Kind
}

// seen is the status that the client will see in place of status.
func (x *exchange) seen(status int) int {
	switch x.faultKind() {
	case FaultTimeoutApplied:
		return http.StatusGatewayTimeout
	case FaultResetApplied, FaultResetBefore:
		return 0
	}
	return status
}

// serviceRoot is the root of the management service with its slash.
func (x *exchange) serviceRoot() string { return x.base + managementPath + "/" }

// ServeHTTP answers a request in the namespace that its Host names. A host
// that is none is answered 404 with HTML, as a gateway does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ns := s.namespace(r.Host)
	if ns == nil {
		s.count.unknownHost.Add(1)
		send(w, r, gateway(http.StatusNotFound))
		return
	}
	if m := ns.mode.Load(); m != nil && *m != ModeLive {
		s.closed(w, r, *m)
		return
	}
	x := &exchange{s: s, ns: ns, r: r, door: doorOf(r.URL.Path), base: baseOf(r), now: s.cfg.Now().UTC(), trace: uuid.NewString()}
	if !pause(r.Context(), s.cfg.Latency) {
		return
	}
	switch x.door {
	case doorNone:
		send(w, r, gateway(http.StatusNotFound))
		return
	case doorPortal:
		send(w, r, newAnswer(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html><title>Access Control Service</title><p>Namespace "+ns.host+"</p>\n")))
		return
	case doorVerify, doorRenumber:
		send(w, r, x.emulator())
		return
	}
	s.count.calls.Add(1)
	a := x.answer()
	if a == nil {
		s.count.resets.Add(1)
		panic(http.ErrAbortHandler) // The documented way to close a connection without an answer.
	}
	s.count.answered(a.status)
	x.dress(a)
	send(w, r, a)
}

// closed answers for a namespace that is switched off (D24).
func (s *Server) closed(w http.ResponseWriter, r *http.Request, m Mode) {
	switch m {
	case ModeGone:
		send(w, r, gateway(http.StatusNotFound))
	case ModeUnavailable:
		send(w, r, gateway(http.StatusServiceUnavailable))
	default:
		s.count.resets.Add(1)
		panic(http.ErrAbortHandler)
	}
}

// answer lets faults and limits have their say before and after the work. It
// is nil where the connection is to be cut.
func (x *exchange) answer() *answer {
	if x.fault = x.s.faults.Load().pick(x.r, x.ns.host, verb(x.r)); x.fault != nil {
		x.s.count.faults.Add(1)
		if r := x.fault.refused(); r != nil {
			x.lost(r.status)
			return x.refusal(r)
		}
		switch x.fault.Kind {
		case FaultResetBefore:
			x.lost(0)
			return nil
		case FaultSlow:
			// A server hears of a caller that goes away only after it has read what
			// the caller sent.
			sent, _ := io.ReadAll(io.LimitReader(x.r.Body, maxBody)) // What is wrong with it is found below.
			x.r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(sent), x.r.Body))
			if !pause(x.r.Context(), x.fault.Delay) {
				return nil
			}
		}
	}
	a := x.work()
	switch x.faultKind() {
	case FaultTimeoutApplied:
		return x.refusal(refuse(http.StatusGatewayTimeout, msgTimeout))
	case FaultResetApplied:
		return nil
	}
	return a
}

func (x *exchange) work() *answer {
	if len(x.r.RequestURI) > maxURL {
		return x.refusal(badRequest("The length of the URL exceeds the limit of %d bytes", maxURL))
	}
	token := x.door != doorManagement
	if token || x.s.cfg.Switches.ManagementCounts {
		if !x.ns.allow(x.s.cfg.Switches.TokenRate, x.now) {
			r := refuse(http.StatusTooManyRequests, msgThrottled)
			x.lost(r.status)
			return x.refusal(r)
		}
	}
	limit := int64(maxBody)
	if token {
		limit = maxTokenBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, x.r.Body, limit))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return x.refusal(refuse(http.StatusRequestEntityTooLarge, "The request body exceeds the limit of %d bytes", limit))
		}
		return x.refusal(badRequest("The request body could not be read"))
	}
	if token {
		return x.token(body)
	}
	return x.management(body)
}

// lost enters a write or sign-in in the journal that a fault or limit kept
// from being done.
func (x *exchange) lost(status int) {
	e := Entry{At: x.now, Host: x.ns.host, Status: status, Fault: x.faultKind()}
	if x.door != doorManagement {
		x.s.count.tokens.Add(1)
		e.Op, e.Entity = OpToken, x.protocol()
	} else if e.Op = opOf(verb(x.r)); e.Op == OpRead {
		return
	}
	x.s.journal.add(e)
}

func (x *exchange) protocol() string {
	if x.door == doorOAuth {
		return "OAuth2-13"
	}
	return "WRAP"
}

func (x *exchange) refusal(r *refusal) *answer {
	switch x.door {
	case doorWRAP:
		return x.wrapError(r)
	case doorOAuth:
		return x.oauthError(r)
	}
	return x.odataError(r, wantsJSON(x.r.Header))
}

// verb is the method, after the header that tunnels others through POST.
func verb(r *http.Request) string {
	if r.Method == http.MethodPost {
		for _, h := range []string{"X-HTTP-Method", "X-HTTP-Method-Override"} {
			if m := r.Header.Get(h); m != "" {
				return strings.ToUpper(m)
			}
		}
	}
	return r.Method
}

func opOf(method string) string {
	switch method {
	case http.MethodPost:
		return OpCreate
	case http.MethodPut, http.MethodPatch, "MERGE":
		return OpUpdate
	case http.MethodDelete:
		return OpDelete
	}
	return OpRead
}

func baseOf(r *http.Request) string {
	scheme := "https"
	if r.TLS == nil {
		scheme = "http"
	}
	return scheme + "://" + r.Host
}

// dress adds the headers that every answer of the service has.
func (x *exchange) dress(a *answer) {
	h := a.header
	h.Set("X-Content-Type-Options", "nosniff")
	if x.s.cfg.Switches.ServerHeader {
		h.Set("Server", "Microsoft-IIS/7.5")
	}
	h.Set("x-ms-request-id", x.trace)
	if x.door == doorManagement {
		h.Set("Cache-Control", "no-cache")
		return
	}
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("request-id", x.trace)
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
}

func send(w http.ResponseWriter, r *http.Request, a *answer) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead && len(a.body) > 0 {
		// A client that has gone away is no concern of ours.
		_, _ = w.Write(a.body)
	}
}

// pause waits for d or the end of ctx, and says whether it was d.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bucket holds what a namespace may still ask for. It is guarded by the
// namespace's lock.
type bucket struct {
	left float64
	at   time.Time
}

// allow takes one request out of the bucket, which holds what the rate gives
// in a minute: short peaks pass, as the service let them.
func (ns *namespace) allow(rate float64, now time.Time) bool {
	if rate <= 0 {
		return true
	}
	size := rate * rateWindow.Seconds()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	b := &ns.bucket
	if b.at.IsZero() {
		b.left = size
	} else if gone := now.Sub(b.at); gone > 0 {
		b.left = min(size, b.left+rate*gone.Seconds())
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
