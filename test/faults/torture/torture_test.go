package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test program is also the emulator of the worlds that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "emulator" {
		main()
		return
	}
	os.Exit(m.Run())
}

func execute(ctx context.Context, args ...string) (string, error) {
	var out strings.Builder
	c := command()
	c.SetArgs(args)
	c.SetOut(&out)
	err := c.ExecuteContext(ctx)
	return out.String(), err
}

func TestTorture_OfATinyRunBreaksNoPromise(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	out, err := execute(ctx, "--seed", "7", "--profile", "tiny", "--dir", dir, "--keep", "--json")
	if err != nil {
		t.Fatalf("torture --seed 7 --profile tiny: %v\n%s", err, out)
	}
	var got result
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("torture --json = %q: %v", out, err)
	}
	g := got.Figures
	if got.Seed != 7 || g.Rotations == 0 || g.Tasks == 0 || g.Writes == 0 || g.SignIns == 0 || g.Calls == 0 || g.Messages == 0 {
		t.Errorf("torture --json = %+v, want something done of everything", got)
	}
	again, err := execute(ctx, "--judge", filepath.Join(dir, "seed-7"))
	if err != nil || !strings.HasPrefix(again, "0 violations") {
		t.Errorf("torture --judge = %q, %v, want 0 violations as before", again, err)
	}
}

func TestTorture_RefusesBadFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--profile huge", "--profile"},
		{"--runs 0", "--runs"},
		{"--parallel 9", "--parallel"},
		{"--tenants -1", "--tenants"},
		{"--tenants 501", "--tenants"},
		{"--judge " + t.TempDir(), "world.json"},
	} {
		out, err := execute(t.Context(), strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("torture %s = %q, %v, want an error that names %s", c.args, out, err, c.want)
		}
	}
}
