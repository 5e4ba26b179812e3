package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/services/edge"
)

// summaryOf runs a demo and returns its last line, and the exit status.
func summaryOf(t *testing.T, args ...string) (map[string]any, int, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), append([]string{"demo", "--json", "--dir", t.TempDir()}, args...), &out, &errOut)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s map[string]any
	if jerr := json.Unmarshal([]byte(lines[len(lines)-1]), &s); jerr != nil || s["kind"] != "summary" {
		t.Fatalf("the last line is %q, %v, want a summary; %v\n%s", lines[len(lines)-1], jerr, err, errOut.String())
	}
	return s, exitStatus(err), errOut.String()
}

func number(t *testing.T, s map[string]any, name string) float64 {
	t.Helper()
	n, ok := s[name].(float64)
	if !ok {
		t.Fatalf("the summary's %s is %v, want a number", name, s[name])
	}
	return n
}

func TestDemo_NobodyIsRefusedWhereRotated(t *testing.T) {
	s, status, said := summaryOf(t, "--tenants", "30", "--faults", "rough", "--seed", "7")
	if status != 0 {
		t.Errorf("exit status %d, want 0:\n%s", status, said)
	}
	sender, ok := s["sender"].(map[string]any)
	if !ok {
		t.Fatalf("the summary has no sender: %v", s)
	}
	for name, zero := range map[string]bool{
		"failed": true, "conflict": true, "unexpected": true,
		"tenants": false, "endpoints": false, "targets": false, "succeeded": false, "already_present": false, "handed_over": false,
		"skipped": false, "advised": false, "retired": false, "acs_calls": false, "seconds": false,
	} {
		if n := number(t, s, name); (n == 0) != zero {
			t.Errorf("%s = %v, want zero: %v", name, n, zero)
		}
	}
	if number(t, sender, "refused") != 0 || number(t, sender, "sign_ins") < 100 {
		t.Errorf("sender = %v, want many sign-ins and none refused where rotated", sender)
	}
}

func TestDemo_WithoutARotationTheSenderIsRefused(t *testing.T) {
	s, status, _ := summaryOf(t, "--tenants", "12", "--skip-rotation")
	sender, ok := s["sender"].(map[string]any)
	if status != exitFailures || !ok || number(t, sender, "refused") == 0 {
		t.Errorf("exit status %d, sender %v, want 1 and refusals", status, s["sender"])
	}
}

// In the secure demo everything that must be refused is tried, and is refused.
func TestDemo_SecureRefusesWhatItMust(t *testing.T) {
	s, status, said := summaryOf(t, "--secure", "--tenants", "12")
	if status != 0 || number(t, s, "unexpected") != 0 || number(t, s, "retired") == 0 {
		t.Errorf("exit status %d, %v unexpected, %v retired, want 0, none and some:\n%s", status, s["unexpected"], s["retired"], said)
	}
	writes := 0
	for _, scope := range edge.MethodScopes() {
		if scope != rights.Read {
			writes++
		}
	}
	// Six strangers, the viewer by every method that changes something, three tries of
	// the limited operator, and four to get round the second person.
	if n := number(t, s, "refused_calls"); n != float64(6+writes+3+4) {
		t.Errorf("%v calls were refused, want %d", n, 6+writes+3+4)
	}
}

// One altered record of the audit log is found and named.
func TestDemo_AnAlteredAuditRecordIsNamed(t *testing.T) {
	var out, errOut bytes.Buffer
	err := run(t.Context(), []string{"demo", "--secure", "--alter-audit", "--tenants", "8", "--plain", "--dir", t.TempDir()}, &out, &errOut)
	if exitStatus(err) != exitFailures || !regexp.MustCompile(`record \d+ is not the one that was signed: [0-9a-f-]+: RotationService/ApproveRotation by cert:jane`).Match(out.Bytes()) {
		t.Errorf("exit status %d, want %d and the record named:\n%s%s", exitStatus(err), exitFailures, out.String(), errOut.String())
	}
	if status := exitStatus(run(t.Context(), []string{"demo", "--alter-audit"}, &out, &errOut)); status != exitUsage {
		t.Errorf("--alter-audit without --secure: exit status %d, want %d", status, exitUsage)
	}
}

// A certificate of one's own is staged and verified everywhere, and nothing is
// removed.
func TestDemo_WithACertificateOfOnesOwn(t *testing.T) {
	s, status, said := summaryOf(t, "--tenants", "8", "--certificate", ownCertificate(t))
	if status != 0 || number(t, s, "retired") != 0 || number(t, s, "succeeded") == 0 {
		t.Errorf("exit status %d, %v retired, %v succeeded, want 0, none and some:\n%s", status, s["retired"], s["succeeded"], said)
	}
}

// ownCertificate returns the new certificate of an earlier demo's fleet, which
// this one's sender has no key for.
func ownCertificate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	if err := run(t.Context(), []string{"demo", "--tenants", "1", "--dir", dir}, &out, &errOut); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errOut.String())
	}
	path := filepath.Join(dir, "emulated", "new.pem")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelp_EveryCommandHasWords(t *testing.T) {
	root := (&app{}).command()
	commands := root.Commands()
	for len(commands) > 0 {
		c := commands[0]
		commands = append(commands[1:], c.Commands()...)
		if c.Short == "" {
			t.Errorf("%s says nothing of itself", c.CommandPath())
		}
		if c.RunE == nil && !c.HasSubCommands() {
			t.Errorf("%s does nothing", c.CommandPath())
		}
	}
	for _, args := range [][]string{{"--help"}, {"rotate", "--help"}, {"rotation", "watch", "--help"}, {"completion", "bash"}} {
		var out, errOut bytes.Buffer
		if err := run(t.Context(), args, &out, &errOut); err != nil || out.Len() < 200 {
			t.Errorf("crossfade %s = %v with %d bytes", strings.Join(args, " "), err, out.Len())
		}
	}
}

func TestRun_WrongUseIsTwo(t *testing.T) {
	for _, args := range [][]string{
		{"rotate"}, {"work"}, {"rotation", "start", "r1"}, {"rotation", "pause", "r1"}, {"rotation", "cancel", "r1"}, // a required flag is missing
		{"rotation", "retry", "r1"}, {"rotation", "undo", "r1", "--all"},
		{"rotation", "undo", "r1", "--reason", "x"}, {"rotation", "undo", "r1", "--reason", "x", "--all", "--wave", "2"},
		{"rotation", "undo", "r1", "--reason", "x", "--task", "many"}, {"rotation", "retry", "r1", "--reason", "x", "--task", "r2/tasks/1"},
		{"rotation", "retry", "r1", "--reason", "x", "--task", "1", "--filter", "y"},
		{"rotate", "--certificate", "certificates/ab", "--failed-of", "r1", "--tenant", "a"},
		{"rotation", "show"}, {"rotation", "list", "--colour"}, {"nonsense"}, {"rotation", "nonsense"}, {"demo", "--tenants", "many"},
	} {
		var out, errOut bytes.Buffer
		if status := exitStatus(run(t.Context(), args, &out, &errOut)); status != exitUsage || errOut.Len() == 0 {
			t.Errorf("crossfade %s: exit status %d, want 2, and it said %q", strings.Join(args, " "), status, errOut.String())
		}
	}
}
