package sender

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

const (
	wrapPath    = "/WRAPv0.9/"
	maxAnswer   = 64 << 10
	firstPause  = 50 * time.Millisecond // doubled with each try, up to lastPause
	lastPause   = 2 * time.Second
	actionClaim = "net.windows.servicebus.action"
)

// answer is what one call to an access control service came to.
type answer struct {
	status int
	body   string
	err    error // no answer came
}

// again reports whether the call may be tried again: what it came to says
// nothing about the credential.
func (a answer) again() bool {
	return a.err != nil || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout || a.status >= 500
}

// refused reports whether the credential was refused. ACS answered 401 in 2016
// and 403 before.
func (a answer) refused() bool {
	return a.err == nil && (a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden)
}

// words are CRM's for a token that it did not get: the message of .NET's web
// exception, and the answer.
func (a answer) words() string {
	const prefix = "The token provider was unable to provide a security token. "
	if a.err != nil {
		return prefix + "Unable to connect to the remote server : " + a.err.Error()
	}
	return fmt.Sprintf("%sThe remote server returned an error: (%d) %s. : %s", prefix, a.status, http.StatusText(a.status), strings.TrimSpace(a.body))
}

// signIn signs in to one endpoint: to its plain host first if it is federated,
// then to -sb, whose token must carry the right to send.
func (s *Sender) signIn(ctx context.Context, e Endpoint) Result {
	r := Result{Tenant: e.Tenant, Endpoint: e.ID, At: s.c.Now()}
	for i, host := range e.Hosts {
		r.Hosts = append(r.Hosts, host)
		a, cert := s.ask(ctx, e, host)
		r.Status, r.Cert = a.status, cert
		if a.err != nil || a.status != http.StatusOK {
			r.Refused, r.Detail = a.refused(), a.words()
			return r
		}
		token, err := tokenOf(a.body)
		if err == nil && i == len(e.Hosts)-1 {
			err = maySend(token)
		}
		if err != nil {
			r.Detail = err.Error()
			return r
		}
	}
	r.OK = true
	return r
}

// ask gets a token from one host, trying again a bounded number of times after
// what says nothing about the credential.
//
// A test clock may be pushed on while a call is under way, and then the assertion
// is too old, or of the wrong certificate, when it arrives. CRM's clock does not
// jump, so that is no refusal: the call is made again.
func (s *Sender) ask(ctx context.Context, e Endpoint, host string) (a answer, cert string) {
	pause := firstPause
	for try := 0; ; try++ {
		assertion, err := s.assertion(e, host)
		if err != nil {
			return answer{err: err}, assertion.cert
		}
		a = s.post(ctx, e, host, assertion.xml)
		now := s.c.Now()
		_, which := s.current(now)
		jumped := a.refused() && (which != assertion.cert || !assertion.freshAt(now))
		if try >= s.c.Retries || ctx.Err() != nil || !a.again() && !jumped {
			return a, assertion.cert
		}
		if a.again() {
			fault.Wait(ctx, pause/2+rand.N(pause/2)) //nolint:gosec // Jitter, not a secret.
			pause = min(2*pause, lastPause)
		}
	}
}

// post makes one call of the WRAP profile for assertions.
func (s *Sender) post(ctx context.Context, e Endpoint, host string, assertion []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	// The order of the fields is CRM's.
	form := "wrap_scope=" + url.QueryEscape(e.Scope) + "&wrap_assertion_format=SAML&wrap_assertion=" + url.QueryEscape(string(assertion))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+wrapPath, strings.NewReader(form))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.c.HTTP.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }() // It was read whole.
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{err: err}
	}
	return answer{status: res.StatusCode, body: string(body)}
}

// tokenOf takes the token out of a WRAP answer and unescapes it exactly once.
func tokenOf(body string) (string, error) {
	for _, pair := range strings.Split(strings.TrimSpace(body), "&") {
		if value, ok := strings.CutPrefix(pair, "wrap_access_token="); ok {
			token, err := url.QueryUnescape(value)
			if err != nil || token == "" {
				return "", fmt.Errorf("Invalid Token Format") //nolint:staticcheck // CRM's words.
			}
			return token, nil
		}
	}
	return "", fmt.Errorf("Invalid Token") //nolint:staticcheck // CRM's words.
}

// maySend looks for the claim that lets CRM send to the Service Bus.
func maySend(token string) error {
	claims, err := url.ParseQuery(token)
	if err != nil {
		return fmt.Errorf("Invalid Token Format") //nolint:staticcheck // CRM's words.
	}
	for _, action := range strings.Split(claims.Get(actionClaim), ",") {
		if strings.EqualFold(action, "Send") {
			return nil
		}
	}
	return fmt.Errorf("Did not find the send claim") //nolint:staticcheck // CRM's words.
}
