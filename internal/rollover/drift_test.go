package rollover_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// driftCase is a target that was rotated: the old and a foreign credential stood at
// planning, the new one was added and the old one removed.
type driftCase struct {
	old, fresh, foreign, other rollover.Credential
	look                       rollover.Look
	rotations                  map[string]rollover.Rotation
}

const (
	earlierID = "0192f0c1-0000-7000-8000-000000000001"
	ownID     = "0192f0c1-0000-7000-8000-000000000005"
	laterID   = "0192f0c1-0000-7000-8000-000000000009"
)

func newDriftCase(t *testing.T) *driftCase {
	t.Helper()
	e := rollovertest.Epoch
	c := &driftCase{rotations: map[string]rollover.Rotation{}}
	for i, into := range []*rollover.Credential{&c.old, &c.fresh, &c.foreign, &c.other} {
		subject := []string{"CN=crm", "CN=crm", "CN=partner", "CN=crm"}[i]
		*into, _ = rollovertest.Certificate(t, subject, e.AddDate(0, 0, i), e.AddDate(2, 0, i))
	}
	planned := rollover.Observation{Standing: []rollover.Standing{rollovertest.Stand(c.old), rollovertest.Stand(c.foreign)}}
	c.look = rollover.Look{
		Task: rollover.Task{
			ID:       rollover.TaskID{Rotation: ownID},
			Item:     rollover.Item{Observed: planned.Digest(c.fresh.SHA256), Retire: []rollover.Credential{c.old.Named()}},
			Progress: rollover.Progress{Phase: rollover.Retired, Outcome: rollover.Succeeded, Removed: []string{c.old.SHA256}},
			Orders:   rollover.Orders{New: c.fresh},
		},
		Now:      rollover.Observation{Standing: []rollover.Standing{c.marked(c.fresh, ownID), rollovertest.Stand(c.foreign)}},
		Rotation: func(id string) (rollover.Rotation, bool) { r, ok := c.rotations[id]; return r, ok },
	}
	return c
}

func (*driftCase) marked(c rollover.Credential, rotation string) rollover.Standing {
	s := rollovertest.Stand(c)
	s.Mark = rotation
	return s
}

// inOverlap takes the case back to where both stand.
func (c *driftCase) inOverlap() {
	c.look.Progress = rollover.Progress{Phase: rollover.Activated}
	c.look.Now.Standing = append(c.look.Now.Standing, rollovertest.Stand(c.old))
}

func (c *driftCase) drop(sha string) {
	c.look.Now.Standing = slices.DeleteFunc(c.look.Now.Standing, func(s rollover.Standing) bool { return s.SHA256 == sha })
}

func (c *driftCase) add(s ...rollover.Standing) {
	c.look.Now.Standing = append(c.look.Now.Standing, s...)
}

// known makes another rotation to a credential that replaces by subject.
func (c *driftCase) known(id string, to rollover.Credential) {
	c.rotations[id] = rollover.Rotation{ID: id, Spec: rollover.Spec{New: to.Named(), ReplacesSubject: true}}
}

func TestLook_SaysWhatIsOther(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c *driftCase)
		want   []rollover.DriftKind
	}{
		"as it was left":                   {func(*driftCase) {}, nil},
		"as it was left, other order":      {func(c *driftCase) { slices.Reverse(c.look.Now.Standing) }, nil},
		"in the overlap":                   {(*driftCase).inOverlap, nil},
		"the new one is gone":              {func(c *driftCase) { c.drop(c.fresh.SHA256) }, []rollover.DriftKind{rollover.DriftNewMissing}},
		"all are gone":                     {func(c *driftCase) { c.look.Now.Standing = nil }, []rollover.DriftKind{rollover.DriftNewMissing, rollover.DriftOthersChanged}},
		"the old one is back":              {func(c *driftCase) { c.add(rollovertest.Stand(c.old)) }, []rollover.DriftKind{rollover.DriftOldBack}},
		"a foreign one was added":          {func(c *driftCase) { c.add(rollovertest.Stand(c.other)) }, []rollover.DriftKind{rollover.DriftForeignAdded}},
		"a foreign one that stood is gone": {func(c *driftCase) { c.drop(c.foreign.SHA256) }, []rollover.DriftKind{rollover.DriftOthersChanged}},
		"the new one has other dates": {func(c *driftCase) {
			c.look.Now.Standing[0].End = c.fresh.NotAfter.Add(-time.Second)
		}, []rollover.DriftKind{rollover.DriftNewAltered}},
		"one good copy of the new one is enough": {func(c *driftCase) {
			bad := rollovertest.Stand(c.fresh)
			bad.End = bad.End.Add(-time.Hour)
			c.look.Now.Standing = slices.Insert(c.look.Now.Standing, 0, bad)
		}, nil},
		"a foreign one that stood has other dates": {func(c *driftCase) {
			c.look.Now.Standing[1].End = c.foreign.NotAfter.Add(-time.Second)
		}, []rollover.DriftKind{rollover.DriftOthersChanged}},
		"the old one is gone in the overlap": {func(c *driftCase) { c.inOverlap(); c.drop(c.old.SHA256) },
			[]rollover.DriftKind{rollover.DriftOldMissingEarly}},
		"the old one was kept and is gone": {func(c *driftCase) { c.look.Removed = nil }, nil},
		"the old one is back with other dates": {func(c *driftCase) {
			s := rollovertest.Stand(c.old)
			s.Start = s.Start.Add(time.Hour)
			c.add(s)
		}, []rollover.DriftKind{rollover.DriftOldBack}},
		"a later rotation replaced ours": {func(c *driftCase) {
			c.known(laterID, c.other)
			c.drop(c.fresh.SHA256)
			c.add(c.marked(c.other, laterID))
		}, nil},
		"a later rotation stands beside ours": {func(c *driftCase) { c.known(laterID, c.other); c.add(c.marked(c.other, laterID)) }, nil},
		"an earlier rotation stands beside ours": {func(c *driftCase) {
			c.known(earlierID, c.other)
			c.add(c.marked(c.other, earlierID))
		}, nil},
		"an earlier rotation explains no loss": {func(c *driftCase) {
			c.known(earlierID, c.other)
			c.drop(c.fresh.SHA256)
			c.add(c.marked(c.other, earlierID))
		}, []rollover.DriftKind{rollover.DriftNewMissing}},
		"a later rotation that replaces nothing explains no loss": {func(c *driftCase) {
			c.rotations[laterID] = rollover.Rotation{ID: laterID, Spec: rollover.Spec{New: c.other.Named()}}
			c.drop(c.fresh.SHA256)
			c.add(c.marked(c.other, laterID))
		}, []rollover.DriftKind{rollover.DriftNewMissing}},
		"a mark of no rotation is nobody's": {func(c *driftCase) { c.add(c.marked(c.other, laterID)) },
			[]rollover.DriftKind{rollover.DriftForeignAdded}},
		"a mark on what the rotation never added is nobody's": {func(c *driftCase) {
			c.known(laterID, c.fresh)
			c.add(c.marked(c.other, laterID))
		}, []rollover.DriftKind{rollover.DriftForeignAdded}},
		"our own mark on another one is nobody's": {func(c *driftCase) { c.add(c.marked(c.other, ownID)) },
			[]rollover.DriftKind{rollover.DriftForeignAdded}},
		"a later rotation went back": {func(c *driftCase) {
			c.known(laterID, c.old)
			c.drop(c.fresh.SHA256)
			c.add(c.marked(c.old, laterID))
		}, nil},
		"a repair with the same certificate": {func(c *driftCase) {
			c.known(laterID, c.fresh)
			c.look.Now.Standing[0].Mark = laterID
		}, nil},
		"what stood at planning is not known": {func(c *driftCase) { c.look.Item.Observed = "" }, []rollover.DriftKind{rollover.DriftOthersChanged}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newDriftCase(t)
			test.change(c)
			var got []rollover.DriftKind
			for _, d := range c.look.Drifts() {
				got = append(got, d.Kind)
				if d.Detail == "" || d.Kind.Hint() == "" {
					t.Errorf("%s says %q, hint %q", d.Kind, d.Detail, d.Kind.Hint())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("Drifts = %v, want %v", got, test.want)
			}
		})
	}
}

// Whatever others add to whatever stood, exactly that is named: nothing that
// stood, nothing of ours.
func TestLook_NamesExactlyWhatWasAdded(t *testing.T) {
	var pool []rollover.Credential
	for i := range 9 {
		c, _ := rollovertest.Certificate(t, "CN=any", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, i))
		pool = append(pool, c)
	}
	rapid.Check(t, func(rt *rapid.T) {
		cs := rapid.Permutation(pool).Draw(rt, "certificates")
		fresh, old, rest := cs[0], cs[1], cs[2:]
		stood := rapid.IntRange(0, len(rest)).Draw(rt, "stood")
		added := rapid.IntRange(stood, len(rest)).Draw(rt, "added")
		oldCopies := rapid.IntRange(1, 2).Draw(rt, "copies of the old one")
		retired := rapid.Bool().Draw(rt, "retired")
		var planned, now rollover.Observation
		for range oldCopies {
			planned.Standing = append(planned.Standing, rollovertest.Stand(old))
		}
		now.Standing = append(now.Standing, rollovertest.Stand(fresh))
		for i, c := range rest[:added] {
			if i < stood {
				planned.Standing = append(planned.Standing, rollovertest.Stand(c))
			}
			now.Standing = append(now.Standing, rollovertest.Stand(c))
		}
		k := rollover.Task{
			ID:     rollover.TaskID{Rotation: ownID},
			Item:   rollover.Item{Observed: planned.Digest(fresh.SHA256), Retire: []rollover.Credential{old.Named()}},
			Orders: rollover.Orders{New: fresh}, Progress: rollover.Progress{Phase: rollover.Activated},
		}
		if retired {
			k.Progress = rollover.Progress{Phase: rollover.Retired, Outcome: rollover.Succeeded, Removed: []string{old.SHA256}}
		} else {
			now.Standing = append(now.Standing, planned.Standing[:oldCopies]...)
		}
		now.Standing = rapid.Permutation(now.Standing).Draw(rt, "order")
		var got, want []string
		for _, d := range (rollover.Look{Task: k, Now: now}).Drifts() {
			if d.Kind != rollover.DriftForeignAdded {
				rt.Fatalf("Drifts has %+v, want only what was added", d)
			}
			got = append(got, d.SHA256)
		}
		for _, c := range rest[stood:added] {
			want = append(want, c.SHA256)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			rt.Errorf("added = %v, want %v", got, want)
		}
	})
}

// Any number of credentials is looked at in bounded time and told in bounded room.
func TestLook_ManyAddedAreBounded(t *testing.T) {
	c := newDriftCase(t)
	for i := range 40 {
		x, _ := rollovertest.Certificate(t, "CN="+strings.Repeat("ü", 2000), rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, i))
		c.add(rollovertest.Stand(x))
	}
	begun := time.Now()
	got := c.look.Drifts()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("Drifts took %s", took)
	}
	if len(got) != 12 || got[11].Kind != rollover.DriftForeignAdded || !strings.Contains(got[11].Detail, "28 more") {
		t.Errorf("Drifts has %d entries, want 12, the last of which stands for 28 more: %v", len(got), got)
	}
	part := rollover.CheckPart{}
	for range rollover.CheckChunk {
		part.Targets = append(part.Targets, rollover.Drifted{Drifts: got})
	}
	if b, err := json.Marshal(part); err != nil || len(b) > 700<<10 {
		t.Errorf("a part full of such targets has %d bytes, %v, want it to fit into a message of 768 KiB", len(b), err)
	}
}

func TestKeepSince_KeepsTheFirstSight(t *testing.T) {
	first, now := rollovertest.Epoch, rollovertest.Epoch.Add(time.Hour)
	drifts := []rollover.Drift{{Kind: rollover.DriftNewMissing, SHA256: "a"}, {Kind: rollover.DriftForeignAdded, SHA256: "b"}}
	rollover.KeepSince(drifts, []rollover.Drift{{Kind: rollover.DriftNewMissing, SHA256: "a", Since: first}, {Kind: rollover.DriftForeignAdded, SHA256: "c", Since: first}}, now)
	if !drifts[0].Since.Equal(first) || !drifts[1].Since.Equal(now) {
		t.Errorf("KeepSince = %v, want %s and %s", drifts, first, now)
	}
}
