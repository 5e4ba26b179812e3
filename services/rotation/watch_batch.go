package rotation

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// What is made of a shared batch once, by key.
type (
	rotationOf struct{}                     // its rotation
	isStill    struct{ shown *pb.Rotation } // whether that is what was shown
	saidAfter  struct {                     // its messages for those who stand here
		last  cursor
		quiet bool
	}
)

// batch sends a batch. What many readers are told is made and encoded once for
// all that stand at the same place.
func (t *teller) batch(ctx context.Context, b mirror.Batch) error {
	if !t.lens.whole() { // What others are told is not for this reader.
		b.Shared, b.Tasks = nil, t.lens.tasks(b.Tasks)
	}
	if t.only != nil { // As above.
		b.Shared, b.Tasks = nil, t.only.tasks(b.Reset, b.Tasks)
	}
	// The forecast is new each time, and no news: it is left out of what is compared.
	plain, err := once(ctx, b, rotationOf{}, func() (*pb.Rotation, error) {
		return t.lens.rotation(rotationProto(b.View.Rotation, b.View.Counts)), nil
	})
	if err != nil {
		return err
	}
	quiet := false // The rotation was shown just so, and is not sent again.
	if !b.Reset && !b.Ended {
		quiet, err = once(ctx, b, isStill{t.shown}, func() (bool, error) { return proto.Equal(plain, t.shown), nil })
		if err != nil {
			return err
		}
	}
	messages, err := once(ctx, b, saidAfter{t.last, quiet}, func() ([]*edge.Encoded, error) { return t.compose(ctx, b, quiet) })
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := t.out.send(ctx, m); err != nil {
			return err
		}
	}
	t.shown, t.last.pos = plain, b.Pos
	return nil
}

// once returns what make makes, made once for all readers of a shared batch.
func once[T any](ctx context.Context, b mirror.Batch, key any, make func() (T, error)) (T, error) {
	if b.Shared == nil {
		return make()
	}
	v, err := b.Shared.Made(ctx, key, func() (any, error) { return make() })
	made, _ := v.(T) // The zero value with an error.
	return made, err
}

// compose makes of a batch one message, or two. A cursor stands behind all that
// it covers: the first of two still carries the one before.
func (t *teller) compose(ctx context.Context, b mirror.Batch, quiet bool) ([]*edge.Encoded, error) {
	next := t.last
	next.pos = b.Pos
	var ms []*pb.WatchRotationResponse
	withTasks := t.tasks && len(b.Tasks) > 0
	if !quiet {
		r, at := t.lens.rotation(t.s.show(ctx, *b.View)), next
		if withTasks {
			at = t.last
			if b.Reset {
				at.pos = mirror.Position{} // From the middle of a snapshot nobody can go on.
			}
		}
		m := &pb.WatchRotationResponse{Cursor: at.String(), Event: &pb.WatchRotationResponse_Rotation{Rotation: r}}
		if b.Reset {
			m.Event = &pb.WatchRotationResponse_Snapshot{Snapshot: &pb.RotationSnapshot{Rotation: r, Reset_: t.hadCursor}}
		}
		ms = append(ms, m)
	}
	if withTasks {
		ks := make([]*pb.RotationTask, len(b.Tasks))
		for i, k := range b.Tasks {
			ks[i] = taskProto(k)
		}
		ms = append(ms, &pb.WatchRotationResponse{
			Cursor: next.String(), Event: &pb.WatchRotationResponse_Tasks{Tasks: &pb.TaskChanges{Tasks: ks}},
		})
	}
	out := make([]*edge.Encoded, len(ms))
	for i, m := range ms {
		m.EventTime = timestamppb.New(t.s.c.Now())
		var err error
		if out[i], err = edge.Encode(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}
