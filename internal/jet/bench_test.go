package jet_test

import (
	"sync"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// BenchmarkSaveTask writes with 256 callers at once, as many rotators do.
func BenchmarkSaveTask(b *testing.B) {
	cert := newCert(b)
	s := open(b, config(b, cert))
	b.ResetTimer()
	var wg sync.WaitGroup
	const callers = 256
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := c; i < b.N; i += callers {
				k := rollover.Task{ID: rollover.TaskID{Rotation: "r1", Ord: i}}
				k.Phase = rollover.Staged
				if _, err := s.SaveTask(b.Context(), k); err != nil {
					b.Errorf("SaveTask = %v", err)
					return
				}
			}
		}()
	}
	wg.Wait()
}
