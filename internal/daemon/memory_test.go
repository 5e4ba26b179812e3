package daemon_test

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// guarded runs m until it has looked three times at a process with so much in
// use, and returns the limit that then holds and what was logged.
func guarded(t *testing.T, limit int64, live uint64) (int64, string) {
	t.Helper()
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Fatal("GOMEMLIMIT is set; the test needs the machine's own")
	}
	var log bytes.Buffer // Written by Run alone, and read when that has returned.
	var looks atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	held := int64(0)
	m := daemon.Memory{Limit: limit, Log: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Millisecond, Live: func() uint64 {
		if looks.Add(1) == 3 {
			held = debug.SetMemoryLimit(-1)
			cancel()
		}
		return live
	}}
	if err := m.Run(ctx); err != nil {
		t.Fatalf("Run = %v", err)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("after Run the limit is %d, want none", got)
	}
	return held, log.String()
}

func TestMemory_Limit(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		limit int64
		live  uint64
		want  int64
		warns bool
	}{
		{"little in use", 0, 100 * mib, daemon.DefaultMemory, false},
		{"much in use: the default is no obstacle", 0, 600 * mib, 1000 * mib, false},
		{"configured", 1024 * mib, 100 * mib, 1024 * mib, false},
		{"configured, and in the way", 256 * mib, 250 * mib, 256 * mib, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, log := guarded(t, c.limit, c.live)
			if got != c.want || (strings.Count(log, "memory_limit is near") == 1) != c.warns {
				t.Errorf("with %d in use the limit is %d, log %q, want %d and a warning: %v", c.live, got, log, c.want, c.warns)
			}
		})
	}
}

func TestMemory_LeavesTheEnvironmentsLimitAlone(t *testing.T) {
	before := debug.SetMemoryLimit(2 << 30)
	defer debug.SetMemoryLimit(before)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (daemon.Memory{Limit: 1 << 30, Log: slog.New(slog.DiscardHandler)}).Run(ctx); err != nil {
		t.Fatalf("Run = %v", err)
	}
	if got := debug.SetMemoryLimit(-1); got != 2<<30 {
		t.Errorf("the limit is %d, want the one that was set before", got)
	}
}
