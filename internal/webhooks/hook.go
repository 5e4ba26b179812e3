// Package webhooks tells others by HTTP how rotations stand: signed, retried, in
// order for each rotation, at least once, and out of what is stored.
package webhooks

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// MaxHooks bounds how many webhooks a configuration may have.
const MaxHooks = 16

// Hook is one webhook of the configuration.
type Hook struct {
	Name string `yaml:"-"`
	// URL is told with POST; https only, without a name or password in it.
	URL string `yaml:"url"`
	// Secret is the reference of the key that signs, "whsec_" and base64 of 24 to
	// 64 bytes.
	Secret secrets.Ref `yaml:"secret"`
	// AlsoSecret is the reference of a second key that signs too, while receivers
	// change from one to the other. Empty: none.
	AlsoSecret secrets.Ref `yaml:"also_secret"`
	// Events are the types that are told. Empty: all.
	Events []string `yaml:"events"`
	// Labels are those that a rotation must have to be told of, each with its
	// value. Empty: all rotations.
	Labels map[string]string `yaml:"labels"`
}

// Parse reads the webhooks of a configuration, each one's YAML by its name, and says
// all that is wrong with them.
func Parse(raw map[string][]byte) ([]Hook, error) {
	var errs []error
	if len(raw) > MaxHooks {
		errs = append(errs, fmt.Errorf("webhooks: %d of them, at most %d may be", len(raw), MaxHooks))
	}
	name := regexp.MustCompile("^[a-z][a-z0-9-]{0,62}$")
	var out []Hook
	for _, n := range slices.Sorted(maps.Keys(raw)) {
		if !name.MatchString(n) {
			errs = append(errs, fmt.Errorf("webhooks.%s: want a name of 1 to 63 lower-case letters, digits and hyphens, beginning with a letter", n))
			continue
		}
		h := Hook{Name: n}
		if err := h.read(raw[n]); err != nil {
			errs = append(errs, fmt.Errorf("webhooks.%s: %w", n, err))
		}
		out = append(out, h)
	}
	return out, errors.Join(errs...)
}

// read reads one webhook.
func (h *Hook) read(b []byte) error {
	if err := yaml.UnmarshalWithOptions(b, h, yaml.Strict()); err != nil {
		// The parser's text quotes the file.
		return errors.New("want url, secret, also_secret, events and labels, and nothing else")
	}
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return errors.New("url: want https://host/path, without a name or password")
	case !h.Secret.Valid():
		return errors.New("secret: want env:NAME or file:relative/path, never the secret itself")
	case h.AlsoSecret != "" && !h.AlsoSecret.Valid():
		return errors.New("also_secret: want env:NAME or file:relative/path, never the secret itself")
	case h.AlsoSecret == h.Secret:
		return errors.New("also_secret: is the same as secret; leave it out")
	}
	for _, e := range h.Events {
		if !slices.Contains(Types(), e) {
			return fmt.Errorf("events: want some of %s", strings.Join(Types(), ", "))
		}
	}
	if len(h.Labels) > 16 {
		return errors.New("labels: want at most 16")
	}
	return nil
}

// wants reports whether an event of this type is told.
func (h Hook) wants(kind string) bool { return len(h.Events) == 0 || slices.Contains(h.Events, kind) }

// about reports whether rotations with these labels are told of.
func (h Hook) about(labels map[string]string) bool {
	for k, v := range h.Labels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
