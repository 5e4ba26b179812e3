package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// checking is a stream whose requests are checked as they come in, and waited for no
// longer than the stream may live.
type checking struct {
	grpc.ServerStream
	idle time.Duration // how long the next request may take
}

// RecvMsg receives the next request and checks it. An error is io.EOF or one that
// [ProblemOf] knows.
func (s *checking) RecvMsg(m any) error {
	if err := s.next(m); err != nil {
		return err
	}
	return check(m)
}

// next waits for a request. gRPC's own RecvMsg hears of the connection's end alone, not
// of the ends that the chain gave the stream: a token that ended, a server that stops.
// It returns when the handler does, and so does the goroutine that waits in it; nobody
// looks at m then.
func (s *checking) next(m any) error {
	came := make(chan error, 1)
	go func() { came <- s.ServerStream.RecvMsg(m) }()
	t := time.NewTimer(s.idle)
	defer t.Stop()
	select {
	case err := <-came:
		return received(err)
	case <-s.Context().Done():
		cause := context.Cause(s.Context())
		if !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
			return cause
		}
		// The stream itself has ended, so RecvMsg returns, and knows better why: gRPC ends
		// it before it tells us that a message is too large.
		return received(<-came)
	case <-t.C:
		what := fmt.Sprintf("nothing was sent for %s; send it again, an import with the same request_id", s.idle)
		return &Problem{
			Code: codes.DeadlineExceeded, Reason: pb.ErrorReason_ERROR_REASON_SLOW_SENDER, Message: what, Retry: time.Second,
		}
	}
}

// received makes of gRPC's word on a request that could not be received what its sender
// is told, or would be: of a message that is too large gRPC has told it by itself. The log,
// the audit log and the job of an import say what is returned here. None of it is a mistake of ours, and none may look like one: it would be
// logged with an id and wake somebody up whenever a portal is closed within an upload.
func received(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("receiving a request: %w: %w", context.Canceled, err)
	case codes.DeadlineExceeded:
		return fmt.Errorf("receiving a request: %w: %w", context.DeadlineExceeded, err)
	case codes.ResourceExhausted:
		what := fmt.Sprintf("a message has at most %d bytes; send less in each", maxRequest)
		return &Problem{
			Code: codes.ResourceExhausted, Reason: pb.ErrorReason_ERROR_REASON_MESSAGE_TOO_LARGE, Message: what, Cause: err,
			Details: []protoadapt.MessageV1{quota("message_bytes", what)},
		}
	case codes.Internal: // It was cut short, or is no message of the contract.
		return &Problem{
			Code: codes.InvalidArgument, Reason: pb.ErrorReason_ERROR_REASON_INVALID_FIELDS, Message: "a message could not be read", Cause: err,
		}
	default:
		return err
	}
}
