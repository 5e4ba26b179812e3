package handover_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/handover"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func at(day int) time.Time { return time.Date(2016, 11, day, 1, 0, 0, 0, time.UTC) }

func sample(r rollover.Reason, host string) handover.Letter {
	t := rollover.Task{Item: rollover.Item{
		Tenant: "contoso", Target: rollover.Target{Kind: "acs-x509", Host: host, Identity: "crm9.dynamics.com"},
		Endpoints: []rollover.EndpointRef{{Tenant: "contoso", ID: "e1", Name: "orders"}, {Tenant: "fabrikam", ID: "e2", Name: "theirs"}},
	}}
	t.Outcome, t.Reason = rollover.HandedOver, r
	return handover.Letter{
		Tenant: "contoso", Rotation: "r1", RetireNotBefore: at(5), Tasks: []rollover.Task{t},
		New: rollover.Credential{SHA1: "AB12", SHA256: "cd34", Subject: "CN=crm", NotBefore: at(4), NotAfter: at(30)},
	}
}

func TestLetter_IsAsInTheGoldenFiles(t *testing.T) {
	update := os.Getenv("UPDATE_GOLDEN") == "1"
	letters := map[string]handover.Letter{}
	for _, r := range rollover.Reasons() {
		letters[string(r)] = sample(r, "contoso-sb.accesscontrol.windows.net")
	}
	letters["usgov"] = sample(rollover.NoAccess, "contoso-sb.accesscontrol.usgovcloudapi.net")
	fed := sample(rollover.NoAccess, "contoso.accesscontrol.windows.net")
	fed.Tasks[0].Item.Endpoints[0].Federated = true
	fed.Tasks[0].Item.Advice = []rollover.Advice{rollover.MoveToSAS}
	letters["federated_sas"] = fed
	leak := sample(rollover.NoAccess, "contoso-sb.accesscontrol.windows.net")
	leak.Incident = &rollover.Incident{Compromised: []rollover.Compromised{
		{Sort: rollover.CompromisedKeyHash, Hash: "ef56"}, {Sort: rollover.CompromisedSHA1, Hash: "9a2f"}, {Sort: rollover.CompromisedSHA256, Hash: "0b1c"},
	}}
	letters["incident"] = leak
	for name, l := range letters {
		got, err := l.Markdown()
		if err != nil {
			t.Fatalf("Markdown() of %s = %v, want a text", name, err)
		}
		path := filepath.Join("testdata", name+".md")
		if update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path) //nolint:gosec // A name from this test.
		if err != nil || got != string(want) {
			t.Errorf("Markdown() of %s = %q, want %q (%v)", name, got, want, err)
		}
	}
}

func TestLetter_NamesNobodyElse(t *testing.T) {
	l := sample(rollover.NoAccess, "contoso-sb.accesscontrol.windows.net")
	l.Tasks[0].Detail = "of the owner"
	got, err := l.Markdown()
	if err != nil || strings.Contains(got, "fabrikam") || strings.Contains(got, "theirs") {
		t.Errorf("Markdown() = %q, %v, want contoso's endpoints only", got, err)
	}
	l.Tenant = "fabrikam"
	if got, err = l.Markdown(); err != nil || strings.Contains(got, "orders") || strings.Contains(got, "of the owner") {
		t.Errorf("Markdown() = %q, %v, want fabrikam's endpoints only", got, err)
	}
	l.Tenant = "other"
	if _, err = l.Markdown(); !errors.Is(err, handover.ErrNothing) {
		t.Errorf("Markdown() for a stranger = %v, want ErrNothing", err)
	}
}

func TestLetter_RefusesWhatIsNotKnown(t *testing.T) {
	l := sample(rollover.NoAccess, "h.example")
	l.New.SHA1 = ""
	if got, err := l.Markdown(); err == nil {
		t.Errorf("Markdown() without a thumbprint = %q, want an error", got)
	}
}

func TestLetter_ANameCannotBecomeMarkup(t *testing.T) {
	l := sample(rollover.NoAccess, "evil>.example")
	l.Tasks[0].Item.Endpoints[0].Name = "a`\n# now [x](http://evil)\u202e"
	got, err := l.Markdown()
	if err != nil || strings.Contains(got, "\n# now") || strings.Contains(got, "\u202e") || strings.Contains(got, "https://evil>") {
		t.Errorf("Markdown() = %q, %v, want the name inside one code span", got, err)
	}
	if !strings.Contains(got, "`` a` # now") && !strings.Contains(got, "`` a`  # now") {
		t.Errorf("Markdown() = %q, want a longer fence around a backtick", got)
	}
}
