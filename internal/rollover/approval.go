package rollover

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Act is what others are asked to approve.
type Act string

// The acts.
const (
	ActStart       Act = "start"        // the plan is begun
	ActRetireEarly Act = "retire_early" // old credentials go earlier than the request says
	ActContain     Act = "contain"      // what is compromised goes with a shortened overlap
	ActUndo        Act = "undo"         // the rotation, or a part of it, is taken back
)

// Acts returns all acts.
func Acts() []Act { return []Act{ActStart, ActRetireEarly, ActContain, ActUndo} }

// ApprovalRule says when others are needed. Each condition that is set must hold.
type ApprovalRule struct {
	Acts       []Act    // for one of these; empty: for all
	MinTargets int      // where the act is about so many targets at least
	Clouds     []string // where one of its tenants is in one of these
	Incident   bool     // in an incident's rotation
	Retired    bool     // where old credentials are gone that an undo puts back
	Approvers  int      // how many, from 1
}

// ApprovalPolicy is when how many others must approve, and for how long their word
// holds. The zero policy needs nobody but where the room itself does: early removal is
// always somebody else's word too.
type ApprovalPolicy struct {
	Rules    []ApprovalRule
	ValidFor time.Duration // 0: [DefaultApprovalFor]
}

// DefaultApprovalFor is for how long an approval holds where nobody says.
const DefaultApprovalFor = 24 * time.Hour

// ApprovalCase is an act as rules look at it.
type ApprovalCase struct {
	Act      Act
	Targets  int
	Clouds   []string
	Incident bool
	Retired  bool
}

// Needed returns how many others must approve, by the rule that wants most of them.
func (p ApprovalPolicy) Needed(c ApprovalCase) int {
	need := 0
	if c.Act == ActRetireEarly || c.Act == ActContain {
		need = 1 // The promise not-before: only a second person can bring it forward.
	}
	for _, r := range p.Rules {
		if r.holds(c) {
			need = max(need, r.Approvers)
		}
	}
	return need
}

// AsksClouds reports whether a rule looks at clouds, which costs a look at all tenants.
func (p ApprovalPolicy) AsksClouds() bool {
	return slices.ContainsFunc(p.Rules, func(r ApprovalRule) bool { return len(r.Clouds) > 0 })
}

func (r ApprovalRule) holds(c ApprovalCase) bool {
	switch {
	case len(r.Acts) > 0 && !slices.Contains(r.Acts, c.Act),
		c.Targets < r.MinTargets,
		r.Incident && !c.Incident,
		r.Retired && !c.Retired,
		len(r.Clouds) > 0 && !slices.ContainsFunc(c.Clouds, func(have string) bool { return slices.Contains(r.Clouds, have) }):
		return false
	default:
		return true
	}
}

// Until returns when an approval of now ends.
func (p ApprovalPolicy) Until(now time.Time) time.Time {
	return now.Add(cmp.Or(p.ValidFor, DefaultApprovalFor))
}

// MaxApprovals bounds the approvals of one rotation that are kept: the latest.
const MaxApprovals = 64

// Subject names what, besides the plan, an act is about, so that an approval is for
// nothing else: the instant of an early removal, the scope of an undo.
func Subject(parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil { // Nothing that cannot be encoded is given.
		return "?" + err.Error()
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Consent returns r with an approval of an act. It must be by somebody other than the
// creator, for the plan that is frozen. The same person's word for the same act takes
// the place of the one before, so that nobody counts twice.
func (r Rotation) Consent(a Approval, p People) (Rotation, error) {
	verb := "approve"
	switch {
	case Nobody(a.By):
		return r, fmt.Errorf("approving rotation %s: say who you are: %w", r.ID, ErrSecondPerson)
	case Nobody(r.Creator):
		return r, fmt.Errorf("approving rotation %s: nobody is named as its creator: %w", r.ID, ErrSecondPerson)
	case p.same(a.who(), r.creator()):
		return r, fmt.Errorf("approving rotation %s: %s created it: %w", r.ID, r.Creator, ErrSecondPerson)
	case r.State == StatePlanning:
		return r, &StateError{verb, r.State, "wait until it is planned, and look at the plan"}
	case a.Act == ActStart && r.State != StatePlanned:
		return r, &StateError{verb, r.State, "it was started already, or will never be"}
	case a.Act == ActUndo && (r.State == StatePlanned || r.State == StateUndoing || r.State == StateUndone):
		return r, &StateError{verb, r.State, "there is nothing to take back now"}
	case a.Act != ActUndo && r.State != StatePlanned && r.State != StateRunning && r.State != StatePaused:
		return r, &StateError{verb, r.State, "nothing will be removed any more"}
	case a.Digest != r.Digest:
		return r, fmt.Errorf("plan digest %q, the frozen plan is %q: %w", a.Digest, r.Digest, ErrStalePlan)
	}
	kept := slices.DeleteFunc(slices.Clone(r.Approvals), func(b Approval) bool {
		return b.Act == a.Act && b.Subject == a.Subject && p.same(a.who(), b.who())
	})
	kept = append(kept, a)
	r.Approvals = kept[max(0, len(kept)-MaxApprovals):]
	r.UpdatedAt = a.At
	return r, nil
}

// Consents returns the approvals of an act that hold at now: for this very plan and
// subject, by people who are neither the creator nor who acts, each once, and who may
// still approve it.
func (r Rotation) Consents(act Act, subject string, now time.Time, p People) []Approval {
	var out []Approval
	for _, a := range r.Approvals {
		switch {
		case a.Act != act, a.Subject != subject, r.Digest == "", a.Digest != r.Digest,
			!now.Before(a.Until), a.At.Sub(now) > ClockDoubt,
			Nobody(a.By), p.same(a.who(), r.creator()), p.same(a.who(), p.Actor),
			slices.ContainsFunc(out, func(b Approval) bool { return p.same(a.who(), b.who()) }),
			p.Counts != nil && !p.Counts(a):
		default:
			out = append(out, a)
		}
	}
	return out
}

// ApprovalsError says that an act needs more people than have approved it.
type ApprovalsError struct {
	Act     Act
	Subject string
	Need    int
	Have    []Approval // that hold
}

// Error says how many are missing.
func (e *ApprovalsError) Error() string {
	if e.Need == 1 {
		return "this needs the approval of another person"
	}
	return fmt.Sprintf("this needs the approval of %d others; it has that of %d", e.Need, len(e.Have))
}

// Approved returns an [ApprovalsError] unless at least need others have approved the act
// that the actor of p is about to do.
func (r Rotation) Approved(act Act, subject string, need int, now time.Time, p People) error {
	if need <= 0 {
		return nil
	}
	have := r.Consents(act, subject, now, p)
	if len(have) >= need {
		return nil
	}
	return &ApprovalsError{act, subject, need, have}
}
