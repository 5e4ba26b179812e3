package conductor_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/workers/conductor"
)

var (
	retentionRotations = flag.Int("retention-rotations", 60, "finished rotations of TestRetention_KeepsStoreAndMemoryBounded")
	retentionKeep      = flag.Int("retention-keep", 10, "how many of them are kept")
)

// finished stores a rotation of n tasks that has succeeded.
func (h *house) finished(id string, n int) {
	h.t.Helper()
	ctx, now := h.t.Context(), h.clock.Now()
	r := rollovertest.NewRotation(id, h.fresh, now)
	r.Tenants, r.Spec.UndoWindow = 1, -1
	r, err := h.broker.CreateRotation(ctx, r, []string{"a"})
	if err != nil {
		h.t.Fatal(err)
	}
	plan := rollovertest.Plan(n)
	if r, err = r.Freeze(plan, now); err != nil {
		h.t.Fatal(err)
	}
	if r, err = h.broker.FreezePlan(ctx, r, plan); err != nil {
		h.t.Fatal(err)
	}
	if err = h.broker.SaveFinding(ctx, id, 0, rollover.Finding{V: 1, Tenant: "a"}); err != nil {
		h.t.Fatal(err)
	}
	ks := make([]rollover.Task, n)
	for i := range ks {
		if ks[i], err = h.broker.Task(ctx, rollover.TaskID{Rotation: id, Ord: i}); err != nil {
			h.t.Fatal(err)
		}
		ks[i].Phase, ks[i].Outcome, ks[i].UpdatedAt = rollover.Activated, rollover.Succeeded, now
	}
	if _, err = h.broker.SaveTasks(ctx, ks); err != nil {
		h.t.Fatal(err)
	}
	r.State, r.StartedAt, r.EndedAt, r.UpdatedAt = rollover.StateSucceeded, now, now, now
	if _, err = h.broker.SaveRotation(ctx, r); err != nil {
		h.t.Fatal(err)
	}
}

// retain starts a conductor that deletes.
func (h *house) retain(name string, p rollover.Retention, deleted func(int)) (stop func()) {
	m := mirror.New(h.broker, slog.New(slog.DiscardHandler))
	h.run("mirror of "+name, m.Run)
	c := conductor.New(conductor.Config{
		Store: h.broker, Mirror: m, Queue: h.queue, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
		Tick: 10 * time.Millisecond, Retention: p, Deleted: deleted,
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return h.broker.Elect(ctx, "conductor", name, 2*time.Second, lead)
		},
	})
	return h.run(name, c.Run)
}

// eventually waits until ok, at most a minute.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatalf("waiting until %s: it is not after a minute", what)
		}
	}
}

// onDisk returns what the files of the store take.
func (h *house) onDisk() int64 {
	h.t.Helper()
	var sum int64
	err := filepath.WalkDir(h.store, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err == nil {
			sum += i.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // The server removes files as it goes.
		h.t.Fatal(err)
	}
	return sum
}

// TestRetention_KeepsStoreAndMemoryBounded finishes rotations in waves and looks
// after each what the store and the heap hold.
func TestRetention_KeepsStoreAndMemoryBounded(t *testing.T) {
	h := newHouse(t, 0)
	total := 0
	deleted := make(chan int, 10*(*retentionRotations))
	h.retain("c1", rollover.Retention{Max: *retentionKeep}, func(n int) { deleted <- n })
	const waves, tasks = 10, 20
	each := max(1, *retentionRotations/waves)
	var bytes, disk, heap []int64
	for wave := range waves {
		for i := range each {
			h.finished(fmt.Sprintf("r%05d", wave*each+i), tasks)
		}
		total += each
		h.eventually("the mirror has heard of all", func() bool {
			_, err := h.mirror.Rotation(t.Context(), fmt.Sprintf("r%05d", total-1))
			return err == nil
		})
		h.advance(rollover.GoneFor + rollover.MinKept)
		h.eventually("the oldest are deleted", func() bool { return len(h.mirror.Rotations()) == min(total, *retentionKeep) })
		h.eventually("their data is gone", func() bool {
			u, err := h.broker.Usage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sum := u["STATE"].Bytes + u["ROT"].Bytes
			return sum < int64(*retentionKeep)*60_000+int64(each)*1000
		})
		u, err := h.broker.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		bytes, heap = append(bytes, u["STATE"].Bytes+u["ROT"].Bytes), append(heap, int64(m.HeapAlloc)) //nolint:gosec // Small.
		disk = append(disk, h.onDisk())
	}
	t.Logf("%d finished rotations of %d tasks, %d kept: bytes in the streams after each tenth %v, on the disk %v, heap %v", total, tasks, *retentionKeep, bytes, disk, heap)
	if last, first := bytes[waves-1], bytes[2]; last > 2*first+100_000 {
		t.Errorf("the store held %d bytes after %d rotations and %d after three tenths, want it bounded", last, total, first)
	}
	n := 0
	for len(deleted) > 0 {
		n += <-deleted
	}
	if want := total - min(total, *retentionKeep); n != want {
		t.Errorf("told of %d deleted rotations, want %d", n, want)
	}
	if _, err := h.broker.Rotation(t.Context(), "r00000"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rotation of the first = %v, want ErrNotFound", err)
	}
	if k, err := h.broker.Plan(t.Context(), fmt.Sprintf("r%05d", total-1), 0, tasks); err != nil || len(k) != tasks {
		t.Errorf("Plan of the last = %d items, %v, want %d", len(k), err, tasks)
	}
}

// TestRetention_HalfADeletionIsFinishedByTheSuccessor lets a conductor die after
// the record said that the rotation is gone.
func TestRetention_HalfADeletionIsFinishedByTheSuccessor(t *testing.T) {
	h := newHouse(t, 0)
	h.finished("r1", 30)
	h.eventually("the mirror has heard of it", func() bool {
		v, err := h.mirror.Rotation(t.Context(), "r1")
		return err == nil && v.Counts.Total == 30 && v.Rotation.State == rollover.StateSucceeded
	})
	w, err := h.mirror.Watch("r1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Forget(h.clock.Now()) })
	for err == nil { // A part of it may have been told already.
		_, err = w.Next(t.Context())
	}
	if !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Next of a deleted rotation = %v, want ErrNotFound", err)
	}
	if _, err := h.broker.CreateRotation(t.Context(), rollovertest.NewRotation("r1", h.fresh, h.clock.Now()), []string{"a"}); !errors.Is(err, rollover.ErrExists) {
		t.Errorf("CreateRotation of what was deleted = %v, want ErrExists", err)
	}
	h.retain("c2", rollover.Retention{Max: 1}, nil)
	h.eventually("its states are gone", func() bool {
		u, err := h.broker.Usage(t.Context())
		return err == nil && u["STATE"].Bytes == 0
	})
	h.advance(rollover.GoneFor + time.Hour)
	h.eventually("its record is gone", func() bool {
		u, err := h.broker.Usage(t.Context())
		return err == nil && u["ROT"].Bytes == 0
	})
	late := mirror.New(h.broker, slog.New(slog.DiscardHandler)) // One that comes later hears nothing of it.
	h.run("late mirror", late.Run)
	<-late.Ready()
	if n, g := len(late.Rotations()), late.Gone(); n != 0 || len(g) != 0 {
		t.Errorf("a late mirror has %d rotations and %v gone, want none", n, g)
	}
}
