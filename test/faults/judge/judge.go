// Package judge looks at what a torture run left on disk and says which promises
// were broken. It knows the promises and nothing of how they are kept: it shares
// no code with the engine, and reads only what an outsider can see.
package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/record"
)

// The promises, by the names that the design gives them, and what is expected of
// watchers and of requests that are repeated.
const (
	NeverBothGone = "never-both-gone"
	AddOnly       = "add-only"
	OneEffect     = "one-effect"
	NotBefore     = "not-before"
	Evidence      = "evidence"
	FrozenPlan    = "frozen-plan"
	BoundedBlast  = "bounded-blast"
	NothingLost   = "nothing-lost"
	NoSecretOut   = "no-secret-out"
	Watchers      = "watchers"
	Once          = "once"
)

// Violation is a promise that was broken.
type Violation struct {
	Promise string    `json:"promise"`
	Subject string    `json:"subject"` // "host identity", or a rotation's or watcher's name
	What    string    `json:"what"`
	At      time.Time `json:"at,omitzero"` // by the true clock, where it has a moment
}

// String is the violation in a line.
func (v Violation) String() string {
	if v.At.IsZero() {
		return fmt.Sprintf("%s: %s: %s", v.Promise, v.Subject, v.What)
	}
	return fmt.Sprintf("%s: %s: %s at %s", v.Promise, v.Subject, v.What, v.At.UTC().Format(time.RFC3339Nano))
}

// Figures count what was looked at, so that a run in which nothing happened is seen.
type Figures struct {
	Rotations int            `json:"rotations"`
	Ends      map[string]int `json:"ends"` // rotations by their end state
	Tasks     int            `json:"tasks"`
	Outcomes  map[string]int `json:"outcomes"`  // tasks by outcome
	Writes    int            `json:"writes"`    // that were applied
	Unclear   int            `json:"unclear"`   // writes applied and answered otherwise, or not at all
	NotKnown  int            `json:"not_known"` // tasks that were cancelled and say that it is not known how they stand
	Removed   int            `json:"removed"`   // old certificates removed
	SignIns   int            `json:"sign_ins"`
	Calls     int            `json:"calls"` // tries of changes
	Repeats   int            `json:"repeats"`
	Messages  int            `json:"messages"` // to watchers
	Streams   int            `json:"streams"`
	Faults    int            `json:"faults"`
	Doubled   int            `json:"doubled"` // moments at which a certificate stood twice
}

// Report is what a run comes to.
type Report struct {
	Violations []Violation
	Figures    Figures
	run        *run
}

// run is everything that is known of one run.
type run struct {
	dir     string
	world   record.World
	writes  []record.Write
	signIns []record.SignIn
	watches []record.Watch
	calls   []record.Call
	faults  []record.Fault
	final   record.Final

	ids     map[string]*identity      // by host and identity
	intents map[string]*record.Intent // by the rotation's name
	finals  map[string]*record.FinalRotation
	cover   map[string][]covering // tasks by host and identity
	fig     Figures
	found   []Violation
}

// covering is a task of a rotation that has an identity as its target.
type covering struct {
	intent *record.Intent
	task   *record.Task
}

func key(host, identity string) string { return host + " " + identity }

// Run reads the folder and judges it. An error says that it cannot be read.
func Run(dir string) (Report, error) {
	r := &run{dir: dir}
	if err := r.read(); err != nil {
		return Report{}, err
	}
	r.index()
	r.requests()
	r.rotations()
	r.replay()
	r.atTheEnd()
	r.senders()
	r.watchers()
	if err := r.secrets(); err != nil {
		return Report{}, err
	}
	return Report{Violations: r.found, Figures: r.fig, run: r}, nil
}

func (r *run) read() error {
	if err := record.Load(r.dir, record.WorldFile, &r.world); err != nil {
		return err
	}
	if err := record.Load(r.dir, record.FinalFile, &r.final); err != nil {
		return err
	}
	var err error
	if r.writes, err = record.Lines[record.Write](r.dir, record.WritesFile); err != nil {
		return err
	}
	if r.signIns, err = record.Lines[record.SignIn](r.dir, record.SignInsFile); err != nil {
		return err
	}
	if r.watches, err = record.Lines[record.Watch](r.dir, record.WatchesFile); err != nil {
		return err
	}
	if r.calls, err = record.Lines[record.Call](r.dir, record.CallsFile); err != nil {
		return err
	}
	r.faults, err = record.Lines[record.Fault](r.dir, record.FaultsFile)
	return err
}

func (r *run) index() {
	r.ids, r.intents = map[string]*identity{}, map[string]*record.Intent{}
	r.finals, r.cover = map[string]*record.FinalRotation{}, map[string][]covering{}
	for _, id := range r.world.Identities {
		r.ids[key(id.Host, id.Identity)] = newIdentity(id)
	}
	for i := range r.world.Rotations {
		if n := r.world.Rotations[i].Name; n != "" {
			r.intents[n] = &r.world.Rotations[i]
		}
	}
	for i := range r.final.Rotations {
		f := &r.final.Rotations[i]
		r.finals[f.Name] = f
		for j := range f.Tasks {
			if k := &f.Tasks[j]; k.Host != "" && r.intents[f.Name] != nil {
				at := key(k.Host, k.Identity)
				r.cover[at] = append(r.cover[at], covering{r.intents[f.Name], k})
			}
		}
	}
	r.fig = Figures{
		Rotations: len(r.final.Rotations), Ends: map[string]int{}, Outcomes: map[string]int{},
		SignIns: len(r.signIns), Calls: len(r.calls), Faults: len(r.faults),
	}
}

func (r *run) violated(promise, subject string, at time.Time, format string, args ...any) {
	r.found = append(r.found, Violation{Promise: promise, Subject: subject, What: fmt.Sprintf(format, args...), At: at})
}

// requests: every request is done once, however often it was sent.
func (r *run) requests() {
	made := map[string]map[string]bool{}
	for _, c := range r.calls {
		if c.Try > 1 {
			r.fig.Repeats++
		}
		if c.Code == "OK" && c.Name != "" {
			if made[c.RequestID] == nil {
				made[c.RequestID] = map[string]bool{}
			}
			made[c.RequestID][c.Name] = true
		}
	}
	for id, names := range made {
		if len(names) > 1 {
			r.violated(Once, id, time.Time{}, "one request id was answered with %d rotations", len(names))
		}
	}
	labels := map[string]int{}
	for _, f := range r.final.Rotations {
		labels[f.Label]++
		if r.intents[f.Name] == nil {
			r.violated(Once, f.Name, time.Time{}, "there is a rotation %q that nobody was told of", f.Label)
		}
	}
	for _, in := range r.world.Rotations {
		if n := labels[in.Label]; n != 1 {
			r.violated(Once, in.Label, time.Time{}, "there are %d rotations of it, want 1", n)
		}
	}
}

// rotations: each has ended as it may, and its plan is what was wanted.
func (r *run) rotations() {
	if r.final.Settled.IsZero() {
		r.violated(NothingLost, "the run", time.Time{}, "not every rotation came to an end")
	}
	for _, in := range r.world.Rotations {
		f := r.finals[in.Name]
		if f == nil {
			r.violated(NothingLost, in.Label, time.Time{}, "there is no rotation %q at the end", in.Name)
			continue
		}
		r.fig.Ends[f.State]++
		if !slices.Contains(in.Ends, f.State) {
			r.violated(NothingLost, in.Name, time.Time{}, "%s ended as %s, want one of %v", in.Label, f.State, in.Ends)
		}
		failed := 0
		for _, k := range f.Tasks {
			r.fig.Tasks++
			r.fig.Outcomes[k.Outcome]++
			if k.Outcome == "OPEN" {
				r.violated(NothingLost, k.Name, time.Time{}, "it is still open, %s", k.Phase)
			}
			if k.Outcome == "FAILED" {
				failed++
			}
			if !slices.Contains(in.Tenants, k.Tenant) {
				r.violated(FrozenPlan, k.Name, time.Time{}, "tenant %s was not asked for", k.Tenant)
			}
		}
		if in.Tolerance >= 0 && failed > in.Tolerance+1 {
			r.violated(BoundedBlast, in.Name, time.Time{}, "%d failed, with a strict tolerance of %d", failed, in.Tolerance)
		}
	}
}

// senders: CRM was never refused where a rotation succeeded.
func (r *run) senders() {
	good := map[string]bool{} // endpoints all of whose tasks succeeded
	for _, f := range r.final.Rotations {
		for _, k := range f.Tasks {
			for _, e := range k.Endpoints {
				ok := k.Outcome == "SUCCEEDED"
				if was, known := good[e]; known {
					ok = ok && was
				}
				good[e] = ok
			}
		}
	}
	for _, s := range r.signIns {
		at := "tenants/" + s.Tenant + "/endpoints/" + s.Endpoint
		if s.Refused && good[at] && r.couldSignIn(s) {
			r.violated(NeverBothGone, at, s.At, "CRM was refused with its %s certificate, status %d", s.Cert, s.Status)
		}
	}
}

// couldSignIn reports whether the endpoint had the old certificate to begin with on
// every host that was asked: otherwise it was refused before we came.
func (r *run) couldSignIn(s record.SignIn) bool {
	hosts := 0
	for _, id := range r.world.Identities {
		if !slices.Contains(s.Hosts, id.Host) || !strings.Contains(id.Endpoint, s.Endpoint) {
			continue
		}
		hosts++
		if newIdentity(id).count[r.world.Old] == 0 {
			return false
		}
	}
	return hosts > 0
}

// Timeline is what was done to a violation's subject, and what was broken then.
func (r Report) Timeline(v Violation) string { return r.run.timeline(v) }

// maxTimeline bounds the lines of a timeline.
const maxTimeline = 120

func (r *run) timeline(v Violation) string {
	type event struct {
		at   time.Time
		text string
	}
	var events []event
	host, _, _ := strings.Cut(v.Subject, " ")
	for _, w := range r.writes {
		if w.Host == host {
			events = append(events, event{w.At, fmt.Sprintf("acs    %s of %.8s: status %d, applied %t %s", w.Op, w.SHA256, w.Status, w.Applied, w.Fault)})
		}
	}
	for _, f := range r.faults {
		events = append(events, event{f.At, fmt.Sprintf("fault  %s %s for %s %s", f.Kind, f.Victim, f.For.Round(time.Millisecond), f.Detail)})
	}
	// Watchers go by the machine's clock: the faults tie both together.
	offset := time.Duration(0)
	if len(r.faults) > 0 {
		offset = r.faults[0].At.Sub(r.faults[0].Real)
	}
	for _, w := range r.watches {
		about := strings.HasPrefix(v.Subject, w.Rotation) || v.Subject == w.Watcher
		if about && w.State != nil {
			events = append(events, event{w.Real.Add(offset), fmt.Sprintf("watch  %s: %s %s", w.Watcher, w.Kind, w.State.State)})
		}
		for _, k := range w.Tasks {
			if k.Host == host || k.Name == v.Subject {
				events = append(events, event{w.Real.Add(offset), fmt.Sprintf("watch  %s: %s %s %s %s, revision %d", w.Watcher, k.Name, k.Phase, k.Outcome, k.Reason, k.Revision)})
			}
		}
	}
	for _, c := range r.calls {
		if c.Name != "" && strings.HasPrefix(v.Subject, c.Name) || c.RequestID == v.Subject || c.Label == v.Subject {
			events = append(events, event{c.Real.Add(offset), fmt.Sprintf("call   %s try %d: %s %s", c.Verb, c.Try, c.Code, c.Detail)})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	var b strings.Builder
	for i, e := range events {
		if i == maxTimeline {
			fmt.Fprintf(&b, "  and %d more\n", len(events)-i)
			break
		}
		fmt.Fprintf(&b, "  %s  %s\n", e.at.UTC().Format("2006-01-02T15:04:05.000"), e.text)
	}
	return b.String()
}
