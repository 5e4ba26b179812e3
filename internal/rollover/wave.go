package rollover

import (
	"fmt"
	"time"
)

// StartMode says how a rotation begins.
type StartMode string

// The start modes. With both, the first task is alone.
const (
	SlowStart StartMode = "slow" // waves of 1, 2, 4, … tasks, up to the first wave that was asked for
	FullStart StartMode = "full" // one task, and then the waves that were asked for
)

// Strategy says in which waves the tasks are begun. The zero Strategy has none;
// rotations from before there were waves have it.
type Strategy struct {
	Start StartMode     `json:"start,omitempty"`
	Waves []WaveSize    `json:"waves,omitempty"` // what they leave over is the last wave
	Bake  time.Duration `json:"bake,omitempty"`  // between the end of a wave and the next
	Order []OrderKey    `json:"order,omitempty"` // which tenants come first
	Gates []Gate        `json:"gates,omitempty"` // what must pass after each wave, one after the other
}

// WaveSize is the size of a wave.
type WaveSize struct {
	Size    int  `json:"size"`
	Percent bool `json:"percent,omitempty"` // Size is a percentage of the tasks to be worked on, rounded down, at least one task
}

func (w WaveSize) of(total int) int {
	n := w.Size
	if w.Percent {
		n = total * w.Size / 100
	}
	return max(1, n)
}

// Sizes returns how many of total tasks each wave has. They follow the plan's
// order.
func (s Strategy) Sizes(total int) []int {
	var sizes []int
	left := total
	add := func(n int) {
		if n = min(n, left); n > 0 {
			sizes, left = append(sizes, n), left-n
		}
	}
	if s.Start == "" {
		add(total)
		return sizes
	}
	add(1)
	if s.Start == SlowStart {
		upTo := total
		if len(s.Waves) > 0 {
			upTo = s.Waves[0].of(total)
		}
		for n := 2; n < upTo && left > 0; n *= 2 {
			add(n)
		}
	}
	for _, w := range s.Waves {
		add(w.of(total))
	}
	add(left)
	return sizes
}

// Wave is where a rotation stands in its waves.
type Wave struct {
	Number int       // of the wave in progress, from 1
	Of     int       // how many there are
	Size   int       // tasks of this wave
	Done   int       // those of them that are past their risk or have ended
	Budget           // of this wave
	Until  time.Time // the wave is done and bakes until then; zero: it does not
	end    int       // tasks of this wave and those before it
}

// Wave returns the wave in progress, going by the counts, and false where there
// is none: without waves, before the start, and from the overlap on.
func (r Rotation) Wave(c Counts) (Wave, bool) {
	if r.Spec.Strategy.Start == "" || (r.Phase != PhaseStage && r.Phase != PhaseVerify) {
		return Wave{}, false
	}
	sizes := r.Spec.Strategy.Sizes(c.Workable)
	if len(sizes) == 0 {
		return Wave{}, false
	}
	w := Wave{Number: min(max(1, r.WaveNumber), len(sizes)), Of: len(sizes), Until: r.BakeUntil}
	for _, n := range sizes[:w.Number] {
		w.end += n
	}
	w.Size = sizes[w.Number-1]
	// Nothing behind the wave was begun, so that all who are past lie in it or
	// before it.
	// Those of a tenant that is held are not waited for.
	past := c.Workable - c.Phases[Planned] - c.Phases[Staged] - c.Phases[Verified]
	w.Done = min(max(0, past+c.HeldInWave-(w.end-w.Size)), w.Size)
	w.Budget = Budget{
		What: fmt.Sprintf("wave %d of %d: ", w.Number, w.Of), Tolerance: r.Spec.Tolerance, Total: w.Size,
		Failed: max(0, c.Broken-max(still(r.WaveBase, c.Retried-r.WaveRetried), still(r.Accepted, c.Retried-r.Retried))),
	}
	return w, true
}

// NextWave returns r with its next wave opened, with the instant set until which
// the wave that is done bakes, or before its gate. After the last wave there are
// bake time and gate only where there is a gate, and something to be removed that
// it guards. It reports false while nothing is due.
func (r Rotation) NextWave(c Counts, now time.Time) (Rotation, bool) {
	w, ok := r.Wave(c)
	last := w.Number == w.Of
	switch {
	case !ok, r.State != StateRunning, w.Done < w.Size, w.Exceeded():
		return r, false
	case last && (len(r.Spec.Strategy.Gates) == 0 || !r.Spec.Retires() || c.Held > 0):
		return r, false
	case r.Spec.Strategy.Bake > 0 && r.BakeUntil.IsZero():
		r.BakeUntil = now.Add(r.Spec.Strategy.Bake)
	case now.Before(r.BakeUntil):
		return r, false
	case r.gated(w.Number) && r.Gate.Wave != w.Number:
		r = r.openGate(w.Number, now)
	case r.gated(w.Number), last:
		return r, false
	default:
		r.WaveNumber, r.WaveBase, r.WaveRetried, r.BakeUntil = w.Number+1, c.Broken, c.Retried, time.Time{}
		r.WaveAt = now
	}
	r.UpdatedAt = now
	return r, true
}
