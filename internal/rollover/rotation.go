package rollover

import (
	"fmt"
	"time"
)

// RotationState is where a rotation is in its life. The phase, which says what
// it is busy with, is separate.
type RotationState string

// The states of a rotation.
const (
	StatePlanning   RotationState = "planning"
	StatePlanned    RotationState = "planned"
	StateRunning    RotationState = "running"
	StatePaused     RotationState = "paused"
	StateCancelling RotationState = "cancelling"
	StateCancelled  RotationState = "cancelled"
	StateSucceeded  RotationState = "succeeded"
	StateFailed     RotationState = "failed"
	StateUndoing    RotationState = "undoing"
	StateUndone     RotationState = "undone"
)

// Ended reports whether nothing will happen any more.
func (s RotationState) Ended() bool {
	return s == StateCancelled || s == StateSucceeded || s == StateFailed || s == StateUndone
}

// RotationPhase is what a running rotation is busy with.
type RotationPhase string

// The phases of a rotation. Stage lasts until every open task is staged, Verify
// until every one is activated, Overlap until the old credentials may go.
const (
	PhaseNone    RotationPhase = ""
	PhaseStage   RotationPhase = "stage"
	PhaseVerify  RotationPhase = "verify"
	PhaseOverlap RotationPhase = "overlap"
	PhaseRetire  RotationPhase = "retire"
)

// RetirePolicy says who starts the removal of old credentials.
type RetirePolicy string

// The retire policies. Neither can make it happen before RetireNotBefore.
const (
	RetireAutomatic RetirePolicy = "automatic"  // as soon as it is allowed
	RetireOnRequest RetirePolicy = "on_request" // when asked, from when it is allowed
)

// Spec is what was asked for. It never changes once the rotation exists.
type Spec struct {
	Kind            string       `json:"kind"`
	New             Credential   `json:"new"`                         // named only; its bytes are in the certificate bucket
	Replaces        []string     `json:"replaces,omitempty"`          // SHA-256 or SHA-1 thumbprints, lower-case hex
	ReplacesSubject bool         `json:"replaces_subject,omitempty"`  // all that have the subject of New
	AllTenants      bool         `json:"all_tenants,omitempty"`       // every tenant of the inventory at creation
	Filter          string       `json:"filter,omitempty"`            // what selected the tenants at creation, where a filter did
	EndpointFilter  string       `json:"endpoint_filter,omitempty"`   // which of their endpoints; empty: all. Read by internal/filter
	TargetSet       string       `json:"target_set,omitempty"`        // id of the set that names tenants and endpoints; empty: none
	TargetSetDigest string       `json:"target_set_digest,omitempty"` // of its rows, so that no other set can take its place
	Identity        string       `json:"identity,omitempty"`          // overrides the tenants' identity names; empty: theirs
	RetireNotBefore time.Time    `json:"retire_not_before,omitzero"`  // zero: nothing is retired
	RetirePolicy    RetirePolicy `json:"retire_policy,omitempty"`
	MaxInFlight     int          `json:"max_in_flight"` // tasks released at once; at least 1
	MaxTries        int          `json:"max_tries"`     // tries within one step; at least 1
	Tolerance       Tolerance    `json:"tolerance,omitzero"`
	TenantTolerance Tolerance    `json:"tenant_tolerance,omitzero"` // of each tenant by itself; zero: none
	Strategy        Strategy     `json:"strategy,omitzero"`
	StageDeadline   time.Time    `json:"stage_deadline,omitzero"` // every target is to hold New by then; zero: none
	Schedule        Schedule     `json:"schedule,omitzero"`
	Reason          string       `json:"reason,omitempty"`
	Lane            Lane         `json:"lane,omitempty"`
	Limits          Limits       `json:"limits,omitzero"`
	Drift           DriftPolicy  `json:"drift,omitzero"`
	DriftedOf       string       `json:"drifted_of,omitempty"` // rotation whose drifted targets these are
	// UndoWindow is how long after a task's retirement it can be undone. 0: as
	// [DefaultUndoWindow]; below 0: not at all.
	UndoWindow time.Duration `json:"undo_window,omitempty"`
	// FailedOf is the rotation whose failed and conflicting targets this one is
	// for. Empty: it is for all targets of its tenants.
	FailedOf string    `json:"failed_of,omitempty"`
	Purpose  Purpose   `json:"purpose,omitempty"`  // what for; empty: to rotate
	Incident *Incident `json:"incident,omitempty"` // what is compromised; nil: nothing
}

// Retires reports whether old credentials are to be removed at all. Nothing
// named, nothing retired.
func (s Spec) Retires() bool { return s.ReplacesSubject || len(s.Replaces) > 0 || s.Incident != nil }

// Margin is added to every retire-not-before: our clock may be this much ahead
// of the sender's. The promise not-before speaks of up to five minutes.
const Margin = 5 * time.Minute

// EvidenceMaxAge is how old a reading may be on which a removal rests. Drivers
// read once more right before they remove.
const EvidenceMaxAge = time.Hour

// Rotation is one request for many targets.
type Rotation struct {
	V             int               `json:"v"`
	ID            string            `json:"id"`                     // UUIDv7, so that ids sort by age
	DisplayName   string            `json:"display_name,omitempty"` // at most 63 characters
	Labels        map[string]string `json:"labels,omitempty"`       //
	Spec          Spec              `json:"spec"`
	State         RotationState     `json:"state"`
	Phase         RotationPhase     `json:"phase,omitempty"`
	Detail        string            `json:"detail,omitempty"` // why it failed, was paused or was cancelled
	Tenants       int               `json:"tenants"`          // how many were selected
	Digest        string            `json:"digest,omitempty"` // of the frozen plan; lower-case hex of SHA-256
	Tasks         int               `json:"tasks,omitempty"`  // items in the frozen plan
	Creator       string            `json:"creator,omitempty"`
	CreatorProven string            `json:"creator_proven,omitempty"` // who Creator was proven to be; empty: the name was claimed
	Clouds        []string          `json:"clouds,omitempty"`         // of its tenants at creation and at planning; only where a rule asks for them
	Within        []string          `json:"within,omitempty"`         // filters of tenants, any of which: whom Creator had rights to; empty: all
	Trace         string            `json:"trace,omitempty"`          // W3C traceparent of the creating call; work on it is of that trace
	RequestID     string            `json:"request_id,omitempty"`
	RequestHash   string            `json:"request_hash,omitempty"` // SHA-256 of the creating request without its id
	Exceeded      bool              `json:"exceeded,omitempty"`     // paused because too much failed
	Accepted      int               `json:"accepted,omitempty"`     // failures that a person took note of; they count no more
	WaveNumber    int               `json:"wave,omitempty"`         // of the wave that was opened last; 0: the first
	WaveBase      int               `json:"wave_base,omitempty"`    // failures when it was opened
	WaveAt        time.Time         `json:"wave_at,omitzero"`       // when it was opened; zero: it is the first
	BakeUntil     time.Time         `json:"bake_until,omitzero"`    // the wave is done and the next waits for this instant
	Opening       Opening           `json:"opening,omitzero"`       // what its schedule allows now
	AtRiskSince   time.Time         `json:"at_risk_since,omitzero"` // since when the stage deadline is at risk, or was missed
	Retried       int               `json:"retried,omitempty"`      // Counts.Retried when Accepted was set
	WaveRetried   int               `json:"wave_retried,omitempty"` // and when WaveBase was
	Reopened      uint64            `json:"reopened,omitempty"`     // counts older than this version of a task do not tell of the last retry or acceptance
	RetryID       string            `json:"retry_id,omitempty"`     // request id of the last retry
	RetryReason   string            `json:"retry_reason,omitempty"` // why it was asked for
	Undo          *Undo             `json:"undo,omitempty"`         // the last undo, or the one under way
	TenantHeld    bool              `json:"tenant_held,omitempty"`  // paused because only tenants are left whose tolerance is exceeded
	AcceptedSeq   uint64            `json:"accepted_seq,omitempty"` // failures of tenants up to this version of a state count no more
	Gate          GateState         `json:"gate,omitzero"`          // the gate that was reached last
	Approvals     []Approval        `json:"approvals,omitempty"`    // the last words of others; at most MaxApprovals
	Early         time.Time         `json:"early,omitzero"`         // old credentials may go from here on, as others approved; zero: as requested
	PauseID       string            `json:"pause_id,omitempty"`     // request id of the last pause
	ResumeID      string            `json:"resume_id,omitempty"`    // and of the last resumption
	Changes       []string          `json:"changes,omitempty"`      // request ids of the last changes, oldest first; at most MaxChanges
	CreatedAt     time.Time         `json:"created_at"`
	PlannedAt     time.Time         `json:"planned_at,omitzero"`
	StartedAt     time.Time         `json:"started_at,omitzero"`
	EndedAt       time.Time         `json:"ended_at,omitzero"`
	UpdatedAt     time.Time         `json:"updated_at"`
	Check         Check             `json:"check,omitzero"`      // the last one for drift
	Approval      Approval          `json:"approval,omitzero"`   // a second person's; only of an incident
	OverlapAt     time.Time         `json:"overlap_at,omitzero"` // when the last target was verified; only of an incident
	Gone          time.Time         `json:"gone,omitzero"`       // when it was deleted; such a record only says that there was one

	Discovered *Discovered `json:"discovered,omitempty"` // what came of a discovery; nil: it is not summed up yet

	Rev uint64 `json:"-"` // version in the store; 0: never saved
}

// StateError says which verb a state does not allow. It is an [ErrState].
type StateError struct {
	Verb  string
	State RotationState
	Why   string // what to do instead
}

// Error names the verb, the state and the way out.
func (e *StateError) Error() string {
	return fmt.Sprintf("cannot %s a rotation that is %s: %s", e.Verb, e.State, e.Why)
}

// Unwrap makes it an ErrState.
func (e *StateError) Unwrap() error { return ErrState }

// Freeze returns r as PLANNED with the plan's digest.
func (r Rotation) Freeze(plan []Item, now time.Time) (Rotation, error) {
	if r.State != StatePlanning {
		return r, &StateError{"plan", r.State, "a plan is made once"}
	}
	if r.Discovers() {
		return r, &StateError{"plan", r.State, "it is a discovery, and ends when every tenant was looked at"}
	}
	r.State, r.Digest, r.Tasks = StatePlanned, Digest(r.Spec, plan), len(plan)
	r.PlannedAt, r.UpdatedAt = now, now
	return r, nil
}

// Start returns r as RUNNING. The digest must name the frozen plan; else
// [ErrStalePlan]. Starting a running rotation again changes nothing. An incident's
// approval that has ended by then is gone: others must give theirs anew.
func (r Rotation) Start(digest string, now time.Time) (Rotation, error) {
	switch {
	case r.State == StatePlanning:
		return r, &StateError{"start", r.State, "wait until it is planned"}
	case r.State == StatePaused:
		return r, &StateError{"start", r.State, "resume it"}
	case r.State != StatePlanned && r.State != StateRunning:
		return r, &StateError{"start", r.State, "create a new rotation"}
	case digest != r.Digest:
		return r, fmt.Errorf("plan digest %q, the frozen plan is %q: %w", digest, r.Digest, ErrStalePlan)
	case r.State == StateRunning:
		return r, nil
	}
	if r.lapsed(now) {
		r.Approval = Approval{}
	}
	r.State, r.Phase, r.StartedAt, r.UpdatedAt = StateRunning, PhaseStage, now, now
	return r, nil
}

// Pause returns r as PAUSED: no new step is begun, and its phase is kept. Pausing
// a paused rotation changes nothing.
func (r Rotation) Pause(why string, now time.Time) (Rotation, error) {
	switch r.State {
	case StatePaused:
		return r, nil
	case StateRunning, StateUndoing:
	case StatePlanning, StatePlanned:
		return r, &StateError{"pause", r.State, "it has not been started; leave it so, or cancel it"}
	case StateCancelling:
		return r, &StateError{"pause", r.State, "nothing new is begun any more"}
	default:
		return r, &StateError{"pause", r.State, "it has ended"}
	}
	r.State, r.Detail, r.UpdatedAt = StatePaused, why, now
	return r, nil
}

// Resume returns r as RUNNING in the phase in which it was paused. Resuming a
// running rotation changes nothing. One that was stopped by its tolerance goes on
// only with accept: then the failures in c, which are those so far, are taken note
// of and counted no more, and the tolerance holds anew for those to come.
func (r Rotation) Resume(accept bool, c Counts, now time.Time) (Rotation, error) {
	switch r.State {
	case StateRunning, StateUndoing:
		return r, nil
	case StatePaused:
		if r.Exceeded && !accept {
			return r, &StateError{"resume", r.State, r.Detail + "; look at what failed, then resume with accept_failures, or cancel"}
		}
		if r.Gate.Result == GateFail && !r.UndoUnderWay() {
			return r, &StateError{"resume", r.State, fmt.Sprintf("a gate of wave %d failed: %s; mend it and resume with accept_gate, or cancel", r.Gate.Wave, r.Gate.Reason)}
		}
	case StatePlanning, StatePlanned:
		return r, &StateError{"resume", r.State, "it has not been started"}
	case StateCancelling:
		return r, &StateError{"resume", r.State, "cancelling is for good; create a new rotation"}
	default:
		return r, &StateError{"resume", r.State, "it has ended; create a new rotation"}
	}
	if r.UndoUnderWay() {
		return r.resumeUndo(accept, c, now), nil
	}
	if accept { // Who knows less than was accepted would take newer failures for accepted ones.
		r.Accepted, r.Retried, r.Reopened = c.Broken, c.Retried, max(r.Reopened, c.Seq)
	}
	if accept && r.TenantHeld { // Else others are at risk, and the tenants' tasks come before them.
		r.AcceptedSeq = c.Seq
	}
	r = r.askAgain(now)
	r.State, r.Detail, r.Exceeded, r.TenantHeld, r.UpdatedAt = StateRunning, "", false, false, now
	return r, nil
}

// Cancel returns r as CANCELLING, until every open task has ended as cancelled,
// or as CANCELLED where there are no tasks yet.
// Targets keep what they have. Cancelling again changes nothing.
func (r Rotation) Cancel(why string, now time.Time) (Rotation, error) {
	switch r.State {
	case StateCancelling, StateCancelled:
		return r, nil
	case StatePlanning: // No task exists yet.
		r.State, r.EndedAt = StateCancelled, now
	case StatePlanned, StateRunning, StatePaused, StateUndoing:
		r = r.stopUndo(now)
		r.State = StateCancelling
	default:
		return r, &StateError{"cancel", r.State, "it has ended"}
	}
	r.Detail, r.UpdatedAt = why, now
	return r, nil
}

// BringForward returns r with old credentials allowed to go from an instant on. Others
// must have approved it; that is the caller's to see to. It is refused if that is
// before the new credential is valid, and where nothing is to be removed. It never moves
// the instant back.
func (r Rotation) BringForward(at, now time.Time) (Rotation, error) {
	const verb = "retire"
	switch {
	case !r.Spec.Retires():
		return r, &StateError{verb, r.State, "the request named no credential to replace"}
	case r.State != StatePlanned && r.State != StateRunning && r.State != StatePaused:
		return r, &StateError{verb, r.State, "nothing will be removed any more"}
	case at.Before(r.Spec.New.NotBefore):
		return r, &StateError{verb, r.State, "the new certificate is not valid before " + r.Spec.New.NotBefore.UTC().Format(time.RFC3339)}
	case !at.Before(r.RetireNotBefore()):
		return r, nil
	}
	r.Early, r.UpdatedAt = at, now
	return r, nil
}

// BeginRetire returns r in its retire phase. It is refused with [ErrTooEarly]
// before [Rotation.RetireNotBefore] plus [Margin], whoever asks. In the retire phase already, it
// changes nothing.
func (r Rotation) BeginRetire(now time.Time) (Rotation, error) {
	switch {
	case !r.Spec.Retires():
		return r, &StateError{"retire", r.State, "the request named no credential to replace"}
	case r.State != StateRunning:
		return r, &StateError{"retire", r.State, "only a running rotation retires"}
	case r.Phase == PhaseRetire:
		return r, nil
	case now.Before(r.RetireNotBefore().Add(Margin)):
		return r, fmt.Errorf("retiring %s: allowed from %s with a margin of %s, it is %s: %w", r.ID,
			r.RetireNotBefore().UTC().Format(time.RFC3339), Margin, now.UTC().Format(time.RFC3339), ErrTooEarly)
	case r.Phase != PhaseOverlap:
		return r, &StateError{"retire", r.State, "not every target is verified yet, or a gate of the last wave has not passed"}
	}
	r.Phase, r.UpdatedAt = PhaseRetire, now
	return r, nil
}

// End returns r in its end state: FAILED if any task failed or was found in
// conflict, else SUCCEEDED; CANCELLED if it was being cancelled. A detail of an
// earlier pause goes.
func (r Rotation) End(c Counts, now time.Time) Rotation {
	switch {
	case r.State == StateCancelling:
		r.State = StateCancelled
	case c.Outcome(Failed)+c.Outcome(Conflict) > 0:
		r.State = StateFailed
		r.Detail = fmt.Sprintf("%d failed, %d in conflict", c.Outcome(Failed), c.Outcome(Conflict))
	default:
		r.State, r.Detail = StateSucceeded, ""
	}
	r.EndedAt, r.UpdatedAt = now, now
	return r
}

// Orders returns what binds the rotation's tasks now. New carries bytes.
func (r Rotation) Orders(newCert Credential) Orders {
	o := Orders{
		New: newCert, Margin: Margin, EvidenceMaxAge: EvidenceMaxAge, MaxTries: r.Spec.MaxTries,
		Hold:   r.State != StateRunning && r.State != StateUndoing,
		Cancel: r.State == StateCancelling || r.State == StateCancelled,
		Retire: r.State == StateRunning && r.Phase == PhaseRetire,
		// An undo is asked for now, whatever the schedule says of the rotation.
		Scheduled: !r.Spec.Schedule.Empty() && r.State != StateUndoing, OpenUntil: r.Opening.OpenUntil,
	}
	if o.Retire && r.Opening.OffHours { // The deadline is one for staging.
		o.OpenUntil = time.Time{}
	}
	if r.State == StateUndoing {
		o.Undo = r.Undo.N
	}
	if r.Spec.Retires() {
		o.UndoWindow = r.Spec.UndoFor()
		o.RetireNotBefore = r.RetireNotBefore()
	}
	return o
}
