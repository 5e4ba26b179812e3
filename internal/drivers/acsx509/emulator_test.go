package acsx509_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// passwordKey is a foreign password on the identity, which ACS reads back.
const passwordKey = "owner-password-in-clear"

// world is the real emulator with one namespace.
type world struct {
	certificates
	t      *testing.T
	server *acs.Server
	http   *http.Client

	mu  sync.Mutex // guards now
	now time.Time
}

func newWorld(t *testing.T, switches acs.Switches, keys ...acs.Key) *world {
	t.Helper()
	w := &world{certificates: newCertificates(t), t: t, now: begin().AddDate(0, 0, -3)}
	w.server = acs.New(acs.Config{Now: w.clock, Seed: 1, Switches: switches})
	keys = append(keys,
		acs.Key{Usage: "Signing", Type: "X509Certificate", Value: w.old.DER, Start: w.old.NotBefore, End: w.old.NotAfter, DisplayName: "X509Certificate key for crm9"},
		acs.Key{Usage: "Signing", Type: "Symmetric", Value: bytes.Repeat([]byte("K"), 32), DisplayName: "symmetric"},
		acs.Key{Usage: "Password", Type: "Password", Value: []byte(passwordKey), DisplayName: "password"})
	err := w.server.AddNamespace(acs.Namespace{
		Host:     host,
		Accounts: []acs.Account{{Name: "SBManagementClient", Password: managementKey}},
		Identities: []acs.Identity{
			{Name: "CRM9.dynamics.com "}, {Name: identity, Keys: keys},
			{Name: "partner", Keys: []acs.Key{{Usage: "Password", Type: "Password", Value: []byte("x")}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.http = lineTo(t, w.server)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) set(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// driver returns a driver of its own, as each process has one.
func (w *world) driver(change ...func(*kit.Kit)) rollover.Driver {
	w.t.Helper()
	k := kit.Kit{
		HTTP: w.http, Now: w.clock, Pace: kit.NewPacer(0, 0).Wait,
		Access: func(_ context.Context, tenant, at string) (kit.Access, error) {
			if tenant != "contoso" || at != host {
				return kit.Access{}, fmt.Errorf("tenant %s: %w", tenant, kit.ErrNoAccess)
			}
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	}
	for _, c := range change {
		c(&k)
	}
	d, err := acsx509.Open(nil, k)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func isX509(k acs.Key) bool { return k.Type == "X509Certificate" }

func (w *world) standing() (o rollover.Observation) {
	for _, k := range w.server.Identity(host, identity) {
		if isX509(k) {
			c, err := rollover.FromDER(k.Value)
			if err != nil {
				w.t.Error(err)
			}
			mark := ""
			if id, ok := strings.CutPrefix(k.DisplayName, "Crossfade "); ok {
				mark = id
			}
			o.Standing = append(o.Standing, rollover.Standing{Credential: c, Start: k.Start, End: k.End, Reserved: k.SystemReserved, Mark: mark, Name: k.DisplayName, Usage: k.Usage})
		}
	}
	return o
}

// edit changes the certificates and leaves the other keys as they are.
func (w *world) edit(change func([]rollover.Standing) []rollover.Standing) {
	left := w.server.Identity(host, identity)
	next := slices.DeleteFunc(slices.Clone(left), isX509)
	for _, s := range change(w.standing().Standing) {
		i := slices.IndexFunc(left, func(k acs.Key) bool { return bytes.Equal(k.Value, s.DER) && k.End.Equal(s.End) })
		if i >= 0 {
			next = append(next, left[i])
			left = slices.Delete(left, i, i+1)
			continue
		}
		name := "by hand"
		if s.Name != "" {
			name = s.Name
		}
		if s.Mark != "" {
			name = "Crossfade " + s.Mark
		}
		next = append(next, acs.Key{Usage: "Signing", Type: "X509Certificate", Value: s.DER, Start: s.Start, End: s.End, DisplayName: name, SystemReserved: s.Reserved})
	}
	if err := w.server.SetKeys(host, identity, next); err != nil {
		w.t.Error(err)
	}
}

func (w *world) fault(rules ...acs.FaultRule) { w.server.SetFaults(acs.Faults{Rules: rules}) }

func TestDriver_KeepsTheContractOnTheEmulator(t *testing.T) {
	for name, c := range map[string]struct {
		lost, done string
		switches   acs.Switches
	}{
		"cut lines":              {acs.FaultResetBefore, acs.FaultResetApplied, acs.Switches{}},
		"errors":                 {acs.FaultBusy, acs.FaultTimeoutApplied, acs.Switches{BareDates: true, Shuffled: true}},
		"refused duplicates":     {acs.FaultInternal, acs.FaultTimeoutApplied, acs.Switches{RefuseDuplicateCertificates: true, FoldNames: true}},
		"whole expands, no JSON": {acs.FaultThrottled, acs.FaultResetApplied, acs.Switches{WholeExpands: true, NoJSON: true, ServerHeader: true}},
	} {
		t.Run(name, func(t *testing.T) {
			rollovertest.TestDriver(t, func(t *testing.T) rollovertest.Fixture {
				w := newWorld(t, c.switches)
				return rollovertest.Fixture{
					OneCopy: c.switches.RefuseDuplicateCertificates, Driver: w.driver(), Second: w.driver(), Work: w.work(), Foreign: rollovertest.Stand(w.foreign),
					Standing: w.standing, Edit: w.edit, SetNow: w.set, Secrets: []string{managementKey, passwordKey, "HMACSHA256"},
					Break: func(call string, m rollovertest.Mode) {
						kind := map[rollovertest.Mode]string{rollovertest.Lost: c.lost, rollovertest.DoneLost: c.done}[m]
						if call == "read" {
							// The HTTP client repeats a GET whose kept line was cut, so only an answer breaks it.
							w.fault(acs.FaultRule{Kind: acs.FaultInternal, Method: http.MethodGet, PathContains: "/v2/mgmt/service", Times: 1})
							return
						}
						w.fault(acs.FaultRule{Kind: kind, Method: http.MethodPost, PathContains: "/v2/mgmt/service", Times: 1},
							acs.FaultRule{Kind: kind, Method: http.MethodDelete, PathContains: "/v2/mgmt/service", Times: 1})
					},
				}
			})
		})
	}
}

// The whole way of a target, counted by the emulator itself.
func TestDriver_TakesFourCallsAndLeavesWhatIsForeign(t *testing.T) {
	w := newWorld(t, acs.Switches{})
	others := func() []acs.Key {
		return slices.DeleteFunc(w.server.Identity(host, identity), isX509)
	}
	before, d := others(), w.driver()
	if added, err := d.Stage(t.Context(), w.work()); err != nil || !added {
		t.Fatalf("Stage = %v, %v", added, err)
	}
	ev, err := d.Verify(t.Context(), w.work())
	if err != nil {
		t.Fatal(err)
	}
	if c := w.server.Counters(); c.Calls > 4 || c.Writes != 1 || c.Tokens != 1 {
		t.Errorf("Stage and Verify took %d calls, %d writes, %d tokens, want 4, 1 and 1", c.Calls, c.Writes, c.Tokens)
	}
	for _, k := range w.server.Identity(host, identity) {
		if bytes.Equal(k.Value, w.next.DER) && ev.Detail != fmt.Sprintf("key %d", k.ID) {
			t.Errorf("evidence says %q, the key is %d", ev.Detail, k.ID)
		}
	}
	w.server.Renumber(host)
	at := w.retiring()
	w.set(at.Now)
	if removed, err := d.Retire(t.Context(), at); err != nil || len(removed) != 1 {
		t.Fatalf("Retire = %v, %v", removed, err)
	}
	after := others()
	for i := range before {
		before[i].ID, before[i].Version = after[i].ID, after[i].Version // Renumber changed them, not we.
		if fmt.Sprint(before[i]) != fmt.Sprint(after[i]) {
			t.Errorf("foreign key %q changed", after[i].DisplayName)
		}
	}
	for _, e := range w.server.Journal() {
		if e.Op == acs.OpDelete && e.SHA256 != w.old.SHA256 {
			t.Errorf("deleted %s", e.SHA256)
		}
	}
}

// ACS gives 50 keys a page, within an expanded identity as well.
func TestObserve_ReadsEveryPage(t *testing.T) {
	for name, switches := range map[string]acs.Switches{"cut expands": {}, "whole expands": {WholeExpands: true}, "shuffled": {Shuffled: true}} {
		var many []acs.Key
		for range 120 {
			c, _ := rollovertest.Certificate(t, "CN=many", begin().AddDate(-1, 0, 0), begin().AddDate(1, 0, 0))
			many = append(many, acs.Key{Usage: "Signing", Type: "X509Certificate", Value: c.DER, Start: c.NotBefore, End: c.NotAfter})
		}
		w := newWorld(t, switches, many...)
		o, err := w.driver().Observe(t.Context(), w.work())
		if err != nil || o.Digest("") != w.standing().Digest("") || len(o.Standing) != 121 {
			t.Errorf("Observe with %s = %d certificates, %v, want all 121", name, len(o.Standing), err)
		}
	}
}

func TestObserve_NamesANearMiss(t *testing.T) {
	w := newWorld(t, acs.Switches{})
	k := w.work()
	k.Target.Identity = "crm9.dynamics.COM"
	_, err := w.driver().Observe(t.Context(), k)
	wantEnd(t, "Observe", err, rollover.HandedOver, rollover.IdentityMissing)
	for _, near := range []string{`"CRM9.dynamics.com "`, `"crm9.dynamics.com"`} {
		if !strings.Contains(err.Error(), near) {
			t.Errorf("Observe = %v, want %s named", err, near)
		}
	}
}

func TestStage_ReportsAGoneNamespace(t *testing.T) {
	w := newWorld(t, acs.Switches{})
	w.server.SetMode(host, acs.ModeGone)
	_, err := w.driver().Stage(t.Context(), w.work())
	wantEnd(t, "Stage", err, rollover.HandedOver, rollover.NamespaceUnknown)
	w.server.SetMode(host, acs.ModeUnavailable)
	_, err = w.driver().Stage(t.Context(), w.work())
	if err == nil || strings.Contains(err.Error(), "namespace_unknown") {
		t.Errorf("Stage while ACS is unavailable = %v, want another try", err)
	}
}

// A bad day, seed by seed: however the calls fail, one copy is what comes of it
// and the foreign keys stay.
func TestDriver_HasOneEffectOnABadDay(t *testing.T) {
	for seed := range int64(40) {
		w := newWorld(t, acs.Switches{})
		w.server.SetFaults(acs.Faults{Seed: seed, Rules: []acs.FaultRule{
			{Kind: acs.FaultTimeoutApplied, Probability: 0.2}, {Kind: acs.FaultResetApplied, Probability: 0.1},
			{Kind: acs.FaultBusy, Probability: 0.2}, {Kind: acs.FaultResetBefore, Probability: 0.1},
		}})
		w.until(t, func(d rollover.Driver) error { _, err := d.Stage(t.Context(), w.work()); return err })
		w.until(t, func(d rollover.Driver) error { _, err := d.Verify(t.Context(), w.work()); return err })
		at := w.retiring()
		w.set(at.Now)
		w.until(t, func(d rollover.Driver) error { _, err := d.Retire(t.Context(), at); return err })
		if o := w.standing(); len(o.Standing) != 1 || o.Standing[0].SHA256 != w.next.SHA256 {
			t.Errorf("seed %d: %d certificates stand at the end, want the new one", seed, len(o.Standing))
		}
		if n := len(w.server.Identity(host, identity)); n != 3 {
			t.Errorf("seed %d: %d keys stand at the end, want 3", seed, n)
		}
	}
}

// until calls a step by a new process each time until it succeeds.
func (w *world) until(t *testing.T, step func(rollover.Driver) error) {
	t.Helper()
	var err error
	for range 50 {
		if err = step(w.driver()); err == nil {
			return
		}
		if strings.Contains(err.Error(), managementKey) || strings.Contains(err.Error(), "HMACSHA256") {
			t.Errorf("no-secret-out: %v", err)
		}
	}
	t.Fatalf("no success in 50 tries, last: %v", err)
}

func TestVerify_TriesTheNewOneOnceItIsValid(t *testing.T) {
	w := newWorld(t, acs.Switches{})
	var answer error
	d := w.driver(func(k *kit.Kit) {
		k.Try = func(_ context.Context, at rollover.Target, c rollover.Credential) (bool, error) {
			if at.Host != host || c.SHA256 != w.next.SHA256 {
				t.Errorf("asked to try %s on %s", c.SHA1, at)
			}
			return true, answer
		}
	})
	if _, err := d.Stage(t.Context(), w.work()); err != nil {
		t.Fatal(err)
	}
	if ev, err := d.Verify(t.Context(), w.work()); err != nil || ev.Kind != rollover.Listed {
		t.Errorf("Verify before the new one is valid = %+v, %v, want %s", ev, err, rollover.Listed)
	}
	w.set(w.retiring().Now)
	if ev, err := d.Verify(t.Context(), w.retiring()); err != nil || ev.Kind != rollover.Tried || !ev.At.Equal(w.clock()) {
		t.Errorf("Verify = %+v, %v, want %s now", ev, err, rollover.Tried)
	}
	answer = errors.New("(401) Unauthorized")
	if ev, err := d.Verify(t.Context(), w.retiring()); err == nil {
		t.Errorf("Verify of what does not work = %+v, want an error", ev)
	}
}
