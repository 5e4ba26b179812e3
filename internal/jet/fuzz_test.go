package jet

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// sortOf is the reading of one sort of record.
type sortOf struct {
	name string
	// read reads a record and writes what it read.
	read func(data []byte) (version int, again []byte, err error)
}

func sort[T any](name string, version func(T) int) sortOf {
	return sortOf{name, func(data []byte) (int, []byte, error) {
		v, err := decode[T](data)
		if err != nil {
			return 0, nil, err
		}
		again, err := encode(v)
		return version(v), again, err
	}}
}

func sorts() []sortOf {
	return []sortOf{
		sort("rotation", func(r rollover.Rotation) int { return r.V }),
		sort("progress", func(p rollover.Progress) int { return p.V }),
		sort("finding", func(f rollover.Finding) int { return f.V }),
		sort("check", func(c rollover.CheckPart) int { return c.V }),
		sort("plan", func(p planRecord) int { return p.V }),
		sort("selection", func(s selectionRecord) int { return s.V }),
		sort("nudge", func(n nudgeRecord) int { return n.V }),
		sort("lease", func(l leaseRecord) int { return l.V }),
	}
}

// FuzzRecord reads any bytes as a record of each sort: it is refused, or it is of a
// version that we know and reads the same after it was written again. A record of a
// version that we do not know is never read, whatever else is in it.
func FuzzRecord(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name) //nolint:gosec // A name from this test.
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Replace(b, []byte(`"v":1`), []byte(`"v":3`), 1))
	}
	for _, s := range []string{
		`{"v":1,"V":7}`, `{"v":7,"V":1}`, `{"v":1.0}`, `{"v":1e0}`, `{"v":"1"}`, `{"v":1}{"v":2}`, `{"v":1,"ord":-1}`, `{"v":1,"items":[{"ord":1e400}]}`,
		`{"v":1,"labels":{"` + "\x00\xff" + `":"x"}}`, `{"v":1,"updated_at":"9999-12-31T23:59:59+23:59"}`, `{"v":1,"spec":{"max_in_flight":-9223372036854775808}}`,
		`[1]`, `null`, "", "\xef\xbb\xbf{\"v\":1}", `{"v":1,"x":` + string(bytes.Repeat([]byte("["), 150)) + string(bytes.Repeat([]byte("]"), 150)) + `}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range sorts() {
			v, again, err := s.read(data)
			if err != nil {
				continue
			}
			if v < rollover.RecordVersion || v > rollover.LatestVersion {
				t.Fatalf("%s: version %d is read", s.name, v)
			}
			v2, third, err := s.read(again)
			if err != nil || v2 != v || !bytes.Equal(again, third) {
				t.Errorf("%s: written again it is\n%s\nand then\n%s (%v)", s.name, again, third, err)
			}
			if len(again) > 20*len(data)+4096 {
				t.Errorf("%s: %d bytes read as %d", s.name, len(data), len(again))
			}
			// The same in the dress of a version that is not known.
			var raw map[string]json.RawMessage
			if json.Unmarshal(again, &raw) != nil {
				t.Fatalf("%s: %s is no object", s.name, again)
			}
			for _, unknown := range []string{"3", "-1", "1e3", `"1"`, "[]"} {
				raw["v"] = json.RawMessage(unknown)
				other, err := json.Marshal(raw)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.read(other); err == nil {
					t.Errorf("%s: read as version %s: %s", s.name, unknown, other)
				}
			}
		}
	})
}

// FuzzChange tells any message of the feed: what it tells has a rotation that its
// subject names, and a subject of no known sort tells nothing.
func FuzzChange(f *testing.F) {
	for _, subject := range []string{
		"f.0.abc.7.1", "s.0.abc.-1", "s.0.abc.007", "s.0.abc.99999999999999999999", "s.0.=00.7", "...", "s.0.=ZZ.1", "", planPrefix + ".0.abc.1",
		recordPrefix + ".0.abc", statePrefix + ".0.abc.7", findingPrefix + ".0.abc.7", checkPrefix + ".0.abc.3",
	} {
		f.Add(subject, []byte(`{"v":1,"id":"abc"}`), int64(0))
		f.Add(subject, []byte(`{"v":9}`), int64(-1))
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte, at int64) {
		e := event{subject: subject, data: data, at: time.Unix(0, at)}
		c, err := change(e)
		if err != nil {
			return
		}
		a, err := parseAddress(subject)
		if err != nil {
			t.Fatalf("%q tells %+v, and is no address: %v", subject, c, err)
		}
		told := 0
		if c.Rotation != nil {
			told++
		}
		if c.Task != nil {
			told++
			if c.Task.ID != (rollover.TaskID{Rotation: a.rotation, Ord: a.n}) {
				t.Errorf("%q tells of task %v", subject, c.Task.ID)
			}
		}
		if c.Finding != nil {
			told++
		}
		if c.Check != nil {
			told++
		}
		if told != 1 {
			t.Errorf("%q tells %d things, want one", subject, told)
		}
	})
}

// FuzzGather puts a finding together from messages in any order and number, as a scan
// of a broken store may give them: never a panic, and never a finding of parts that
// are not all there.
func FuzzGather(f *testing.F) {
	f.Add([]byte{0, 1, 2}, []byte(`{"v":1,"tenant":"contoso"}`), "3")
	f.Add([]byte{2, 1, 0}, []byte(`{"v":1}`), "2")
	f.Add([]byte{0, 0, 0}, []byte(`{"v":1}`), "")
	f.Add([]byte{0}, []byte(`{"v":1}`), "-1")
	f.Add([]byte{1}, []byte(`{"v":1}`), "99999999999999999999")
	n := names{}
	f.Fuzz(func(t *testing.T, order, data []byte, parts string) {
		if len(order) > 64 {
			return
		}
		g := gatherer{out: map[int]rollover.Finding{}, torn: map[int]*pieces{}}
		size := max(1, len(data)/max(1, len(order)))
		seen := map[byte]bool{}
		for i, p := range order {
			piece := data[min(len(data), i*size):min(len(data), (i+1)*size)]
			e := event{subject: part(n.finding("r", 7), int(p)), data: piece, header: nats.Header{headerParts: {parts}}}
			if err := g.take(e); err != nil {
				return
			}
			seen[p] = true
			if _, whole := g.out[7]; whole && !seen[0] {
				t.Fatalf("a finding without its head, from parts %v", order[:i+1])
			}
		}
	})
}

// FuzzNudge reads any message of the queue and any slot, as others may have written
// them.
func FuzzNudge(f *testing.F) {
	f.Add("w.task.contoso-sb=2Eaccesscontrol=2Ewindows=2Enet", []byte(`{"v":1,"rotation":"r1","ord":7}`))
	f.Add(slot(Tasks, "h"), []byte(`{"v":1,"rotation":"../../x","ord":-1}`))
	f.Add(slot(Plans, ""), []byte(`{"v":2}`))
	f.Add("w..", []byte(`{"v":1,"ord":9223372036854775808}`))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		if q, key, err := parseSlot(subject); err == nil && slot(q, key) != subject {
			t.Errorf("slot %q reads as %q of %q, which is %q", subject, key, q, slot(q, key))
		}
		n, err := decodeNudge(data)
		if err != nil {
			return
		}
		again, err := encode(nudgeRecord{V: rollover.RecordVersion, Nudge: n})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := decodeNudge(again); err != nil || m != n {
			t.Errorf("nudge %+v is written as %s, which reads %+v, %v", n, again, m, err)
		}
	})
}

// FuzzBeat hears whatever is said of room: the sum is never negative and never beyond
// what the workers that are remembered may have.
func FuzzBeat(f *testing.F) {
	f.Add([]byte(`{"v":1,"worker":"a","hands":8,"waiting":8}`), []byte(`{"v":1,"worker":"b","hands":8}`))
	f.Add([]byte(`{"worker":"a","hands":9223372036854775807,"waiting":9223372036854775807}`), []byte(`{"worker":"b","hands":9223372036854775807}`))
	f.Add([]byte(`{"worker":"a","hands":-1}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		h := heard{workers: map[string]told{}}
		for _, data := range [][]byte{one, two} {
			h.take(&nats.Msg{Data: data})
		}
		if r := h.sum(); r.Hands < 0 || r.Waiting < 0 || r.Hands > 2*maxRoom || r.Waiting > 2*maxRoom {
			t.Errorf("after %s and %s the room is %+v", one, two, r)
		}
	})
}
