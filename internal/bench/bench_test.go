package bench_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/bench"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestRow_ComparesItsMiddleWithTheGoal(t *testing.T) {
	for _, c := range []struct {
		row  bench.Row
		want float64
	}{
		{bench.Row{Values: []float64{300, 100, 200}, Goal: 100}, 2},
		{bench.Row{Values: []float64{300, 100, 200}, Goal: 100, AtMost: true}, 0.5},
		{bench.Row{Values: []float64{1}, Goal: 0}, math.NaN()},
		{bench.Row{Goal: 1}, math.NaN()},
	} {
		if got := c.row.Ratio(); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%+v.Ratio() = %v, want %v", c.row, got, c.want)
		}
	}
}

func TestQuantile_LeavesTheValuesAsTheyAre(t *testing.T) {
	v := []float64{3, 1, 2, 4}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := bench.Quantile(v, q); got != want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", v, q, got, want)
		}
	}
	if v[0] != 3 {
		t.Errorf("the values became %v", v)
	}
}

func TestTable_ShowsGoalsAndRatios(t *testing.T) {
	var b strings.Builder
	err := bench.Table(&b, []bench.Row{
		{Name: "rate", Unit: "targets/s", Values: []float64{400, 500, 600}, Goal: 333},
		{Name: "calls", Unit: "calls/target", Values: []float64{4}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">= 333", "1.50", "400 / 500 / 600", "calls/target"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("Table wrote %q, want %q in it", b.String(), want)
		}
	}
}

func TestUsage_OfThisProcessAndAFolder(t *testing.T) {
	m, err := bench.ReadMemory(os.Getpid())
	if err != nil || m.Resident < 1<<20 || m.Peak < m.Resident/2 {
		t.Errorf("ReadMemory = %+v, %v, want more than 1 MiB", m, err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"a": 10, "in/b": 32} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := bench.DiskUse(dir); err != nil || n != 42 {
		t.Errorf("DiskUse = %d, %v, want 42", n, err)
	}
}

func TestBare_RotatesEveryTargetOrSaysWhyNot(t *testing.T) {
	e := rollovertest.Epoch
	old, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e.AddDate(-2, 0, 0), e.AddDate(0, 1, 0))
	fresh, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", e.AddDate(0, 0, -1), e.AddDate(2, 0, 0))
	cloud := rollovertest.NewCloud(func() time.Time { return e })
	var works []rollover.Work
	for _, host := range []string{"a", "b", "c", "d", "e"} {
		target := rollover.Target{Kind: rollovertest.Kind, Host: host, Identity: "crm"}
		cloud.Set(target, rollovertest.Stand(old))
		works = append(works, rollover.Work{Rotation: "r1", Tenant: "t1", Target: target, New: fresh, Now: e})
	}
	if err := bench.Observe(t.Context(), cloud, works, 2); err != nil || works[4].Observed == "" {
		t.Fatalf("Observe = %v and noted %q", err, works[4].Observed)
	}
	if took, err := bench.Bare(t.Context(), cloud, works, 2); err != nil || took <= 0 {
		t.Fatalf("Bare = %v, %v", took, err)
	}
	for _, w := range works {
		if n := len(cloud.Standing(w.Target).Standing); n != 2 {
			t.Errorf("%s holds %d credentials, want 2", w.Target, n)
		}
	}
	works = append(works, rollover.Work{Rotation: "r1", Target: rollover.Target{Kind: rollovertest.Kind, Host: "nowhere", Identity: "crm"}, New: fresh, Now: e})
	var step *rollover.StepError
	if _, err := bench.Bare(t.Context(), cloud, works, 2); !errors.As(err, &step) {
		t.Errorf("Bare with an unknown target = %v, want the driver's error", err)
	}
}

func TestReadProcessor_GrowsWithWork(t *testing.T) {
	before, err := bench.ReadProcessor(0)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for after := before; after < before+30*time.Millisecond; {
		for i := range 1_000_000 {
			sum += i
		}
		if after, err = bench.ReadProcessor(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bench.ReadProcessor(1 << 30); err == nil {
		t.Errorf("ReadProcessor of a process that is none = nil error, after %d", sum)
	}
}
