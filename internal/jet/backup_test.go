package jet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// shelf keeps copies in memory.
type shelf map[string]*bytes.Buffer

type closing struct{ *bytes.Buffer }

func (closing) Close() error { return nil }

func (s shelf) create(stream string) (io.WriteCloser, error) {
	s[stream] = &bytes.Buffer{}
	return closing{s[stream]}, nil
}

func (s shelf) open(stream string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s[stream].Bytes())), nil
}

// copied backs b up and checks each copy.
func copied(t *testing.T, b *jet.Broker) (shelf, []jet.Cut) {
	t.Helper()
	s := shelf{}
	cuts, err := b.Backup(t.Context(), s.create)
	if err != nil {
		t.Fatalf("Backup = %v", err)
	}
	for _, c := range cuts {
		if err := c.Check(bytes.NewReader(s[c.Stream].Bytes())); err != nil {
			t.Errorf("Check(%s) = %v", c.Stream, err)
		}
	}
	return s, cuts
}

// Values are written over without a pause while they are copied: each of them is
// in the copy, at a version that it had, none is missing, and what one instant has
// of the records and the states fits together.
func TestBackup_OfAStoreThatIsWrittenTo(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	b := open(t, c)
	const tasks = 600
	r := planned(t, b, cert, "r1", tasks)
	bucket, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := bucket.Put(t.Context(), fmt.Sprint("t", i), []byte("0")); err != nil {
			t.Fatal(err)
		}
	}
	for ord := range tasks {
		stage(t, b, rollover.TaskID{Rotation: "r1", Ord: ord}, 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	written := make(chan struct{}, 1)
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			k, err := b.Task(ctx, rollover.TaskID{Rotation: "r1", Ord: n % tasks})
			if err == nil {
				k.Tries = n + 2
				_, err = b.SaveTask(ctx, k)
			}
			if err == nil && n%10 == 0 {
				_, err = bucket.Put(ctx, fmt.Sprint("t", n/10%50), []byte(fmt.Sprint(n)))
			}
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			select {
			case written <- struct{}{}:
			default:
			}
		}
		done <- nil
	}()
	<-written
	s, cuts := copied(t, b)
	<-written // It was written to the end.
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	into := config(t, cert)
	if err := jet.Restore(t.Context(), into, jet.Restoring{Cuts: cuts, Open: s.open, Now: time.Now()}); err != nil {
		t.Fatalf("Restore = %v", err)
	}
	again := open(t, into)
	got, err := again.Rotation(t.Context(), "r1")
	if err != nil || got.Digest != r.Digest || got.Rev != r.Rev {
		t.Errorf("Rotation = %+v, %v, want version %d with digest %s", got, err, r.Rev, r.Digest)
	}
	for ord := range tasks {
		k, err := again.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: ord})
		if err != nil || k.Rev == 0 || k.Phase != rollover.Staged {
			t.Fatalf("Task(%d) = %s at version %d, %v, want one that was saved: its state is missing in the copy", ord, k.Phase, k.Rev, err)
		}
	}
	restored, err := again.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := restored.Keys(t.Context()); err != nil || len(keys) != 50 {
		t.Errorf("Keys = %d, %v, want 50", len(keys), err)
	}
	// Versions go on behind those that there were.
	k, err := again.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: 0})
	if err != nil {
		t.Fatal(err)
	}
	last := cuts[slices.IndexFunc(cuts, func(c jet.Cut) bool { return c.Stream == "STATE" })].Last
	if k, err = again.SaveTask(t.Context(), k); err != nil || k.Rev <= last {
		t.Errorf("SaveTask after the restore = version %d, %v, want more than %d", k.Rev, err, last)
	}
	if e1, e2 := epoch(t, b), epoch(t, again); e1 == e2 {
		t.Errorf("Epoch is %s before and after the restore, want another: old cursors would be taken for new ones", e1)
	}
}

func epoch(t *testing.T, b *jet.Broker) string {
	t.Helper()
	e, err := b.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Every stream is either copied or can be made anew.
func TestBackup_HasEveryStreamThatIsARecord(t *testing.T) {
	c := listening(t)
	b := open(t, c)
	_, cuts := copied(t, b)
	var got []string
	for _, c := range cuts {
		got = append(got, c.Stream)
	}
	js := dialRaw(t, b.URL())
	for name := range js.StreamNames(t.Context()).Name() {
		if rebuilt := name == "WORK" || name == "LEASE" || name == "B_PAGES"; slices.Contains(got, name) == rebuilt {
			t.Errorf("stream %s is copied: %t", name, !rebuilt)
		}
	}
	if i, j := slices.Index(got, "ROT"), slices.Index(got, "STATE"); i < 0 || j < 0 || i > j || j > slices.Index(got, "B_CERTIFICATES") {
		t.Errorf("streams are copied in the order %v, want records, states, and then what they refer to", got)
	}
}

// A store that an older build left has not all streams. What it has is copied, if it is a
// store at all, and which it lacks is said, also of those that are in no back-up.
func TestBackup_OfAStoreThatLacksStreams(t *testing.T) {
	cert := newCert(t)
	b := open(t, listening(t))
	planned(t, b, cert, "r1", 3)
	js := dialRaw(t, b.URL())
	gone := []string{"B_JOBERRORS", "B_PAGES", "LEASE", "WORK"}
	for _, name := range gone {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	missing, err := b.Missing(t.Context())
	slices.Sort(missing)
	if err != nil || !slices.Equal(missing, gone) {
		t.Errorf("Missing = %v, %v, want %v", missing, err, gone)
	}
	_, cuts := copied(t, b)
	if len(cuts) == 0 || cuts[0].Messages == 0 || slices.ContainsFunc(cuts, func(c jet.Cut) bool { return c.Stream == "B_JOBERRORS" }) {
		t.Errorf("what was copied is %+v, want all but B_JOBERRORS", cuts)
	}
	if err := js.DeleteStream(t.Context(), "STATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Backup(t.Context(), shelf{}.create); err == nil || !strings.Contains(err.Error(), "STATE is not there") {
		t.Errorf("Backup without states = %v, want an error that names STATE", err)
	}
}

// Through the socket of the process that has the store open.
func TestBackup_ThroughTheLocalSocket(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	dir, err := os.MkdirTemp("", "cf") // The path of a socket is short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.Dir, c.Local = dir, jet.LocalSocket(dir)
	b := open(t, c)
	planned(t, b, cert, "r1", 3)
	if used, err := jet.InUse(dir); err != nil || !used {
		t.Errorf("InUse = %t, %v, want true", used, err)
	}
	if info, err := os.Stat(filepath.Dir(c.Local)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is %v, %v, want it closed to others", info.Mode(), err)
	}
	other, err := jet.Dial(t.Context(), jet.Config{URL: "nats://127.0.0.1:4222", Local: c.Local})
	if err != nil {
		t.Fatalf("Dial = %v", err)
	}
	_, cuts := copied(t, other)
	shut(t, other)
	if cuts[0].Stream != "ROT" || cuts[0].Messages == 0 {
		t.Errorf("the copy begins with %+v, want ROT with something in it", cuts[0])
	}
	shut(t, b)
	if used, err := jet.InUse(dir); err != nil || used {
		t.Errorf("InUse after Close = %t, %v, want false", used, err)
	}
}

// A store with something in it is left alone, or moved aside when that is asked
// for; a restore that did not end leaves no store that a process would open.
func TestRestore_IsAllOrNothing(t *testing.T) {
	cert := newCert(t)
	from := open(t, config(t, cert))
	planned(t, from, cert, "r1", 3)
	s, cuts := copied(t, from)

	into := config(t, cert)
	b := open(t, into)
	planned(t, b, cert, "other", 2)
	r := jet.Restoring{Cuts: cuts, Open: s.open, Now: time.Now()}
	if err := jet.Restore(t.Context(), into, r); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("Restore into a store in use = %v, want that it has to be stopped", err)
	}
	shut(t, b)
	if err := jet.Restore(t.Context(), into, r); !errors.Is(err, jet.ErrNotEmpty) {
		t.Errorf("Restore = %v, want %v", err, jet.ErrNotEmpty)
	}
	broken := r
	broken.Replace = true
	broken.Open = func(stream string) (io.ReadCloser, error) {
		if stream == "STATE" {
			return nil, errors.New("the disk is gone")
		}
		return s.open(stream)
	}
	if err := jet.Restore(t.Context(), into, broken); err == nil {
		t.Error("Restore without a copy = nil, want an error")
	}
	b = open(t, into)
	if _, err := b.Rotation(t.Context(), "other"); err != nil {
		t.Errorf("Rotation after a restore that failed = %v, want what was there", err)
	}
	shut(t, b)
	// As after a power cut in the middle.
	if err := os.Mkdir(filepath.Join(into.Dir, "restoring"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := jet.Open(t.Context(), into); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("Open in the middle of a restore = %v, want that it was not finished", err)
	}
	r.Replace = true
	if err := jet.Restore(t.Context(), into, r); err != nil {
		t.Fatalf("Restore with Replace = %v", err)
	}
	b = open(t, into)
	if _, err := b.Rotation(t.Context(), "r1"); err != nil {
		t.Errorf("Rotation = %v, want the restored one", err)
	}
	if _, err := b.Rotation(t.Context(), "other"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rotation that is not in the copy = %v, want %v", err, rollover.ErrNotFound)
	}
	if aside, err := filepath.Glob(filepath.Join(into.Dir, "replaced-*")); err != nil || len(aside) != 1 {
		t.Errorf("moved aside: %v, %v, want the store that was there", aside, err)
	}
}

// Three servers that keep three replicas, with everything that the embedded one had.
func TestRestore_IntoACluster(t *testing.T) {
	t.Parallel() // It waits more than it works.
	cert := newCert(t)
	from := open(t, config(t, cert))
	const tasks = 300
	planned(t, from, cert, "r1", tasks)
	stage(t, from, rollover.TaskID{Rotation: "r1", Ord: 7}, 1)
	s, cuts := copied(t, from)

	nodes, url := cluster(t)
	c := config(t, cert)
	c.Dir, c.URL, c.Replicas, c.MaxStore = "", url, 3, 1<<30
	b := open(t, c)
	l, err := b.Lease(t.Context(), "conductor", "somebody", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r := jet.Restoring{Cuts: cuts, Open: s.open, Now: time.Now()}
	if err := jet.Restore(t.Context(), c, r); err == nil || !strings.Contains(err.Error(), "stop every") {
		t.Errorf("Restore below a process that leads = %v, want that it has to be stopped", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	planned(t, b, cert, "other", 2)
	shut(t, b)
	if err := jet.Restore(t.Context(), c, r); !errors.Is(err, jet.ErrNotEmpty) {
		t.Errorf("Restore = %v, want %v", err, jet.ErrNotEmpty)
	}
	broken := r
	broken.Replace = true
	broken.Open = func(stream string) (io.ReadCloser, error) {
		if stream == "ROT" {
			return nil, errors.New("the disk is gone")
		}
		return s.open(stream)
	}
	if err := jet.Restore(t.Context(), c, broken); err == nil {
		t.Error("Restore without a copy = nil, want an error")
	}
	if _, err := jet.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("Open after a restore that did not end = %v, want that it was not finished", err)
	}
	r.Replace = true
	if err := jet.Restore(t.Context(), c, r); err != nil {
		t.Fatalf("Restore = %v", err)
	}
	b = open(t, c)
	before := epoch(t, b)
	feed, _ := following(t, b)
	for _, n := range nodes { // Whoever leads, it is the same store.
		n.kill()
		eventually(t, "the streams to have a leader", func() bool { return b.Ready(t.Context()) == nil })
		if got := epoch(t, b); got != before {
			t.Errorf("Epoch is %s once another server leads, want %s", got, before)
		}
		n.start(t)
		allCurrent(t, url) // Else the next one to be killed may be the last that has everything.
	}
	nodes[0].kill()
	eventually(t, "the streams to have a leader", func() bool { return b.Ready(t.Context()) == nil })
	got, err := b.Rotation(t.Context(), "r1")
	if err != nil || got.Tasks != tasks {
		t.Errorf("Rotation = %d tasks, %v, want %d", got.Tasks, err, tasks)
	}
	plan, err := b.Plan(t.Context(), "r1", 0, tasks)
	if err != nil || len(plan) != tasks {
		t.Errorf("Plan = %d items, %v, want %d", len(plan), err, tasks)
	}
	if k, err := b.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: 7}); err != nil || k.Phase != rollover.Staged {
		t.Errorf("Task = %s, %v, want %s", k.Phase, err, rollover.Staged)
	}
	// And out of it again, one of three being away.
	_, back := copied(t, b)
	for i, cut := range back {
		if cut.Stream != cuts[i].Stream || cut.Messages != cuts[i].Messages || cut.Last != cuts[i].Last {
			t.Errorf("the copy of the restored %s has %d messages up to %d, want %d up to %d", cut.Stream, cut.Messages, cut.Last, cuts[i].Messages, cuts[i].Last)
		}
	}
	stage(t, b, rollover.TaskID{Rotation: "r1", Ord: 8}, 1)
	eventually(t, "the feed to go on", feed.look(func() bool { return feed.seqs[rollover.TaskID{Rotation: "r1", Ord: 8}] > 0 }))
}
