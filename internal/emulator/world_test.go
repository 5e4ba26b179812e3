package emulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// clock is a test clock that is pushed by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// long ago, so that whatever goes by the wrong clock shows.
func newClock() *clock { return &clock{now: time.Date(2016, 10, 20, 12, 0, 0, 0, time.UTC)} }

func start(t *testing.T, c emulator.Config) *emulator.Cloud {
	t.Helper()
	cloud, err := emulator.Start(c)
	if err != nil {
		t.Fatalf("Start = %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := cloud.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return cloud
}

// shape is all of a world that follows the seed.
func shape(w *emulator.World) string {
	var b strings.Builder
	for _, t := range w.Tenants {
		fmt.Fprintln(&b, t.ID, t.DisplayName, t.Scenario, t.Organization, t.OrganizationID, t.EntraTenant, t.ClientID,
			t.ClientSecret != "", t.Version, t.Identity, t.Labels, t.Disabled, t.Expected)
		for _, n := range t.Namespaces {
			fmt.Fprintln(&b, n.Host, n.Account)
		}
		for _, e := range t.Endpoints {
			fmt.Fprintf(&b, "%+v\n", e)
		}
	}
	return b.String()
}

func TestWorld_FollowsTheSeed(t *testing.T) {
	now := newClock().Now
	one := start(t, emulator.Config{Seed: 5, Tenants: 60, Now: now}).World()
	same := start(t, emulator.Config{Seed: 5, Tenants: 60, Now: now}).World()
	other := start(t, emulator.Config{Seed: 6, Tenants: 60, Now: now}).World()
	if shape(one) != shape(same) {
		t.Error("two worlds of one seed differ")
	}
	if shape(one) == shape(other) {
		t.Error("two worlds of two seeds are the same")
	}
	if one.Tenants[0].ClientSecret != "" && one.Tenants[0].ClientSecret == same.Tenants[0].ClientSecret || reflect.DeepEqual(one.Old.DER, same.Old.DER) {
		t.Error("secrets and keys must not follow the seed")
	}
}

func TestWorld_HasEveryScenario(t *testing.T) {
	for _, n := range []int{60, 200} {
		w := start(t, emulator.Config{Seed: 1, Tenants: n, Now: newClock().Now}).World()
		if len(w.Tenants) != n {
			t.Errorf("%d tenants, want %d", len(w.Tenants), n)
		}
		seen := map[string]int{}
		for _, tn := range w.Tenants {
			seen[tn.Scenario]++
		}
		for _, s := range emulator.Scenarios() {
			if seen[s] == 0 {
				t.Errorf("of %d tenants none is %s", n, s)
			}
		}
		checkWorld(t, w)
	}
}

// checkWorld looks at all that must hold of any world.
func checkWorld(t *testing.T, w *emulator.World) {
	t.Helper()
	id := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	org := regexp.MustCompile(`^https://[a-z0-9-]+\.(crm[0-9]{0,2}\.dynamics\.com|crm\.microsoftdynamics\.us)$`)
	var endings []string
	for _, r := range rollover.Reasons() {
		for _, o := range rollover.Outcomes() {
			endings = append(endings, emulator.Ending(o, r))
		}
	}
	ids, hosts := map[string]bool{}, map[string]bool{}
	for i, tn := range w.Tenants {
		if !id.MatchString(tn.ID) || ids[tn.ID] || i > 0 && tn.ID < w.Tenants[i-1].ID {
			t.Errorf("tenant id %q is malformed, double or out of order", tn.ID)
		}
		ids[tn.ID] = true
		for _, g := range []string{tn.OrganizationID, tn.EntraTenant, tn.ClientID} {
			if !guid.MatchString(g) || ids[g] {
				t.Errorf("tenant %s: GUID %q is malformed or double", tn.ID, g)
			}
			ids[g] = true
		}
		if !org.MatchString(tn.Organization) {
			t.Errorf("tenant %s: organisation %q", tn.ID, tn.Organization)
		}
		if !tn.OwnIdentity && tn.Identity != strings.SplitN(tn.OrgHost(), ".", 2)[1] {
			t.Errorf("tenant %s: identity %q does not follow from %s", tn.ID, tn.Identity, tn.OrgHost())
		}
		for _, n := range tn.Namespaces {
			if hosts[n.Host] || n.Secret == "" {
				t.Errorf("tenant %s: namespace %s is listed twice or without secret", tn.ID, n.Host)
			}
			hosts[n.Host] = true
		}
		covered := map[string]int{}
		for _, x := range tn.Expected {
			if !slices.Contains(endings, x.Ending) {
				t.Errorf("tenant %s: ending %q is no outcome of a task", tn.ID, x.Ending)
			}
			for _, e := range x.Endpoints {
				covered[e]++
			}
			if want := x.Host != "" && !strings.HasPrefix(tn.Version, "8.0."); x.Advised != want {
				t.Errorf("tenant %s of version %s: advised = %v, want %v", tn.ID, tn.Version, x.Advised, want)
			}
		}
		for _, e := range tn.Endpoints {
			want := e.ConnectionMode // 1 target if normal, 2 if federated
			if !tn.Disabled && covered[e.ID] != want {
				t.Errorf("tenant %s (%s): endpoint %s stands behind %d lines, want %d", tn.ID, tn.Scenario, e.Name, covered[e.ID], want)
			}
		}
	}
}

func TestWorld_Uniform(t *testing.T) {
	w := start(t, emulator.Config{Now: newClock().Now, Tenants: 3, Uniform: 4}).World()
	hosts := map[string]bool{}
	for _, x := range w.Expected() {
		if hosts[x.Host] = true; x.Ending != "rotated" {
			t.Errorf("%s should end as %q, want rotated", x.Host, x.Ending)
		}
	}
	if len(hosts) != 12 || w.Endpoints() != 12 {
		t.Errorf("%d hosts and %d endpoints, want 12 of each", len(hosts), w.Endpoints())
	}
	if _, err := emulator.Start(emulator.Config{Uniform: emulator.MaxUniform + 1}); err == nil {
		t.Error("too many endpoints of a tenant were taken")
	}
}

func TestWorld_CertificatesMeetAtTheSwitch(t *testing.T) {
	c := newClock()
	w := start(t, emulator.Config{Tenants: 1, Now: c.Now}).World()
	at := c.Now().Add(72 * time.Hour)
	if !w.SwitchAt.Equal(at) || !w.New.Cert.NotBefore.Equal(at) {
		t.Errorf("switch at %s, new from %s, want both %s", w.SwitchAt, w.New.Cert.NotBefore, at)
	}
	if !w.Old.Cert.NotBefore.Before(c.Now()) || !w.Old.Cert.NotAfter.After(at) {
		t.Errorf("old is valid %s – %s, want it around %s and past %s", w.Old.Cert.NotBefore, w.Old.Cert.NotAfter, c.Now(), at)
	}
	if w.Old.Cert.Subject.String() != "CN=crm.dynamics.com" || w.New.Cert.Subject.String() != "CN=crm.dynamics.com" {
		t.Errorf("subjects %s and %s, want CN=crm.dynamics.com twice", w.Old.Cert.Subject, w.New.Cert.Subject)
	}
}

func TestWorld_PrintsNoSecret(t *testing.T) {
	w := start(t, emulator.Config{Tenants: 60, Now: newClock().Now}).World()
	raw, err := json.Marshal(w.Tenants)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw) + fmt.Sprintf("%v %+v %#v", w.Tenants, w.Tenants, w.Tenants)
	for _, s := range secretsOf(t, w) {
		if strings.Contains(text, s) {
			t.Fatal("a printed world holds a secret")
		}
	}
}

// secretsOf lists every secret of the world, and looks that there are some of
// each sort.
func secretsOf(t *testing.T, w *emulator.World) []string {
	t.Helper()
	list, err := w.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range list {
		if len(s) < 20 {
			t.Fatalf("a secret of %d characters is too short to look for", len(s))
		}
		out = append(out, string(s))
	}
	for _, tn := range w.Tenants {
		if tn.ClientSecret != "" && !slices.Contains(out, string(tn.ClientSecret)) {
			t.Errorf("Secrets lacks the client secret of %s", tn.ID)
		}
		for _, n := range tn.Namespaces {
			if !slices.Contains(out, string(n.Secret)) {
				t.Errorf("Secrets lacks the key of %s", n.Host)
			}
		}
	}
	for _, p := range []sender.Pair{w.Old, w.New} {
		text, err := p.PEM()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(out, func(s string) bool { return bytes.Contains(text, []byte(s)) }) {
			t.Error("Secrets lacks a private key of CRM")
		}
	}
	return out
}
