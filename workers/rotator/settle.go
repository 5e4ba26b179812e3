package rotator

import (
	"context"
	"errors"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// verdict is what becomes of a nudge.
type verdict int

const (
	done  verdict = iota // it was looked at; the record says what is next
	again                // what came of it is not known; let it come back
	drop                 // it names nothing that exists
)

// patience is how often one nudge is delivered. The conductor sends a new one
// for whatever is still due, so that giving up here loses nothing and frees the
// host's slot.
const patience = 4

// settle is the one table from an error of the engine to the answer to the
// queue. A step that failed is no error here: it is in the record.
func settle(err error, delivered int) verdict {
	switch {
	case err == nil:
		return done
	case errors.Is(err, rollover.ErrNotFound):
		return drop
	case delivered >= patience:
		return done
	case errors.Is(err, rollover.ErrConflict), // another worker has it
		errors.Is(err, rollover.ErrUnavailable), errors.Is(err, rollover.ErrFull), // the store could not take the result
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // we are stopping, or lost the slot
		return again
	case errors.Is(err, rollover.ErrExists), errors.Is(err, rollover.ErrState), errors.Is(err, rollover.ErrStalePlan),
		errors.Is(err, rollover.ErrTooEarly), errors.Is(err, rollover.ErrNoEvidence), errors.Is(err, rollover.ErrUnseen), errors.Is(err, rollover.ErrDeadline), errors.Is(err, rollover.ErrSecondPerson):
		// The engine turns these into records; here they would be a bug, and
		// repeating a bug at once helps nobody.
		return done
	default:
		return again
	}
}
