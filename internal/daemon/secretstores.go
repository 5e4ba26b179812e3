package daemon

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/secrets/azkv"
	"github.com/crossfade-project/crossfade/internal/secrets/vault"
)

// Vault is a HashiCorp Vault, or OpenBao, that keeps secrets: vault://MOUNT/PATH#FIELD.
type Vault struct {
	// Address is https://host:port. Default none: vault: references are refused.
	Address string `yaml:"address"`
	// Namespace of Vault Enterprise. Default none.
	Namespace string `yaml:"namespace"`
	// CA is a PEM file of authorities to trust instead of the machine's. Default those.
	CA string `yaml:"ca"`
	// Mounts are the KV version 2 engines that references may name, with commas or blanks
	// between them. Default any that Vault's policy lets us read.
	Mounts string `yaml:"mounts"`
	// Token is the reference (env: or file:) of a token, read anew each time, so that an
	// agent may renew it. Either this, or role_id and secret_id.
	Token string `yaml:"token"`
	// RoleID and SecretID are the references of what signs in by AppRole.
	RoleID   string `yaml:"role_id"`
	SecretID string `yaml:"secret_id"`
}

// Azure are Azure Key Vaults that keep secrets: azkv://HOST/NAME.
type Azure struct {
	// Vaults are the hosts that references may name, such as contoso.vault.azure.net,
	// with commas or blanks between them. Default none: azkv: references are refused. Any
	// other host is refused too, or a tenants file could have our token sent to it.
	Vaults string `yaml:"vaults"`
	// Credential is how we sign in: secret, certificate, workload_identity or
	// managed_identity. Needed with vaults.
	Credential string `yaml:"credential"`
	// Tenant is the directory (a GUID or a domain) and ClientID the application; both
	// needed with secret and certificate. With managed_identity client_id names one that
	// is assigned by a user.
	Tenant   string `yaml:"tenant"`
	ClientID string `yaml:"client_id"`
	// Secret, or Certificate (PEM or PFX with its key), is the reference (env: or file:)
	// of what proves it.
	Secret      string `yaml:"secret"`
	Certificate string `yaml:"certificate"`
}

func words(text string) []string { return strings.Fields(strings.ReplaceAll(text, ",", " ")) }

// local says what is wrong with a reference that must not lead into a store itself.
func (k *checker) local(field, ref string, needed bool) {
	switch parsed, err := secrets.ParseRef(ref); {
	case ref == "" && needed:
		k.fail(field, "is missing")
	case ref == "":
	case err != nil:
		k.fail(field, "%v", err)
	case !strings.HasPrefix(string(parsed), "env:") && !strings.HasPrefix(string(parsed), "file:"):
		k.fail(field, "want env: or file:, since it is what opens the store")
	}
}

func (k *checker) stores(c Config) {
	if c.Secrets.CacheFor < time.Second || c.Secrets.CacheFor > time.Hour {
		k.fail("secrets.cache_for", "want 1s to 1h")
	}
	v := c.Secrets.Vault
	if v.Address == "" {
		if v != (Vault{}) {
			k.fail("secrets.vault.address", "is missing")
		}
	} else {
		if u, err := url.Parse(v.Address); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			k.fail("secrets.vault.address", "want https://host:port, without a name or password")
		}
		byToken := v.Token != ""
		if byToken && (v.RoleID != "" || v.SecretID != "") {
			k.fail("secrets.vault.token", "and role_id are there; remove one")
		}
		k.local("secrets.vault.token", v.Token, v.RoleID == "" && v.SecretID == "")
		k.local("secrets.vault.role_id", v.RoleID, !byToken && v.SecretID != "")
		k.local("secrets.vault.secret_id", v.SecretID, !byToken && v.RoleID != "")
	}
	k.azure(c.Secrets.Azure)
}

func (k *checker) azure(a Azure) {
	if a.Vaults == "" {
		if a != (Azure{}) {
			k.fail("secrets.azure.vaults", "is missing: name the vaults that references may lead to")
		}
		return
	}
	for _, host := range words(a.Vaults) {
		if _, err := secrets.ParseRef("azkv://" + host + "/x"); err != nil {
			k.fail("secrets.azure.vaults", "want hosts such as contoso.vault.azure.net, in lower case")
			break
		}
	}
	kinds := []string{"secret", "certificate", "workload_identity", "managed_identity"}
	if !slices.Contains(kinds, a.Credential) {
		k.fail("secrets.azure.credential", "want one of %s", strings.Join(kinds, ", "))
		return
	}
	app := a.Credential == "secret" || a.Credential == "certificate"
	if app && a.Tenant == "" {
		k.fail("secrets.azure.tenant", "is missing")
	}
	if app && a.ClientID == "" {
		k.fail("secrets.azure.client_id", "is missing")
	}
	k.local("secrets.azure.secret", a.Secret, a.Credential == "secret")
	k.local("secrets.azure.certificate", a.Certificate, a.Credential == "certificate")
}

// Stores returns the stores that keep secrets for us, by scheme. It calls nobody.
func (c Config) Stores(client *http.Client) (map[string]secrets.Store, error) {
	out := map[string]secrets.Store{}
	own := secrets.New(secrets.Config{Dir: c.Secrets.Dir, EnvPrefix: c.Secrets.EnvPrefix})
	read := func(ref string) func(context.Context) (secrets.Secret, error) {
		if ref == "" {
			return nil
		}
		return func(ctx context.Context) (secrets.Secret, error) { return own.Secret(ctx, secrets.Ref(ref)) }
	}
	if v := c.Secrets.Vault; v.Address != "" {
		s, err := vault.New(vault.Config{
			Address: v.Address, Namespace: v.Namespace, CAFile: v.CA, Mounts: words(v.Mounts),
			Token: read(v.Token), RoleID: read(v.RoleID), SecretID: read(v.SecretID),
		})
		if err != nil {
			return nil, fmt.Errorf("secrets.vault: %w", err)
		}
		out[secrets.SchemeVault] = s
	}
	if a := c.Secrets.Azure; a.Vaults != "" {
		s, err := azkv.New(azkv.Config{
			Vaults: words(a.Vaults), Credential: &lazyCredential{c: c, own: own, http: client}, HTTP: client,
			AnyAuthority: c.Entra.DisableInstanceDiscovery,
		})
		if err != nil {
			return nil, fmt.Errorf("secrets.azure: %w", err)
		}
		out[secrets.SchemeKeyVault] = s
	}
	return out, nil
}

// entra is where an application signs in.
func (c Config) entra(client *http.Client) azcore.ClientOptions {
	o := azcore.ClientOptions{Transport: client}
	if c.Entra.Authority != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Entra.Authority}
	}
	return o
}

// ParseAzureCertificate says whether a secret is one that secrets.azure.certificate may
// lead to.
func ParseAzureCertificate(s secrets.Secret) error {
	_, _, err := parseAzure(s)
	return err
}

func parseAzure(s secrets.Secret) ([]*x509.Certificate, crypto.PrivateKey, error) {
	chain, key, err := azidentity.ParseCertificates([]byte(s.Reveal()), nil)
	if err != nil { // Not the parser's words: they may quote the file.
		return nil, nil, errors.New("the certificate and its key cannot be read: want PEM, or PFX without a password")
	}
	return chain, key, nil
}

// credential makes what signs in to Azure.
func (c Config) credential(ctx context.Context, own *secrets.Resolver, client *http.Client) (azcore.TokenCredential, error) {
	a, opts := c.Secrets.Azure, c.entra(client)
	switch a.Credential {
	case "secret":
		s, err := own.Secret(ctx, secrets.Ref(a.Secret))
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientSecretCredential(a.Tenant, a.ClientID, s.Reveal(), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: opts, DisableInstanceDiscovery: c.Entra.DisableInstanceDiscovery,
		})
	case "certificate":
		s, err := own.Secret(ctx, secrets.Ref(a.Certificate))
		if err != nil {
			return nil, err
		}
		chain, key, err := parseAzure(s)
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientCertificateCredential(a.Tenant, a.ClientID, chain, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: opts, DisableInstanceDiscovery: c.Entra.DisableInstanceDiscovery,
		})
	case "workload_identity":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: opts, ClientID: a.ClientID, TenantID: a.Tenant})
	default:
		// The identity endpoint is of this machine and speaks HTTP: not by our client.
		o := &azidentity.ManagedIdentityCredentialOptions{}
		if a.ClientID != "" {
			o.ID = azidentity.ClientID(a.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	}
}
