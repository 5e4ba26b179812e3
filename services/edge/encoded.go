package edge

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Encoded is a message that was encoded before it is sent, so that the same one
// can be sent to many readers for the price of one. It never changes, and any
// number of streams of a [Server] may send it at once, by SendMsg.
type Encoded struct{ bytes []byte }

// Encode encodes m, which must not be nil. It keeps nothing of it.
func Encode(m proto.Message) (*Encoded, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", m, err)
	}
	return &Encoded{b}, nil
}

// codec is gRPC's own for protocol buffers, which also takes what is encoded
// already. Compression, where there is any, comes after it.
type codec struct{ encoding.CodecV2 }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if e, ok := v.(*Encoded); ok {
		// A SliceBuffer belongs to no pool: nobody writes to it or gives it back.
		return mem.BufferSlice{mem.SliceBuffer(e.bytes)}, nil
	}
	return c.CodecV2.Marshal(v)
}
