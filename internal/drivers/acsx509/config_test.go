package acsx509_test

import (
	"context"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// What is configured takes the place of the defaults, and is not added to them.
func TestOpen_TakesTheConfiguredHostsAndAccount(t *testing.T) {
	s := newScript(t, nil)
	d, err := acsx509.Open([]byte("host_suffixes: [acs.example]\nbuddy_account: Someone\n"), kit.Kit{
		HTTP: lineTo(t, s), Now: func() time.Time { return begin().AddDate(0, 0, -3) },
		Access: func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Observe(t.Context(), newCertificates(t).work())
	wantEnd(t, "Observe on a default host", err, rollover.HandedOver, rollover.NamespaceUnknown)
	w := newCertificates(t).work()
	w.Target.Host, w.Target.Identity = "contoso-sb.acs.example", "nobody"
	s.answers["OAuth2-13"] = say(401, "")
	_, err = d.Observe(t.Context(), w)
	wantEnd(t, "Observe on a configured host", err, rollover.HandedOver, rollover.NoAccess)
	const form = "client_id=Someone&client_secret=bWFuYWdlbWVudC%2BrZXktb2YtY29udG9zby0%2BLTAxMjM%3D&grant_type=client_credentials" +
		"&scope=https%3A%2F%2Fcontoso-sb.acs.example%2Fv2%2Fmgmt%2Fservice%2F"
	if s.body != form {
		t.Errorf("the token was asked for with %q, want %q", s.body, form)
	}
}
