package drive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// getLimit bounds one reading, and tryLimit one try of a change.
const (
	getLimit = 1500 * time.Millisecond
	tryLimit = 2 * time.Second
)

// get reads the rotation from one of the APIs.
func (p *portal) get(ctx context.Context) (*pb.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, getLimit)
	defer cancel()
	resp, err := p.d.clients[p.d.draw(len(p.d.clients))].GetRotation(ctx, &pb.GetRotationRequest{Name: p.intent.Name})
	return resp.GetRotation(), err
}

// verb is one change, to be asked of an API under a request id.
type verb func(ctx context.Context, c pb.RotationServiceClient, requestID string) (*pb.Rotation, error)

// create makes the rotation, once, however often that is asked for.
func (p *portal) create(ctx context.Context) error {
	r := &pb.Rotation{DisplayName: p.intent.Label, Spec: p.spec()}
	dry := &pb.CreateRotationRequest{Rotation: proto.Clone(r).(*pb.Rotation), ValidateOnly: true}
	dctx, cancel := context.WithTimeout(ctx, tryLimit)
	_, err := p.d.clients[p.d.draw(len(p.d.clients))].CreateRotation(dctx, dry)
	cancel()
	if err != nil && final(err) {
		return fmt.Errorf("checking %s: %w", p.intent.Label, err)
	}
	made, err := p.insist(ctx, "CreateRotation", p.intent.RequestID, func(ctx context.Context, c pb.RotationServiceClient, id string) (*pb.Rotation, error) {
		resp, err := c.CreateRotation(ctx, &pb.CreateRotationRequest{Rotation: r, RequestId: id})
		return resp.GetRotation(), err
	})
	if err != nil {
		return err
	}
	p.intent.Name = made.GetName()
	return nil
}

// change asks for a change of the rotation until it is answered. That its state
// does not allow it is an answer: faults decide who comes first.
func (p *portal) change(ctx context.Context, name string, v verb) error {
	return p.changeAs(ctx, name, uuid.NewString(), v)
}

func (p *portal) changeAs(ctx context.Context, name, id string, v verb) error {
	_, err := p.insist(ctx, name, id, v)
	if status.Code(errors.Unwrap(err)) == codes.FailedPrecondition {
		return nil
	}
	return err
}

// insist asks for a change under one request id until there is an answer that says
// what became of it. Some tries are given up before they are answered, some are
// sent to both APIs at once, and some changes are asked for once more much later.
func (p *portal) insist(ctx context.Context, name, id string, v verb) (*pb.Rotation, error) {
	for try := 1; ; try++ {
		limit := tryLimit
		how := p.d.draw(6)
		if how == 0 && try < 4 {
			limit = p.d.between(time.Millisecond, 40*time.Millisecond)
		}
		if how == 1 {
			var other sync.WaitGroup
			other.Go(func() { _, _ = p.try(ctx, name, id, try, 1, limit, v) })
			r, err := p.try(ctx, name, id, try, 0, limit, v)
			other.Wait()
			if err == nil || final(err) {
				return r, wrap(name, err)
			}
		} else if r, err := p.try(ctx, name, id, try, p.d.draw(len(p.d.clients)), limit, v); err == nil || final(err) {
			if err == nil && how == 2 {
				p.later(ctx, name, id, try+1, v)
			}
			return r, wrap(name, err)
		}
		if !pause(ctx, p.d.between(20*time.Millisecond, 300*time.Millisecond)) {
			return nil, fmt.Errorf("%s of %s was never answered: %w", name, p.intent.Label, ctx.Err())
		}
	}
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// later repeats a change that was answered, as a message that was held up in the
// network does: it must change nothing.
func (p *portal) later(ctx context.Context, name, id string, try int, v verb) {
	late := p.d.between(300*time.Millisecond, 3*time.Second)
	p.d.watching.Go(func() {
		if pause(ctx, late) {
			_, _ = p.try(ctx, name, id, try, p.d.draw(len(p.d.clients)), tryLimit, v) // Its line in the record is all that is wanted.
		}
	})
}

// repeat asks for a change that was answered until it is answered again.
func (p *portal) repeat(ctx context.Context, name, id string, v verb) {
	for try := again; pause(ctx, p.d.between(20*time.Millisecond, 300*time.Millisecond)); try++ {
		if _, err := p.try(ctx, name, id, try, p.d.draw(len(p.d.clients)), tryLimit, v); err == nil || final(err) {
			return
		}
	}
}

// again is the number of the first try of a repeat.
const again = 1000

// try asks once and writes down what came of it.
func (p *portal) try(ctx context.Context, name, id string, try, api int, limit time.Duration, v verb) (*pb.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := v(ctx, p.d.clients[api], id)
	line := record.Call{Real: time.Now(), Verb: name, RequestID: id, Label: p.intent.Label, Try: try, Code: status.Code(err).String(), Name: r.GetName()}
	if err != nil {
		line.Detail = status.Convert(err).Message()
	}
	p.d.noted(p.d.calls.Add(line))
	return r, err
}

// final reports whether an error says what became of the request.
func final(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.ResourceExhausted, codes.Unknown:
		return false
	}
	return true
}

func stateName(r *pb.Rotation) string { return strings.TrimPrefix(r.GetState().String(), "STATE_") }
