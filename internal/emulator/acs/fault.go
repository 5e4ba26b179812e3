package acs

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// The fault profiles by name.
const (
	// ProfileNone has no faults.
	ProfileNone = "none"
	// ProfileRough is a bad day: about one call in twelve is throttled,
	// refused, slow, cut off, stale, or done and then answered with an error.
	// It never stores anything wrong.
	ProfileRough = "rough"
)

// The kinds of fault.
const (
	// FaultThrottled answers 429 with ACS90055, doing nothing.
	FaultThrottled = "429"
	// FaultInternal answers 500, doing nothing.
	FaultInternal = "500"
	// FaultBusy answers 503 with ACS90046, doing nothing.
	FaultBusy = "503"
	// FaultTimeoutApplied does what was asked and then answers 504.
	FaultTimeoutApplied = "504-applied"
	// FaultResetBefore closes the connection, doing nothing.
	FaultResetBefore = "reset-before"
	// FaultResetApplied does what was asked and then closes the connection.
	FaultResetApplied = "reset-applied"
	// FaultSlow waits for Delay and then answers as usual.
	FaultSlow = "slow"
	// FaultStaleRead answers a read from the state before the last write.
	FaultStaleRead = "stale-read"
	// FaultCorruptWrite stores a key's Value with one bit changed.
	FaultCorruptWrite = "corrupt-write"
)

// Faults says what goes wrong. The same seed makes the same calls of one host
// fail, however the calls of other hosts fall between them.
type Faults struct {
	// Profile is ProfileNone, ProfileRough or empty, which is none.
	Profile string
	// Seed decides the chances of the profile and of rules with a Probability.
	Seed int64
	// Rules come before those of the profile; the first that fires is used.
	Rules []FaultRule
}

// FaultRule makes the requests that match it fail in one way. All conditions
// that are set must hold.
type FaultRule struct {
	// Match, when set, is asked about the request. It must not read the body.
	Match func(*http.Request) bool
	// Host is a glob on the host name, as of path.Match. Empty is every host.
	Host string
	// Method is the HTTP method, after X-HTTP-Method. Empty is every method.
	Method string
	// PathContains is a part of the path or query as sent, in any case.
	PathContains string
	// Kind is one of the Fault constants.
	Kind string
	// After skips that many matches first.
	After int
	// Times bounds how often the rule fires. Zero means always.
	Times int
	// Probability, when above zero, is the chance of a match to fire.
	Probability float64
	// Delay is how long FaultSlow waits, in real time. For FaultStaleRead it is how old
	// the last write may be, by the emulator's clock; zero: any age.
	Delay time.Duration
	// HostShare, when above zero, is the share of the hosts that the rule is for.
	// The seed chooses them, the same for every rule.
	HostShare float64
	// For, when above zero, is how long the rule holds after the faults were set,
	// in real time.
	For time.Duration
	// RetryAfter, when above zero, is told with a 429 or 503, in whole seconds,
	// instead of the switch of that name.
	RetryAfter time.Duration
}

func faultKinds() []string {
	return []string{FaultThrottled, FaultInternal, FaultBusy, FaultTimeoutApplied, FaultResetBefore,
		FaultResetApplied, FaultSlow, FaultStaleRead, FaultCorruptWrite}
}

// Check reports what is wrong with f: an unknown profile, kind or glob, or a
// probability outside 0 to 1.
func (f Faults) Check() error {
	if f.Profile != "" && f.Profile != ProfileNone && f.Profile != ProfileRough {
		return fmt.Errorf("unknown fault profile %q: want %s or %s", f.Profile, ProfileNone, ProfileRough)
	}
	for i, r := range f.Rules {
		known := false
		for _, k := range faultKinds() {
			known = known || k == r.Kind
		}
		if !known {
			return fmt.Errorf("fault rule %d: unknown kind %q: want one of %s", i, r.Kind, strings.Join(faultKinds(), ", "))
		}
		if _, err := path.Match(r.Host, ""); err != nil {
			return fmt.Errorf("fault rule %d: host %q: %w", i, r.Host, err)
		}
		if r.Probability < 0 || r.Probability > 1 {
			return fmt.Errorf("fault rule %d: probability %v is not between 0 and 1", i, r.Probability)
		}
		if r.HostShare < 0 || r.HostShare > 1 {
			return fmt.Errorf("fault rule %d: share of hosts %v is not between 0 and 1", i, r.HostShare)
		}
		if r.For < 0 || r.RetryAfter < 0 {
			return fmt.Errorf("fault rule %d: a time is negative", i)
		}
	}
	return nil
}

// roughRules are the rules of ProfileRough. Only the management service and
// the token endpoints are hit, and a stale read is as rare as in a service of
// several instances.
func roughRules() []FaultRule {
	return []FaultRule{
		{Kind: FaultThrottled, Probability: 0.015},
		{Kind: FaultBusy, Probability: 0.015},
		{Kind: FaultInternal, Probability: 0.01},
		{Kind: FaultTimeoutApplied, Probability: 0.015},
		{Kind: FaultResetBefore, Probability: 0.005},
		{Kind: FaultResetApplied, Probability: 0.01},
		{Kind: FaultStaleRead, Method: http.MethodGet, Probability: 0.01},
		{Kind: FaultSlow, Probability: 0.02, Delay: 50 * time.Millisecond},
	}
}

// faultPlan is one setting of Faults with what has been counted under it.
type faultPlan struct {
	seed  int64
	rules []FaultRule
	set   time.Time // real time

	mu    sync.Mutex // guards what follows
	seen  []int
	fired []int
	turns []map[string]uint64 // a rule's matches by host, for the chances
}

func newFaultPlan(f Faults) *faultPlan {
	p := &faultPlan{seed: f.Seed, set: time.Now(), rules: append([]FaultRule(nil), f.Rules...)}
	if f.Profile == ProfileRough {
		p.rules = append(p.rules, roughRules()...)
	}
	p.seen = make([]int, len(p.rules))
	p.fired = make([]int, len(p.rules))
	p.turns = make([]map[string]uint64, len(p.rules))
	return p
}

// pick returns the first rule that fires for the request, or nil.
func (p *faultPlan) pick(r *http.Request, host, method string) *FaultRule {
	if len(p.rules) == 0 {
		return nil
	}
	for i := range p.rules {
		rule := &p.rules[i]
		if rule.matches(r, host, method) && p.concerns(rule, host) && p.fires(i, host) {
			return rule
		}
	}
	return nil
}

func (r *FaultRule) matches(req *http.Request, host, method string) bool {
	if r.Host != "" {
		if ok, err := path.Match(strings.ToLower(r.Host), host); err != nil || !ok {
			return false
		}
	}
	if r.Method != "" && !strings.EqualFold(r.Method, method) {
		return false
	}
	if r.PathContains != "" && !containsFold(req.URL.Path, r.PathContains) && !containsFold(req.URL.RequestURI(), r.PathContains) {
		return false
	}
	return r.Match == nil || r.Match(req)
}

// StruckHosts returns those of hosts that a rule with this share is for.
func (f Faults) StruckHosts(share float64, hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if struck(f.Seed, share, h) {
			out = append(out, h)
		}
	}
	return out
}

func struck(seed int64, share float64, host string) bool { return chance(seed, -1, host, 0) < share }

// concerns reports whether the rule is for the host, and still holds.
func (p *faultPlan) concerns(r *FaultRule, host string) bool {
	if r.HostShare > 0 && !struck(p.seed, r.HostShare, host) {
		return false
	}
	return r.For == 0 || time.Since(p.set) < r.For
}

func (p *faultPlan) fires(i int, host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	rule := &p.rules[i]
	p.seen[i]++
	if p.seen[i] <= rule.After || (rule.Times > 0 && p.fired[i] >= rule.Times) {
		return false
	}
	if rule.Probability > 0 {
		if p.turns[i] == nil {
			p.turns[i] = make(map[string]uint64)
		}
		p.turns[i][host]++
		if chance(p.seed, i, host, p.turns[i][host]) >= rule.Probability {
			return false
		}
	}
	p.fired[i]++
	return true
}

// chance is a number in [0, 1) that depends on its arguments only.
func chance(seed int64, rule int, host string, turn uint64) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d|%d|%s|%d", seed, rule, host, turn)
	x := h.Sum64()
	// FNV leaves neighbours alike in the high bits; this spreads them.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// refused is the answer of a fault that does nothing, or nil where the fault
// lets the request through.
func (r *FaultRule) refused() *refusal {
	switch r.Kind {
	case FaultThrottled:
		return refuse(http.StatusTooManyRequests, msgThrottled)
	case FaultInternal:
		return refuse(http.StatusInternalServerError, msgInternal)
	case FaultBusy:
		return refuse(http.StatusServiceUnavailable, msgBusy)
	}
	return nil
}
