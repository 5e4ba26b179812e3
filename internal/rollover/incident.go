package rollover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CompromisedSort says what the hash of something compromised names.
type CompromisedSort string

// The sorts: a certificate by one of its two thumbprints, or every certificate for
// a key.
const (
	CompromisedSHA256  CompromisedSort = "sha256"
	CompromisedSHA1    CompromisedSort = "sha1"
	CompromisedKeyHash CompromisedSort = "key_hash"
)

// Compromised is a certificate, or a key, that others may have got hold of.
type Compromised struct {
	Sort CompromisedSort `json:"sort"`
	Hash string          `json:"hash"` // lower-case hex
}

// String returns "<sort>:<hash>".
func (x Compromised) String() string { return string(x.Sort) + ":" + x.Hash }

// Incident makes a rotation one that gets rid of what is compromised: wherever it
// stands it is replaced, and nothing else is removed.
type Incident struct {
	Compromised []Compromised `json:"compromised"` // at least one
	// ShortenedOverlap is how long both stand once every target is verified and a
	// second person has approved. Zero: no longer than the margin.
	ShortenedOverlap time.Duration `json:"shortened_overlap,omitempty"`
	Summary          string        `json:"summary,omitempty"` // for people
}

// Verdict says whether something is compromised.
type Verdict int

// The verdicts.
const (
	Clean     Verdict = iota
	Undecided         // by its key it might be, and the key is not known
	Carried
)

// Judge says whether a certificate is compromised. key is its key hash, "" where
// it is not known.
func (i *Incident) Judge(sha256, sha1, key string) Verdict {
	out := Clean
	for _, x := range i.Compromised {
		switch {
		case x.Sort == CompromisedSHA256 && x.Hash == sha256,
			x.Sort == CompromisedSHA1 && x.Hash == strings.ToLower(sha1),
			x.Sort == CompromisedKeyHash && x.Hash == key && key != "":
			return Carried
		case x.Sort == CompromisedKeyHash && key == "":
			out = Undecided
		}
	}
	return out
}

// Names reports whether c, which comes with its bytes, is compromised. What cannot
// be read is only compromised by its thumbprint.
func (i *Incident) Names(c Credential) bool {
	if i == nil {
		return false
	}
	key := ""
	if i.byKey() {
		key, _ = KeyHash(c.DER) // Without it no key hash matches.
	}
	return i.Judge(c.SHA256, c.SHA1, key) == Carried
}

func (i *Incident) byKey() bool {
	return slices.ContainsFunc(i.Compromised, func(x Compromised) bool { return x.Sort == CompromisedKeyHash })
}

// Approval is another person's word for something that is not to be one person's.
type Approval struct {
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Reason    string    `json:"reason"`
	Digest    string    `json:"digest"` // of the plan that it is for
	RequestID string    `json:"request_id,omitempty"`
	Act       Act       `json:"act,omitempty"`     // what it is for; empty: [ActContain], as before there were others
	Subject   string    `json:"subject,omitempty"` // what of it, besides the plan; see [Subject]
	Until     time.Time `json:"until,omitzero"`    // it holds no longer
	Proven    string    `json:"proven,omitempty"`  // who By was proven to be; empty: the name was claimed
	Groups    string    `json:"groups,omitempty"`  // of Proven, by which it was theirs to approve; one a line
}

// Anonymous is who called where a caller does not say who it is.
const Anonymous = "anonymous"

// Nobody reports whether a caller's name names nobody.
func Nobody(name string) bool {
	name = strings.TrimSpace(name)
	return name == "" || strings.EqualFold(name, Anonymous)
}

// Approve returns r with the approval, which is to be made by somebody other than
// who created it, for the plan that was shown. It brings forward when the
// compromised credentials may be removed; see [Rotation.RetireNotBefore].
// Approving an approved rotation changes nothing, unless the approval before has
// ended and the rotation was not started by it.
func (r Rotation) Approve(a Approval, p People) (Rotation, error) {
	switch {
	case Nobody(a.By):
		return r, fmt.Errorf("approving rotation %s: say who you are: %w", r.ID, ErrSecondPerson)
	case Nobody(r.Creator):
		return r, fmt.Errorf("approving rotation %s: nobody is named as its creator: %w", r.ID, ErrSecondPerson)
	case p.same(a.who(), r.creator()):
		return r, fmt.Errorf("approving rotation %s: %s created it: %w", r.ID, r.Creator, ErrSecondPerson)
	case r.Spec.Incident == nil:
		return r, &StateError{"approve", r.State, "it needs no approval: it is not an incident's"}
	case r.State == StatePlanning:
		return r, &StateError{"approve", r.State, "wait until it is planned, and look at the plan"}
	case r.State != StatePlanned && r.State != StateRunning && r.State != StatePaused:
		return r, &StateError{"approve", r.State, "nothing will be removed any more"}
	case a.Digest != r.Digest:
		return r, fmt.Errorf("plan digest %q, the frozen plan is %q: %w", a.Digest, r.Digest, ErrStalePlan)
	case r.approved() && !r.lapsed(a.At):
		return r, nil
	}
	r.Approval, r.UpdatedAt = a, a.At
	return r, nil
}

// ended reports whether an approval holds no longer at now. Those of before there was
// an end had none written into them.
func (a Approval) ended(now time.Time) bool {
	until := a.Until
	if until.IsZero() {
		until = a.At.Add(DefaultApprovalFor)
	}
	return !a.At.IsZero() && !now.Before(until)
}

// lapsed reports whether r was approved too long ago to be started by that. One that
// runs keeps its approval: what it promised to whom watches it does not move back.
func (r Rotation) lapsed(now time.Time) bool {
	return r.State == StatePlanned && r.Approval.ended(now)
}

// approved reports whether a second person has approved this very plan.
func (r Rotation) approved() bool {
	return r.Spec.Incident != nil && !r.Approval.At.IsZero() && r.Digest != "" && r.Approval.Digest == r.Digest &&
		!Nobody(r.Approval.By) && !Nobody(r.Creator) && !strings.EqualFold(r.Approval.By, r.Creator)
}

// RetireNotBefore is the instant before which, and a [Margin] longer, nothing is
// removed; zero: nothing ever is. It is the one of the request. Where a second
// person has approved an incident's plan it is brought forward to the shortened
// overlap after the approval, and after all targets were verified, but never to
// before the new credential is valid. An approval never moves it back.
func (r Rotation) RetireNotBefore() time.Time {
	at := r.Spec.RetireNotBefore
	if r.Spec.Retires() && !r.Early.IsZero() && r.Early.Before(at) && !r.Early.Before(r.Spec.New.NotBefore) {
		at = r.Early
	}
	if !r.Spec.Retires() || !r.approved() {
		return at
	}
	from := r.Approval.At
	if r.OverlapAt.After(from) {
		from = r.OverlapAt
	}
	from = from.Add(r.Spec.Incident.ShortenedOverlap)
	if r.Spec.New.NotBefore.After(from) {
		from = r.Spec.New.NotBefore
	}
	if from.Before(at) {
		return from
	}
	return at
}

// Enter returns r in the phase that its tasks have come to. In an incident it is
// noted when the overlap began, which an approval counts from.
func (r Rotation) Enter(p RotationPhase, now time.Time) Rotation {
	if p == PhaseOverlap && r.Phase != PhaseOverlap && r.Spec.Incident != nil {
		r.OverlapAt = now
	}
	r.Phase, r.UpdatedAt = p, now
	return r
}

// Carriers are the targets of a plan by whether they still have a credential that
// is to be removed. They are folded from task states.
type Carriers struct {
	All  int // targets on which one was found
	Rid  int // of those: all that was to be removed is gone
	Lost int // of those that are not rid of it: their task has ended, and nothing more will happen
	// Dark are targets, and whole tenants, that planning could not read, so that
	// nobody knows whether they carry one.
	Dark  int
	RidAt time.Time // when the last of Rid got rid of it
}

// Contained reports whether nothing that is compromised stands anywhere.
func (c Carriers) Contained() bool { return c.Rid == c.All && c.Dark == 0 }

// Containment says how far an incident is contained.
type Containment struct {
	Carriers
	Begun     time.Time // when the rotation was created
	At        time.Time // when the last carrier was rid of it; zero: some still carry it, or might
	Elapsed   time.Duration
	Approval  Approval  // zero: nobody has approved
	NotBefore time.Time // see [Rotation.RetireNotBefore]; the margin is added to it
}

// Containment returns how far r, an incident's, is contained at now. Before there
// is a plan nothing is.
func (r Rotation) Containment(c Counts, now time.Time) Containment {
	if r.lapsed(now) {
		r.Approval = Approval{}
	}
	out := Containment{Carriers: c.Carriers, Begun: r.CreatedAt, NotBefore: r.RetireNotBefore()}
	if r.approved() {
		out.Approval = r.Approval
	}
	end := now
	if r.Digest != "" && c.Total == r.Tasks && c.Carriers.Contained() {
		if out.At = c.Carriers.RidAt; out.At.IsZero() { // Nothing carried it.
			out.At = r.PlannedAt
		}
		end = out.At
	} else if !r.EndedAt.IsZero() {
		end = r.EndedAt
	}
	out.Elapsed = max(0, end.Sub(out.Begun))
	return out
}

// meet counts a line of the plan.
func (c *Carriers) meet(it Item) {
	switch {
	case len(it.Retire) > 0:
		c.All++
	case it.Outcome == HandedOver, it.Outcome == Failed, it.Outcome == Skipped && it.Reason == Disabled:
		c.Dark++
	}
}

// carry counts a task that is to remove old credentials n times, n being 1 or -1.
func (c *Carriers) carry(old int, r Row, n int) {
	switch {
	case old == 0:
	case r.Outcome == Undone: // Taken back: the old ones stand, or were put back.
		c.Lost += n
	case len(r.Removed) >= old:
		c.Rid += n
		if n > 0 && r.UpdatedAt.After(c.RidAt) {
			c.RidAt = r.UpdatedAt
		}
	case r.Outcome != Open:
		c.Lost += n
	}
}
