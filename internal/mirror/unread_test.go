package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// A rotation whose plan is damaged is not there without a word: whoever asks for it is
// not told that there is none, the log and a number say so, and when the store was mended
// it is back, with all that happened meanwhile.
func TestRun_ADamagedPlanIsToldAndReadOnceItIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, r := open(t, 3)
		b := behind{s, &atomic.Int32{}}
		b.left.Store(1 << 30)
		var log bytes.Buffer
		m := mirror.New(b, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		<-m.Ready()
		<-time.After(time.Hour)
		synctest.Wait()
		if _, err := m.Rotation(t.Context(), r.ID); err == nil || errors.Is(err, rollover.ErrNotFound) || !strings.Contains(err.Error(), "the plan of rotation r1 cannot be read") {
			t.Errorf("Rotation = %v, want that its plan cannot be read", err)
		}
		if n, listed := m.Unread(), m.Rotations(); n != 1 || len(listed) != 0 {
			t.Errorf("Unread = %d, %d listed, want 1 and none", n, len(listed))
		}
		save(t, s, 1, rollover.Staged, rollover.Open)
		started, err := r.Start(r.Digest, rollovertest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if started, err = s.SaveRotation(t.Context(), started); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.left.Store(0)
		<-time.After(time.Minute)
		synctest.Wait()
		v, err := m.Rotation(t.Context(), r.ID)
		if err != nil || v.Rotation.Rev != started.Rev || v.Counts.Total != 3 || v.Counts.Phases[rollover.Staged] != 1 || m.Unread() != 0 {
			t.Errorf("Rotation = %+v, %v, %d unread, want the newest record with one task staged", v, err, m.Unread())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's end", err)
		}
		if n := strings.Count(log.String(), "a plan cannot be read"); n != 1 || !strings.Contains(log.String(), "a plan can be read again") {
			t.Errorf("the log is %s, want one line of each", log.String())
		}
	})
}

// A rotation that cannot be read and is deleted is no longer one that cannot be read.
func TestRun_ADamagedRotationThatIsDeletedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, r := open(t, 3)
		b := behind{s, &atomic.Int32{}}
		b.left.Store(1 << 30)
		m := mirror.New(b, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		<-m.Ready()
		r.State, r.Gone = rollover.StateCancelled, time.Now()
		if _, err := s.SaveRotation(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if _, err := m.Rotation(t.Context(), r.ID); !errors.Is(err, rollover.ErrNotFound) || m.Unread() != 0 {
			t.Errorf("Rotation = %v, %d unread, want that it is not there", err, m.Unread())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's end", err)
		}
	})
}
