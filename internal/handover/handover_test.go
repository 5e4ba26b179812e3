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
		Tenant: "contoso", Rotation: "r1", Now: at(1), Retires: true, RetireNotBefore: at(5), Tasks: []rollover.Task{t},
		New: rollover.Credential{SHA1: "AB12", SHA256: "cd34", Subject: "CN=crm", NotBefore: at(4), NotAfter: at(30)},
	}
}

func TestLetter_IsAsInTheGoldenFiles(t *testing.T) {
	update := os.Getenv("UPDATE_GOLDEN") == "1"
	letters := map[string]handover.Letter{}
	for _, r := range rollover.Reasons() {
		if r == rollover.Blocked {
			continue // TestLetter_NobodyIsAskedToAddABlockedCertificate
		}
		letters[string(r)] = sample(r, "contoso-sb.accesscontrol.windows.net")
	}
	letters["usgov"] = sample(rollover.NoAccess, "contoso-sb.accesscontrol.usgovcloudapi.net")
	letters["china"] = sample(rollover.NoAccess, "contoso-sb.accesscontrol.chinacloudapi.cn")
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

func TestLetter_TellsTheInstantsThatHold(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(*handover.Letter)
		want, gone string
	}{
		{"stage deadline", func(l *handover.Letter) { l.StageDeadline = at(3) }, "**before 2016-11-03 01:00:00 UTC**, the deadline", "at once"},
		{"not before", func(*handover.Letter) {}, "**before 2016-11-04 01:00:00 UTC**, when it becomes valid", "at once"},
		{"past", func(l *handover.Letter) { l.Now = at(4) }, "**at once**", "**before 2016-11-04"},
		{"past stage deadline", func(l *handover.Letter) { l.StageDeadline, l.Now = at(2), at(3) }, "**at once**: it was due on 2016-11-02", "**before 2016-11-04"},
		{"retire later", func(*handover.Letter) {}, "**before 2016-11-05 01:05:00 UTC**", "removes nothing"},
		{"retire earlier", func(l *handover.Letter) { l.RetireNotBefore = at(2) }, "**before 2016-11-04 01:05:00 UTC**", "11-02"},
		{"nothing retired", func(l *handover.Letter) { l.Retires = false }, "This change removes nothing", "11-05"},
	} {
		l := sample(rollover.NoAccess, "contoso-sb.accesscontrol.windows.net")
		c.change(&l)
		got, err := l.Markdown()
		if err != nil || !strings.Contains(got, c.want) || strings.Contains(got, c.gone) {
			t.Errorf("%s: Markdown() = %q, %v, want %q and not %q", c.name, got, err, c.want, c.gone)
		}
	}
}

func TestLetter_BothHalvesOfAFederatedEndpointHaveTheirWord(t *testing.T) {
	const plain, buddy = "contoso.accesscontrol.windows.net", "contoso-sb.accesscontrol.windows.net"
	for _, c := range []struct {
		name  string
		other rollover.Outcome
		want  string
	}{
		{"not known", "", "6. Do the same, from step 1, at <https://" + buddy + "/>"},
		{"done", rollover.Succeeded, "`" + buddy + "`; the new certificate stands there already"},
		{"waits too", rollover.Failed, "`" + buddy + "`; it has a section of its own"},
	} {
		l := sample(rollover.FederatedHalfMissing, plain)
		if c.other != "" {
			o := l.Tasks[0]
			o.Item.Target.Host, o.Outcome, o.Reason = buddy, c.other, rollover.TriesUsedUp
			l.Tasks = append(l.Tasks, o)
		}
		got, err := l.Markdown()
		if err != nil || !strings.Contains(got, c.want) || !strings.Contains(got, "<https://"+plain+"/>") {
			t.Errorf("%s: Markdown() = %q, %v, want %q and steps for %s", c.name, got, err, c.want, plain)
		}
		if has := strings.Contains(got, "6. Do the same"); has != (c.other == "") {
			t.Errorf("%s: Markdown() tells the steps twice = %v, want %v", c.name, has, c.other == "")
		}
	}
}

func TestLetter_NobodyIsAskedToAddABlockedCertificate(t *testing.T) {
	l := sample(rollover.NoAccess, "contoso-sb.accesscontrol.windows.net")
	l.Tasks = append(l.Tasks, sample(rollover.Blocked, "other-sb.accesscontrol.windows.net").Tasks...)
	if got, err := l.Markdown(); !errors.Is(err, handover.ErrBlocked) {
		t.Errorf("Markdown() = %q, %v, want ErrBlocked", got, err)
	}
}
