package audit_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// What was signed and is not there any more is found by who signs next, also where the
// log was made anew and has grown since.
func TestKeeper_FindsWhatWasSignedAndIsGone(t *testing.T) {
	sg, v := key(t)
	for name, change := range map[string]func(*shelf){
		"its end was cut off": func(s *shelf) { s.records = s.records[:3] },
		"it was emptied":      func(s *shelf) { s.records = nil },
		"it was made anew, as long as it was": func(s *shelf) {
			s.records = nil
			tell(t, s, 6)
		},
		"it was made anew, and is longer": func(s *shelf) {
			s.records = nil
			tell(t, s, 9)
		},
		"the last one has other texts": func(s *shelf) {
			s.records[5] = []byte(string(shown(s.records[5])) + "\t{}")
		},
		"the last one has no texts any more": func(s *shelf) { s.records[5] = shown(s.records[5]) },
	} {
		s := signed(t, sg, v, 6, 6)
		change(s)
		k := &audit.Keeper{Store: s, Signer: sg, Keys: v, Log: slog.New(slog.DiscardHandler)}
		if err := k.Run(t.Context()); !errors.Is(err, audit.ErrTampered) || len(s.checkpoints) != 1 {
			t.Errorf("%s: Run = %v with %d checkpoints, want ErrTampered and no new one", name, err, len(s.checkpoints))
		}
		// Also at its end: whoever stops it hears of what it finds then.
		ctx, cancel := context.WithCancel(t.Context())
		s = signed(t, sg, v, 6, 6)
		k = &audit.Keeper{Store: s, Signer: sg, Keys: v, Log: slog.New(slog.DiscardHandler), Signed: func(int64) {
			change(s)
			cancel()
		}}
		if err := k.Run(ctx); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s as it ended: Run = %v, want ErrTampered", name, err)
		}
	}
}

// shown returns a stored record without its texts.
func shown(b []byte) []byte {
	if i := slices.Index(b, '\t'); i >= 0 {
		return b[:i]
	}
	return b
}
