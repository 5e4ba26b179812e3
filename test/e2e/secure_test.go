package e2e_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
)

// scanned are the shapes of secrets, as scanners of code and logs know them. A reference
// ("file:…", "env:…") is none.
var scanned = map[string]*regexp.Regexp{
	"a private key":    regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`),
	"a JSON web token": regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`),
	"a simple token":   regexp.MustCompile(`HMACSHA256(=|%3[dD])`),
	"a bearer token":   regexp.MustCompile(`(?i)\b(bearer|basic|wrap) [A-Za-z0-9._~+/=-]{16,}`),
	"a NATS seed":      regexp.MustCompile(`\bS[UOANC][A-Z2-7]{56}\b`),
	"a cloud's key":    regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bhvs\.[A-Za-z0-9_-]{20,}|\bwhsec_[A-Za-z0-9+/=]{20,}`),
	"an assignment": regexp.MustCompile(
		`(?i)(password|passwd|pwd|client_secret|client_assertion|wrap_access_token|access_token|assertion|api[_-]?key|shared_?access_?key)["']?\s*[:=]\s*["']?[A-Za-z0-9+/=_~.%-]{12,}`),
}

// scan fails the test where hay holds a needle, or anything of the shape of a secret.
func scan(t *testing.T, hay, needles map[string][]byte) {
	t.Helper()
	for where, b := range hay {
		for what, n := range needles {
			if bytes.Contains(b, n) {
				t.Errorf("no-secret-out: %s holds %.40q …", where, what)
			}
		}
		for what, shape := range scanned {
			if at := shape.FindIndex(b); at != nil {
				t.Errorf("no-secret-out: %s holds %s: … %q …", where, what, b[max(0, at[0]-60):min(len(b), at[1]+20)])
			}
		}
	}
}

// files reads every file beneath a folder.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Of a whole secure run, in which every caller proves who they are and every tenant's
// secret is used, nothing that is logged, stored, measured, traced or answered holds a
// secret: neither one of those that there were, nor anything of the shape of one.
func TestSecure_ADemoLeavesNoSecretAnywhere(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command(crossfade, "demo", "--secure", "--json", "--faults", "rough", "--tenants", "30", "--dir", dir).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var summary struct {
		Kind    string `json:"kind"`
		Refused int    `json:"refused_calls"`
		Retired int    `json:"retired"`
	}
	if jerr := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil || jerr != nil || summary.Kind != "summary" || summary.Refused < 30 || summary.Retired == 0 {
		t.Fatalf("demo --secure = %v, %v, %+v; want a summary with refusals and what was retired", err, jerr, summary)
	}
	hay := map[string][]byte{"standard output": out}
	needles := map[string][]byte{}
	var mine map[string][]byte
	for path, b := range files(t, dir) {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		switch top, _, _ := strings.Cut(name, string(filepath.Separator)); top {
		case "emulated": // Other people's, and their secrets are what is looked for.
			if strings.HasPrefix(name, filepath.Join("emulated", "secrets")) {
				forms(strings.TrimSpace(string(b)), needles)
			}
		case "own": // The callers': what they prove themselves with.
			if mine == nil {
				mine = map[string][]byte{}
			}
			mine[name] = b
			switch {
			case strings.HasSuffix(name, ".key"):
				forms(string(b), needles)
			case strings.HasSuffix(name, ".token"):
				forms(string(b), needles)
				_, signature, _ := strings.Cut(strings.TrimPrefix(string(b), "eyJ"), ".")
				_, signature, _ = strings.Cut(signature, ".")
				forms(signature, needles)
			}
		default:
			hay[name] = b
		}
	}
	if len(needles) < 100 {
		t.Fatalf("%d needles: the test looks for little", len(needles))
	}
	for _, want := range []string{"service.log", "answers.jsonl", "traces.jsonl", "metrics.txt", filepath.Join("report", "report.md")} {
		if len(hay[want]) == 0 {
			t.Errorf("the demo left no %s to look at", want)
		}
	}
	// The store's files are compressed: what is in them is read through a server.
	broker := freePort(t)
	config := filepath.Join(t.TempDir(), "crossfade.yaml")
	// On the demo's clock, or the rotation is over for years and deleted at once.
	at := filepath.Join(filepath.Dir(config), "clock.json")
	if _, err := clock.Create(at, time.Date(2016, 11, 4, 3, 0, 0, 0, time.UTC), 1); err != nil {
		t.Fatal(err)
	}
	text := "clock: " + at + "\ndata: " + filepath.Join(dir, "data") + "\nlisten: {grpc: \"127.0.0.1:0\", ops: \"127.0.0.1:0\"}\nnats: {listen: \"" + broker + "\"}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := start(t, crossfade, "serve", "--config", config, "--workers", "0")
	serve.says(`serving`)
	if n := stored(t, broker, hay); n < 100 {
		t.Fatalf("the broker holds %d messages: the test looks at little", n)
	}
	scan(t, hay, needles)

	// The search finds what is there.
	for name, b := range mine {
		if (strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".token")) && !anyIn(b, needles) && !strings.Contains(string(b), "PRIVATE KEY") {
			t.Errorf("no needle is found in %s: the search finds nothing", name)
		}
	}
	for what, text := range map[string]string{
		"a private key": "-----BEGIN EC PRIVATE KEY-----", "a JSON web token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJqYW5lIn0.", "a simple token": "&HMACSHA256%3dabc",
		"a bearer token": "Authorization: Bearer abcdefghijklmnopqrstuvwxyz", "a NATS seed": "SU" + strings.Repeat("A", 56),
		"a cloud's key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "an assignment": `"client_secret":"abcdefghijklmnop"`,
	} {
		if !scanned[what].MatchString(text) {
			t.Errorf("the rule for %s does not find %q", what, text)
		}
	}
}
