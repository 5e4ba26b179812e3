package main

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// hearing writes down every answer and every refusal of a service as a line of JSON, for
// who wants to see that nothing is in them that should not be.
func hearing(w io.Writer) []grpc.DialOption {
	if w == nil {
		return nil
	}
	h := &hearer{w: w}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, opts...)
			h.note(method, reply, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := open(ctx, d, cc, method, opts...)
			if err != nil {
				return nil, err
			}
			return &heardStream{s, h, method}, nil
		}),
	}
}

// hearer writes one line at a time.
type hearer struct {
	mu sync.Mutex
	w  io.Writer
}

func (h *hearer) note(method string, reply any, err error) {
	line := map[string]any{"method": method}
	if s := status.Convert(err); err != nil {
		line["status"] = asJSON(s.Proto())
	} else if m, ok := reply.(proto.Message); ok {
		line["answer"] = asJSON(m)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = json.NewEncoder(h.w).Encode(line) // Who reads it notices what is missing.
}

type heardStream struct {
	grpc.ClientStream
	h      *hearer
	method string
}

// RecvMsg receives the next answer and writes it down.
func (s *heardStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.h.note(s.method, m, err)
	return err
}
