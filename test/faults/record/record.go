// Package record is what a torture run leaves in its folder, line by line, for
// the judge and for people. It holds plain types and nothing of the engine: the
// judge reads what an outsider can see, and nothing else.
//
// One run, one folder:
//
//	world.json      World: who was there, what stood where before the run
//	acs.jsonl       Write: every write that ACS was asked for, in the order of its effects
//	sender.jsonl    SignIn: every sign-in of CRM
//	watches.jsonl   Watch: everything that watchers were told, and when they were cut
//	calls.jsonl     Call: every try of every change that was asked of the API
//	faults.jsonl    Fault: what was broken, and when it was mended
//	final.json      Final: what the API says at the end
//	logs/           what the processes wrote, a file for each process
//	secrets/        files that hold secrets: none of their lines may be elsewhere
//
// Times named At are of the emulated cloud's clock, which is the true one: the
// clocks of single processes may have been put wrong. Real is the machine's.
package record

import "time"

// The files of a run's folder.
const (
	WorldFile   = "world.json"
	WritesFile  = "acs.jsonl"
	SignInsFile = "sender.jsonl"
	WatchesFile = "watches.jsonl"
	CallsFile   = "calls.jsonl"
	FaultsFile  = "faults.jsonl"
	FinalFile   = "final.json"
	LogsDir     = "logs"
	SecretsDir  = "secrets"
)

// World is what there was before the run, and what the run meant to do.
type World struct {
	Seed    int64  `json:"seed"`
	Profile string `json:"profile"` // "short" or "long"
	// Old and New are SHA-256 over the DER of the certificates, lower-case hex.
	Old string `json:"old"`
	New string `json:"new"`
	// SwitchAt is when CRM begins to sign in with the new certificate. Before it
	// the old one is needed, from then on the new one.
	SwitchAt time.Time `json:"switch_at"`
	// Identities are all service identities, each with its keys before the run.
	Identities []Identity `json:"identities"`
	// Rotations are what the run wants done, each made by one CreateRotation
	// that may have been sent many times.
	Rotations []Intent `json:"rotations"`
}

// Identity is one service identity on one host.
type Identity struct {
	Host     string `json:"host"`
	Identity string `json:"identity"`
	Tenant   string `json:"tenant"`
	// Endpoint is shared by the two hosts of a federated endpoint.
	Endpoint string `json:"endpoint"`
	// Ending is what the emulator seeded it for: "rotated", "already_present",
	// "rotated_old_kept", "handed_over", "skipped" and the like.
	Ending string `json:"ending"`
	Keys   []Key  `json:"keys"`
}

// Key is a credential of an identity.
type Key struct {
	ID             int64     `json:"id"`
	Type           string    `json:"type"`
	Usage          string    `json:"usage"`
	SHA256         string    `json:"sha256"` // of its value, whatever the type
	Start          time.Time `json:"start"`
	End            time.Time `json:"end"`
	DisplayName    string    `json:"display_name"`
	SystemReserved bool      `json:"system_reserved,omitempty"`
}

// Intent is one rotation that the run makes.
type Intent struct {
	// Label is the run's name for it: "bulk", "urgent", "cancelled", "undone",
	// "retiring", "failing" and so on, with a number where there are several. It
	// is the rotation's display_name.
	Label string `json:"label"`
	// RequestID is that of its CreateRotation.
	RequestID string `json:"request_id"`
	// Name is rotations/{id}, once it is known.
	Name string `json:"name,omitempty"`
	// Tenants are the ids of those selected.
	Tenants []string `json:"tenants"`
	// RetireNotBefore is the instant before which nothing old may go. Zero:
	// nothing is to be retired at all.
	RetireNotBefore time.Time `json:"retire_not_before,omitzero"`
	// Tolerance is how many failures are allowed, strictly; -1: no limit is set
	// by the run.
	Tolerance int `json:"tolerance"`
	// Ends is the states in which it may end, as the API names them without the
	// prefix: SUCCEEDED, FAILED, CANCELLED, UNDONE, PAUSED.
	Ends []string `json:"ends"`
}

// Write is one thing that was asked of ACS and changes something, or would.
type Write struct {
	At       time.Time `json:"at"`
	Host     string    `json:"host"`
	Identity string    `json:"identity"`
	Op       string    `json:"op"` // "create", "update" or "delete"
	KeyID    int64     `json:"key_id"`
	SHA256   string    `json:"sha256,omitempty"`
	Status   int       `json:"status"` // 0: the connection was cut
	Fault    string    `json:"fault,omitempty"`
	Applied  bool      `json:"applied"` // it was done, whatever was answered
	// Foreign says that the run itself did it, in the part of a stranger, and not
	// Crossfade.
	Foreign bool `json:"foreign,omitempty"`
}

// SignIn is one sign-in of CRM to one endpoint.
type SignIn struct {
	At       time.Time `json:"at"`
	Tenant   string    `json:"tenant"`
	Endpoint string    `json:"endpoint"`
	Hosts    []string  `json:"hosts"`
	OK       bool      `json:"ok"`
	Refused  bool      `json:"refused"` // the credential itself was refused
	Status   int       `json:"status"`
	Cert     string    `json:"cert"` // "old" or "new"
}

// The kinds of [Watch].
const (
	WatchOpened     = "opened"     // a stream was opened, with Cursor or without
	WatchSnapshot   = "snapshot"   // the rotation as it stands; its tasks follow
	WatchRotation   = "rotation"   // the rotation changed
	WatchTasks      = "tasks"      // tasks changed
	WatchCheckpoint = "checkpoint" // nothing new up to Cursor
	WatchCut        = "cut"        // the stream ended; Code says how
)

// Watch is one thing that a watcher was told, or that happened to it.
type Watch struct {
	Watcher  string    `json:"watcher"` // the same over all its streams
	Rotation string    `json:"rotation"`
	Real     time.Time `json:"real"`
	Kind     string    `json:"kind"`
	Cursor   string    `json:"cursor,omitempty"`
	Reset    bool      `json:"reset,omitempty"` // of a snapshot: forget what was told before
	Code     string    `json:"code,omitempty"`  // of a cut: the gRPC code
	Detail   string    `json:"detail,omitempty"`
	// Slow says that this watcher reads slowly on purpose.
	Slow  bool           `json:"slow,omitempty"`
	State *RotationState `json:"state,omitempty"`
	Tasks []Task         `json:"tasks,omitempty"`
}

// RotationState is a rotation as the API tells it.
type RotationState struct {
	Name       string           `json:"name"`
	Label      string           `json:"label"`
	State      string           `json:"state"` // without its prefix: "RUNNING"
	PlanDigest string           `json:"plan_digest,omitempty"`
	Counts     map[string]int64 `json:"counts,omitempty"` // by the contract's names
}

// Task is a task as the API tells it.
type Task struct {
	Name      string   `json:"name"`
	Tenant    string   `json:"tenant"`
	Endpoints []string `json:"endpoints,omitempty"`
	Host      string   `json:"host,omitempty"`
	Identity  string   `json:"identity,omitempty"`
	Phase     string   `json:"phase"`   // without its prefix: "STAGED"
	Outcome   string   `json:"outcome"` // without its prefix: "SUCCEEDED"
	Reason    string   `json:"reason,omitempty"`
	AddedByUs bool     `json:"added_by_us,omitempty"`
	WillAdd   bool     `json:"will_add,omitempty"`
	// WillRetire and Removed are SHA-256.
	WillRetire []string `json:"will_retire,omitempty"`
	Removed    []string `json:"removed,omitempty"`
	Revision   int64    `json:"revision"`
}

// Call is one try of one change that was asked of the API.
type Call struct {
	Real      time.Time `json:"real"`
	Verb      string    `json:"verb"` // "CreateRotation"
	RequestID string    `json:"request_id"`
	Label     string    `json:"label"` // of the intent
	Try       int       `json:"try"`   // from 1
	Code      string    `json:"code"`  // the gRPC code answered or made up by the client
	Detail    string    `json:"detail,omitempty"`
	// Name is the rotation that the answer told.
	Name string `json:"name,omitempty"`
}

// Fault is one thing that was broken.
type Fault struct {
	Real   time.Time     `json:"real"`
	At     time.Time     `json:"at"`
	Kind   string        `json:"kind"`            // "kill", "stop", "cut", "slow", "full", "clock", "acs-500" …
	Victim string        `json:"victim"`          // "nats1", "api0", "worker2", "worker2-nats1", "acs"
	For    time.Duration `json:"for"`             // how long it was meant to last
	Mended time.Time     `json:"mended,omitzero"` // machine's time
	Detail string        `json:"detail,omitempty"`
}

// Final is what the API says when everything has ended.
type Final struct {
	// Quiet is when the last fault was mended, Settled when the last rotation was
	// seen in an end state; by the machine's clock. Settled is zero if the run's
	// patience ended first.
	Quiet   time.Time `json:"quiet"`
	Settled time.Time `json:"settled,omitzero"`
	// Rotations are all that ListRotations tells, with all their tasks, in the
	// plan's order.
	Rotations []FinalRotation `json:"rotations"`
	// Identities are as the emulated cloud holds them at the end.
	Identities []Identity `json:"identities"`
}

// FinalRotation is a rotation with its tasks.
type FinalRotation struct {
	RotationState
	Tasks []Task `json:"tasks"`
}
