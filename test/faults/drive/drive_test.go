package drive_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/test/faults/drive"
	"github.com/crossfade-project/crossfade/test/faults/judge"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// driver returns a driver of s that speaks through these addresses.
func (s *stand) driver(apis []string) *drive.Driver {
	s.t.Helper()
	d, err := drive.New(drive.Config{
		Dir: s.dir, Seed: s.world.Seed, World: s.world, Rounds: 1, APIs: apis, Crossfade: crossfade,
		TenantsFile: s.file("tenants.yaml"), NewCertificate: s.file("new.cer"),
		Now: s.clock.Now, Advance: s.clock.Advance, FailHosts: s.refuse, MuddleHosts: s.muddle,
		Identities: func(context.Context) ([]record.Identity, error) { return s.identities(), nil },
		Log:        s.t.Logf,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// run is what one run through lines that are cut left behind.
type run struct {
	world   record.World
	calls   []record.Call
	watches []record.Watch
	final   record.Final
}

// cutRun drives all rotations over lines that are cut all along.
func cutRun(t *testing.T, s *stand) run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cut := s.newCutter() // Final has a limit of its own: it tells what a run that did not end looks like.
	d := s.driver(cut.addresses())
	if err := d.SetUp(ctx); err != nil {
		t.Fatal(err)
	}
	cut.start(uint64(s.world.Seed))
	err := d.Run(ctx)
	cut.end()
	d.Quiet()
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("the lines were broken %d times", cut.cuts)
	r := run{world: d.World()}
	if r.final, err = d.Final(t.Context()); err != nil {
		t.Fatalf("Final: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if r.calls, err = record.Lines[record.Call](s.dir, record.CallsFile); err != nil {
		t.Fatal(err)
	}
	if r.watches, err = record.Lines[record.Watch](s.dir, record.WatchesFile); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDrive_ThroughACuttingRelay(t *testing.T) {
	t.Parallel()
	s := newStand(t, emulator.Config{Seed: 11, Tenants: 64})
	r := cutRun(t, s)
	t.Run("EveryVerbIsTriedAgainAndDoneOnce", func(t *testing.T) { r.once(t) })
	t.Run("EveryWatcherEndsWithTheTable", func(t *testing.T) { r.folds(t) })
	t.Run("TheJudgeFindsNothing", func(t *testing.T) {
		for name, v := range map[string]any{record.WorldFile: r.world, record.FinalFile: r.final} {
			if err := record.Save(s.dir, name, v); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.journal(); err != nil {
			t.Fatal(err)
		}
		report, err := judge.Run(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range report.Violations {
			t.Errorf("%s\n%s", v, report.Timeline(v))
		}
		if f := report.Figures; f.Writes == 0 || f.Removed == 0 || f.Messages == 0 {
			t.Errorf("judge.Run = %+v, want writes, removals and messages: it looked at nothing", f)
		}
	})
}

// once: what was sent many times is there once.
func (r run) once(t *testing.T) {
	tries, answered, names := map[string]int{}, map[string]int{}, map[string][]string{}
	verbs, lost := map[string]bool{}, 0
	for _, c := range r.calls {
		tries[c.RequestID]++
		verbs[c.Verb] = true
		if c.Code != "OK" {
			lost++
			continue
		}
		answered[c.RequestID]++
		if !slices.Contains(names[c.RequestID], c.Name) {
			names[c.RequestID] = append(names[c.RequestID], c.Name)
		}
	}
	for id, ns := range names {
		if len(ns) != 1 {
			t.Errorf("request %s was answered with %v, want one rotation", id, ns)
		}
	}
	for _, v := range []string{
		"CreateRotation", "StartRotation", "PauseRotation", "ResumeRotation", "CancelRotation", "UndoRotation", "RetireRotation",
	} {
		if !verbs[v] {
			t.Errorf("%s was never asked for", v)
		}
	}
	twice := 0
	for _, n := range answered {
		if n > 1 {
			twice++
		}
	}
	if lost == 0 || twice == 0 {
		t.Errorf("%d tries were not answered and %d requests were answered twice: the run proves nothing", lost, twice)
	}
	t.Logf("%d requests, %d tries, %d of them not answered, %d requests answered twice or more", len(tries), len(r.calls), lost, twice)
	made := map[string]int{}
	for _, f := range r.final.Rotations {
		made[f.Label]++
	}
	if len(r.final.Rotations) != len(r.world.Rotations) {
		t.Errorf("there are %d rotations at the end, want the %d that were wanted: %v", len(r.final.Rotations), len(r.world.Rotations), made)
	}
	for _, in := range r.world.Rotations {
		if made[in.Label] != 1 {
			t.Errorf("there are %d rotations of %s, want 1", made[in.Label], in.Label)
		}
	}
	r.pausedOnce(t)
}

// pausedOnce: no late repeat pauses a rotation that was resumed.
func (r run) pausedOnce(t *testing.T) {
	asked := map[string]map[string]bool{} // request ids by label
	for _, c := range r.calls {
		if c.Verb == "PauseRotation" {
			if asked[c.Label] == nil {
				asked[c.Label] = map[string]bool{}
			}
			asked[c.Label][c.RequestID] = true
		}
	}
	pauses, last := map[string]int{}, map[string]string{} // by watcher
	labels := map[string]string{}
	for _, w := range r.watches {
		if w.State == nil || !strings.HasPrefix(w.State.Label, "paused") {
			continue
		}
		if w.State.State == "PAUSED" && last[w.Watcher] != "PAUSED" {
			pauses[w.Watcher]++
		}
		last[w.Watcher], labels[w.Watcher] = w.State.State, w.State.Label
	}
	for w, n := range pauses {
		if want := len(asked[labels[w]]); n > want {
			t.Errorf("%s saw %d pauses, want no more than the %d that were asked for", w, n, want)
		}
	}
}

// folds: what each watcher was told, put together, is the table at the end,
// however often it was cut and wherever it went on.
func (r run) folds(t *testing.T) {
	final := map[string]record.FinalRotation{}
	for _, f := range r.final.Rotations {
		final[f.Name] = f
	}
	told, rotation, streams := map[string]map[string]record.Task{}, map[string]string{}, map[string]int{}
	for _, w := range r.watches {
		rotation[w.Watcher] = w.Rotation
		switch w.Kind {
		case record.WatchOpened:
			streams[w.Watcher]++
		case record.WatchSnapshot:
			told[w.Watcher] = map[string]record.Task{}
		}
		for _, k := range w.Tasks {
			if was, known := told[w.Watcher][k.Name]; known && was.Revision >= k.Revision {
				t.Errorf("%s was told revision %d of %s after %d", w.Watcher, k.Revision, k.Name, was.Revision)
			}
			if told[w.Watcher] == nil {
				t.Fatalf("%s was told of tasks before a snapshot", w.Watcher)
			}
			told[w.Watcher][k.Name] = k
		}
	}
	cut := 0
	for w, name := range rotation {
		f := final[name]
		if len(told[w]) != len(f.Tasks) {
			t.Errorf("%s knows %d tasks of %s, want %d", w, len(told[w]), f.Label, len(f.Tasks))
		}
		for _, k := range f.Tasks {
			if got := told[w][k.Name]; got.Revision != k.Revision || got.Phase != k.Phase || got.Outcome != k.Outcome || !slices.Equal(got.Removed, k.Removed) {
				t.Errorf("%s knows %s as %s %s in revision %d, want %s %s in %d", w, k.Name, got.Phase, got.Outcome, got.Revision, k.Phase, k.Outcome, k.Revision)
			}
		}
		cut += streams[w] - 1
	}
	if len(rotation) < 2*len(r.world.Rotations) || cut < len(rotation) {
		t.Errorf("%d watchers went on %d times: the run proves nothing", len(rotation), cut)
	}
}
