package daemon

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// DefaultMemory is what a process tries to stay below where nothing is
// configured: what is resident at 100,000 targets is then less than twice that of 10,000.
const DefaultMemory = 288 << 20

// Of a limit, at most liveShare may be in use before it is in the way: the
// collector would run again and again to free little.
const liveShare = 0.6

// Memory keeps the garbage of a process small. A fleet of ten times the size
// makes ten times the garbage, but hardly more that is needed; without a limit
// the collector lets both double.
type Memory struct {
	// Limit is what was configured; 0: DefaultMemory, and more if more is needed.
	Limit int64
	// Log is told when the limit is in the way. Required.
	Log *slog.Logger
	// Every is how often the process looks at itself. Default 2 s.
	Every time.Duration
	// Live returns the bytes that the last collection found in use. Default: asks
	// the runtime.
	Live func() uint64
}

// Run sets the limit and looks after it until ctx ends; then it takes it away.
// It does nothing if the environment's GOMEMLIMIT has set one.
func (m Memory) Run(ctx context.Context) error {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		<-ctx.Done()
		return nil
	}
	if m.Every == 0 {
		m.Every = 2 * time.Second
	}
	if m.Live == nil {
		m.Live = liveBytes
	}
	defer debug.SetMemoryLimit(math.MaxInt64)
	tick := time.NewTicker(m.Every)
	defer tick.Stop()
	for tight := false; ; {
		live := m.Live()
		limit := m.limit(live)
		if debug.SetMemoryLimit(-1) != limit {
			debug.SetMemoryLimit(limit)
		}
		was := tight
		if tight = float64(live) > float64(limit)*(1+liveShare)/2; tight && !was {
			m.Log.WarnContext(ctx, "memory_limit is near: collecting garbage takes time from the work", "limit", limit, "in_use", live)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// limit returns the limit for a process that has so many bytes in use.
func (m Memory) limit(live uint64) int64 {
	if m.Limit > 0 {
		return m.Limit
	}
	return max(DefaultMemory, int64(float64(live)/liveShare))
}

// liveBytes returns what the last collection found in use, stacks included.
func liveBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	sum := uint64(0)
	for _, v := range s {
		if v.Value.Kind() == metrics.KindUint64 {
			sum += v.Value.Uint64()
		}
	}
	return sum
}
