package rollover

import (
	"fmt"
	"slices"
	"time"
)

// RecordVersion is written into every stored record that a program of the build
// before can share; see [LatestVersion] for the others.
const RecordVersion = 1

// Phase is how far a task has come. Phases only go forward, but for Undo.
type Phase string

// The phases in their order.
const (
	Planned   Phase = "planned"
	Staged    Phase = "staged"
	Verified  Phase = "verified"
	Activated Phase = "activated"
	Retired   Phase = "retired"
)

// Rank orders phases: 0 for planned up to 4 for retired, -1 for none of them.
func (p Phase) Rank() int {
	for i, q := range []Phase{Planned, Staged, Verified, Activated, Retired} {
		if p == q {
			return i
		}
	}
	return -1
}

// Credential is a public certificate with the facts that the rules need. It
// never holds a private key.
type Credential struct {
	SHA256    string    `json:"sha256"`            // lower-case hex over the DER; the name we key on
	SHA1      string    `json:"sha1"`              // upper-case hex; the thumbprint that Microsoft's tools show
	Subject   string    `json:"subject,omitempty"` // RFC 2253 text, for people
	NotBefore time.Time `json:"not_before"`        // first instant of validity, UTC
	NotAfter  time.Time `json:"not_after"`         // last instant of validity, UTC
	DER       []byte    `json:"der,omitempty"`     // empty in plans, which name credentials only
}

// ValidAt reports whether t lies within the validity, both ends included.
func (c Credential) ValidAt(t time.Time) bool {
	return !t.Before(c.NotBefore) && !t.After(c.NotAfter)
}

// Named returns c without its bytes, as plans hold it.
func (c Credential) Named() Credential {
	c.DER = nil
	return c
}

// Target is where a credential hangs. Two targets are the same if all three
// fields are.
type Target struct {
	Kind     string `json:"kind"`               // which driver: "acs-x509"
	Host     string `json:"host,omitempty"`     // lower-case DNS name; empty where planning found no target
	Identity string `json:"identity,omitempty"` // name of the service identity on the host
}

// String returns the target as people read it: identity@host.
func (t Target) String() string { return t.Identity + "@" + t.Host }

// EndpointRef names one service endpoint that stands behind a target.
type EndpointRef struct {
	Tenant    string `json:"tenant"`
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Federated bool   `json:"federated,omitempty"`
}

// Item is one line of a plan: a target, what stands behind it, what was found
// there, and what is to be done. It is frozen with the plan.
type Item struct {
	Ord       int           `json:"ord"`                 // position in the plan, 0-based, fixed for ever
	Tenant    string        `json:"tenant"`              // whose management access is used; "" never occurs
	Target    Target        `json:"target"`              //
	Endpoints []EndpointRef `json:"endpoints,omitempty"` // may belong to several tenants
	Present   bool          `json:"present,omitempty"`   // the new credential stood there when planning looked
	Observed  string        `json:"observed,omitempty"`  // Observation.Digest at planning, without the new credential
	Retire    []Credential  `json:"retire,omitempty"`    // what will be removed, named; empty: nothing
	Siblings  []int         `json:"siblings,omitempty"`  // items that share an endpoint with this one
	Outcome   Outcome       `json:"outcome,omitempty"`   // set where planning already decided
	Reason    Reason        `json:"reason,omitempty"`    //
	Detail    string        `json:"detail,omitempty"`    // a sentence for people; never a secret
	Advice    []Advice      `json:"advice,omitempty"`    //
}

// Tenants returns the tenants that a target is of, each once: that whose access is used,
// and those of the endpoints behind it.
func (it Item) Tenants() []string {
	out := []string{it.Tenant}
	for _, e := range it.Endpoints {
		if e.Tenant != "" && !slices.Contains(out, e.Tenant) {
			out = append(out, e.Tenant)
		}
	}
	return out
}

// TaskID names a task: a rotation and a position in its plan.
type TaskID struct {
	Rotation string
	Ord      int
}

// String returns "<rotation>/<six-digit position>".
func (id TaskID) String() string { return fmt.Sprintf("%s/%06d", id.Rotation, id.Ord) }

// Evidence is the proof that a target holds the new credential.
type Evidence struct {
	Kind   string    `json:"kind"`             // "listed": read back byte for byte; "tried": a token was got with it as well
	At     time.Time `json:"at"`               // when it was read
	Detail string    `json:"detail,omitempty"` // what the other side called it, such as a key id
}

// The kinds of evidence.
const (
	Listed = "listed"
	Tried  = "tried"
)

// Progress is the moving part of a task, the only part that is written while a
// rotation runs.
type Progress struct {
	V       int       `json:"v"`
	Phase   Phase     `json:"phase"`
	Outcome Outcome   `json:"outcome,omitempty"`
	Reason  Reason    `json:"reason,omitempty"`
	Detail  string    `json:"detail,omitempty"`  // of the outcome, or of the last failure; never a secret
	Added   bool      `json:"added,omitempty"`   // the new credential is ours: added in this rotation
	Doubted bool      `json:"doubted,omitempty"` // the last reading was not as expected, and was not believed
	Looks   uint8     `json:"looks,omitempty"`   // of a cancelled task: 1: a look failed; 2: one did not see what was to be done
	Named   uint16    `json:"named,omitempty"`   // how often it was opened again after an end that was no failure
	Removed []string  `json:"removed,omitempty"` // SHA-256 of what was removed
	Tries   int       `json:"tries,omitempty"`   // failed tries of the step at hand; reset by progress
	NextAt  time.Time `json:"next_at,omitzero"`  // not before this instant again; zero: at once
	// Throttle says what held up the last try of the step at hand, Throttled how
	// often in a row it waited for that, and ThrottledAt since when.
	Throttle    Throttle  `json:"throttle,omitempty"`
	Throttled   int       `json:"throttled,omitempty"`
	ThrottledAt time.Time `json:"throttled_at,omitzero"`
	Evidence    *Evidence `json:"evidence,omitempty"`
	Archive     *Archive  `json:"archive,omitempty"`  // what Retire removes, as it stood; written before that
	Undo        int       `json:"undo,omitempty"`     // number of the undo that it goes back by; 0: it goes forward
	Retried     int       `json:"retried,omitempty"`  // how often it failed and was opened again
	NamedAt     int64     `json:"named_at,omitempty"` // when Named last rose, in ms since 1970: a time.Time is thrice as large
	RetryID     string    `json:"retry_id,omitempty"` // request id of the last retry
	UpdatedAt   time.Time `json:"updated_at,omitzero"`
}

// Task is one target in one rotation: what the plan says, how far it has come,
// and the orders that hold for it now.
type Task struct {
	ID   TaskID
	Item Item
	Progress
	Orders Orders
	Rev    uint64 // version of Progress in the store; 0: never saved
}

// Orders are the facts of the rotation that bind a task. They are joined when
// a task is read and are not stored with it.
type Orders struct {
	New             Credential    // with its bytes
	RetireNotBefore time.Time     // zero: nothing is retired
	Margin          time.Duration // added to RetireNotBefore against clock skew
	EvidenceMaxAge  time.Duration // evidence older than this is read anew before Retire
	MaxTries        int           // per step; at least 1
	Hold            bool          // no new steps: not started, paused, or cancelling
	Cancel          bool          // the rotation is cancelled: what is not known is looked at, and nothing else is done
	Retire          bool          // the rotation is in its retire phase
	Scheduled       bool          // steps are begun before OpenUntil only
	OpenUntil       time.Time     // zero: not at all; see [Opening]
	Undo            int           // number of the undo that is under way: its tasks go back, all others wait; 0: none
	UndoWindow      time.Duration // how long after its retirement a task can be undone; 0: not at all
}

// Start returns the progress that a task has before anything was saved: what
// planning decided.
func (it Item) Start() Progress {
	return Progress{V: RecordVersion, Phase: Planned, Outcome: it.Outcome, Reason: it.Reason, Detail: it.Detail}
}
