package rollover

import (
	"fmt"
	"time"
)

// GateKind says who answers a gate.
type GateKind string

// The kinds of gates.
const (
	ManualGate GateKind = "manual" // a person or a build system, by a call
	CheckGate  GateKind = "check"  // a service that the server asks
)

// Gate is what must pass before the next wave, and after the last one before the
// overlap, which old credentials are removed after.
type Gate struct {
	Kind  GateKind `json:"kind"`
	Check string   `json:"check,omitempty"` // the name of the check in the server's configuration
}

// String returns the gate as people name it.
func (g Gate) String() string {
	if g.Kind == CheckGate {
		return g.Check
	}
	return string(g.Kind)
}

// GateResult is what a gate says. Nothing but a pass opens a wave.
type GateResult string

// The results of a gate.
const (
	GateWaits        GateResult = "" // it has said nothing yet
	GatePass         GateResult = "pass"
	GateFail         GateResult = "fail"
	GateInconclusive GateResult = "inconclusive"
)

// Who can decide at a gate.
const (
	ByCaller   = "caller"
	ByCheck    = "check"
	ByAccepted = "accepted" // a person went on without a pass
)

// maxGateReason bounds the reason of an answer, in characters.
const maxGateReason = 1000

// GateState is the gate that a rotation reached last.
type GateState struct {
	Wave      int        `json:"wave,omitempty"`   // at whose end it stands; 0: none was reached
	Index     int        `json:"index,omitempty"`  // in Strategy.Gates; those before it have passed
	Result    GateResult `json:"result,omitempty"` //
	Reason    string     `json:"reason,omitempty"` // in the gate's words
	At        time.Time  `json:"at,omitzero"`      // of the result, or since when it is waited for
	By        string     `json:"by,omitempty"`     // what decided
	Who       string     `json:"who,omitempty"`    // the caller who decided, or accepted; empty: none did, or it is from before this was kept
	RequestID string     `json:"request_id,omitempty"`
}

// GateAnswer is what somebody says at a gate.
type GateAnswer struct {
	Wave      int // at whose end the gate stands
	Index     int // of the gate; not looked at where a caller answers
	Result    GateResult
	Reason    string
	By        string // ByCaller or ByCheck
	Who       string // of a caller: the name
	RequestID string // of a caller
}

// GateQuestion is what a check is asked, as JSON.
type GateQuestion struct {
	Rotation    string `json:"rotation"`     // rotations/{id}
	DisplayName string `json:"display_name"` //
	Wave        int    `json:"wave"`         // the wave that is done, from 1
	Waves       int    `json:"waves"`        // how many there are
	Tasks       int    `json:"tasks"`        // of all waves
	Done        int    `json:"done"`         // past their risk or ended
	Failed      int    `json:"failed"`       // begun and failed
}

// Waiting returns the gate that is waited for, if there is one.
func (r Rotation) Waiting() (Gate, bool) {
	if r.Gate.Wave == 0 || r.Gate.Result != GateWaits || r.Gate.Index >= len(r.Spec.Strategy.Gates) ||
		(r.State != StateRunning && r.State != StatePaused) {
		return Gate{}, false
	}
	return r.Spec.Strategy.Gates[r.Gate.Index], true
}

// openGate returns r before the first gate of a wave.
func (r Rotation) openGate(wave int, now time.Time) Rotation {
	r.Gate = GateState{Wave: wave, At: now, RequestID: r.Gate.RequestID}
	return r
}

// Decide takes in what is said at the gate that is waited for. A pass opens the
// next gate, or the wave if it was the last; everything else pauses the rotation,
// also a result that is none.
func (r Rotation) Decide(a GateAnswer, now time.Time) (Rotation, error) {
	g, ok := r.Waiting()
	switch {
	case r.State != StateRunning && r.State != StatePaused:
		return r, &StateError{"decide a wave of", r.State, "only a rotation that was started and has not ended has a gate"}
	case !ok && r.Gate.Wave == 0:
		return r, &StateError{"decide a wave of", r.State, "it waits at no gate"}
	case !ok:
		return r, &StateError{"decide a wave of", r.State, fmt.Sprintf("the gate of wave %d was answered: %s; resume it, with accept_gate to go on without a pass", r.Gate.Wave, r.Gate.Result)}
	case a.Wave != r.Gate.Wave:
		return r, &StateError{"decide a wave of", r.State, fmt.Sprintf("it waits at the gate of wave %d, not of wave %d", r.Gate.Wave, a.Wave)}
	case a.By == ByCaller && g.Kind != ManualGate:
		return r, &StateError{"decide a wave of", r.State, fmt.Sprintf("it waits for the check %q, which the server asks; pause it to stop it", g.Check)}
	case a.By != ByCaller && (g.Kind != CheckGate || a.Index != r.Gate.Index):
		return r, &StateError{"decide a wave of", r.State, "it waits at another gate"}
	}
	if rs := []rune(a.Reason); len(rs) > maxGateReason {
		a.Reason = string(rs[:maxGateReason-1]) + "…"
	}
	switch a.Result {
	case GatePass, GateFail, GateInconclusive:
	default:
		a.Result, a.Reason = GateInconclusive, "the answer is none of pass, fail and inconclusive"
	}
	r.Gate.Result, r.Gate.Reason, r.Gate.At, r.Gate.By, r.Gate.Who = a.Result, a.Reason, now, a.By, a.Who
	if a.RequestID != "" {
		r.Gate.RequestID = a.RequestID
	}
	r.UpdatedAt = now
	if a.Result == GatePass {
		return r.gatePassed(now), nil
	}
	r.State = StatePaused
	r.Detail = fmt.Sprintf("gate %s of wave %d: %s: %s", g, r.Gate.Wave, a.Result, a.Reason)
	return r, nil
}

// gatePassed returns r before the next gate of the wave, if there is one.
func (r Rotation) gatePassed(now time.Time) Rotation {
	if r.Gate.Index+1 < len(r.Spec.Strategy.Gates) {
		r.Gate = GateState{Wave: r.Gate.Wave, Index: r.Gate.Index + 1, At: now, RequestID: r.Gate.RequestID}
	}
	return r
}

// AcceptGate returns a paused r with the gate that did not pass counted as passed, as
// somebody said. A gate that is still waited for is not passed by it.
func (r Rotation) AcceptGate(who string, now time.Time) Rotation {
	if r.State != StatePaused || (r.Gate.Result != GateFail && r.Gate.Result != GateInconclusive) {
		return r
	}
	r.Gate.Reason = fmt.Sprintf("accepted by a person; it said %s: %s", r.Gate.Result, r.Gate.Reason)
	r.Gate.Result, r.Gate.By, r.Gate.Who, r.Gate.At = GatePass, ByAccepted, who, now
	return r.gatePassed(now)
}

// askAgain returns r with an inconclusive gate waited for anew.
func (r Rotation) askAgain(now time.Time) Rotation {
	if r.Gate.Result == GateInconclusive {
		r.Gate.Result, r.Gate.Reason, r.Gate.By, r.Gate.Who, r.Gate.At = GateWaits, "", "", "", now
	}
	return r
}

// gated reports whether a gate of the wave has not passed.
func (r Rotation) gated(wave int) bool {
	n := len(r.Spec.Strategy.Gates)
	return n > 0 && (r.Gate.Wave != wave || r.Gate.Index != n-1 || r.Gate.Result != GatePass)
}

// GatesOpen reports whether the rotation may leave its waves for the overlap:
// every gate of the last wave has passed, or there is nothing to guard.
func (r Rotation) GatesOpen(c Counts) bool {
	w, ok := r.Wave(c)
	return !ok || !r.Spec.Retires() || !r.gated(w.Number)
}
