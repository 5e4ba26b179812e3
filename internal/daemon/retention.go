package daemon

import (
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Retention says how long rotations are kept that have ended. All processes need
// the same: the one that leads deletes. None is deleted within a day of its end,
// within its undo window, or while a check of it runs or is to come.
type Retention struct {
	// For is how long after its end a rotation is kept, 24h to 87600h, or 0 for
	// whatever its age. Default 9600h, which is 400 days: an audit of a year finds
	// all of it.
	For time.Duration `yaml:"for"`
	// Max is how many rotations that have ended are kept, the latest, 1 to 1000000,
	// or 0 for whatever their number. Default 10000. Every process holds some 200
	// bytes in memory for each of their targets.
	Max int `yaml:"max"`
}

// The bounds of a Retention.
const (
	maxRetentionFor = 10 * 365 * 24 * time.Hour
	maxRetentionMax = 1_000_000
)

// Policy returns what the conductor is told.
func (r Retention) Policy() rollover.Retention { return rollover.Retention{For: r.For, Max: r.Max} }

func (k *checker) retention(r Retention) {
	if r.For != 0 && (r.For < rollover.MinKept || r.For > maxRetentionFor) {
		k.fail("retention.for", "want 24h to 87600h, or 0 to keep rotations whatever their age")
	}
	if r.Max < 0 || r.Max > maxRetentionMax {
		k.fail("retention.max", "want 1 to 1000000, or 0 to keep rotations whatever their number")
	}
}
