package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// A golden store is all that a build left behind when it was killed, as text: a
// JSON object a line, the scene first, then what stood in ACS, then each stream
// with its messages by their sequences.
type goldenLine struct {
	Scene    *scene          `json:"scene,omitempty"`
	Value    []byte          `json:"value,omitempty"` // of keys, which name it by its SHA-256
	Identity *goldenIdentity `json:"identity,omitempty"`
	Stream   *goldenStream   `json:"stream,omitempty"`
	Message  *goldenMessage  `json:"message,omitempty"`
}

// scene is the world around a store, and what was asked.
type scene struct {
	Build    string    `json:"build"`  // the commit
	Moment   string    `json:"moment"` // at which it was killed
	Tenants  int       `json:"tenants"`
	Seed     int64     `json:"seed"`
	Now      time.Time `json:"now"` // by the emulated clock
	Rotation string    `json:"rotation"`
	Digest   string    `json:"digest,omitempty"` // of its frozen plan
	Cursor   string    `json:"cursor,omitempty"` // of a watch, as last told
	Old      string    `json:"old"`              // SHA-256 of the certificates
	New      string    `json:"new"`
}

// goldenIdentity is a service identity before the rotation and when the build was
// killed. The values of its keys are their SHA-256.
type goldenIdentity struct {
	Host   string    `json:"host"`
	Name   string    `json:"name"`
	Before []acs.Key `json:"before"`
	Now    []acs.Key `json:"now"`
}

type goldenStream struct {
	Config jetstream.StreamConfig `json:"config"`
	Last   uint64                 `json:"last"`
}

type goldenMessage struct {
	Seq     uint64      `json:"seq"`
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header,omitempty"`
	Text    string      `json:"text,omitempty"`
	Binary  []byte      `json:"binary,omitempty"` // where it is no UTF-8
}

// golden is a golden store that was read.
type golden struct {
	scene      scene
	values     map[string][]byte
	identities []goldenIdentity
	lines      []goldenLine // of streams and messages
}

// readGolden reads a file that dump wrote.
func readGolden(t *testing.T, path string) *golden {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	g := &golden{values: map[string][]byte{}}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var l goldenLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v in %q", path, err, lines.Text())
		}
		switch {
		case l.Scene != nil:
			g.scene = *l.Scene
		case l.Value != nil:
			g.values[sum(l.Value)] = l.Value
		case l.Identity != nil:
			g.identities = append(g.identities, *l.Identity)
		default:
			g.lines = append(g.lines, l)
		}
	}
	if err := lines.Err(); err != nil || g.scene.Build == "" {
		t.Fatalf("%s: no golden store (%v)", path, err)
	}
	return g
}

// keys gives keys their values back.
func (g *golden) keys(t *testing.T, named []acs.Key) []acs.Key {
	t.Helper()
	out := make([]acs.Key, len(named))
	for i, k := range named {
		v, ok := g.values[string(k.Value)]
		if !ok {
			t.Fatalf("golden store: the value of key %d is missing", k.ID)
		}
		k.Value = v
		out[i] = k
	}
	return out
}

// openStore opens the store of a service that does not run, for as long as use
// takes.
func openStore(t *testing.T, dir string, use func(context.Context, jetstream.JetStream)) {
	t.Helper()
	s, err := server.NewServer(&server.Options{ServerName: "crossfade", DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server of the store is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	use(ctx, js)
}

// dump writes the store in dir, and what it is about, as a golden store.
func dump(t *testing.T, path, dir string, sc scene, ids []goldenIdentity) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	put := func(l goldenLine) {
		if err := enc.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	put(goldenLine{Scene: &sc})
	seen := map[string]bool{}
	for _, id := range ids {
		for _, ks := range [][]acs.Key{id.Before, id.Now} {
			for i, k := range ks {
				if name := sum(k.Value); !seen[name] {
					seen[name] = true
					put(goldenLine{Value: k.Value})
				}
				ks[i].Value = []byte(sum(k.Value))
			}
		}
		put(goldenLine{Identity: &id})
	}
	openStore(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		streams := js.ListStreams(ctx)
		for info := range streams.Info() {
			if info.Config.Storage != jetstream.FileStorage {
				continue // Made anew at each start.
			}
			put(goldenLine{Stream: &goldenStream{Config: info.Config, Last: info.State.LastSeq}})
			s, err := js.Stream(ctx, info.Config.Name)
			if err != nil {
				t.Fatal(err)
			}
			for seq := info.State.FirstSeq; seq > 0 && seq <= info.State.LastSeq; seq++ {
				m, err := s.GetMsg(ctx, seq)
				if err != nil {
					continue // Another value took its place.
				}
				g := &goldenMessage{Seq: seq, Subject: m.Subject, Header: m.Header, Text: string(m.Data)}
				if !utf8.Valid(m.Data) {
					g.Text, g.Binary = "", m.Data
				}
				put(goldenLine{Message: g})
			}
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// restore puts the streams and messages of g into a fresh store, under the same
// sequences: records are compared and swapped by them. Each gap is filled with
// messages of one subject, of which the stream keeps one, and that one is removed
// in the end. The instants of the messages are new.
func (g *golden) restore(t *testing.T, dir string) {
	t.Helper()
	openStore(t, dir, func(ctx context.Context, js jetstream.JetStream) {
		r := &restorer{t: t, ctx: ctx, js: js}
		for _, l := range g.lines {
			if l.Stream != nil {
				r.finish()
				r.begin(*l.Stream)
			} else {
				r.put(*l.Message)
			}
		}
		r.finish()
	})
}

// restorer fills one stream after the other.
type restorer struct {
	t    *testing.T
	ctx  context.Context // of the one call that it lives for
	js   jetstream.JetStream
	at   goldenStream
	into jetstream.Stream
	seq  uint64
}

// filler is the subject of what fills gaps, within all subjects of our streams.
func (r *restorer) filler() string {
	name := r.at.Config.Subjects[0]
	return name[:len(name)-1] + "filler"
}

func (r *restorer) begin(s goldenStream) {
	r.t.Helper()
	var err error
	if r.into, err = r.js.CreateStream(r.ctx, s.Config); err != nil {
		r.t.Fatal(err)
	}
	r.at, r.seq = s, 0
}

// fill takes up sequences until the next one is seq.
func (r *restorer) fill(seq uint64) {
	r.t.Helper()
	for ; r.seq+1 < seq; r.seq++ {
		if _, err := r.js.Publish(r.ctx, r.filler(), nil); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *restorer) put(m goldenMessage) {
	r.t.Helper()
	r.fill(m.Seq)
	data := m.Binary
	if data == nil {
		data = []byte(m.Text)
	}
	// Headers that the server read when it stored the message would be obeyed anew.
	h := nats.Header{}
	for k, v := range m.Header {
		if k == "Crossfade-Parts" {
			h[k] = v
		}
	}
	ack, err := r.js.PublishMsg(r.ctx, &nats.Msg{Subject: m.Subject, Header: h, Data: data})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.seq = ack.Sequence; r.seq != m.Seq {
		r.t.Fatalf("golden store: %s of stream %s got sequence %d, want %d", m.Subject, r.at.Config.Name, r.seq, m.Seq)
	}
}

func (r *restorer) finish() {
	r.t.Helper()
	if r.into == nil {
		return
	}
	r.fill(r.at.Last + 1)
	if err := r.into.Purge(r.ctx, jetstream.WithPurgeSubject(r.filler())); err != nil {
		r.t.Fatal(err)
	}
}
