package dataverse

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// loginKey names a login. A changed secret is another login, so that nothing
// of the old one is used on.
type loginKey struct {
	authority, tenant, client string
	proof                     [sha256.Size]byte // over secret and certificate; never leaves the process
}

// credential is a login with the tokens that it has got, which it keeps itself.
type credential struct {
	key loginKey
	azcore.TokenCredential
}

// authority returns where to sign in for an organisation.
func (c *Client) authority(of Cloud) string {
	if c.c.Authority != "" {
		return c.c.Authority
	}
	return of.authority()
}

// credential returns the login of a tenant, made anew if it is not kept.
func (c *Client) credential(l Login, of Cloud) (*credential, error) {
	h := sha256.New()
	for _, s := range []string{l.Secret.Reveal(), l.Certificate.Reveal()} {
		one := sha256.Sum256([]byte(s))
		h.Write(one[:])
	}
	key := loginKey{authority: c.authority(of), tenant: l.EntraTenant, client: l.ClientID, proof: [sha256.Size]byte(h.Sum(nil))}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cred, ok := c.logins.Get(key); ok {
		return cred, nil
	}
	made, err := c.makeCredential(l, key.authority)
	if err != nil {
		return nil, rollover.HandOver(rollover.NoAccess, err)
	}
	cred := &credential{key, made}
	c.logins.Add(key, cred)
	return cred, nil
}

// forget drops a login with its tokens, unless it was made anew meanwhile.
func (c *Client) forget(cred *credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.logins.Peek(cred.key); ok && now == cred {
		c.logins.Remove(cred.key)
	}
}

// makeCredential makes a login. It makes no request.
func (c *Client) makeCredential(l Login, authority string) (azcore.TokenCredential, error) {
	opts := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: authority},
		Transport: bounded{c.c.HTTP},
		// Trying again is the planner's work.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	switch {
	case l.EntraTenant == "" || l.ClientID == "":
		return nil, errors.New("the tenant has no Entra directory or no client id to sign in with")
	case !l.Certificate.IsZero():
		chain, key, err := parseKeyPair(l.Certificate)
		if err != nil {
			return nil, fmt.Errorf("reading the login certificate of client %s: %w", clip(l.ClientID, 64), err)
		}
		cred, err := azidentity.NewClientCertificateCredential(l.EntraTenant, l.ClientID, chain, key,
			&azidentity.ClientCertificateCredentialOptions{
				ClientOptions: opts, DisableInstanceDiscovery: c.c.DisableInstanceDiscovery,
			})
		if err != nil {
			return nil, fmt.Errorf("using the login certificate of client %s: %w", clip(l.ClientID, 64), err)
		}
		return cred, nil
	case !l.Secret.IsZero():
		cred, err := azidentity.NewClientSecretCredential(l.EntraTenant, l.ClientID, l.Secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{
				ClientOptions: opts, DisableInstanceDiscovery: c.c.DisableInstanceDiscovery,
			})
		if err != nil {
			return nil, fmt.Errorf("using the login secret of client %s: %w", clip(l.ClientID, 64), err)
		}
		return cred, nil
	default:
		return nil, errors.New("the tenant has neither a client secret nor a certificate to sign in with")
	}
}

// token gets a token for the organisation, from memory where it can.
func (s *session) token(ctx context.Context) (string, *credential, error) {
	cred, err := s.c.credential(s.login, s.cloud)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.c.CallTimeout)
	defer cancel()
	t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://" + s.base.Host + "/.default"}})
	if err != nil {
		return "", nil, s.entraError(ctx, err)
	}
	return t.Token, cred, nil
}
