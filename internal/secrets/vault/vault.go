// Package vault reads secrets from HashiCorp Vault, or OpenBao: KV version 2, signed in
// with a token or by AppRole.
package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Config says which Vault, and who we are there. Address is required, and either Token or
// RoleID and SecretID.
type Config struct {
	// Address is https://host:port.
	Address string
	// Namespace of Vault Enterprise; "" for none.
	Namespace string
	// CAFile is a PEM file of authorities to trust instead of the machine's; "": those.
	CAFile string
	// Mounts are the secrets engines that references may name. Empty: any, as far as
	// Vault's own policy lets us.
	Mounts []string
	// Token returns the token to sign in with. It is asked each time one is needed, so
	// that an agent may renew it in its file.
	Token func(ctx context.Context) (secrets.Secret, error)
	// RoleID and SecretID sign in by AppRole.
	RoleID, SecretID func(ctx context.Context) (secrets.Secret, error)
	// Now is the machine's time. Default time.Now.
	Now func() time.Time
}

// The bounds of a call.
const (
	timeout        = 10 * time.Second
	maxIdle        = 4
	renewPart      = 3 // a token is renewed when a third of its life is left
	fallbackLife   = time.Hour
	minLife        = 10 * time.Second
	refusedFor     = time.Minute
	maxDescription = 200
)

// Store is a Vault. It is safe for concurrent use.
type Store struct {
	c      Config
	client *api.Client

	mu    sync.Mutex // held while it is signed in
	token string
	looks bool      // it has the policy "default", and so may look after itself
	until time.Time // to be renewed from then on; zero: never
	life  time.Duration
	// What was refused last at a log-in, and until when it is not tried again. What stands
	// there by then may be another, and that is tried at once.
	refusedRole, refusedSecret secrets.Secret
	refusedUntil               time.Time
}

// New returns a store. It calls nobody.
func New(c Config) (*Store, error) {
	u, err := url.Parse(c.Address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("address: want https://host:port, without a name or password")
	}
	if (c.Token == nil) == (c.RoleID == nil) || (c.RoleID == nil) != (c.SecretID == nil) {
		return nil, errors.New("want either a token, or a role id and a secret id")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(&api.Config{
		Address: c.Address, Timeout: timeout, MaxRetries: 1, MinRetryWait: 100 * time.Millisecond, MaxRetryWait: time.Second,
		HttpClient: &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: timeout, MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: 90 * time.Second,
				ResponseHeaderTimeout: timeout, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	// The library takes these from the environment; the configuration decides here.
	client.ClearToken()
	client.ClearNamespace()
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	return &Store{c: c, client: client}, nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca: there is no certificate in it")
	}
	return pool, nil
}

// Get implements [secrets.Store].
func (s *Store) Get(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	at, ok := ref.Vault()
	if !ok {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: %w", ref, secrets.ErrRef)
	}
	if len(s.c.Mounts) > 0 && !slices.Contains(s.c.Mounts, at.Mount) {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: the mount is not in secrets.vault.mounts: %w", ref, secrets.ErrForbidden)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, err := s.get(ctx, at)
	if err != nil {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: %w", ref, err)
	}
	return value, nil
}

// get reads one field, signed in anew once where Vault does not know our token any more.
func (s *Store) get(ctx context.Context, at secrets.VaultSecret) (secrets.Secret, error) {
	token, err := s.signedIn(ctx, "")
	if err != nil {
		return secrets.Secret{}, ourOwn("signing in to Vault", err)
	}
	for second := false; ; second = true {
		value, err := s.read(ctx, token, at)
		if !refused(err) || second && s.c.Token == nil && !s.mayLook() {
			return value, explain(err) // A token that was issued a moment ago is good, as far as it can say.
		}
		// Vault answers the same whether the path is forbidden or the token has ended, and
		// only the first is the business of whoever gave us the reference.
		good, lerr := s.known(ctx, token)
		switch {
		case lerr != nil:
			return secrets.Secret{}, lerr
		case good:
			return secrets.Secret{}, explain(err)
		}
		if second && s.c.Token == nil { // Others have used up its "token_num_uses", or it was revoked.
			return secrets.Secret{}, errors.New("the vault refuses our token, which it issued a moment ago")
		}
		other, serr := s.signedIn(ctx, token)
		switch {
		case serr != nil:
			return secrets.Secret{}, ourOwn("signing in to Vault again", serr)
		case second || other == token: // One that is given to us, and nobody has renewed it yet.
			return secrets.Secret{}, errors.New("the vault refuses our token")
		}
		token = other
	}
}

// mayLook reports whether known can tell of a token that has ended.
func (s *Store) mayLook() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// known asks Vault whether a token is one. Every token may ask that of itself, unless it
// was made without the policy "default".
func (s *Store) known(ctx context.Context, token string) (bool, error) {
	client, err := s.client.CloneWithHeaders()
	if err != nil {
		return false, fmt.Errorf("making the client: %w", err)
	}
	client.SetToken(token)
	switch _, err := client.Auth().Token().LookupSelfWithContext(ctx); {
	case err == nil:
		return true, nil
	case refused(err):
		return false, nil
	default:
		return false, ourOwn("asking Vault whether our token is good", explain(err))
	}
}

// ourOwn is an error of how we sign in. It keeps nothing of what the cause says of
// itself: a secret id that has ended, or a token file that is not there, is no word on the
// secret that was asked for, and asking again may help.
func ourOwn(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %s", what, err.Error()) // Not wrapped, so that its sentinels end here.
}

// refused reports whether Vault refused the token, or refused it the path.
func refused(err error) bool {
	status := statusOf(err)
	return status == http.StatusForbidden || status == http.StatusUnauthorized
}

// read reads one field.
func (s *Store) read(ctx context.Context, token string, at secrets.VaultSecret) (secrets.Secret, error) {
	client, err := s.client.CloneWithHeaders()
	if err != nil {
		return secrets.Secret{}, fmt.Errorf("making the client: %w", err)
	}
	client.SetToken(token)
	kv, err := client.KVv2(at.Mount).Get(ctx, at.Path)
	if err != nil {
		return secrets.Secret{}, err
	}
	v, ok := kv.Data[at.Field]
	if !ok {
		return secrets.Secret{}, fmt.Errorf("there is no such field, or its last version was deleted: %w", secrets.ErrMissing)
	}
	text, ok := v.(string)
	if !ok || text == "" {
		return secrets.Secret{}, fmt.Errorf("the field is no text, or empty: %w", secrets.ErrMissing)
	}
	return secrets.NewSecret(text), nil
}

// signedIn returns a token: the one there is, renewed where it is about to end, and
// another one than refused, unless it is given to us and is the same still.
func (s *Store) signedIn(ctx context.Context, refused string) (string, error) {
	if s.c.Token != nil {
		t, err := s.c.Token(ctx)
		return t.Reveal(), err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Now()
	if s.token != "" && s.token != refused && (s.until.IsZero() || now.Before(s.until)) {
		return s.token, nil
	}
	if s.token != "" && s.token != refused && s.renew(ctx, now) {
		return s.token, nil
	}
	if err := s.logIn(ctx, now); err != nil {
		return "", err
	}
	return s.token, nil
}

// renew makes the token live longer, and reports whether it does.
func (s *Store) renew(ctx context.Context, now time.Time) bool {
	client, err := s.client.CloneWithHeaders()
	if err != nil {
		return false
	}
	client.SetToken(s.token)
	got, err := client.Auth().Token().RenewSelfWithContext(ctx, int(s.life.Seconds()))
	if err != nil || got == nil || got.Auth == nil || got.Auth.LeaseDuration <= int(minLife.Seconds()) {
		return false
	}
	s.keep(got.Auth, now)
	return true
}

// logIn signs in by AppRole.
func (s *Store) logIn(ctx context.Context, now time.Time) error {
	s.token = ""
	role, err := s.c.RoleID(ctx)
	if err != nil {
		return fmt.Errorf("role id: %w", err)
	}
	secret, err := s.c.SecretID(ctx)
	if err != nil {
		return fmt.Errorf("secret id: %w", err)
	}
	// Vault locks a role out for a quarter of an hour after five refusals (its "user
	// lockout"), and each secret of each tenant leads here.
	same := role.Reveal() == s.refusedRole.Reveal() && secret.Reveal() == s.refusedSecret.Reveal()
	if left := s.refusedUntil.Sub(now); same && left > 0 && left <= refusedFor {
		return errors.New("the vault refuses our role or secret id: it did so a moment ago")
	}
	client, err := s.client.CloneWithHeaders()
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	got, err := client.Logical().WriteWithContext(ctx, "auth/approle/login", map[string]any{"role_id": role.Reveal(), "secret_id": secret.Reveal()})
	switch status := statusOf(err); {
	case refused(err) || status == http.StatusBadRequest:
		s.refusedRole, s.refusedSecret, s.refusedUntil = role, secret, now.Add(refusedFor)
		return fmt.Errorf("the vault refuses our role or secret id with %d", status)
	case err != nil:
		return explain(err)
	case got == nil || got.Auth == nil || got.Auth.ClientToken == "":
		return errors.New("the answer has no token")
	}
	s.refusedRole, s.refusedSecret = secrets.Secret{}, secrets.Secret{}
	s.keep(got.Auth, now)
	return nil
}

func (s *Store) keep(a *api.SecretAuth, now time.Time) {
	if a.ClientToken != "" {
		s.token = a.ClientToken
	}
	s.looks = slices.Contains(a.Policies, "default")
	s.life, s.until = time.Duration(a.LeaseDuration)*time.Second, time.Time{}
	if s.life > 0 {
		s.until = now.Add(s.life - s.life/renewPart)
	} else {
		s.life = fallbackLife // A token without an end is renewed by nobody.
	}
}

// statusOf returns the HTTP status of an error, 0 where there was none.
func statusOf(err error) int {
	var r *api.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// explain says what an error of Vault means for the secret that was asked for, without
// what it quotes.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, api.ErrSecretNotFound) {
		return fmt.Errorf("the vault has no such secret: %w", secrets.ErrMissing)
	}
	switch status := statusOf(err); {
	case status == http.StatusNotFound:
		return fmt.Errorf("the vault has no such secret: %w", secrets.ErrMissing)
	case status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusBadRequest:
		return fmt.Errorf("the vault refuses it with %d: %w", status, secrets.ErrForbidden)
	case status != 0:
		return fmt.Errorf("the vault answers %d", status)
	case errors.Is(err, secrets.ErrMissing), errors.Is(err, secrets.ErrForbidden), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	}
	// What was asked for stands beside it, and would push the cause out.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	text := err.Error()
	if len(text) > maxDescription {
		text = text[:maxDescription] + "…"
	}
	return fmt.Errorf("the vault cannot be reached: %s", text)
}
