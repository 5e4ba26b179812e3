// Package gates asks the checks that the configuration names whether a rotation
// may go on after a wave. Whatever goes wrong is an inconclusive answer, never a
// pass.
package gates

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// The bounds of a check.
const (
	DefaultTimeout = 30 * time.Second
	MaxTimeout     = 60 * time.Second
	maxAnswer      = 64 << 10 // bytes
)

// Check is one check of the configuration.
type Check struct {
	// URL is asked with POST; https only, without a name or password in it.
	URL string `yaml:"url"`
	// Timeout bounds the whole exchange, 1s to 60s; 0 means [DefaultTimeout].
	Timeout time.Duration `yaml:"timeout"`
	// Token is the reference of a bearer token. Empty: none is sent.
	Token secrets.Ref `yaml:"token"`
}

// resolver finds secrets by reference.
type resolver interface {
	Secret(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
}

// Config is what a [Set] is made of. The first three fields are required.
type Config struct {
	Checks  map[string][]byte // each one's YAML, by name
	HTTP    *http.Client      // as of package outbound: https only, bounded, no redirects of a POST
	Secrets resolver
	// Answered is told what each check answered, for metrics. It may be nil.
	Answered func(check string, r rollover.GateResult)
}

// Set holds the checks. It is safe for concurrent use.
type Set struct {
	c      Config
	checks map[string]Check
}

// Open reads the checks, and says all that is wrong with them.
func Open(c Config) (*Set, error) {
	s := &Set{c: c, checks: map[string]Check{}}
	name := regexp.MustCompile("^[a-z][a-z0-9-]{0,62}$")
	var errs []error
	for _, n := range slices.Sorted(maps.Keys(c.Checks)) {
		if !name.MatchString(n) {
			errs = append(errs, fmt.Errorf("gates.%s: want a name of 1 to 63 lower-case letters, digits and hyphens, beginning with a letter", n))
			continue
		}
		check, err := read(c.Checks[n])
		if err != nil {
			errs = append(errs, fmt.Errorf("gates.%s: %w", n, err))
		}
		s.checks[n] = check
	}
	return s, errors.Join(errs...)
}

// read reads one check.
func read(b []byte) (Check, error) {
	var c Check
	if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict()); err != nil {
		return c, errors.New("want url, timeout and token, and nothing else") // The parser's text quotes the file.
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return c, errors.New("url: want https://host/path, without a name or password")
	case c.Timeout != 0 && (c.Timeout < time.Second || c.Timeout > MaxTimeout):
		return c, errors.New("timeout: want 1s to 60s")
	case c.Token != "" && !c.Token.Valid():
		return c, errors.New("token: want env:NAME or file:relative/path, never the token itself")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c, nil
}

// Token returns the reference of what is sent to a check, "" for none.
func (s *Set) Token(name string) secrets.Ref { return s.checks[name].Token }

// Names returns the names of all checks, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.checks)) }

// Ask asks a check. Its answer is a pass only if the check said so in time, with
// status 200 and in words that are understood.
func (s *Set) Ask(ctx context.Context, name string, q rollover.GateQuestion) (rollover.GateResult, string) {
	result, reason, err := s.ask(ctx, name, q)
	if err != nil {
		result, reason = rollover.GateInconclusive, err.Error()
	}
	if _, known := s.checks[name]; known && s.c.Answered != nil {
		s.c.Answered(name, result)
	}
	return result, reason
}

func (s *Set) ask(ctx context.Context, name string, q rollover.GateQuestion) (rollover.GateResult, string, error) {
	check, ok := s.checks[name]
	if !ok {
		return "", "", fmt.Errorf("the configuration has no check %q any more", name)
	}
	ctx, cancel := context.WithTimeout(ctx, check.Timeout)
	defer cancel()
	body, err := json.Marshal(q)
	if err != nil {
		return "", "", fmt.Errorf("writing the question: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, check.URL, bytes.NewReader(body))
	if err != nil {
		return "", "", fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if check.Token != "" {
		token, err := s.c.Secrets.Secret(ctx, check.Token)
		if err != nil {
			return "", "", fmt.Errorf("finding the token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	res, err := s.c.HTTP.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // Its text has the address, which may hold a key.
			err = ue.Err
		}
		return "", "", fmt.Errorf("asking: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // What was read of it was read.
	if res.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("it answered with status %d", res.StatusCode)
	}
	b, err := outbound.ReadBody(res.Body, maxAnswer)
	if err != nil {
		return "", "", fmt.Errorf("reading the answer: %w", err)
	}
	return readAnswer(b)
}

// readAnswer reads what a check said.
func readAnswer(b []byte) (rollover.GateResult, string, error) {
	var answer struct {
		Result rollover.GateResult `json:"result"`
		Reason string              `json:"reason"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return "", "", errors.New("the answer is not the JSON that is asked for")
	}
	if !saidOnce(b) {
		return "", "", errors.New("the answer has several results, or none")
	}
	switch answer.Result {
	case rollover.GatePass, rollover.GateFail, rollover.GateInconclusive:
		return answer.Result, answer.Reason, nil
	}
	return "", "", errors.New("the answer's result is none of pass, fail and inconclusive")
}

// saidOnce reports whether a JSON object has one result. The decoder takes the last
// of several, in any case: one that says fail and pass must not count as a pass.
func saidOnce(object []byte) bool {
	d := json.NewDecoder(bytes.NewReader(object))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	results := 0
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return false
		}
		if name, _ := key.(string); strings.EqualFold(name, "result") {
			results++
		}
	}
	return results == 1
}
