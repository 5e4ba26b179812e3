package emulator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
)

func crm(t *testing.T, c *emulator.Cloud, now func() time.Time) *sender.Sender {
	t.Helper()
	w := c.World()
	s, err := sender.New(sender.Config{HTTP: c.Client(), Now: now, Old: w.Old, New: w.New, Endpoints: w.SenderEndpoints()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func round(t *testing.T, s *sender.Sender) map[string]sender.Result {
	t.Helper()
	r, err := s.Round(t.Context())
	if err != nil {
		t.Fatalf("Round = %v", err)
	}
	out := map[string]sender.Result{}
	for _, one := range r.Results {
		out[one.Endpoint] = one
	}
	return out
}

// place adds the new certificate where a rotation should, as the management
// service would, and removes the old one from where it may go.
func place(t *testing.T, c *emulator.Cloud, retire bool) {
	t.Helper()
	w := c.World()
	done := 0
	for _, x := range w.Expected() {
		if strings.Contains(x.Ending, ":") {
			continue
		}
		keys := c.ACS().Identity(x.Host, x.Identity)
		isNew := func(k acs.Key) bool { return slices.Equal(k.Value, w.New.DER) }
		isOld := func(k acs.Key) bool { return slices.Equal(k.Value, w.Old.DER) }
		if !slices.ContainsFunc(keys, isOld) && !retire {
			t.Errorf("%s: the old certificate does not stand", x.Host)
		}
		if has := slices.ContainsFunc(keys, isNew); !retire && has != (x.Ending == "already_present") {
			t.Errorf("%s (%s): the new certificate stands = %v", x.Host, x.Ending, has)
		} else if !has {
			keys = append(keys, acs.Key{Usage: "Signing", Type: "X509Certificate", Value: w.New.DER, Start: w.New.Cert.NotBefore, End: w.New.Cert.NotAfter})
		}
		if retire && x.Ending != "rotated_old_kept" {
			keys = slices.DeleteFunc(keys, isOld)
		}
		if err := c.ACS().SetKeys(x.Host, x.Identity, keys); err != nil {
			t.Fatalf("SetKeys(%s, %s) = %v", x.Host, x.Identity, err)
		}
		done++
	}
	if done < 30 {
		t.Fatalf("only %d targets were changed", done)
	}
}

// deaf are the scenarios in which CRM cannot sign in whatever anybody does.
func deaf() []string {
	return []string{"identity-missing", "namespace-unknown", "federated-half-missing"}
}

// checkSignIns compares a round with what should be.
func checkSignIns(t *testing.T, w *emulator.World, got map[string]sender.Result, cert string, ok func(e sender.Endpoint, scenario string) bool) {
	t.Helper()
	for _, e := range w.SenderEndpoints() {
		tn, _ := w.Tenant(e.Tenant)
		r, there := got[e.ID]
		if !there {
			t.Errorf("%s: no result", e.ID)
			continue
		}
		if want := ok(e, tn.Scenario); r.OK != want {
			t.Errorf("%s (%s): sign-in at %v = %+v, want ok = %v", e.Tenant, tn.Scenario, e.Hosts, r, want)
		}
		if r.Cert != cert {
			t.Errorf("%s: signed with the %s certificate, want %s", e.Tenant, r.Cert, cert)
		}
		if missing := strings.HasSuffix(tn.Scenario, "-missing") && strings.HasPrefix(tn.Scenario, "federated") || tn.Scenario == "namespace-unknown"; missing && (r.Refused || r.Status != 404) {
			t.Errorf("%s (%s): %+v, want a 404 that is no refusal", e.Tenant, tn.Scenario, r)
		}
	}
}

func TestSignIn_WithTheNewCertificateInPlaceNobodyIsRefused(t *testing.T) {
	clock := newClock()
	c := start(t, emulator.Config{Seed: 2, Tenants: 60, Now: clock.Now})
	w, s, class := c.World(), crm(t, c, clock.Now), c.World().Class()
	hears := func(_ sender.Endpoint, scenario string) bool { return !slices.Contains(deaf(), scenario) }

	checkSignIns(t, w, round(t, s), sender.CertOld, hears)
	place(t, c, false)
	checkSignIns(t, w, round(t, s), sender.CertOld, hears)

	clock.set(w.SwitchAt.Add(-time.Second))
	checkSignIns(t, w, round(t, s), sender.CertOld, hears)
	clock.set(w.SwitchAt)
	rotated := func(e sender.Endpoint, _ string) bool { return class(e) == emulator.ClassRotated }
	checkSignIns(t, w, round(t, s), sender.CertNew, rotated)

	place(t, c, true)
	clock.set(w.SwitchAt.Add(time.Hour))
	checkSignIns(t, w, round(t, s), sender.CertNew, rotated)

	stats := s.StatsBy(class)
	if got := stats[emulator.ClassRotated]; got.Refused != 0 || got.Failed != 0 || got.OK == 0 {
		t.Errorf("of the rotated: %+v, want none refused and none failed", got)
	}
	if got := stats[emulator.ClassNotRotated]; got.Refused == 0 || got.Failed == 0 {
		t.Errorf("of the others: %+v, want some refused, and some that reach nobody", got)
	}
}

func TestSignIn_WithoutRotationCRMIsRefusedAfterTheSwitch(t *testing.T) {
	clock := newClock()
	c := start(t, emulator.Config{Seed: 2, Tenants: 60, Now: clock.Now})
	s := crm(t, c, clock.Now)
	clock.set(c.World().SwitchAt)
	done := func(_ sender.Endpoint, scenario string) bool { return scenario == "already-done" }
	checkSignIns(t, c.World(), round(t, s), sender.CertNew, done)
	if got := s.StatsBy(c.World().Class())[emulator.ClassRotated]; got.Refused < 30 {
		t.Errorf("of those that a rotation would help: %+v, want at least 30 refused", got)
	}
}

func TestSignIn_RoughDaysRefuseNobody(t *testing.T) {
	clock := newClock()
	c := start(t, emulator.Config{Seed: 4, Tenants: 60, Now: clock.Now, Faults: "rough"})
	s := crm(t, c, clock.Now)
	round(t, s)
	if got := s.StatsBy(c.World().Class())[emulator.ClassRotated]; got.Refused != 0 || got.Failed != 0 {
		t.Errorf("on a rough day: %+v, want none refused and none failed", got)
	}
}
