package rollover_test

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// mostPerTask is what a task may take of the memory of every process: 100,000
// tasks then take some 44 MiB.
const mostPerTask = 464

// inUse returns the bytes in use after a collection.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // What the first one found to be garbage is swept by now.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A board keeps of a task what moves, and nothing of its item: it grows with the
// plan, but little.
func TestBoard_ATaskTakesLittleMemory(t *testing.T) {
	record, err := json.Marshal(rollover.Progress{
		V: 1, Phase: rollover.Activated, Outcome: rollover.Succeeded, Reason: rollover.Rotated, Added: true,
		Evidence: &rollover.Evidence{Kind: rollover.Listed, At: rollovertest.Epoch, Detail: "key 10012345"}, UpdatedAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10_000, 100_000} {
		before := inUse()
		b := rollover.NewBoard(nil)
		for from := 0; from < n; from += 1000 {
			b.Extend(rollovertest.Plan(1000))
		}
		for ord := range n {
			var p rollover.Progress
			if err := json.Unmarshal(record, &p); err != nil {
				t.Fatal(err)
			}
			b.Apply(ord, p, uint64(ord)+1) //nolint:gosec // Not negative.
		}
		per := (int64(inUse()) - int64(before)) / int64(n) //nolint:gosec // Far below the limit.
		if b.Counts().Outcome(rollover.Succeeded) != n || per > mostPerTask {
			t.Errorf("%d of %d tasks are folded at %d bytes each, want all at %d bytes at most", b.Counts().Outcome(rollover.Succeeded), n, per, mostPerTask)
		}
		t.Logf("%d tasks: %d bytes each", n, per)
	}
}
