package e2e_test

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"
)

// The bench fails by itself where a certificate does not stand exactly once, so
// what is left to ask is that every row is measured.
func TestBench_MeasuresEveryRow(t *testing.T) {
	var errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), crossfade, "bench", "--profile", "quick", "--targets", "100", "--json")
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("crossfade bench: %v\n%s%s", err, out, errOut.String())
	}
	rows := map[string]map[string]any{}
	for _, o := range objects(t, string(out)) {
		if o["kind"] != "bench" {
			t.Errorf("a line of kind %q, want bench", o["kind"])
		}
		rows[o["row"].(string)] = o
	}
	for _, want := range []string{
		"stage+verify, 20 ms, 100 targets", "stage+verify, 20 ms, 100 targets: memory at most",
		"stage+verify, 20 ms, 100 targets: NATS disk", "stage+verify, no latency, 100 targets: ours / bare",
		"plan, 20 ms, 20 tenants with 100 endpoints", "status, 100 watchers: p99", "status, 100 watchers: work, of that without",
		"kill -9, 100 tasks: working again", "urgent beside 100 targets in bulk: first write after the start",
		"fair, 20 tenants of 10 beside one of 100: Jain's index", "429 on 5 % of 100 hosts for 3s: the others' time, of that without",
	} {
		if v, ok := rows[want]["median"].(float64); !ok || v <= 0 {
			t.Errorf("row %q is %v, want a median above 0", want, rows[want])
		}
	}
	// Three calls where planning has left a token: look, add, look again.
	for _, row := range []string{"stage+verify, 20 ms, 100 targets: ACS calls", "stage+verify, no latency, 100 targets: ACS calls of the bare loop"} {
		if v := rows[row]["median"]; v != 3.0 {
			t.Errorf("row %q is %v, want 3", row, v)
		}
	}
}

func TestBench_RefusesWhatItCannotMeasure(t *testing.T) {
	for _, args := range [][]string{
		{"--profile", "slow"}, {"--targets", "7"}, {"--only", "luck"}, {"--slots", "0"}, {"--runs", "-1"},
	} {
		err := exec.CommandContext(t.Context(), crossfade, append([]string{"bench"}, args...)...).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("crossfade bench %v = %v, want exit status 2", args, err)
		}
	}
}
