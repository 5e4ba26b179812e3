package jet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// streamMark is there while a restore is under way, and stays if it was not
// finished: no process works on half a store.
const streamMark = "RESTORING"

// The folders beneath that of an embedded store.
const (
	storeFolder     = "jetstream" // the server's own
	restoringFolder = "restoring" // what is being restored; moved to storeFolder when it is whole
	replacedFolder  = "replaced-" // with the time: what a restore took the place of
)

// restoreChunk is how much of a copy is sent at once, and restoreTimeout how long
// the server may take for it, or to put the stream to use at the end.
const (
	restoreChunk   = 256 << 10
	restoreTimeout = 30 * time.Second
)

// ErrNotEmpty says that a store that was to be restored into has something in it.
var ErrNotEmpty = errors.New("the store is not empty")

// errRestoring is what a process is told that finds a restore unfinished.
func errRestoring() error {
	return refuse("a restore of this store is under way, or was not finished: run \"crossfade store restore\" to its end, with --replace if it was not")
}

// notRestoring returns an error where a restore is not finished.
func (b *Broker) notRestoring(ctx context.Context) error {
	_, err := b.js.Stream(ctx, streamMark)
	switch {
	case err == nil:
		return errRestoring()
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	}
	return fmt.Errorf("looking up stream %s: %w", streamMark, err)
}

// Restoring is a set of copies that are to be put back.
type Restoring struct {
	Cuts []Cut
	// Open returns the copy of a stream.
	Open func(stream string) (io.ReadCloser, error)
	// Replace lets what the store has now be taken away. Else a store with
	// anything in it is refused with [ErrNotEmpty].
	Replace bool
	// Now names what was replaced in an embedded store's folder.
	Now time.Time
}

// Restore puts copies back into the store that c names, of which no process may be
// running. It is all or nothing: until the last stream is back no process opens
// the store.
func Restore(ctx context.Context, c Config, r Restoring) error {
	if c.URL != "" {
		b, err := Dial(ctx, c)
		if err != nil {
			return err
		}
		err = b.restoreCluster(ctx, r)
		return errors.Join(err, b.Close(context.WithoutCancel(ctx)))
	}
	return restoreEmbedded(ctx, c, r)
}

// restoreEmbedded restores into a folder beside the server's and swaps the two.
func restoreEmbedded(ctx context.Context, c Config, r Restoring) error {
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return fmt.Errorf("%w; stop it first", err)
	}
	defer unlock()
	store, restoring := filepath.Join(c.Dir, storeFolder), filepath.Join(c.Dir, restoringFolder)
	_, err = os.Stat(store)
	there := err == nil
	if there && !r.Replace {
		return fmt.Errorf("%s: %w: there is a store; nothing was changed. With --replace it is moved aside", c.Dir, ErrNotEmpty)
	}
	if err := os.RemoveAll(restoring); err != nil { // Of one that was not finished.
		return fmt.Errorf("removing what is left of another restore: %w", err)
	}
	inner := c
	inner.Dir, inner.Listen, inner.Local = restoring, "", ""
	b, err := Dial(ctx, inner)
	if err != nil {
		return err
	}
	err = b.putBack(ctx, r)
	if err = errors.Join(err, b.Close(context.WithoutCancel(ctx))); err != nil {
		return errors.Join(err, os.RemoveAll(restoring))
	}
	if there {
		if err := os.Rename(store, filepath.Join(c.Dir, replacedFolder+r.Now.UTC().Format("20060102T150405Z"))); err != nil {
			return fmt.Errorf("moving the store aside: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(restoring, storeFolder), store); err != nil {
		return fmt.Errorf("moving the restored store into its place: %w", err)
	}
	if err := syncDir(c.Dir); err != nil {
		return err
	}
	if err := os.RemoveAll(restoring); err != nil {
		return fmt.Errorf("removing the folder of the restore: %w", err)
	}
	return nil
}

// syncDir makes the names in a folder last through a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// restoreCluster restores into servers of others.
func (b *Broker) restoreCluster(ctx context.Context, r Restoring) error {
	// A cluster that was just started may not know yet which of its servers are there.
	early, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	if err := again(early, b.nobodyLeads); err != nil {
		return err
	}
	names := b.recordStreams()
	for _, c := range r.Cuts {
		if !slices.Contains(names, c.Stream) {
			names = append(names, c.Stream)
		}
	}
	var held []string
	err := again(early, func(ctx context.Context) (err error) {
		held, err = b.filled(ctx, append(slices.Clone(names), streamMark))
		return err
	})
	if err != nil {
		return err
	}
	if len(held) > 0 && !r.Replace {
		return fmt.Errorf("%w: stream %s is there and has something in it; nothing was changed. With --replace it is deleted", ErrNotEmpty, held[0])
	}
	mark := jetstream.StreamConfig{Name: streamMark, Subjects: []string{"restoring"}, Storage: jetstream.FileStorage, Replicas: max(1, b.c.Replicas), MaxBytes: 1 << 16}
	err = again(early, func(ctx context.Context) error {
		_, err := b.js.CreateOrUpdateStream(ctx, mark)
		return err //nolint:wrapcheck // Below.
	})
	if err != nil {
		return fmt.Errorf("marking that a restore is under way: %w", err)
	}
	if _, err := b.js.Publish(ctx, "restoring", []byte(r.Now.UTC().Format(time.RFC3339))); err != nil {
		return fmt.Errorf("marking that a restore is under way: %w", err)
	}
	// What was out and who led belongs to the life before.
	if err := b.deleteStreams(ctx, append(slices.Clone(names), streamWork, streamLeases)); err != nil {
		return err
	}
	if err := b.putBack(ctx, r); err != nil {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTimeout)
		defer cancel()
		err = errors.Join(err, b.deleteStreams(cctx, names))
		if len(held) == 0 { // As it was before.
			return errors.Join(err, b.deleteStreams(cctx, []string{streamMark}))
		}
		return fmt.Errorf("%w; what was there is deleted, and no process opens the store before a restore has been finished", err)
	}
	return b.deleteStreams(ctx, []string{streamMark})
}

// nobodyLeads returns an error if a process holds a lease, which it does as long as
// it runs, and some seconds after it was killed.
func (b *Broker) nobodyLeads(ctx context.Context) error {
	s, err := b.js.Stream(ctx, streamLeases)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("looking up stream %s: %w", streamLeases, err)
	case s.CachedInfo().State.Msgs > 0:
		return refuse("processes of Crossfade work on this store; stop every \"serve\" and \"work\", and try again 10 s after the last has ended")
	}
	return nil
}

// filled returns which of the streams are there with something in them.
func (b *Broker) filled(ctx context.Context, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		s, err := b.js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return nil, fmt.Errorf("looking up stream %s: %w", name, err)
		case s.CachedInfo().State.Msgs > 0 || s.CachedInfo().State.LastSeq > 0:
			out = append(out, name)
		}
	}
	return out, nil
}

// deleteStreams deletes those of the streams that are there.
func (b *Broker) deleteStreams(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := b.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("deleting stream %s: %w", name, err)
		}
	}
	return nil
}

// putBack restores every copy, and the records last.
func (b *Broker) putBack(ctx context.Context, r Restoring) error {
	cuts := slices.Clone(r.Cuts)
	slices.Reverse(cuts)
	for _, c := range cuts {
		if err := b.putBackOne(ctx, c, r.Open); err != nil {
			return fmt.Errorf("restoring stream %s: %w", c.Stream, err)
		}
	}
	return nil
}

// streamConfig returns the configuration with which the stream was copied.
func (c Cut) streamConfig() (jetstream.StreamConfig, error) {
	var out jetstream.StreamConfig
	if err := json.Unmarshal(c.Config, &out); err != nil {
		return out, fmt.Errorf("configuration of stream %s: %w", c.Stream, err)
	}
	if out.Name != c.Stream {
		return out, fmt.Errorf("configuration of stream %s is that of %q", c.Stream, out.Name)
	}
	return out, nil
}

// putBackOne sends a copy to the server, as its restore wants it.
func (b *Broker) putBackOne(ctx context.Context, c Cut, open func(string) (io.ReadCloser, error)) error {
	config, err := c.streamConfig()
	if err != nil {
		return err
	}
	config.Replicas, config.AllowDirect = max(1, b.c.Replicas), b.direct(c.Stream)
	config.Placement = nil // The servers may be others.
	config.Metadata = maps.Clone(config.Metadata)
	if config.Metadata == nil {
		config.Metadata = map[string]string{}
	}
	config.Metadata[metaMade] = rand.Text()[:16]
	file, err := open(c.Stream)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // Opened for reading only.
	ask, err := encode(map[string]any{"config": config, "state": c.state()})
	if err != nil {
		return err
	}
	var begun struct {
		DeliverSubject string              `json:"deliver_subject"`
		Error          *jetstream.APIError `json:"error"`
	}
	if err := b.ask(ctx, "$JS.API.STREAM.RESTORE."+c.Stream, ask, &begun); err != nil {
		return err
	}
	if begun.Error != nil {
		return begun.Error
	}
	head, err := c.head()
	if err != nil {
		return err
	}
	if err := b.send(ctx, begun.DeliverSubject, io.MultiReader(head, file)); err != nil {
		return err
	}
	s, err := b.js.Stream(ctx, c.Stream)
	if err != nil {
		return fmt.Errorf("looking at what was restored: %w", err)
	}
	if st := s.CachedInfo().State; st.LastSeq != c.Last || st.Msgs > c.Messages {
		return fmt.Errorf("it has %d messages up to sequence %d, want at most %d up to %d", st.Msgs, st.LastSeq, c.Messages, c.Last)
	}
	return nil
}

// send sends a copy in chunks, each of which is answered, and then the empty one
// that ends it.
func (b *Broker) send(ctx context.Context, to string, from io.Reader) error {
	chunk := make([]byte, restoreChunk)
	for {
		n, err := io.ReadFull(from, chunk)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("reading the copy: %w", err)
		}
		var said struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := b.ask(ctx, to, chunk[:n], &said); err != nil {
			return err
		}
		if said.Error != nil {
			return said.Error
		}
		if n == 0 {
			return nil
		}
	}
}

// ask sends one request to the server and reads its answer, which may be empty.
func (b *Broker) ask(ctx context.Context, subject string, data []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	resp, err := b.nc.RequestWithContext(ctx, subject, data)
	// In a cluster a server may tell where it listens before the others know. Nobody has
	// heard us then, so that the same can be said again.
	for errors.Is(err, nats.ErrNoResponders) && pause(ctx, 50*time.Millisecond) == nil {
		resp, err = b.nc.RequestWithContext(ctx, subject, data)
	}
	if err != nil {
		return fmt.Errorf("asking the server: %w", explain(unclear, err))
	}
	if len(resp.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(resp.Data, into); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// state is what the server is told of a stream before it is restored.
func (c Cut) state() map[string]any {
	return map[string]any{"messages": c.Messages, "bytes": c.Bytes, "first_seq": c.First, "last_seq": c.Last, "consumer_count": 0}
}

// head returns the beginning of the server's archive, which says how much there is.
func (c Cut) head() (io.Reader, error) {
	state, err := encode(c.state())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := s2.NewWriter(&out, s2.WriterConcurrency(1))
	to := archive.NewWriter(enc)
	if err := to.WriteHeader(&archive.Header{Name: "state.json", PayloadSize: int64(len(state))}); err != nil {
		return nil, fmt.Errorf("writing the head: %w", err)
	}
	if _, err := to.Write(state); err != nil {
		return nil, fmt.Errorf("writing the head: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing the head: %w", err)
	}
	return &out, nil
}

// Missing returns the streams that are not there yet, or an error where a restore is not
// finished.
func (b *Broker) Missing(ctx context.Context) ([]string, error) {
	if err := again(ctx, b.notRestoring); err != nil {
		return nil, err
	}
	var names []string
	for _, c := range append(b.lasting(), b.volatile()...) {
		names = append(names, c.Name)
	}
	return b.absent(ctx, names)
}

// absent returns those of names of which there is no stream.
func (b *Broker) absent(ctx context.Context, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		err := again(ctx, func(ctx context.Context) error {
			_, err := b.js.Stream(ctx, name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				out, err = append(out, name), nil // An answer, and not to be asked for again.
			}
			return err //nolint:wrapcheck // Below.
		})
		if err != nil {
			return nil, fmt.Errorf("looking up stream %s: %w", name, err)
		}
	}
	return out, nil
}
