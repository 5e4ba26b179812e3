package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go"
)

// Cut is one stream of a back-up: what was read of it, and what it has to be
// restored with.
type Cut struct {
	Stream   string `json:"stream"`
	First    uint64 `json:"first"`    // sequence of the first message; 0: there is none
	Last     uint64 `json:"last"`     // sequence up to which the stream was read
	Messages uint64 `json:"messages"` // how many messages the file has
	Bytes    uint64 `json:"bytes"`    // what they take in the store, about
	// Config is the stream's configuration as its server told it.
	Config json.RawMessage `json:"config"`
}

// cutBudget bounds how long it is tried to meet the store at rest.
const cutBudget = time.Minute

// ErrBusyStore says that the store was written to without a pause while it was
// copied, so that no instant was found at which all of it fits together.
var ErrBusyStore = errors.New("the store does not rest for a moment")

// Backup copies every stream that is a record into the writers that create
// returns, one for each stream, and says what it copied.
//
// The server's own snapshot is not used: it goes through a stream up to the
// sequence that was the last when it began, so that of a value that is written
// over meanwhile it has neither the old message, which is gone, nor the new one,
// which comes after (nats-server 2.15.2, streamSnapshotV2). What is written here
// has the same form, and the server's own restore takes it.
//
// Records, requests and task states are copied as they stood at one instant: as
// if every process had been killed then. All that these refer to lies in buckets
// that are copied after, so that nothing refers to what is missing.
func (b *Broker) Backup(ctx context.Context, create func(stream string) (io.WriteCloser, error)) (cuts []Cut, err error) {
	copies := map[string]*copying{}
	defer func() {
		for _, k := range copies {
			err = errors.Join(err, k.close())
		}
	}()
	names, err := b.storedStreams(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		w, err := create(name)
		if err != nil {
			return nil, err
		}
		copies[name] = newCopying(b, name, w)
	}
	requests := bucketStream("requests") // As old as the first build, like the two that rest with it.
	if err := b.rest(ctx, []*copying{copies[streamRotations], copies[requests]}, copies[streamState]); err != nil {
		return nil, err
	}
	if err := copies[streamRotations].has.missing(); err != nil {
		return nil, err
	}
	for _, name := range names {
		k := copies[name]
		if name != streamRotations && name != requests && name != streamState {
			if err := b.rest(ctx, nil, k); err != nil {
				return nil, err
			}
		}
		c, err := k.finish(ctx)
		if err != nil {
			return nil, err
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// recordStreams lists the streams that are records, in the order in which they are
// copied and put back. The key of page tokens is none: a back-up has no secret in it, and
// a store without one makes another.
func (b *Broker) recordStreams() []string {
	var out []string
	for _, c := range b.lasting() {
		if c.Name != bucketStream("pages") {
			out = append(out, c.Name)
		}
	}
	return out
}

// storedStreams lists those of recordStreams that the store has. One that a newer build
// brought along is in no store of before, until a process of that build has opened it.
func (b *Broker) storedStreams(ctx context.Context) ([]string, error) {
	names := b.recordStreams()
	absent, err := b.absent(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{streamRotations, streamState, bucketStream("requests")} {
		if slices.Contains(absent, name) {
			return nil, fmt.Errorf("there is no store: stream %s is not there", name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(absent, name) }), nil
}

// rest reads all of them until an instant was met at which none was behind: busy
// was at its end while none of calm was written to.
func (b *Broker) rest(ctx context.Context, calm []*copying, busy *copying) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cutBudget, ErrBusyStore)
	defer cancel()
	all := append(slices.Clone(calm), busy)
	for {
		for _, k := range all {
			if err := k.catchUp(ctx); err != nil {
				return err
			}
		}
		still := true
		for _, k := range append(all, calm...) { // Calm ones before and after.
			atEnd, err := k.atEnd(ctx)
			if err != nil {
				return err
			}
			still = still && atEnd
		}
		if still {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("copying %s: %w", busy.r.stream, context.Cause(ctx))
		}
	}
}

// copying is one stream that is being copied.
type copying struct {
	r    *reader
	file io.WriteCloser
	s2   *s2.Writer
	to   *archive.Writer
	cut  Cut
	has  belongings // of the stream of rotations
}

func newCopying(b *Broker, stream string, w io.WriteCloser) *copying {
	enc := s2.NewWriter(w, s2.WriterConcurrency(1))
	return &copying{
		r:    &reader{b: b, stream: stream, filters: []string{">"}, all: true},
		file: w, s2: enc,
		// The head of the archive, with the magic bytes, is made when it is restored:
		// it says how much there is.
		to:  archive.NewWriter(&without{w: enc, n: len(archive.MagicBytes)}),
		cut: Cut{Stream: stream},
	}
}

// atEnd reports whether all that the leader has now was copied. Then whatever was
// written over has been copied too, old or new.
func (k *copying) atEnd(ctx context.Context) (bool, error) {
	end, err := k.r.end(ctx)
	return end <= k.r.seen, err
}

// catchUp copies what the leader has at the time of the call, and what comes along.
func (k *copying) catchUp(ctx context.Context) error {
	end, err := k.r.end(ctx)
	if err != nil {
		return err
	}
	for k.r.seen < end {
		e, ok, err := k.r.next(ctx, scanIdle)
		if err != nil {
			return err
		}
		if ok {
			if err := k.write(e); err != nil {
				return fmt.Errorf("copying %s: %w", k.r.stream, err)
			}
			continue
		}
		if end, err = k.r.end(ctx); err != nil { // The last one may have been removed meanwhile.
			return err
		}
	}
	return nil
}

// write adds a message to the file.
func (k *copying) write(e event) error {
	head := encodeHeader(e.header)
	h := &archive.Header{
		Name: e.subject, Timestamp: e.at.UnixNano(), Sequence: e.seq, HeaderSize: int64(len(head)), PayloadSize: int64(len(e.data)),
	}
	if err := k.to.WriteHeader(h); err != nil {
		return fmt.Errorf("writing %s: %w", e.subject, err)
	}
	for _, part := range [][]byte{head, e.data} {
		if _, err := k.to.Write(part); err != nil {
			return fmt.Errorf("writing %s: %w", e.subject, err)
		}
	}
	if k.cut.First == 0 {
		k.cut.First = e.seq
	}
	if k.r.stream == streamRotations {
		k.has.note(e)
	}
	k.cut.Messages++
	k.cut.Last = e.seq
	k.cut.Bytes += uint64(len(e.subject) + len(head) + len(e.data) + messageOverhead)
	return nil
}

// messageOverhead is what the file store takes for a message besides its text.
const messageOverhead = 32

// finish writes the mark that nothing follows, and returns what was copied.
func (k *copying) finish(ctx context.Context) (Cut, error) {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	if err := k.to.WriteHeader(&archive.Header{}); err != nil {
		return k.cut, fmt.Errorf("ending the copy of %s: %w", k.r.stream, err)
	}
	if err := k.s2.Close(); err != nil {
		return k.cut, fmt.Errorf("ending the copy of %s: %w", k.r.stream, err)
	}
	err := again(ctx, func(ctx context.Context) error {
		s, err := k.r.b.js.Stream(ctx, k.r.stream)
		if err != nil {
			return fmt.Errorf("looking up stream %s: %w", k.r.stream, err)
		}
		k.cut.Config, err = json.Marshal(s.CachedInfo().Config)
		return err
	})
	return k.cut, err
}

// close gives up what is open. It may be called after finish.
func (k *copying) close() error {
	k.r.close()
	return errors.Join(k.s2.Close(), k.file.Close())
}

// encodeHeader returns headers in the form in which they are stored, or nothing
// where there are none.
func encodeHeader(h nats.Header) []byte {
	if len(h) == 0 {
		return nil
	}
	keys := make([]string, 0, len(h))
	for key := range h {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var s strings.Builder
	s.WriteString("NATS/1.0\r\n")
	for _, key := range keys {
		for _, v := range h[key] {
			s.WriteString(key + ": " + v + "\r\n")
		}
	}
	s.WriteString("\r\n")
	return []byte(s.String())
}

// without is a writer that leaves out the first n bytes.
type without struct {
	w io.Writer
	n int
}

// Write writes p but for what is left out.
func (o *without) Write(p []byte) (int, error) {
	skip := min(o.n, len(p))
	o.n -= skip
	n, err := o.w.Write(p[skip:])
	return skip + n, err
}

// Newest returns the versions of the newest record and of the newest task state,
// finding or check that the store has. A position beyond them is of another life
// of the store.
func (b *Broker) Newest(ctx context.Context) (rotations, states uint64, err error) {
	for stream, into := range map[string]*uint64{streamRotations: &rotations, streamState: &states} {
		ctx, cancel := context.WithTimeout(ctx, callBudget)
		err := again(ctx, func(ctx context.Context) error {
			s, err := b.js.Stream(ctx, stream)
			if err != nil {
				return fmt.Errorf("looking up stream %s: %w", stream, err)
			}
			*into = s.CachedInfo().State.LastSeq
			return nil
		})
		cancel()
		if err != nil {
			return 0, 0, err
		}
	}
	return rotations, states, nil
}

// checkWhole reads a copy to its end and says what is wrong with it: that is not the
// number of messages that c says, in order, with the mark at the end.
func (c Cut) checkWhole(r io.Reader) error {
	in := archive.NewReader(io.MultiReader(strings.NewReader(archive.MagicBytes), s2.NewReader(r)))
	var messages, last uint64
	for {
		h, err := in.Next()
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", messages+1, c.Messages, err)
		}
		if h.Sequence == 0 && h.Name == "" {
			break
		}
		if h.Sequence <= last {
			return fmt.Errorf("message %d of %d: sequence %d after %d", messages+1, c.Messages, h.Sequence, last)
		}
		if messages++; messages == 1 && h.Sequence != c.First {
			return fmt.Errorf("it begins with sequence %d, want %d", h.Sequence, c.First)
		}
		last = h.Sequence
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end mark")
	}
	if messages != c.Messages || last != c.Last {
		return fmt.Errorf("it has %d messages up to sequence %d, want %d up to %d", messages, last, c.Messages, c.Last)
	}
	return nil
}

// Check reads the copy of a stream to its end and returns an error that says what
// is wrong with it. It is not whole then, and nothing of it may be restored.
func (c Cut) Check(r io.Reader) error {
	if err := c.checkWhole(r); err != nil {
		return fmt.Errorf("copy of stream %s: %w", c.Stream, err)
	}
	if _, err := c.streamConfig(); err != nil {
		return err
	}
	return nil
}
