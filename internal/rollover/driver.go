package rollover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"time"
)

// Driver changes one kind of credential at its targets. It knows the other
// side's protocol and nothing of queues, stores or the wire.
//
// Rules for every method:
//
//   - It may be called again after any other call, by another process, with the
//     first call's answer lost. It looks at the target before it writes and
//     finds what an earlier call did.
//   - A failed read is an error, never an empty answer.
//   - It touches no credential but Work.New (to add it, and to take it back where
//     it is ours) and those named in Work.Old (in Retire, and in Restore to add
//     them).
//   - ctx has a deadline. When ctx ends, no further write is begun.
//   - Errors are marked with [Permanent], [RetryAfter], [HandOver] or [Changed].
//     An unmarked one means "try again". No error holds a secret.
//   - It keeps no state that matters between calls. It is safe for concurrent
//     use; calls for one host do not overlap unless a lease was lost.
type Driver interface {
	// Observe reads what stands on the target now. Planning and checks for drift
	// use it.
	Observe(ctx context.Context, w Work) (Observation, error)

	// Stage makes Work.New stand on the target exactly once, beside what is
	// there. Before it writes it compares the target with Work.Observed and
	// returns [Changed] if they differ. Added reports that the credential is
	// there by this rotation's doing, also by an earlier call.
	Stage(ctx context.Context, w Work) (added bool, err error)

	// Verify reads the target anew and returns evidence that Work.New stands
	// there, byte for byte and with its dates, and that Work.Old still do.
	// Without that it returns an error.
	Verify(ctx context.Context, w Work) (Evidence, error)

	// Activate tells the sender to use the new credential. Kinds whose sender
	// switches by itself do nothing.
	Activate(ctx context.Context, w Work) error

	// Retire removes Work.Old and nothing else. It refuses with [ErrTooEarly]
	// before Work.RetireNotBefore plus Work.Margin by Work.Now, and with
	// [ErrNoEvidence] unless Work.New stands on the target and is valid. Gone
	// already is success; with Work.Careful it may be [ErrUnseen]. It returns the
	// SHA-256 of all of Work.Old that are gone when it ends.
	Retire(ctx context.Context, w Work) (removed []string, err error)

	// Restore puts back each of Work.Restore exactly as it is there: bytes, dates,
	// name and use. It adds what is missing and nothing else, touches nothing that
	// stands, and reads back what it added. A copy that somebody else has put back
	// counts as put back. It refuses, before it writes anything, where none of
	// what is to be put back or stands of Work.Old is valid at Work.Now. There
	// already is success.
	Restore(ctx context.Context, w Work) error

	// Undo goes back: it removes Work.New if, and only if, this rotation added
	// it, and some other credential of the target is valid; where Work.Old names
	// any, one of those, and where it names none, what stood there at planning or a
	// valid one of the same subject. Gone already is success; with Work.Careful it
	// may be [ErrUnseen].
	Undo(ctx context.Context, w Work) error
}

// SelfSwitching is what a [Driver] may implement besides, if its senders switch to
// the new credential by themselves.
type SelfSwitching interface {
	// SelfSwitching reports that Activate makes no call and changes nothing. The
	// task then needs no record between Verify and Activate, and is saved once for
	// both.
	SelfSwitching() bool
}

// Work is what a driver is told about one task.
type Work struct {
	Rotation        string        // id; marks what we add as ours
	Tenant          string        // whose management access is used
	Target          Target        //
	Careful         bool          // what is to be removed, or may have been added before, should be there: see ErrUnseen
	New             Credential    // with its bytes
	Old             []Credential  // named by the plan; may be empty
	Restore         []Standing    // with their bytes: what Restore puts back; a copy is there twice if it stood twice
	Observed        string        // Observation.Digest at planning; empty: do not compare
	RetireNotBefore time.Time     // zero: Retire refuses
	Margin          time.Duration //
	Now             time.Time     // the engine's clock when the step began
}

// Standing is one credential found on a target.
type Standing struct {
	Credential           // with its bytes
	Start, End time.Time // dates that the target keeps for it; may lie within the certificate's
	Reserved   bool      // the other side forbids changing it
	Mark       string    // rotation id that added it; empty: not ours
	Name       string    // what the target calls it, for people
	Usage      string    // what the target keeps it for, in its own words
}

// Observation is what stood on a target when it was read: credentials of the
// driver's own kind only, in any order.
type Observation struct {
	Standing []Standing
}

// Find returns the standing credential with that SHA-256.
func (o Observation) Find(sha string) (Standing, bool) {
	for _, s := range o.Standing {
		if s.SHA256 == sha {
			return s, true
		}
	}
	return Standing{}, false
}

// Digest names what stands on the target, apart from the credential with SHA-256
// except, so that the same target gives the same digest before and after
// staging. It is lower-case hex of SHA-256 over one line a credential, sorted.
func (o Observation) Digest(except string) string {
	lines := make([]string, 0, len(o.Standing))
	for _, s := range o.Standing {
		if s.SHA256 == except {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %d %d\n", s.SHA256, s.Start.Unix(), s.End.Unix()))
	}
	sort.Strings(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ReadyToRetire returns nil if, going by the target as observed at now, w.Old
// may be removed: the time has come, the new credential stands there and is
// valid, with its own bytes and dates that include now. Drivers call it right
// before they delete, and after reading the target anew.
func (w Work) ReadyToRetire(o Observation) error {
	if w.RetireNotBefore.IsZero() || w.Now.Before(w.RetireNotBefore.Add(w.Margin)) {
		return fmt.Errorf("retiring on %s at %s, allowed from %s with a margin of %s: %w",
			w.Target, w.Now.UTC().Format(time.RFC3339), w.RetireNotBefore.UTC().Format(time.RFC3339), w.Margin, ErrTooEarly)
	}
	s, ok := o.Find(w.New.SHA256)
	switch {
	case !ok:
		return fmt.Errorf("new credential %s is not on %s: %w", w.New.SHA1, w.Target, ErrNoEvidence)
	case string(s.DER) != string(w.New.DER):
		return fmt.Errorf("new credential %s on %s has other bytes: %w", w.New.SHA1, w.Target, ErrNoEvidence)
	case !w.New.ValidAt(w.Now) || w.Now.Before(s.Start) || !w.Now.Before(s.End):
		return fmt.Errorf("new credential %s on %s is not valid at %s: %w", w.New.SHA1, w.Target, w.Now.UTC().Format(time.RFC3339), ErrNoEvidence)
	}
	return nil
}
