package azkv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"

	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/secrets/azkv"
)

const host = "contoso.vault.azure.net"

type credential struct{}

func (credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "a-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// keyVault is the SDK's own fake server.
func keyVault(asked *int) policy.Transporter {
	return fake.NewServerTransport(&fake.Server{
		GetSecret: func(_ context.Context, name, version string, _ *azsecrets.GetSecretOptions) (resp azfake.Responder[azsecrets.GetSecretResponse], errResp azfake.ErrorResponder) {
			*asked++
			text, empty := "the-management-key", ""
			switch name {
			case "acs-key":
				if version != "" {
					text = "an-older-key"
				}
				resp.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: azsecrets.Secret{Value: &text}}, nil)
			case "empty":
				resp.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: azsecrets.Secret{Value: &empty}}, nil)
			case "disabled":
				errResp.SetResponseError(http.StatusForbidden, "SecretDisabled the-management-key")
			case "unknown":
				errResp.SetResponseError(http.StatusUnauthorized, "the-management-key")
			case "away":
				errResp.SetResponseError(http.StatusConflict, "the-management-key")
			default:
				errResp.SetResponseError(http.StatusNotFound, "SecretNotFound")
			}
			return resp, errResp
		},
	})
}

func TestGet(t *testing.T) {
	asked := 0
	s, err := azkv.New(azkv.Config{Vaults: []string{host}, Credential: credential{}, HTTP: keyVault(&asked), AnyAuthority: true})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[secrets.Ref]string{
		"azkv://" + host + "/acs-key":                                  "the-management-key",
		"azkv://" + host + "/acs-key/0123456789abcdef0123456789abcdef": "an-older-key",
	} {
		if got, err := s.Get(t.Context(), ref); err != nil || got.Reveal() != want {
			t.Errorf("Get(%s) = %v, %v", ref, got, err)
		}
	}
	before := asked
	for ref, want := range map[secrets.Ref]error{
		"azkv://" + host + "/nothing":                 secrets.ErrMissing,
		"azkv://" + host + "/empty":                   secrets.ErrMissing,
		"azkv://" + host + "/disabled":                secrets.ErrForbidden,
		"azkv://" + host + "/away":                    nil,
		"azkv://" + host + "/unknown":                 nil,
		"azkv://stranger.vault.azure.net/acs-key":     secrets.ErrForbidden,
		"azkv://contoso.vault.azure.net.evil/acs-key": secrets.ErrForbidden,
		"vault://kv/a#b":                              secrets.ErrRef,
	} {
		got, err := s.Get(t.Context(), ref)
		if err == nil || !got.IsZero() || want != nil && !errors.Is(err, want) {
			t.Errorf("Get(%s) = %v, %v, want %v", ref, got, err, want)
			continue
		}
		if want == nil && (errors.Is(err, secrets.ErrMissing) || errors.Is(err, secrets.ErrForbidden)) {
			t.Errorf("Get(%s) = %v, want an error that asking again may mend", ref, err)
		}
		if strings.Contains(err.Error(), "the-management-key") || strings.Contains(err.Error(), "a-token") {
			t.Errorf("Get(%s): the error quotes the answer: %v", ref, err)
		}
	}
	if asked-before != 5 {
		t.Errorf("the fake was asked %d times, want 5: a stranger is not asked", asked-before)
	}
}

// failing is a credential that cannot sign in.
type failing struct{ err error }

func (f failing) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, f.err
}

// What is wrong with our own log-in is no word on the secret.
func TestGet_AFailedLogInSaysNothingOfTheSecret(t *testing.T) {
	refused := &azidentity.AuthenticationFailedError{RawResponse: &http.Response{
		StatusCode: http.StatusUnauthorized, Body: io.NopCloser(strings.NewReader(`{"error_description": "the-client-secret"}`)),
	}}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"a client secret that has ended": {refused, "refused with 401"},
		"an identity that is not there":  {&azidentity.AuthenticationFailedError{}, "signing in to Azure"},
		"an answer of another kind":      {&azcore.ResponseError{StatusCode: http.StatusForbidden, ErrorCode: "the-client-secret"}, "signing in to Azure"},
		"none there":                     {&azcore.ResponseError{StatusCode: http.StatusNotFound}, "signing in to Azure"},
		"no file of the client secret":   {fmt.Errorf("signing in to Azure: reading secret file:azure: no such file: %w", secrets.ErrMissing), "file:azure"},
		"no answer":                      {context.DeadlineExceeded, "no answer in time"},
	} {
		asked := 0
		s, err := azkv.New(azkv.Config{Vaults: []string{host}, Credential: failing{c.err}, HTTP: keyVault(&asked), AnyAuthority: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Get(t.Context(), "azkv://"+host+"/acs-key")
		if err == nil || errors.Is(err, secrets.ErrForbidden) || errors.Is(err, secrets.ErrMissing) {
			t.Errorf("%s: %v, want an error that asking again may mend", name, err)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "the-client-secret") {
			t.Errorf("%s: %v, want %q in it and nothing of the answer", name, err, c.says)
		}
	}
}

func TestNew_WantsVaultsToBeNamed(t *testing.T) {
	if _, err := azkv.New(azkv.Config{Credential: credential{}, HTTP: http.DefaultClient}); err == nil {
		t.Error("New without vaults = nil, want an error")
	}
}
