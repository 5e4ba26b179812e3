package judge

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/record"
)

// fold is what one watcher has put together.
type fold struct {
	rotation string
	state    *record.RotationState
	tasks    map[string]record.Task
	revision map[string]int64
	cursor   string // of the last message
	cut      record.Watch
	pauses   int
	whole    bool // a snapshot was told
}

// watchers: what each has put together is the final table, nothing was told twice
// after a resumption, and nothing went back.
func (r *run) watchers() {
	folds := map[string]*fold{}
	for _, w := range r.watches {
		f := folds[w.Watcher]
		if f == nil {
			f = &fold{rotation: w.Rotation, tasks: map[string]record.Task{}, revision: map[string]int64{}}
			folds[w.Watcher] = f
		}
		r.told(f, w)
	}
	asked := map[string]map[string]bool{}
	for _, c := range r.calls {
		if c.Verb == "PauseRotation" {
			if asked[c.Label] == nil {
				asked[c.Label] = map[string]bool{}
			}
			asked[c.Label][c.RequestID] = true
		}
	}
	watched := map[string]bool{}
	for name, f := range folds {
		watched[f.rotation] = true
		r.heardAll(name, f)
		if in := r.intents[f.rotation]; in != nil && strings.HasPrefix(in.Label, "paused") && f.pauses > len(asked[in.Label]) {
			r.violated(Once, in.Label, time.Time{}, "it was paused %d times, by %d requests", f.pauses, len(asked[in.Label]))
		}
	}
	for name := range r.intents {
		if !watched[name] {
			r.violated(Watchers, name, time.Time{}, "nobody watched it")
		}
	}
}

func (r *run) told(f *fold, w record.Watch) {
	switch w.Kind {
	case record.WatchOpened:
		r.fig.Streams++
		if w.Cursor != f.cursor {
			r.violated(Watchers, w.Watcher, time.Time{}, "it went on from %q after %q", w.Cursor, f.cursor)
		}
		return
	case record.WatchCut:
		f.cut = w
		return
	}
	r.fig.Messages++
	if w.Cursor == "" {
		r.violated(Watchers, w.Watcher, time.Time{}, "a message has no cursor")
	}
	if w.Kind == record.WatchSnapshot {
		if f.cursor != "" && !w.Reset {
			r.violated(Watchers, w.Watcher, time.Time{}, "a snapshot came after the cursor %q, and it does not say that all told before is void", f.cursor)
		}
		f.tasks, f.revision, f.whole = map[string]record.Task{}, map[string]int64{}, true
	} else if !f.whole {
		r.violated(Watchers, w.Watcher, time.Time{}, "%s came before a snapshot", w.Kind)
	}
	f.cursor = w.Cursor
	if w.State != nil {
		r.state(f, w)
	}
	for _, k := range w.Tasks {
		if last, known := f.revision[k.Name]; known && k.Revision <= last {
			r.violated(Watchers, w.Watcher, time.Time{}, "%s was told in revision %d after %d", k.Name, k.Revision, last)
		}
		f.tasks[k.Name], f.revision[k.Name] = k, k.Revision
	}
}

// state takes in what was told of the rotation.
func (r *run) state(f *fold, w record.Watch) {
	if f.state != nil {
		if was := f.state.PlanDigest; was != "" && was != w.State.PlanDigest {
			r.violated(FrozenPlan, w.Rotation, time.Time{}, "its plan was %.12s and is %.12s", was, w.State.PlanDigest)
		}
		if w.State.State == "PAUSED" && f.state.State != "PAUSED" {
			f.pauses++
		}
	}
	if in := r.intents[w.Rotation]; in != nil && in.Tolerance >= 0 && w.State.Counts["failed"] > int64(in.Tolerance)+1 {
		r.violated(BoundedBlast, w.Rotation, time.Time{}, "%d had failed, with a strict tolerance of %d", w.State.Counts["failed"], in.Tolerance)
	}
	f.state = w.State
}

// heardAll compares what a watcher put together with the table at the end.
func (r *run) heardAll(name string, f *fold) {
	end := r.finals[f.rotation]
	if end == nil {
		return // Told elsewhere.
	}
	if f.cut.Code != "OK" {
		r.violated(Watchers, name, time.Time{}, "it did not hear the end: %s %s", f.cut.Code, f.cut.Detail)
		return
	}
	if f.state == nil || f.state.State != end.State {
		r.violated(Watchers, name, time.Time{}, "it heard of another end than %s", end.State)
	}
	if len(f.tasks) != len(end.Tasks) {
		r.violated(Watchers, name, time.Time{}, "it heard of %d tasks, there are %d", len(f.tasks), len(end.Tasks))
	}
	for _, k := range end.Tasks {
		if got := f.tasks[k.Name]; got.Revision != k.Revision || got.Phase != k.Phase || got.Outcome != k.Outcome || got.Reason != k.Reason ||
			!slices.Equal(got.Removed, k.Removed) || got.AddedByUs != k.AddedByUs {
			r.violated(Watchers, name, time.Time{}, "it heard that %s is %s %s in revision %d, it is %s %s in %d",
				k.Name, got.Phase, got.Outcome, got.Revision, k.Phase, k.Outcome, k.Revision)
		}
	}
	counts := map[string]int64{}
	for _, k := range end.Tasks {
		counts[strings.ToLower(k.Outcome)]++
	}
	for _, o := range []string{"succeeded", "skipped", "handed_over", "conflict", "failed", "cancelled", "undone"} {
		if f.state != nil && f.state.Counts[o] != counts[o] {
			r.violated(Watchers, name, time.Time{}, "the last count of %s that it heard is %d, there are %d", o, f.state.Counts[o], counts[o])
		}
	}
}

// minSecret is the length of a line from which on it is taken as a secret, in bytes.
const minSecret = 12

// secrets: none of them is in a log or was told.
func (r *run) secrets() error {
	var secrets [][]byte
	err := filepath.WalkDir(filepath.Join(r.dir, record.SecretsDir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, line := range bytes.Split(b, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) >= minSecret && !bytes.HasPrefix(line, []byte("-----")) {
				secrets = append(secrets, line)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(secrets) == 0 {
		r.violated(NoSecretOut, record.SecretsDir, time.Time{}, "no secret is known: nothing was looked for")
	}
	logs, err := filepath.Glob(filepath.Join(r.dir, record.LogsDir, "*"))
	if err != nil {
		return err
	}
	for _, name := range []string{record.WatchesFile, record.CallsFile, record.FinalFile} {
		logs = append(logs, filepath.Join(r.dir, name))
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, s := range secrets {
			if bytes.Contains(b, s) {
				r.violated(NoSecretOut, filepath.Base(path), time.Time{}, "it holds a secret of %d bytes", len(s))
			}
		}
	}
	return nil
}
