// Package fault makes an emulator misbehave by rule and by seed: answers that
// are refused, late, cut off, or that point to another host.
package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Kind says how a call goes wrong.
type Kind string

// The kinds of fault.
const (
	Status  Kind = "status"  // answered with Rule.Status and nothing done
	Slow    Kind = "slow"    // answered rightly, Rule.Delay later
	Reset   Kind = "reset"   // the connection is cut before an answer
	Hostile Kind = "hostile" // a paged answer whose next link names Rule.Target instead of this host
)

// Rule says which calls go wrong, how, and how often. A rule without Host and
// Path is for every call.
type Rule struct {
	Kind       Kind
	Host       string        // exact host without port, lower case; empty: any
	Path       string        // part of the path; empty: any
	Rate       float64       // share of matching calls, above 0 and up to 1; 0 means 1
	Times      int           // how many calls at most; 0: without end
	Status     int           // for Status: 400–599
	RetryAfter time.Duration // for Status: header Retry-After in whole seconds, rounded up; 0: no header
	Delay      time.Duration // for Slow
	Target     string        // for Hostile: the foreign host
}

// Injector picks the rule that a call falls under. The zero value is not
// usable; call [New]. It is safe for concurrent use.
type Injector struct {
	mu    sync.Mutex
	rand  *rand.Rand
	rules []Rule
	used  []int
	hits  int
}

// New returns an injector whose dice follow seed.
func New(seed int64, rules ...Rule) *Injector {
	in := &Injector{rand: rand.New(rand.NewPCG(uint64(seed), 0xfa017))} //nolint:gosec // Dice of a test double, not a secret.
	in.Set(rules...)
	return in
}

// Set replaces all rules and forgets how often the former ones were used.
func (in *Injector) Set(rules ...Rule) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.rules, in.used = append([]Rule(nil), rules...), make([]int, len(rules))
}

// Hits counts the calls that fell under a rule since New.
func (in *Injector) Hits() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.hits
}

// Pick returns the first rule that strikes a call of host and path.
func (in *Injector) Pick(host, path string) (Rule, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, r := range in.rules {
		switch {
		case r.Host != "" && r.Host != host, r.Path != "" && !strings.Contains(path, r.Path):
			continue
		case r.Times > 0 && in.used[i] >= r.Times:
			continue
		case r.Rate > 0 && in.rand.Float64() >= r.Rate:
			continue
		}
		in.used[i]++
		in.hits++
		return r, true
	}
	return Rule{}, false
}

// Strike picks a rule for r and lets it act. It reports done when the answer
// has been given, and the rule in any case: a Slow rule has waited and a
// Hostile one is left to the caller. body writes the caller's own error body
// for a status; Strike writes the headers. A Reset does not return.
func (in *Injector) Strike(w http.ResponseWriter, r *http.Request, body func(status int)) (rule Rule, done bool) {
	rule, struck := in.Pick(HostOf(r), r.URL.Path)
	if !struck {
		return rule, false
	}
	switch rule.Kind {
	case Status:
		if rule.RetryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int64((rule.RetryAfter+time.Second-1)/time.Second)))
		}
		body(rule.Status)
		return rule, true
	case Slow:
		Wait(r.Context(), rule.Delay)
	case Reset:
		panic(http.ErrAbortHandler) // net/http cuts the connection and stays quiet.
	}
	return rule, false
}

// Wait returns after d, or as soon as ctx ends.
func Wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// HostOf returns the host that r was sent to, lower case and without port.
func HostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return host
}
