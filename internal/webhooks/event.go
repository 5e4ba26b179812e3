package webhooks

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The types of events. A rotation is told of in the order in which they happened,
// but one that began and ended between two looks may be left out.
const (
	Created       = "rotation.created"          // it was accepted; planning has begun
	Planned       = "rotation.planned"          // its plan is frozen and waits to be started
	NeedsApproval = "rotation.needs_approval"   // a second person's word is waited for
	Started       = "rotation.started"          //
	Paused        = "rotation.paused"           // by a person, a tolerance or a gate; see why
	Resumed       = "rotation.resumed"          //
	AtRisk        = "rotation.deadline_at_risk" // its stage deadline is at risk, or was missed
	Overlap       = "rotation.overlap_begun"    // old and new certificates stand everywhere
	Retiring      = "rotation.retiring"         // old certificates are being removed
	Undoing       = "rotation.undoing"          // what it did is being taken back
	Cancelling    = "rotation.cancelling"       // nothing new is begun
	Ended         = "rotation.ended"            // with its counts
	Test          = "crossfade.test"            // of "crossfade webhook test"; never by itself
)

// Types lists the types that a configuration may name.
func Types() []string {
	return []string{Created, Planned, NeedsApproval, Started, Paused, Resumed, AtRisk, Overlap, Retiring, Undoing, Cancelling, Ended}
}

// told is how far the telling of one rotation to one webhook has come. Its fields
// are what was last told, or passed over.
type told struct {
	Created   bool                   `json:"created,omitempty"`
	Planned   bool                   `json:"planned,omitempty"`
	Approval  bool                   `json:"approval,omitempty"`
	PlanOf    string                 `json:"plan_of,omitempty"` // digest of the plan whose approval was told; "": of any
	Started   bool                   `json:"started,omitempty"`
	Overlap   bool                   `json:"overlap,omitempty"`
	Retiring  bool                   `json:"retiring,omitempty"`
	AtRisk    time.Time              `json:"at_risk,omitzero"` // since when it was, when it was told
	State     rollover.RotationState `json:"state,omitempty"`
	EndedAt   time.Time              `json:"ended_at,omitzero"` // the end that was told
	PausedWhy string                 `json:"paused_why,omitempty"`
}

// sight is a rotation as it is looked at to tell of it.
type sight struct {
	mirror.View
	approvers int // how many others the rules want for its start, while it waits to be started
}

// caughtUp returns what has been told to one who knows v.
func caughtUp(v sight) told {
	var t told
	for {
		_, next, ok := t.next(v)
		if !ok {
			return t
		}
		t = next
	}
}

// step is an event that is to be told.
type step struct {
	kind string
	at   time.Time
	why  string // of a pause
}

// next returns the earliest event of v that t does not know, and what is told then.
// It is a pure function; the same v gives none in the end.
func (t told) next(v sight) (step, told, bool) {
	r := v.Rotation
	switch {
	case !t.Created:
		t.Created, t.State = true, rollover.StatePlanning
		return step{kind: Created, at: r.CreatedAt}, t, true
	case !t.Planned && !r.PlannedAt.IsZero():
		t.Planned, t.State = true, rollover.StatePlanned
		return step{kind: Planned, at: r.PlannedAt}, t, true
	case (!t.Approval || t.PlanOf != "" && t.PlanOf != r.Digest) && v.awaitsApproval():
		t.Approval, t.PlanOf = true, r.Digest
		return step{kind: NeedsApproval, at: r.PlannedAt}, t, true
	case !t.Started && !r.StartedAt.IsZero():
		t.Started, t.State = true, rollover.StateRunning
		return step{kind: Started, at: r.StartedAt}, t, true
	case !r.AtRiskSince.IsZero() && !r.AtRiskSince.Equal(t.AtRisk):
		t.AtRisk = r.AtRiskSince
		return step{kind: AtRisk, at: r.AtRiskSince}, t, true
	case !t.Overlap && t.Started && (r.Phase == rollover.PhaseOverlap || r.Phase == rollover.PhaseRetire):
		t.Overlap = true
		return step{kind: Overlap, at: r.UpdatedAt}, t, true
	case !t.Retiring && t.Started && r.Phase == rollover.PhaseRetire:
		t.Retiring = true
		return step{kind: Retiring, at: r.UpdatedAt}, t, true
	}
	return t.turned(v)
}

// turned returns what a change of the state tells, once all is told that happens
// once.
func (t told) turned(v sight) (step, told, bool) {
	r := v.Rotation
	if r.State == rollover.StatePaused {
		why := whyPaused(r)
		if t.State == r.State && t.PausedWhy == why {
			return step{}, t, false
		}
		t.State, t.PausedWhy = r.State, why
		return step{kind: Paused, at: r.UpdatedAt, why: why}, t, true
	}
	if r.State.Ended() {
		// Tasks that are still being ended are waited for, so that the counts are final.
		if v.Counts.OpenTasks > 0 || (t.State == r.State && t.EndedAt.Equal(r.EndedAt)) {
			return step{}, t, false
		}
		t.State, t.EndedAt = r.State, r.EndedAt
		return step{kind: Ended, at: r.EndedAt}, t, true
	}
	if t.State == r.State {
		return step{}, t, false
	}
	before := t.State
	t.State = r.State
	switch {
	case r.State == rollover.StateUndoing && before == rollover.StatePaused:
		return step{kind: Resumed, at: r.UpdatedAt}, t, true
	case r.State == rollover.StateUndoing:
		return step{kind: Undoing, at: r.UpdatedAt}, t, true
	case r.State == rollover.StateCancelling:
		return step{kind: Cancelling, at: r.UpdatedAt}, t, true
	case r.State == rollover.StateRunning:
		return step{kind: Resumed, at: r.UpdatedAt}, t, true // Also after a retry.
	}
	return step{}, t, false
}

// awaitsApproval reports whether others' word would let the rotation be started or go
// on, or bring its retirement forward.
func (v sight) awaitsApproval() bool {
	r := v.Rotation
	if r.Digest == "" || r.State.Ended() {
		return false
	}
	if r.Spec.Incident != nil && r.Approval.At.IsZero() {
		return true
	}
	// Whose word holds is asked as of the record's last change: its times are those of
	// the service's clock, and an approval that has ended since is waited for again only
	// when somebody tries to start.
	return r.State == rollover.StatePlanned && len(r.Consents(rollover.ActStart, "", r.UpdatedAt, rollover.People{})) < v.approvers
}

// whyPaused says why in one word. What people wrote is not told: it may name a
// tenant.
func whyPaused(r rollover.Rotation) string {
	switch {
	case r.TenantHeld:
		return "tenant_tolerance_exceeded"
	case r.Exceeded:
		return "tolerance_exceeded"
	case r.Gate.Result == rollover.GateFail:
		return "gate_failed"
	case r.Gate.Result == rollover.GateInconclusive:
		return "gate_inconclusive"
	default:
		return "requested"
	}
}

// maxName bounds the display name in an event, in bytes.
const maxName = 256

// message is the body of a webhook, in the form of Standard Webhooks.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when it happened
	Data      data      `json:"data"`
}

// data says how the rotation stands when the event is told. No tenant, host or text
// that people wrote is in it but the rotation's own display name.
type data struct {
	Rotation        string         `json:"rotation,omitempty"` // "rotations/…"
	DisplayName     string         `json:"display_name,omitempty"`
	State           string         `json:"state,omitempty"`
	Phase           string         `json:"phase,omitempty"`
	Why             string         `json:"why,omitempty"` // of a pause
	StageDeadline   time.Time      `json:"stage_deadline,omitzero"`
	RetireNotBefore time.Time      `json:"retire_not_before,omitzero"`
	Targets         int            `json:"targets,omitempty"`
	Open            int            `json:"open,omitempty"`
	Outcomes        map[string]int `json:"outcomes,omitempty"`
}

// body returns what is sent for an event of v.
func (s step) body(v mirror.View) ([]byte, error) {
	r := v.Rotation
	d := data{
		Rotation: "rotations/" + r.ID, DisplayName: r.DisplayName[:min(len(r.DisplayName), maxName)], State: string(r.State), Phase: string(r.Phase),
		Why: s.why, StageDeadline: r.Spec.StageDeadline, RetireNotBefore: r.Spec.RetireNotBefore,
		Targets: v.Counts.Total, Open: v.Counts.OpenTasks,
	}
	for o, n := range v.Counts.Outcomes {
		if n == 0 || o == rollover.Open {
			continue
		}
		if d.Outcomes == nil {
			d.Outcomes = map[string]int{}
		}
		d.Outcomes[string(o)] = n
	}
	b, err := json.Marshal(message{Type: s.kind, Timestamp: s.at.UTC(), Data: d})
	if err != nil {
		return nil, fmt.Errorf("encoding an event: %w", err)
	}
	return b, nil
}
