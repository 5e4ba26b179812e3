package jet

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Whoever lists often uses up none of the room that a stream has for consumers: a scan
// takes its own away.
func TestScan_LeavesNoConsumer(t *testing.T) {
	b, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	k, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), "contoso", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := b.SaveFinding(t.Context(), "r1", 0, rollover.Finding{Tenant: "contoso"}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if all, err := k.All(t.Context()); err != nil || len(all) != 1 {
			t.Fatalf("All = %d values, %v", len(all), err)
		}
		if found, err := b.Findings(t.Context(), "r1"); err != nil || len(found) != 1 {
			t.Fatalf("Findings = %d, %v", len(found), err)
		}
	}
	for _, name := range []string{bucketStream("tenants"), streamState} {
		s, err := b.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.Consumers; n != 0 {
			t.Errorf("stream %s has %d consumers after 20 scans, want none", name, n)
		}
	}
}
