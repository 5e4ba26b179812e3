// Package kit holds what every driver is handed: the way out to other people's
// servers, the clock, and access to a tenant's management secrets. A driver
// imports this package and internal/rollover, and no other driver.
package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// ErrNoAccess says that nobody gave us a way in to a tenant's host. A driver
// hands such a task over to the owner of the target.
var ErrNoAccess = errors.New("no management access was given")

// Access is how a tenant lets us in to one host.
type Access struct {
	// Account is the name to sign in with; empty means the one that the other
	// side makes by default.
	Account string
	// Secret is what proves it. Reveal it in the line that sends it.
	Secret secrets.Secret
}

// Kit is what every driver is handed. HTTP, Now and Access are required.
type Kit struct {
	// HTTP reaches other people's servers. It has bounds of its own; drivers set
	// a deadline on every request besides.
	HTTP *http.Client
	// Now is the clock by which tokens grow old and evidence is dated.
	Now func() time.Time
	// Log takes what an operator would want to know; nil means nowhere. No secret
	// and no answer's body goes there.
	Log *slog.Logger
	// Access returns the way in to a host that a tenant has given us. Where there
	// is none it returns an error that is [ErrNoAccess]; any other error means
	// that it could not be found out now, and may be a [rollover.StepError] that says
	// how long to wait.
	Access func(ctx context.Context, tenant, host string) (Access, error)
	// Renew is for a secret that Access returned and the host refused: it looks past what
	// is remembered, and reports whether there is another one now. Nil means that there
	// never is. Its errors are those of Access: after one that lets the step wait nobody
	// knows yet whether there is another.
	Renew func(ctx context.Context, tenant, host string, refused secrets.Secret) (Access, bool, error)
	// Pace waits until the host may be called again, or until ctx ends. Nil means
	// no pace. See [Pacer].
	Pace func(ctx context.Context, host string) error
	// Observe is told of every call to another server, for metrics: what was
	// done, the HTTP status (0: no answer came) and how long it took. Nil means
	// nobody is told. The host must not become a label of a metric.
	Observe func(host, op string, status int, took time.Duration)
	// Try uses the new credential as its sender would, where someone has a test
	// key for it: an emulator, or an operator who owns the key. It reports false
	// where it has none. Nil means that nobody has: evidence is then a reading.
	Try func(ctx context.Context, t rollover.Target, c rollover.Credential) (tried bool, err error)
}

// Check returns an error that names every required field that is not set, and
// k with the optional ones set to what does nothing.
func (k Kit) Check() (Kit, error) {
	var missing []error
	if k.HTTP == nil {
		missing = append(missing, errors.New("kit has no HTTP client"))
	}
	if k.Now == nil {
		missing = append(missing, errors.New("kit has no clock"))
	}
	if k.Access == nil {
		missing = append(missing, errors.New("kit has no access to secrets"))
	}
	if k.Log == nil {
		k.Log = slog.New(slog.DiscardHandler)
	}
	if k.Renew == nil {
		k.Renew = func(context.Context, string, string, secrets.Secret) (Access, bool, error) {
			return Access{}, false, nil
		}
	}
	if k.Pace == nil {
		k.Pace = func(context.Context, string) error { return nil }
	}
	if k.Observe == nil {
		k.Observe = func(string, string, int, time.Duration) {}
	}
	if k.Try == nil {
		k.Try = func(context.Context, rollover.Target, rollover.Credential) (bool, error) { return false, nil }
	}
	return k, errors.Join(missing...)
}

// Decode reads a driver's own part of the configuration file, YAML or JSON, into
// a struct that holds the defaults. Unknown fields are refused by name. Nothing
// at all leaves the defaults.
func Decode(raw []byte, into any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := yaml.UnmarshalWithOptions(raw, into, yaml.Strict()); err != nil {
		return fmt.Errorf("reading driver configuration: %w", err)
	}
	return nil
}
