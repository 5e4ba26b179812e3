package rollover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// DriftKind says what is other on a target than the rotation left it.
type DriftKind string

// The kinds of drift.
const (
	DriftNewMissing      DriftKind = "new_missing"       // the new credential is gone
	DriftNewAltered      DriftKind = "new_altered"       // it stands with other dates
	DriftOldBack         DriftKind = "old_back"          // what the rotation removed stands again
	DriftOldMissingEarly DriftKind = "old_missing_early" // an old one is gone before the rotation removed it
	DriftForeignAdded    DriftKind = "foreign_added"     // one stands that did not at planning and that no rotation added
	DriftOthersChanged   DriftKind = "others_changed"    // those that stood at planning do not all stand as they did
	DriftUnreadable      DriftKind = "unreadable"        // the target could not be read; nothing is known
)

// DriftKinds lists every kind, in the order of reports.
func DriftKinds() []DriftKind {
	return []DriftKind{
		DriftNewMissing, DriftNewAltered, DriftOldBack, DriftOldMissingEarly, DriftForeignAdded, DriftOthersChanged, DriftUnreadable,
	}
}

// Repairable reports whether a new rotation over the target mends it. It adds
// what is missing and removes what was named; it never rewrites a credential that
// stands, and never touches what is not its own.
func (k DriftKind) Repairable() bool { return k == DriftNewMissing || k == DriftOldBack }

// Hint tells a person what to do about a kind: a sentence.
func (k DriftKind) Hint() string {
	switch k {
	case DriftNewMissing:
		return "Find out who removed the new certificate, then rotate the drifted targets again."
	case DriftNewAltered:
		return "Nobody rewrites a certificate that stands: remove it by hand, check again, and rotate the drifted targets."
	case DriftOldBack:
		return "Find out who put the old certificate back and whether a sender still needs it, then rotate the drifted targets with the same replaces."
	case DriftOldMissingEarly:
		return "Senders that have not switched are refused now: ask the owner of the namespace to put the old certificate back."
	case DriftForeignAdded:
		return "Ask the owner of the namespace whose certificate it is; whoever has its key can sign in."
	case DriftOthersChanged:
		return "Compare the identity's certificates with what its owner expects; one of the others was removed or altered."
	case DriftUnreadable:
		return "Mend the access to the namespace, then check again; until then nothing is known of this target."
	default:
		return ""
	}
}

// Drift is one thing that is other. The hashes and the subject name the credential
// that it is about; they are empty where none can be named.
type Drift struct {
	Kind    DriftKind `json:"kind"`
	SHA256  string    `json:"sha256,omitempty"`
	SHA1    string    `json:"sha1,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Detail  string    `json:"detail,omitempty"` // a sentence for people; never a secret
	Since   time.Time `json:"since,omitzero"`   // the first check without a break that saw it
}

// maxSubject bounds what is kept of a credential's subject, in bytes: whoever made
// a foreign one chose it.
const maxSubject = 200

// about returns a drift of a credential.
func about(k DriftKind, c Credential, format string, args ...any) Drift {
	if len(c.Subject) > maxSubject {
		c.Subject = strings.ToValidUTF8(c.Subject[:maxSubject], "") + "…"
	}
	return Drift{Kind: k, SHA256: c.SHA256, SHA1: c.SHA1, Subject: c.Subject, Detail: fmt.Sprintf(format, args...)}
}

// Look is what a check knows of one target.
type Look struct {
	Task             // as stored; Orders.New carries bytes
	Now  Observation // as just read
	// Rotation finds another rotation by the mark that it leaves, and reports
	// false where there is none.
	Rotation func(id string) (Rotation, bool)
}

// maxDrifts bounds how many drifts of one target are kept.
const maxDrifts = 12

// Drifts says what is other on the target than this rotation left it. What other
// rotations did there is no drift: what a later one put in place of ours, and what
// any of them added.
func (l Look) Drifts() []Drift {
	out := slices.Concat(l.newDrift(), l.oldDrift(), l.otherDrift())
	if n := len(out); n > maxDrifts {
		out = out[:maxDrifts]
		out[maxDrifts-1].Detail += fmt.Sprintf(" (and %d more like it)", n-maxDrifts)
	}
	return out
}

// another returns the rotation by whose doing a credential stands there: another
// than ours, known, and with that very credential as its new one. A mark alone
// proves nothing, since whoever has access can write one.
func (l Look) another(s Standing) (Rotation, bool) {
	if s.Mark == "" || s.Mark == l.ID.Rotation || l.Rotation == nil {
		return Rotation{}, false
	}
	r, ok := l.Rotation(s.Mark)
	return r, ok && r.Spec.New.SHA256 == s.SHA256
}

// later returns the rotations after ours whose new credentials, others than ours,
// stand on the target. Ids sort by age.
func (l Look) later() []Rotation {
	var out []Rotation
	for _, s := range l.Now.Standing {
		if r, ok := l.another(s); ok && r.ID > l.ID.Rotation && s.SHA256 != l.Orders.New.SHA256 {
			out = append(out, r)
		}
	}
	return out
}

// replaced reports whether a later rotation was told to remove c.
func (l Look) replaced(c Credential) bool {
	o := Observation{Standing: []Standing{{Credential: c}}}
	return slices.ContainsFunc(l.later(), func(r Rotation) bool { return len(r.Spec.ToRetire(o)) > 0 })
}

func (l Look) newDrift() []Drift {
	want := l.Orders.New
	var altered *Standing
	for _, s := range l.Now.Standing {
		switch {
		case s.SHA256 != want.SHA256:
		case string(s.DER) == string(want.DER) && sameDates(s, want):
			return nil // One good copy is enough, whatever else stands.
		default:
			altered = &s
		}
	}
	switch {
	case altered != nil:
		return []Drift{about(DriftNewAltered, want, "the new certificate is kept from %s to %s, its own dates are %s to %s",
			stamp(altered.Start), stamp(altered.End), stamp(want.NotBefore), stamp(want.NotAfter))}
	case l.replaced(want):
		return nil
	default:
		return []Drift{about(DriftNewMissing, want, "the new certificate is not there any more")}
	}
}

func (l Look) oldDrift() []Drift {
	var out []Drift
	for _, sha := range l.Removed {
		s, back := l.Now.Find(sha)
		if !back {
			continue
		}
		if _, ok := l.another(s); !ok {
			out = append(out, about(DriftOldBack, s.Credential, "the old certificate was removed by this rotation and stands again"))
		}
	}
	if l.Outcome != Open {
		return out // Nobody waits for the old ones any more.
	}
	for _, c := range l.Item.Retire {
		if _, stands := l.Now.Find(c.SHA256); !stands && !slices.Contains(l.Removed, c.SHA256) && !l.replaced(c) {
			out = append(out, about(DriftOldMissingEarly, c, "the old certificate is gone before this rotation removed it"))
		}
	}
	return out
}

// otherDrift compares the credentials that are neither new nor old with those that
// stood at planning. Of these only a digest is known, so it looks for those that
// have to be left out for the digest to come out right: they were added.
// Where a later rotation has been at work its own check compares.
func (l Look) otherDrift() []Drift {
	if len(l.later()) > 0 {
		return nil
	}
	added, ok := l.added()
	if !ok {
		return []Drift{{Kind: DriftOthersChanged, Detail: "besides the new and the old certificate there are not those that stood at planning: one was removed or altered, or more were added than can be told apart"}}
	}
	var out []Drift
	for _, s := range added {
		if _, theirs := l.another(s); !theirs {
			out = append(out, about(DriftForeignAdded, s.Credential, "this certificate did not stand there at planning, and no rotation added it"))
		}
	}
	return out
}

// maxGuesses bounds how many sets of credentials are tried for one target: all
// sets of eleven, and of more the smallest and the largest.
const maxGuesses = 2048

// added returns the standing credentials without which the target is as at
// planning, and false if none such are found.
func (l Look) added() ([]Standing, bool) {
	var rest []Standing
	for _, s := range l.Now.Standing {
		if s.SHA256 != l.Orders.New.SHA256 && !l.old(s.SHA256) {
			rest = append(rest, s)
		}
	}
	olds := l.oldsAtPlanning()
	guesses := 0
	for _, size := range fromBothEnds(len(rest)) {
		pick := make([]int, size)
		for i := range pick {
			pick[i] = i
		}
		for more := true; more; more = nextPick(pick, len(rest)) {
			if guesses++; guesses > maxGuesses {
				return nil, false
			}
			kept, left := split(rest, pick)
			for _, old := range olds {
				o := Observation{Standing: slices.Concat(kept, old)}
				if o.Digest(l.Orders.New.SHA256) == l.Item.Observed {
					return left, true
				}
			}
		}
	}
	return nil, false
}

// fromBothEnds returns 0, n, 1, n-1, … until all of 0 to n were named: few are added
// as a rule, or few stood before.
func fromBothEnds(n int) []int {
	out := make([]int, 0, n+1)
	for low, high := 0, n; low <= high; low, high = low+1, high-1 {
		if out = append(out, low); high > low {
			out = append(out, high)
		}
	}
	return out
}

// old reports whether the plan names the credential as an old one.
func (l Look) old(sha string) bool {
	return slices.ContainsFunc(l.Item.Retire, func(c Credential) bool { return c.SHA256 == sha })
}

// oldsAtPlanning returns how the old credentials may have stood at planning: as
// they stand, or, where they are gone or have come back otherwise, with their own
// dates, in up to three copies.
func (l Look) oldsAtPlanning() [][]Standing {
	var now []Standing
	for _, s := range l.Now.Standing {
		if l.old(s.SHA256) {
			now = append(now, s)
		}
	}
	out := [][]Standing{}
	for _, keep := range []bool{true, false} {
		for copies := 1; copies <= 3; copies++ {
			var set []Standing
			if keep {
				set = slices.Clone(now)
			}
			asNow := len(set)
			for _, c := range l.Item.Retire {
				if keep && slices.ContainsFunc(now, func(s Standing) bool { return s.SHA256 == c.SHA256 }) {
					continue
				}
				for range copies {
					set = append(set, Standing{Credential: c, Start: c.NotBefore, End: c.NotAfter})
				}
			}
			if out = append(out, set); len(set) == asNow {
				break // More copies of none are none.
			}
		}
	}
	return out
}

// nextPick moves to the next set of len(pick) of n positions, in order, and
// reports false after the last.
func nextPick(pick []int, n int) bool {
	for i := len(pick) - 1; i >= 0; i-- {
		if pick[i] < n-len(pick)+i {
			pick[i]++
			for j := i + 1; j < len(pick); j++ {
				pick[j] = pick[j-1] + 1
			}
			return true
		}
	}
	return false
}

// split parts all into those that are not picked and those that are.
func split(all []Standing, pick []int) (kept, picked []Standing) {
	for i, s := range all {
		if slices.Contains(pick, i) {
			picked = append(picked, s)
		} else {
			kept = append(kept, s)
		}
	}
	return kept, picked
}

// KeepSince gives the drifts of a target that were seen before the instant at
// which they were seen first, and the others now.
func KeepSince(drifts, before []Drift, now time.Time) {
	for i, d := range drifts {
		drifts[i].Since = now
		for _, b := range before {
			if b.Kind == d.Kind && b.SHA256 == d.SHA256 && !b.Since.IsZero() {
				drifts[i].Since = b.Since
			}
		}
	}
}

// sameDates compares to the second: ACS keeps dates in a SQL type that rounds.
func sameDates(s Standing, c Credential) bool {
	return s.Start.Unix() == c.NotBefore.Unix() && s.End.Unix() == c.NotAfter.Unix()
}
