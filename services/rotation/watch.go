package rotation

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// cursor is where a watch stands, as the reader keeps it. It says whether tasks
// were told, since from one that was told none nobody can go on with tasks, of
// which rotation, and which tenants were in sight where not all of its were: whoever
// sees others later has not been told of theirs.
type cursor struct {
	tasks    bool
	sight    string // see lens.mark
	rotation string
	pos      mirror.Position
}

func (c cursor) String() string {
	what := "r"
	if c.tasks {
		what = "t"
	}
	return what + c.sight + "." + c.rotation + "." + c.pos.String()
}

// readCursor reads the cursor of a request. It returns nil where there is none
// from which this watch can go on, and which tenants its reader saw.
func readCursor(req *pb.WatchRotationRequest, id string) (at *mirror.Position, sight string, err error) {
	if req.GetCursor() == "" {
		return nil, "", nil
	}
	bad := func(why string) error {
		return edge.InvalidFor(pb.ErrorReason_ERROR_REASON_CURSOR_INVALID, edge.Violated("cursor", "FORMAT", why))
	}
	parts := strings.SplitN(req.GetCursor(), ".", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r") && !strings.HasPrefix(parts[0], "t") {
		return nil, "", bad("is not one that was given out")
	}
	if parts[1] != id {
		return nil, "", bad("belongs to another rotation")
	}
	p, err := mirror.ParsePosition(parts[2])
	if err != nil {
		return nil, "", bad("is not one that was given out")
	}
	if req.GetIncludeTasks() && parts[0][0] == 'r' {
		return nil, "", nil
	}
	return &p, parts[0][1:], nil
}

// WatchRotation tells what happens to a rotation until it has ended.
func (s *Service) WatchRotation(req *pb.WatchRotationRequest, stream grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
	id, _ := edge.ParseRotation(req.GetName())
	since, saw, err := readCursor(req, id)
	if err != nil {
		return err
	}
	only, err := taskFilter(req)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	v, err := s.view(ctx, id)
	if err != nil {
		return edge.About(req.GetName(), err)
	}
	l, err := s.lens(ctx, req.GetName(), id)
	if err != nil {
		return err
	}
	if saw != l.mark() {
		since = nil
	}
	if since != nil {
		lost, err := s.c.Mirror.Lost(ctx, v, *since)
		if err != nil {
			return edge.About(req.GetName(), err)
		}
		if lost {
			since = nil
		}
	}
	w, err := s.c.Mirror.Watch(id, since)
	if err != nil {
		return edge.About(req.GetName(), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer w.Close()
	defer wg.Wait()
	defer cancel()
	t := &teller{
		s: s, lens: l, out: newOutlet(stream, s.c.SlowAfter), tasks: req.GetIncludeTasks(), hadCursor: req.GetCursor() != "",
		last: cursor{tasks: req.GetIncludeTasks(), sight: l.mark(), rotation: id},
	}
	if since != nil {
		t.last.pos = *since
	}
	if only != nil {
		t.only = &matching{filter: only, unknown: since != nil, told: map[int]bool{}}
	}
	batches := make(chan mirror.Batch) // Without room: news waits in the watch, where it is coalesced.
	broke := make(chan error, 1)
	wg.Go(func() { broke <- pull(ctx, w, batches) })
	first := s.c.Checkpoint
	if t.toldAll(v) {
		first = min(first, settle)
	}
	if err = t.tell(ctx, batches, broke, first); errors.Is(err, rollover.ErrNotFound) { // It was deleted.
		return edge.About(req.GetName(), err)
	}
	return err
}

// settle is how long one who comes back after the last event of a rotation waits
// to be told that it ended: long enough for a snapshot to come first, should the
// cursor be of another store.
const settle = 250 * time.Millisecond

// pull hands on what the watch tells until ctx ends or the watch breaks.
func pull(ctx context.Context, w *mirror.Watch, to chan<- mirror.Batch) error {
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case to <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if b.Ended {
			return nil
		}
	}
}

// teller turns batches into messages. It is for one stream and one goroutine.
type teller struct {
	s         *Service
	lens      lens
	out       *outlet
	tasks     bool
	hadCursor bool
	last      cursor // of the last batch that was told
	only      *matching
	shown     *pb.Rotation
}

func (t *teller) tell(ctx context.Context, batches <-chan mirror.Batch, broke <-chan error, first time.Duration) error {
	alive, looked := time.NewTicker(first), time.NewTicker(t.s.c.LookAgain)
	defer alive.Stop()
	defer looked.Stop()
	for {
		select {
		case b := <-batches:
			if err := t.same(ctx); err != nil {
				return err
			}
			if err := t.batch(ctx, b); err != nil || b.Ended {
				return err
			}
			alive.Reset(t.s.c.Checkpoint)
		case err := <-broke:
			return err
		case <-looked.C:
			if err := t.same(ctx); err != nil {
				return err
			}
		case <-alive.C:
			if err := t.same(ctx); err != nil {
				return err
			}
			if done, err := t.quiet(ctx); done || err != nil {
				return err
			}
			alive.Reset(t.s.c.Checkpoint)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// same returns an error if the caller sees other tenants than when the watch began: a
// tenant that was given other labels may be another's by now, or theirs. With the cursor
// that they have they are told what they see then.
func (t *teller) same(ctx context.Context) error {
	in, err := t.s.sights.Of(ctx)
	if err != nil {
		return err
	}
	if in.Key() != t.lens.in.Key() {
		return edge.RightsChanged()
	}
	return nil
}

// toldAll reports whether the rotation has ended and the reader was told all of
// it.
func (t *teller) toldAll(v mirror.View) bool {
	p := t.last.pos
	return v.Rotation.State.Ended() && v.Counts.OpenTasks == 0 &&
		p.Epoch != "" && p.Rotation >= v.Rotation.Rev && p.Tasks >= v.Seq
}

// quiet says that there is no news. Of a rotation that has ended there will be
// none: whoever comes back after its last event is told once more that it ended.
func (t *teller) quiet(ctx context.Context) (done bool, err error) {
	v, err := t.s.c.Mirror.Rotation(ctx, t.last.rotation)
	if err == nil && t.toldAll(v) {
		r := t.lens.rotation(t.s.show(ctx, v))
		return true, t.send(ctx, t.last, &pb.WatchRotationResponse{Event: &pb.WatchRotationResponse_Rotation{Rotation: r}})
	}
	return false, t.send(ctx, t.last, &pb.WatchRotationResponse{Event: &pb.WatchRotationResponse_Checkpoint{Checkpoint: &pb.Checkpoint{}}})
}

func (t *teller) send(ctx context.Context, at cursor, m *pb.WatchRotationResponse) error {
	m.Cursor, m.EventTime = at.String(), timestamppb.New(t.s.c.Now())
	e, err := edge.Encode(m)
	if err != nil {
		return err
	}
	return t.out.send(ctx, e)
}

// outlet sends messages and gives up on a reader that takes none.
type outlet struct {
	stream   grpc.ServerStream
	patience time.Duration
}

func newOutlet(stream grpc.ServerStream, patience time.Duration) *outlet {
	return &outlet{stream, patience}
}

// errGone says that the reader went away while a message was being sent.
var errGone = errors.New("the reader went away")

// send returns when the message is on its way. Flow control makes gRPC's own
// Send wait for the reader, for ever if need be; that wait ends when the handler
// returns, and so does the goroutine that waits.
func (o *outlet) send(ctx context.Context, m *edge.Encoded) error {
	sent := make(chan error, 1)
	go func() { sent <- o.stream.SendMsg(m) }()
	t := time.NewTimer(o.patience)
	defer t.Stop()
	select {
	case err := <-sent:
		if err != nil {
			return errors.Join(errGone, context.Canceled, err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return edge.TooSlow()
	}
}
