package judge_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/test/faults/judge"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// find returns the place of the first that is as wanted.
func find[T any](all []T, is func(T) bool) int {
	i := slices.IndexFunc(all, is)
	if i < 0 {
		panic("the clean run has changed: there is no such thing in it")
	}
	return i
}

func (m *made) write(op, host, sha string) *record.Write {
	return &m.writes[find(m.writes, func(w record.Write) bool { return w.Op == op && w.Host == host && w.SHA256 == sha })]
}

func (m *made) insert(at int, w ...record.Write) { m.writes = slices.Insert(m.writes, at, w...) }

func (m *made) rotation(label string) *record.FinalRotation {
	return &m.final.Rotations[find(m.final.Rotations, func(f record.FinalRotation) bool { return f.Label == label })]
}

func (m *made) standing(host string) *record.Identity {
	return &m.final.Identities[find(m.final.Identities, func(id record.Identity) bool { return id.Host == host })]
}

// heard is the n-th thing of a kind that the watcher of bulk0 was told.
func (m *made) heard(kind string, n int) *record.Watch {
	return &m.watches[m.heardAt(kind, n)]
}

func (m *made) heardAt(kind string, n int) int {
	return find(m.watches, func(w record.Watch) bool {
		if w.Watcher == "bulk0-0" && w.Kind == kind {
			n--
		}
		return n < 0
	})
}

// breaks are all the ways in which a run can be bad, and how it differs from the
// clean one then.
var breaks = []struct {
	promise, name string
	do            func(m *made)
}{
	{judge.NeverBothGone, "the old one goes before the new one stands", func(m *made) {
		m.insert(0, removed(begin, "a", oldSHA))
	}},
	{judge.NeverBothGone, "the old one goes while only the new one, which is not used yet, stands", func(m *made) {
		m.write("delete", "a", oldSHA).At = switchAt.Add(-time.Nanosecond)
	}},
	{judge.NeverBothGone, "CRM is refused", func(m *made) { m.signIns[0].OK, m.signIns[0].Refused = false, true }},
	{judge.AddOnly, "a key is rewritten", func(m *made) {
		m.insert(1, record.Write{At: begin, Host: "a", Identity: "crm9.dynamics.com", Op: "update", SHA256: oldSHA, Status: 204, Applied: true})
	}},
	{judge.AddOnly, "a key of others is removed", func(m *made) {
		m.insert(1, removed(begin, "a-sb", others))
		m.standing("a-sb").Keys = m.standing("a-sb").Keys[1:]
	}},
	{judge.AddOnly, "a key of others is gone at the end", func(m *made) { m.standing("a-sb").Keys = m.standing("a-sb").Keys[1:] }},
	{judge.AddOnly, "a key of others has another date", func(m *made) { m.standing("a-sb").Keys[0].End = begin }},
	{judge.AddOnly, "a key of others has another name", func(m *made) { m.standing("a-sb").Keys[0].DisplayName = "Crossfade" }},
	{judge.AddOnly, "a key is there that nobody had", func(m *made) { m.standing("a").Keys = append(m.standing("a").Keys, cert(93, "5")) }},
	{judge.AddOnly, "a third certificate is added", func(m *made) { m.write("create", "a", newSHA).SHA256 = "5" }},
	{judge.AddOnly, "the old one is added where nothing is undone", func(m *made) {
		w := added(begin, "a")
		w.SHA256 = oldSHA
		m.insert(1, w)
	}},
	{judge.AddOnly, "an undo removes what stood there before", func(m *made) { m.insert(0, removed(begin, "v-sb", newSHA)) }},
	{judge.AddOnly, "the new one is removed where nothing is taken back", func(m *made) { m.insert(2, removed(begin, "a", newSHA)) }},
	{judge.AddOnly, "the old one is removed and no plan says so", func(m *made) {
		m.rotation("bulk0").Tasks[0].WillRetire = nil
	}},
	{judge.OneEffect, "it stands twice at the end", func(m *made) {
		m.insert(2, added(begin, "a"))
		m.standing("a").Keys = append(m.standing("a").Keys, cert(91, newSHA))
	}},
	{judge.NotBefore, "a second too early", func(m *made) { m.write("delete", "a", oldSHA).At = switchAt.Add(-time.Second) }},
	{judge.NotBefore, "removed where nothing is to be retired", func(m *made) { m.world.Rotations[0].RetireNotBefore = time.Time{} }},
	{judge.Evidence, "removed where the new one does not stand", func(m *made) {
		m.write("create", "a", newSHA).Applied = false
	}},
	{judge.Evidence, "removed where the other half has none", func(m *made) {
		i := slices.IndexFunc(m.writes, func(w record.Write) bool { return w.Host == "a" && w.Op == "create" })
		w := m.writes[i]
		m.writes = slices.Delete(m.writes, i, i+1)
		m.insert(len(m.writes)-1, w) // After the removal from a-sb, before the one from a.
	}},
	{judge.FrozenPlan, "a write where no plan is", func(m *made) { m.insert(0, added(begin, "z-sb")) }},
	{judge.FrozenPlan, "a write on a host that nobody knows", func(m *made) { m.insert(0, added(begin, "elsewhere")) }},
	{judge.FrozenPlan, "another digest", func(m *made) {
		s := *m.heard(record.WatchRotation, 0).State
		s.PlanDigest = "another"
		m.heard(record.WatchRotation, 0).State = &s
	}},
	{judge.FrozenPlan, "a tenant that was not asked for", func(m *made) { m.world.Rotations[0].Tenants = []string{"t7"} }},
	{judge.BoundedBlast, "too many failed at the end", func(m *made) {
		f := m.rotation("failing0")
		f.Tasks = append(f.Tasks, f.Tasks[0])
	}},
	{judge.BoundedBlast, "too many had failed for a moment", func(m *made) {
		i := find(m.watches, func(w record.Watch) bool { return w.Watcher == "failing0-0" && w.State != nil })
		s := *m.watches[i].State
		s.Counts = map[string]int64{"failed": 2}
		m.watches[i].State = &s
	}},
	{judge.NothingLost, "it did not settle", func(m *made) { m.final.Settled = time.Time{} }},
	{judge.NothingLost, "a rotation is gone", func(m *made) { m.final.Rotations = m.final.Rotations[1:] }},
	{judge.NothingLost, "it ended as it may not", func(m *made) { m.rotation("undone0").State = "PAUSED" }},
	{judge.NothingLost, "a task is open", func(m *made) { m.rotation("bulk0").Tasks[0].Outcome = "OPEN" }},
	{judge.NothingLost, "told as succeeded and does not stand", func(m *made) {
		m.write("create", "a", newSHA).Applied = false
		m.standing("a").Keys = nil
	}},
	{judge.NothingLost, "told as removed and stands", func(m *made) {
		m.write("delete", "a", oldSHA).Applied = false
		m.standing("a").Keys = append(m.standing("a").Keys, cert(1, oldSHA))
	}},
	{judge.NothingLost, "told as kept and was removed", func(m *made) { m.rotation("bulk0").Tasks[1].Removed = nil }},
	{judge.NothingLost, "told as undone and stands", func(m *made) {
		m.write("delete", "u-sb", newSHA).Applied = false
		m.standing("u-sb").Keys = append(m.standing("u-sb").Keys, cert(90, newSHA))
	}},
	{judge.NothingLost, "cancelled, and nobody knows that it was added", func(m *made) { m.rotation("cancelled0").Tasks[0].AddedByUs = false }},
	{judge.NothingLost, "cancelled, told as not known, and every answer came", func(m *made) {
		m.rotation("cancelled0").Tasks[0].AddedByUs, m.rotation("cancelled0").Tasks[0].Reason = false, "NOT_KNOWN"
	}},
	{judge.NothingLost, "cancelled, and nobody knows that it was removed", func(m *made) {
		m.rotation("cancelled0").Tasks[0].Removed = []string{oldSHA}
	}},
	{judge.NothingLost, "told as handed over and was written to", func(m *made) { m.rotation("cancelled0").Tasks[0].Outcome = "HANDED_OVER" }},
	{judge.NothingLost, "a bulk did not do what it could", func(m *made) { m.rotation("bulk0").Tasks[0].Outcome = "CONFLICT" }},
	{judge.NothingLost, "the cloud holds other than was written", func(m *made) { m.standing("z-sb").Keys = nil }},
	{judge.NothingLost, "an identity is gone", func(m *made) { m.final.Identities = m.final.Identities[1:] }},
	{judge.Watchers, "nobody watched a rotation", func(m *made) {
		m.watches = slices.DeleteFunc(m.watches, func(w record.Watch) bool { return w.Watcher == "bulk0-0" })
	}},
	{judge.Watchers, "the end is not told", func(m *made) { m.heard(record.WatchCut, 1).Code = "Unavailable" }},
	{judge.Watchers, "another end is told", func(m *made) { m.heard(record.WatchRotation, 0).State.State = "FAILED" }},
	{judge.Watchers, "a count that is not the end's", func(m *made) {
		s := *m.heard(record.WatchRotation, 0).State
		s.Counts = map[string]int64{"succeeded": 1}
		m.heard(record.WatchRotation, 0).State = &s
	}},
	{judge.Watchers, "a task is told twice after it went on", func(m *made) {
		w := m.heard(record.WatchTasks, 0)
		again := *w
		m.watches = slices.Insert(m.watches, m.heardAt(record.WatchCheckpoint, 0), again)
	}},
	{judge.Watchers, "a task goes back", func(m *made) {
		k := m.heard(record.WatchTasks, 1).Tasks[0]
		k.Revision -= 15
		m.heard(record.WatchTasks, 1).Tasks = append(m.heard(record.WatchTasks, 1).Tasks[1:], k)
	}},
	{judge.Watchers, "a task of the end is told otherwise", func(m *made) {
		ks := slices.Clone(m.heard(record.WatchTasks, 1).Tasks)
		ks[0].Reason = "ROTATED"
		m.heard(record.WatchTasks, 1).Tasks = ks
	}},
	{judge.Watchers, "a message without a cursor", func(m *made) { m.heard(record.WatchTasks, 1).Cursor = "" }},
	{judge.Watchers, "it goes on from where it was not", func(m *made) { m.heard(record.WatchOpened, 1).Cursor = "7" }},
	{judge.Watchers, "a snapshot that does not void what was told", func(m *made) {
		s := *m.heard(record.WatchSnapshot, 0)
		m.watches = slices.Insert(m.watches, m.heardAt(record.WatchCheckpoint, 0), s)
	}},
	{judge.Watchers, "a change before any snapshot", func(m *made) {
		m.watches = slices.Delete(m.watches, m.heardAt(record.WatchSnapshot, 0), m.heardAt(record.WatchSnapshot, 0)+1)
	}},
	{judge.Once, "one request made two rotations", func(m *made) { m.calls[2].Name = "rotations/other" }},
	{judge.Once, "a rotation that nobody was told of", func(m *made) {
		m.final.Rotations = append(m.final.Rotations, record.FinalRotation{RotationState: record.RotationState{Name: "rotations/x", Label: "bulk0", State: "SUCCEEDED"}})
	}},
	{judge.Once, "one pause has two effects", func(m *made) {
		m.world.Rotations[0].Label, m.rotation("bulk0").Label = "paused0", "paused0"
		s := *m.heard(record.WatchSnapshot, 0).State
		s.State = "PAUSED"
		p := *m.heard(record.WatchRotation, 0)
		p.State, p.Cursor = &s, "1"
		m.watches = slices.Insert(m.watches, m.heardAt(record.WatchRotation, 0), p)
	}},
	{judge.NoSecretOut, "a password in a log", func(m *made) { m.log += "password=hunter2hunter2\n" }},
	{judge.NoSecretOut, "a line of a private key in an answer", func(m *made) { m.calls[0].Detail = "key MIIEvQIBADANBgkqhkiG9w0" }},
	{judge.NoSecretOut, "nothing is known to look for", func(m *made) { m.secrets = "" }},
}

func TestRun_FindsEachViolation(t *testing.T) {
	for _, c := range breaks {
		t.Run(c.promise+"/"+c.name, func(t *testing.T) {
			m := clean()
			c.do(m)
			got := m.judged(t, t.TempDir())
			if !slices.ContainsFunc(got.Violations, func(v judge.Violation) bool { return v.Promise == c.promise }) {
				t.Errorf("Run() = %v, want one of %s", got.Violations, c.promise)
			}
		})
	}
}

// What looks bad and is not.
func TestRun_TakesNothingGoodForBad(t *testing.T) {
	for name, do := range map[string]func(m *made){
		"a write that was not done": func(m *made) {
			w := removed(begin, "a", oldSHA)
			w.Applied, w.Status = false, 500
			m.insert(0, w)
		},
		"it stood twice for a moment": func(m *made) {
			m.insert(3, added(begin.Add(3*time.Minute), "u-sb"))
			m.insert(4, removed(begin.Add(3*time.Minute), "u-sb", newSHA))
		},
		"removed at the very instant":     func(m *made) { m.write("delete", "a", oldSHA).At = switchAt },
		"answered with an error and done": func(m *made) { m.write("create", "a", newSHA).Status = 504 },
		"CRM could not sign in before us": func(m *made) {
			m.world.Identities[0].Keys = m.world.Identities[0].Keys[1:]
			m.writes = slices.DeleteFunc(m.writes, func(w record.Write) bool { return w.Host == "a-sb" && w.Op == "delete" })
			m.rotation("bulk0").Tasks[0].Removed, m.rotation("bulk0").Tasks[0].WillRetire = nil, nil
			m.signIns[0].OK, m.signIns[0].Refused = false, true
			ks := slices.Clone(m.rotation("bulk0").Tasks)
			m.heard(record.WatchTasks, 1).Tasks = ks
		},
		"CRM had no answer": func(m *made) { m.signIns[0].OK, m.signIns[0].Status = false, 503 },
		"a stranger adds and removes": func(m *made) {
			w := added(begin, "a-sb")
			w.SHA256, w.Foreign = "57", true
			gone := removed(begin, "a-sb", others)
			gone.Foreign = true
			m.insert(0, w, gone)
			m.standing("a-sb").Keys = append(m.standing("a-sb").Keys[1:], cert(95, "57"))
		},
		"many fail where no limit is set": func(m *made) {
			m.world.Rotations[3].Tolerance = -1
			i := find(m.watches, func(w record.Watch) bool { return w.Watcher == "failing0-0" && w.State != nil })
			m.watches[i].State.Counts = map[string]int64{"failed": 5}
		},
		"a snapshot voids what was told": func(m *made) {
			s, ks := *m.heard(record.WatchSnapshot, 0), *m.heard(record.WatchTasks, 0)
			s.Reset, s.Cursor = true, "0"
			m.watches = slices.Insert(m.watches, m.heardAt(record.WatchCheckpoint, 0), s, ks)
		},
		"ids are others": func(m *made) {
			for i := range m.final.Identities {
				for j := range m.final.Identities[i].Keys {
					m.final.Identities[i].Keys[j].ID += 1000
				}
			}
		},
		"a line of a secrets file that is too short to be one": func(m *made) { m.secrets += "conducting\n"; m.log += "conducting" },
	} {
		t.Run(name, func(t *testing.T) {
			m := clean()
			do(m)
			for _, v := range m.judged(t, t.TempDir()).Violations {
				t.Errorf("Run() tells of %s", v)
			}
		})
	}
}

// A line of the journal or of a watcher that is lost or doubled is noticed. What
// may be without notice: an attempt that did nothing, a checkpoint, and a cut or an
// opening, which tells nothing.
func TestRun_NoticesALineThatIsLostOrDoubled(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := clean()
		double := rapid.Bool().Draw(t, "doubled")
		if rapid.Bool().Draw(t, "journal") {
			var done []int
			for i, w := range m.writes {
				if w.Applied {
					done = append(done, i)
				}
			}
			i := rapid.SampledFrom(done).Draw(t, "line")
			if double {
				m.insert(i, m.writes[i])
			} else {
				m.writes = slices.Delete(m.writes, i, i+1)
			}
		} else {
			var told []int
			for i, w := range m.watches {
				if w.Kind == record.WatchTasks && (double || w.Cursor == "2") || w.Kind == record.WatchSnapshot || w.Kind == record.WatchRotation && !double {
					told = append(told, i)
				}
			}
			i := rapid.SampledFrom(told).Draw(t, "line")
			if double {
				m.watches = slices.Insert(m.watches, i, m.watches[i])
			} else {
				m.watches = slices.Delete(m.watches, i, i+1)
			}
		}
		if got := m.judged(t, dir); len(got.Violations) == 0 {
			t.Fatalf("Run() finds nothing, want a violation: writes %+v", m.writes)
		}
	})
}

func TestRun_SaysWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	clean().judged(t, dir)
	for _, name := range []string{
		record.WorldFile, record.FinalFile, record.WritesFile, record.SignInsFile, record.WatchesFile, record.CallsFile, record.FaultsFile,
	} {
		path := filepath.Join(dir, name)
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{\"at\": 5"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := judge.Run(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Run() with a broken %s = %v, want an error that names it", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := judge.Run(dir); err == nil {
			t.Errorf("Run() without %s tells nothing, want an error", name)
		}
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTimeline_TellsWhatWasDoneThere(t *testing.T) {
	m := clean()
	m.write("delete", "a", oldSHA).At = switchAt.Add(-time.Second)
	got := m.judged(t, t.TempDir())
	i := find(got.Violations, func(v judge.Violation) bool { return v.Promise == judge.NotBefore })
	text := got.Timeline(got.Violations[i])
	for _, want := range []string{"delete of 0ld00000", "create of 4e300000", "kill worker2", "rotations/b/tasks/1"} {
		if !strings.Contains(text, want) {
			t.Errorf("Timeline() = %q, want it to tell %q", text, want)
		}
	}
	if strings.Contains(text, "rotations/u/tasks") {
		t.Errorf("Timeline() = %q, want nothing of other identities", text)
	}
}
