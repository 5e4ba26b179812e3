package acsx509

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// tokenMargin is how long before its end a token is no longer used: the margin
// of Microsoft's own clients.
const tokenMargin = 5 * time.Minute

// errNoProtocol says that a host does not speak a token protocol, or answered
// with something that is no token: the other protocol may be tried.
var errNoProtocol = errors.New("no usable answer from the token endpoint")

// At names whose access is used on which host.
type At struct{ Tenant, Host string }

// tokens keeps management tokens, one a tenant and host, so that two tenants
// never use each other's. One request for a token is in flight for each.
type tokens struct {
	cache *lru.Cache[At, *token]
}

// token is one cached token. turn holds one value while nobody works on it; the
// fields belong to whoever has taken that value. Waiting for a turn ends with ctx.
type token struct {
	turn  chan struct{}
	value secrets.Secret
	until time.Time // not used from then on; zero: used once
	wrap  bool      // the host speaks WRAP only
}

func newTokens(most int) (*tokens, error) {
	cache, err := lru.New[At, *token](most)
	if err != nil {
		return nil, fmt.Errorf("making the token cache: %w", err)
	}
	return &tokens{cache}, nil
}

// take returns the entry for at, owned by the caller until it gives it back.
func (c *tokens) take(ctx context.Context, at At) (*token, error) {
	fresh := &token{turn: make(chan struct{}, 1)}
	fresh.turn <- struct{}{}
	k, known, _ := c.cache.PeekOrAdd(at, fresh)
	if !known {
		k = fresh
	} else {
		c.cache.Get(at) // Marks it as used.
	}
	select {
	case <-k.turn:
		return k, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token for %s: %w", at.Host, context.Cause(ctx))
	}
}

func (k *token) giveBack() { k.turn <- struct{}{} }

// token returns a management token for the host, cached or new.
func (a *api) token(ctx context.Context, at At) (secrets.Secret, error) {
	k, err := a.tokens.take(ctx, at)
	if err != nil {
		return secrets.Secret{}, err
	}
	defer k.giveBack()
	if !k.value.IsZero() && a.kit.Now().Before(k.until) {
		return k.value, nil
	}
	if err := a.fetch(ctx, at, k); err != nil {
		return secrets.Secret{}, fmt.Errorf("getting a token: %w", err)
	}
	return k.value, nil
}

// dropToken forgets the token that was refused, unless another has taken its
// place meanwhile.
func (a *api) dropToken(ctx context.Context, at At, refused secrets.Secret) error {
	k, err := a.tokens.take(ctx, at)
	if err != nil {
		return err
	}
	defer k.giveBack()
	if k.value.Reveal() == refused.Reveal() {
		k.value, k.until = secrets.Secret{}, time.Time{}
	}
	return nil
}

// fetch asks the host for a token by OAuth 2.0 draft 13, and by WRAP v0.9 where
// the host does not speak that. Refused credentials are refused by both.
func (a *api) fetch(ctx context.Context, at At, k *token) error {
	access, err := a.kit.Access(ctx, at.Tenant, at.Host)
	if err != nil {
		return fmt.Errorf("finding access to %s: %w", at.Host, err)
	}
	if access.Secret.IsZero() {
		return fmt.Errorf("the secret for %s is empty: %w", at.Host, kit.ErrNoAccess)
	}
	if access.Account == "" {
		access.Account = a.cfg.account(at.Host)
	}
	swt, life, err := a.signIn(ctx, at, k, access)
	if refusedIn(err) {
		// It may have been changed where it is kept: once with what stands there now.
		again, other, rerr := a.kit.Renew(ctx, at.Tenant, at.Host, access.Secret)
		var wait *rollover.StepError
		if errors.As(rerr, &wait) && wait.Outcome == rollover.Open {
			return fmt.Errorf("finding access to %s anew: %w", at.Host, rerr)
		}
		if rerr == nil && other && !again.Secret.IsZero() {
			if again.Account == "" {
				again.Account = a.cfg.account(at.Host)
			}
			swt, life, err = a.signIn(ctx, at, k, again)
		}
	}
	if err != nil {
		return err
	}
	k.value, k.until = secrets.NewSecret(swt), a.usableUntil(swt, life)
	return nil
}

// refusedIn reports whether an error of signIn says that the credentials are wrong.
func refusedIn(err error) bool {
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return true
	}
	return false
}

// signIn asks for a token by OAuth, and by WRAP where the host does not speak that.
func (a *api) signIn(ctx context.Context, at At, k *token, access kit.Access) (swt string, life time.Duration, err error) {
	oauthErr := errNoProtocol
	if !k.wrap {
		swt, life, oauthErr = a.byOAuth(ctx, at.Host, access)
	}
	if errors.Is(oauthErr, errNoProtocol) {
		if swt, life, err = a.byWRAP(ctx, at.Host, access); err != nil {
			return "", 0, markToken(err)
		}
		if !k.wrap {
			a.kit.Log.InfoContext(ctx, "host speaks WRAP and no OAuth", "tenant", at.Tenant, "host", at.Host)
		}
		k.wrap = true
	} else if oauthErr != nil {
		return "", 0, markToken(oauthErr)
	}
	return swt, life, nil
}

// markToken says what a refusal at a token endpoint means. ACS answered wrong
// credentials with 403 in 2011, 401 in 2016 and 400 by OAuth. A host without
// either protocol is no ACS.
func markToken(err error) error {
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return rollover.HandOver(rollover.NoAccess, err)
	case http.StatusNotFound:
		return rollover.HandOver(rollover.NamespaceUnknown, err)
	default:
		return mark(err)
	}
}

// usableUntil returns when a token that was just got grows too old: by the date
// inside of it or the lifetime beside it, whichever ends first, less the margin.
func (a *api) usableUntil(swt string, life time.Duration) time.Time {
	var until time.Time
	if life > 0 {
		until = a.kit.Now().Add(life)
	}
	for pair := range strings.SplitSeq(swt, "&") {
		v, ok := strings.CutPrefix(pair, "ExpiresOn=")
		if n, err := strconv.ParseInt(v, 10, 64); ok && err == nil {
			if on := time.Unix(n, 0); until.IsZero() || on.Before(until) {
				until = on
			}
		}
	}
	if until.IsZero() {
		return until
	}
	return until.Add(-tokenMargin)
}

// managementScope is the realm of a namespace's management service.
func managementScope(host string) string { return "https://" + host + servicePath }

// byOAuth asks by OAuth 2.0 draft 13.
func (a *api) byOAuth(ctx context.Context, host string, access kit.Access) (swt string, life time.Duration, err error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {managementScope(host)},
		"client_id": {access.Account}, "client_secret": {access.Secret.Reveal()},
	}
	err = a.send(ctx, host, request{
		op: "oauth2", method: http.MethodPost, url: "https://" + host + "/v2/OAuth2-13",
		contentType: formType, body: []byte(form.Encode()),
		read: func(r io.Reader) error {
			body, err := outbound.ReadBody(r, maxTokenAnswer)
			if err != nil {
				return err
			}
			swt, life, err = readOAuth(body)
			return err
		},
	})
	switch statusOf(err) {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return "", 0, fmt.Errorf("%w: %w", errNoProtocol, err)
	}
	return swt, life, err
}

// readOAuth reads the answer of OAuth 2.0 draft 13: a token and how long it lives, 0
// where that is not known.
func readOAuth(body []byte) (swt string, life time.Duration, err error) {
	var answer struct {
		Token string          `json:"access_token"`
		Life  json.RawMessage `json:"expires_in"` // a string at ACS; a number by the draft
	}
	if json.Unmarshal(body, &answer) != nil || !isToken(answer.Token) {
		return "", 0, errNoProtocol // Not the parser's words: they may quote a token.
	}
	return answer.Token, seconds(strings.Trim(string(answer.Life), `"`)), nil
}

// byWRAP asks by OAuth WRAP v0.9.
func (a *api) byWRAP(ctx context.Context, host string, access kit.Access) (swt string, life time.Duration, err error) {
	form := url.Values{
		"wrap_scope": {managementScope(host)}, "wrap_name": {access.Account}, "wrap_password": {access.Secret.Reveal()},
	}
	err = a.send(ctx, host, request{
		op: "wrap", method: http.MethodPost, url: "https://" + host + "/WRAPv0.9/",
		contentType: formType, body: []byte(form.Encode()),
		read: func(r io.Reader) error {
			body, err := outbound.ReadBody(r, maxTokenAnswer)
			if err != nil {
				return err
			}
			swt, life, err = readWRAP(body)
			return err
		},
	})
	return swt, life, err
}

// readWRAP reads the answer of OAuth WRAP v0.9: a token and how long it lives, 0
// where that is not known.
func readWRAP(body []byte) (swt string, life time.Duration, err error) {
	for pair := range strings.SplitSeq(strings.TrimSpace(string(body)), "&") {
		name, v, _ := strings.Cut(pair, "=")
		// Unescaped once and no more: what is left is the token.
		if v, err = url.QueryUnescape(v); err != nil {
			return "", 0, errNoProtocol
		}
		switch name {
		case "wrap_access_token":
			swt = v
		case "wrap_access_token_expires_in":
			life = seconds(v)
		}
	}
	if !isToken(swt) {
		return "", 0, errNoProtocol
	}
	return swt, life, nil
}

// isToken reports whether s can stand in an Authorization header.
func isToken(s string) bool {
	return s != "" && len(s) <= maxTokenBytes && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// seconds reads a lifetime; what is no number of seconds counts as unknown.
func seconds(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}
