package e2e_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
)

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
// secret is used, nothing that is logged, stored, measured, traced, answered, exported or
// told to others holds a secret: neither one of those that there were, nor anything of the
// shape of one.
func TestSecure_ADemoLeavesNoSecretAnywhere(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(crossfade, "demo", "--secure", "--json", "--faults", "rough", "--tenants", "30", "--dir", dir)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var summary struct {
		Kind       string `json:"kind"`
		Refused    int    `json:"refused_calls"`
		Retired    int    `json:"retired"`
		Unexpected int    `json:"unexpected"`
	}
	if jerr := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil || jerr != nil || summary.Kind != "summary" ||
		summary.Refused < 30 || summary.Retired == 0 || summary.Unexpected > 0 {
		t.Fatalf("demo --secure = %v, %v, %+v; want a summary with refusals and what was retired\n%s", err, jerr, summary, errOut.String())
	}
	hay := map[string][]byte{"standard output": out.Bytes(), "standard error": errOut.Bytes()}
	needles := secretsOf(t, dir, hay)
	for _, want := range []string{
		"service.log", "answers.jsonl", "traces.jsonl", "metrics.txt", "web.http", "webhooks.http", "report/report.md", "audit/records.jsonl",
		"audit/checkpoints.jsonl", "evidence/evidence.json", "evidence/evidence.html", "data/jetstream/$G/streams/STATE/msgs/1.blk",
	} {
		if len(hay[filepath.FromSlash(want)]) == 0 {
			t.Errorf("the demo left no %s to look at", want)
		}
	}
	for name, want := range map[string]string{"web.http": "event: end", "webhooks.http": "rotation.needs_approval", "evidence/evidence.json": `"path"`} {
		if !bytes.Contains(hay[filepath.FromSlash(name)], []byte(want)) {
			t.Errorf("%s has no %s", name, want)
		}
	}
	// The files of the store are looked at as they are, and as a server reads them.
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
	takeOutPageKey(t, hay, needles)
	for _, found := range scan(hay, needles) {
		t.Errorf("no-secret-out: %s", found)
	}
	if !t.Failed() { // Else there is something to find in any case.
		finds(t, hay, needles)
	}
}

// takeOutPageKey takes the key that seals page tokens out of the one record of the store
// that has it, and adds it to what must be nowhere else. It signs in nowhere, and what it
// hides stands in the same store.
func takeOutPageKey(t *testing.T, hay map[string][]byte, n *needles) {
	t.Helper()
	const stream = "stream B_PAGES"
	m := regexp.MustCompile(`"key":"([A-Za-z0-9+/]{43}=)"`).FindSubmatch(hay[stream])
	if m == nil {
		t.Fatalf("there is no key of page tokens in %s", stream)
	}
	key := bytes.Clone(m[1])
	n.add("the key of page tokens", string(key))
	for _, where := range []string{stream, filepath.FromSlash("data/jetstream/$G/streams/B_PAGES/msgs/1.blk")} {
		if bytes.Count(hay[where], key) != 1 {
			t.Errorf("%s has the key of page tokens %d times, want once", where, bytes.Count(hay[where], key))
		}
		hay[where] = bytes.ReplaceAll(hay[where], key, []byte("taken-out"))
	}
}

// secretsOf reads what a secure demo left: its secrets, which it returns, and all else,
// which it adds to hay.
func secretsOf(t *testing.T, dir string, hay map[string][]byte) *needles {
	t.Helper()
	out := newNeedles()
	for path, b := range files(t, dir) {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.ToSlash(name)
		text := strings.TrimSpace(string(b))
		top, _, _ := strings.Cut(name, "/")
		switch {
		case strings.HasPrefix(name, "emulated/secrets/"), strings.HasPrefix(name, "emulated/sender/"):
			out.add(name, text) // Other people's, the sender's, and the key of webhooks.
		case top == "emulated": // What else other people have is theirs.
		case name == "data/audit.key":
			out.add(name, text)
			out.add("the number of "+name, text[strings.LastIndexByte(text, '+')+1:])
		case top == "own" && strings.HasSuffix(name, ".token"):
			out.add(name, text)
			out.add("the signature of "+name, text[strings.LastIndexByte(text, '.')+1:])
		case top == "own": // The callers': what they prove themselves with.
			if strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".secret") {
				if !out.add(name, text) {
					t.Errorf("there is nothing in %s to look for", name)
				}
			}
		default:
			hay[filepath.FromSlash(name)] = b
		}
	}
	for _, want := range []string{"own/api.key", "own/portal.secret", "own/portal.token", "data/audit.key", "emulated/secrets/webhook-portal", "emulated/sender/new.pem"} {
		if out.secrets[want] == nil {
			t.Errorf("%s is not among what is looked for", want)
		}
	}
	if len(out.secrets) < 50 {
		t.Fatalf("%d secrets: the test looks for little", len(out.secrets))
	}
	return out
}

// finds is the proof that the search finds what is there: every secret in every form, and
// every shape, is put into a copy of each haystack, and has to be found in it.
func finds(t *testing.T, hay map[string][]byte, n *needles) {
	t.Helper()
	planted := n.planted()
	for where, b := range hay {
		into := func(planted ...[]byte) []byte {
			parts := append([][]byte{b[:len(b)/2]}, planted...)
			return bytes.Join(append(parts, b[len(b)/2:]), []byte(" "))
		}
		for form, secrets := range planted {
			found := map[string]bool{}
			for _, f := range n.find(where, into(slices.Collect(maps.Values(secrets))...)) {
				found[f.rule] = true
			}
			for name := range secrets {
				if !found[name] {
					t.Fatalf("%s %s is put into %s and not found", name, form, where)
				}
			}
		}
		var all [][]byte
		for _, texts := range specimens() {
			for _, text := range texts {
				all = append(all, []byte(text))
			}
		}
		found := map[string]bool{}
		for _, f := range look(where, into(all...)) {
			found[f.rule] = true
		}
		for rule := range specimens() {
			if !found[rule] {
				t.Fatalf("%s is put into %s and not found", rule, where)
			}
		}
	}
}

// Each rule finds what it is for, and lets what is no secret be.
func TestScan_RulesFindTheirShapes(t *testing.T) {
	rules := shapes()
	for rule, texts := range specimens() {
		delete(rules, rule)
		for _, text := range texts {
			if found := look("", []byte(text)); !slices.ContainsFunc(found, func(f finding) bool { return f.rule == rule }) {
				t.Errorf("%s, %q, is not found, but %v", rule, text, found)
			}
		}
	}
	if len(rules) > 0 {
		t.Errorf("there is no specimen of %v", slices.Sorted(maps.Keys(rules)))
	}
	for what, text := range map[string]string{
		"a reference":               `"secret":"file:webhook-portal"`,
		"an id":                     `rotations/01a22e37-f095-7064-bb48-eeec28175d82/tasks/000001`,
		"a digest":                  `certificates/c0ac89dd6b2c51e8c8ef33db8e7eecf2d90a88bf6e382d86f21b066de5a8aa15`,
		"a thumbprint":              `2E626056971B35EBE828AA0D8B2C1AB0C2ABAB4B`,
		"a cursor":                  `t.01a22e37-f095-7064-bb48-eeec28175d82.eyJlIjoiMThlY2VkYmMyNjcxNjQ2MS0xOGVjZWRiYzI3ZTI0MWFhIiwiciI6Mn0`,
		"a key that verifies":       `crossfade-audit+b0872874+Aet79sdoqTTH9+B9kiKXyt4jwJt78x7Uucc2pQWZwM7P`,
		"a signature of a webhook":  `Webhook-Signature: v1,Ha32h97wRPOqifWryTrQQzYPiUAxaJWUxo3dknAGpVc=`,
		"an address without a name": `https://portal.example.com/hooks@x`,
	} {
		if found := look("", []byte(text)); len(found) > 0 {
			t.Errorf("%s is taken for a secret: %v", what, found)
		}
	}
}
