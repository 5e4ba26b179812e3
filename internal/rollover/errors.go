package rollover

import (
	"errors"
	"fmt"
	"time"
)

// The sentinels. Each has a line in services/edge/status.go and in
// workers/rotator/settle.go.
var (
	// ErrNotFound: there is no such rotation, task, tenant or certificate.
	ErrNotFound = errors.New("not found")
	// ErrExists: what was to be created exists with other content.
	ErrExists = errors.New("already exists")
	// ErrConflict: a compare-and-swap was lost. Read again, then decide.
	ErrConflict = errors.New("changed since it was read")
	// ErrTooEarly: the old credential may not be removed yet.
	ErrTooEarly = errors.New("too early to retire")
	// ErrNoEvidence: there is no proof that the new credential is in place.
	ErrNoEvidence = errors.New("no evidence that the new credential is in place")
	// ErrState: the state of the rotation does not allow it.
	ErrState = errors.New("not allowed in this state")
	// ErrStalePlan: the digest names another plan than the one that is frozen.
	ErrStalePlan = errors.New("the plan is not the one that was shown")
	// ErrDeadline: the plan cannot be carried out until its stage deadline.
	ErrDeadline = errors.New("the deadline cannot be kept")
	// ErrSecondPerson: only somebody other than who asked for it may allow it.
	ErrSecondPerson = errors.New("a second person is needed")
	// ErrUnavailable: the store or broker cannot be reached now.
	ErrUnavailable = errors.New("unavailable")
	// ErrGone: the rotation was deleted, long after its end. It is an ErrNotFound.
	ErrGone = fmt.Errorf("deleted: %w", ErrNotFound)
	// ErrFull: a bound of the store is reached.
	ErrFull = errors.New("storage limit reached")
)

// FullError is an ErrFull of a bound on how many there may be, of which the caller can
// make room alone.
type FullError struct {
	Of  string // what there are too many of, such as target_sets
	Why string // a sentence for people
}

// Error returns the sentence.
func (e *FullError) Error() string { return e.Why }

// Unwrap returns ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

// StepError is what a driver says about a failed step. An error without a
// StepError in its chain means: try again.
type StepError struct {
	Outcome Outcome       // how the task ends; Open: try again
	Reason  Reason        //
	After   time.Duration // with Open: not before this long; 0: the engine's back-off
	// Throttle says that the host or the service held the step up. See [Throttled].
	Throttle Throttle
	Err      error
}

// Error returns the text of the cause with the reason before it.
func (e *StepError) Error() string {
	if e.Reason == NoReason {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Permanent says that trying again is useless: the task fails.
func Permanent(reason Reason, err error) error {
	return &StepError{Outcome: Failed, Reason: reason, Err: err}
}

// RetryAfter says that the step may be tried again, not before d has passed.
func RetryAfter(d time.Duration, err error) error { return &StepError{After: d, Err: err} }

// HandOver says that only the owner of the target can do this.
func HandOver(reason Reason, err error) error {
	return &StepError{Outcome: HandedOver, Reason: reason, Err: err}
}

// Changed says that the target is not what the plan was made from. Nothing was
// written.
func Changed(reason Reason, err error) error {
	return &StepError{Outcome: Conflict, Reason: reason, Err: err}
}

// ErrUnseen says that what a step expected to find on the target is not to be seen
// there, and that nothing was changed. With [Work.Careful] a driver returns it where
// its readings may be of a moment ago. It is believed when it is seen twice in a row,
// [DoubtPause] apart.
var ErrUnseen = errors.New("it is not to be seen there")

// DoubtPause is how long it takes until a target is read again that was not as
// expected.
const DoubtPause = 3 * time.Second
