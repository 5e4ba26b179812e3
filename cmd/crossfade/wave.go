package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// strategy reads the flags about waves; nothing said is the service's default.
func (f rotateFlags) strategy() (*crossfadev1.Strategy, error) {
	if f.start == "" && len(f.waves) == 0 && f.bake == 0 {
		return nil, nil
	}
	s := &crossfadev1.Strategy{}
	switch f.start {
	case "":
	case "slow":
		s.Start = crossfadev1.Strategy_START_SLOW
	case "full":
		s.Start = crossfadev1.Strategy_START_FULL
	default:
		return nil, usage("--start %q: want slow or full", f.start)
	}
	if f.bake != 0 {
		s.BakeTime = durationpb.New(f.bake)
	}
	for _, text := range f.waves {
		n, percent, ok := share(text)
		switch {
		case !ok || n == 0:
			return nil, usage("--wave %q: want a number of tasks such as 50, or a percentage from 1%% to 100%%", text)
		case percent:
			s.Waves = append(s.Waves, &crossfadev1.WaveSize{Size: &crossfadev1.WaveSize_Percent{Percent: n}})
		default:
			s.Waves = append(s.Waves, &crossfadev1.WaveSize{Size: &crossfadev1.WaveSize_Tasks{Tasks: n}})
		}
	}
	return s, nil
}

// wavesText is the sizes of all waves, or empty where there are none.
func wavesText(r *crossfadev1.Rotation) string {
	sizes := make([]string, len(r.GetWaveSizes()))
	for i, n := range r.GetWaveSizes() {
		sizes[i] = fmt.Sprint(n)
	}
	s := strings.Join(sizes, ", ")
	if d := r.GetSpec().GetStrategy().GetBakeTime(); d != nil && s != "" {
		s += fmt.Sprintf(" tasks, with %s between them", d.AsDuration())
	}
	return s
}

// waveText is the wave in progress, or empty.
func waveText(r *crossfadev1.Rotation) string {
	w := r.GetWave()
	if w == nil {
		return ""
	}
	s := fmt.Sprintf("%d of %d: %d of %d done, %d failed, %d tolerated",
		w.GetNumber(), len(r.GetWaveSizes()), w.GetDone(), w.GetTasks(), w.GetFailed(), w.GetTolerated())
	if w.GetBakeUntil() != nil {
		s += ", the next at " + instant(w.GetBakeUntil())
	}
	return s
}
