// Package azkv reads secrets from Azure Key Vaults.
package azkv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Config says which vaults references may name, and who we are there. All but
// AnyAuthority are required.
type Config struct {
	// Vaults are the hosts that references may name, such as contoso.vault.azure.net.
	// Any other is refused: a token that is sent to a stranger's host is the stranger's.
	Vaults []string
	// Credential signs in.
	Credential azcore.TokenCredential
	// HTTP reaches them.
	HTTP policy.Transporter
	// AnyAuthority lets a vault ask for tokens of another domain than its own, as fakes
	// and emulators do.
	AnyAuthority bool
}

// timeout bounds one reading, with the client's own repetitions.
const timeout = 12 * time.Second

// Store is some vaults. It is safe for concurrent use.
type Store struct {
	c Config

	mu      sync.Mutex
	clients map[string]*azsecrets.Client // by host; as many as there are vaults
}

// New returns a store. It calls nobody.
func New(c Config) (*Store, error) {
	if len(c.Vaults) == 0 || c.Credential == nil || c.HTTP == nil {
		return nil, errors.New("want vaults, a credential and a client")
	}
	return &Store{c: c, clients: map[string]*azsecrets.Client{}}, nil
}

// Get implements [secrets.Store].
func (s *Store) Get(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	at, ok := ref.KeyVault()
	if !ok {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: %w", ref, secrets.ErrRef)
	}
	if !slices.Contains(s.c.Vaults, at.Host) {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: the vault is not in secrets.azure.vaults: %w", ref, secrets.ErrForbidden)
	}
	client, err := s.client(at.Host)
	if err != nil {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: %w", ref, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := client.GetSecret(ctx, at.Name, at.Version, nil)
	if err != nil {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: %w", ref, explain(err))
	}
	if got.Value == nil || *got.Value == "" {
		return secrets.Secret{}, fmt.Errorf("reading secret %s: it is empty: %w", ref, secrets.ErrMissing)
	}
	return secrets.NewSecret(*got.Value), nil
}

func (s *Store) client(host string) (*azsecrets.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[host]; c != nil {
		return c, nil
	}
	c, err := azsecrets.NewClient("https://"+host, signer{s.c.Credential}, &azsecrets.ClientOptions{
		DisableChallengeResourceVerification: s.c.AnyAuthority,
		ClientOptions: azcore.ClientOptions{
			Transport: s.c.HTTP,
			Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 2 * time.Second, TryTimeout: 5 * time.Second},
			Telemetry: policy.TelemetryOptions{Disabled: true},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	s.clients[host] = c
	return c, nil
}

// signer marks the errors of a credential: they are about how we sign in, whatever they
// say of themselves.
type signer struct{ of azcore.TokenCredential }

// GetToken implements [azcore.TokenCredential].
func (s signer) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := s.of.GetToken(ctx, o)
	if err != nil {
		return t, &signInError{err}
	}
	return t, nil
}

type signInError struct{ cause error }

// Error says as much of the cause as is known to quote nothing.
func (e *signInError) Error() string {
	var refused *azidentity.AuthenticationFailedError
	switch {
	case errors.As(e.cause, &refused) && refused.RawResponse != nil:
		return fmt.Sprintf("signing in to Azure: refused with %d", refused.RawResponse.StatusCode)
	case errors.Is(e.cause, secrets.ErrMissing), errors.Is(e.cause, secrets.ErrForbidden):
		return e.cause.Error() // Of a reference of the configuration.
	case errors.Is(e.cause, context.DeadlineExceeded):
		return "signing in to Azure: no answer in time"
	default:
		return "signing in to Azure: it cannot be done"
	}
}

// NonRetriable keeps the client from trying again: a credential has done that.
func (*signInError) NonRetriable() {}

// explain says what an error of Azure means for the secret that was asked for, without the
// bodies that it quotes. What is wrong with our own log-in is no word on the secret, and
// asking again may help.
func explain(err error) error {
	var own *signInError
	if errors.As(err, &own) {
		return own
	}
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return err
		}
		return errors.New("the vault cannot be reached, or does not say who signs in to it")
	}
	switch r.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("the vault has no such secret: %w", secrets.ErrMissing)
	case http.StatusUnauthorized:
		return errors.New("the vault refuses our token with 401")
	case http.StatusForbidden, http.StatusBadRequest:
		return fmt.Errorf("the vault refuses it with %d: %w", r.StatusCode, secrets.ErrForbidden)
	}
	return fmt.Errorf("the vault answers %d", r.StatusCode)
}
