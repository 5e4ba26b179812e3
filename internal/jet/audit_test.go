package jet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func auditOf(t *testing.T, b *jet.Broker) map[uint64]string {
	t.Helper()
	got := map[uint64]string{}
	err := b.AuditRecords(t.Context(), func(seq uint64, data []byte) error {
		got[seq] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Many tellers at once: each record is there once, and their sequences have no gap.
func TestAudit_ManyTellersAndNoGap(t *testing.T) {
	b := open(t, jet.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if last, err := b.AuditLast(ctx); err != nil || last != 0 {
		t.Errorf("AuditLast of an empty log = %d, %v, want 0", last, err)
	}
	const n = 500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for range 2 { // Told twice, as after a lost answer.
				if err := b.AppendAudit(ctx, fmt.Sprint("id-", i), []byte(fmt.Sprint("record ", i))); err != nil {
					t.Errorf("AppendAudit %d = %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	got := auditOf(t, b)
	if len(got) != n {
		t.Fatalf("%d records are there, want %d", len(got), n)
	}
	if last, err := b.AuditLast(ctx); err != nil || last != n {
		t.Errorf("AuditLast = %d, %v, want %d", last, err, n)
	}
	texts := map[string]bool{}
	for seq := uint64(1); seq <= n; seq++ {
		if got[seq] == "" || texts[got[seq]] {
			t.Fatalf("at sequence %d stands %q, want each record once and no gap", seq, got[seq])
		}
		texts[got[seq]] = true
	}
}

func TestAudit_CheckpointsFollowEachOther(t *testing.T) {
	b := open(t, jet.Config{Dir: t.TempDir()})
	one, err := b.AppendCheckpoint(t.Context(), 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AppendCheckpoint(t.Context(), 0, []byte("beside")); !errors.Is(err, rollover.ErrConflict) {
		t.Errorf("a second first checkpoint = %v, want ErrConflict", err)
	}
	if _, err := b.AppendCheckpoint(t.Context(), one, []byte("two")); err != nil {
		t.Errorf("the next checkpoint = %v", err)
	}
	var got []string
	err = b.AuditCheckpoints(t.Context(), func(_ uint64, data []byte) error {
		got = append(got, string(data))
		return nil
	})
	if err != nil || fmt.Sprint(got) != "[one two]" {
		t.Errorf("AuditCheckpoints = %q, %v", got, err)
	}
}

// A log goes on where it was after a restart, and what is behind a sequence is read
// alone.
func TestAudit_GoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, jet.Config{Dir: dir})
	for i := range 3 {
		if err := b.AppendAudit(t.Context(), fmt.Sprint(i), []byte{byte('a' + i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b = open(t, jet.Config{Dir: dir})
	if err := b.AppendAudit(t.Context(), "3", []byte("d")); err != nil {
		t.Fatal(err)
	}
	got := ""
	err := b.AuditRecordsAfter(t.Context(), 2, func(seq uint64, data []byte) error {
		got += fmt.Sprint(seq, string(data), " ")
		return nil
	})
	if err != nil || got != "3c 4d " {
		t.Errorf("records behind 2 = %q, %v", got, err)
	}
}

// A write that met the end of the disk leaves a sequence that no reader sees; here it is
// a message of another subject.
func TestAudit_CheckpointsGoOnBehindALostSequence(t *testing.T) {
	b := open(t, listening(t))
	last, err := b.AppendCheckpoint(t.Context(), 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	js := dialRaw(t, b.URL())
	s, err := js.Stream(t.Context(), "AUDITC")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Subjects = append(c.Subjects, "a.lost")
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "a.lost", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AppendCheckpoint(t.Context(), last, []byte("two")); err != nil {
		t.Errorf("AppendCheckpoint behind a lost sequence = %v, want nil", err)
	}
}
