package rollovertest

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func activateCases() []driverCase {
	return []driverCase{
		{"a driver whose senders switch by themselves makes no call in activate", func(t *testing.T, b *bench) {
			d := b.Driver.(discreet).Driver
			if s, ok := d.(rollover.SelfSwitching); !ok || !s.SelfSwitching() {
				return // Its activation is a write like others, and saved as one.
			}
			b.stage(t, true)
			for _, call := range []string{"read", "write"} {
				b.Break(call, Lost)
				if err := d.Activate(t.Context(), b.w); err != nil {
					t.Errorf("Activate with its next %s lost = %v, want nil", call, err)
				}
				if err := d.Undo(t.Context(), b.w); err == nil {
					t.Errorf("the next %s was to break and did not: Activate made it", call)
				}
			}
			b.wantCount(t, "Activate", 1, 1)
		}},
	}
}
