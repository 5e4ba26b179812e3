package edge_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// A message is bounded before anything of it is looked at, and by what it becomes when
// it is unpacked; metadata are as well.
func TestServer_RequestsAreBounded(t *testing.T) {
	h := serve(t, nil)
	h.room.get = func(context.Context) error { return nil }
	large := &pb.GetRotationRequest{Name: "rotations/" + strings.Repeat("x", 5<<20)}
	for name, opts := range map[string][]grpc.CallOption{"plain": nil, "compressed": {grpc.UseCompressor(gzip.Name)}} {
		if _, err := h.client.GetRotation(t.Context(), large, opts...); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("GetRotation with 5 MiB, %s = %v, want RESOURCE_EXHAUSTED", name, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-long", strings.Repeat("x", 128<<10))
	if _, err := h.client.GetRotation(ctx, getRequest()); err == nil {
		t.Error("GetRotation with 128 KiB of metadata = nil, want an error")
	}
	if _, err := h.client.GetRotation(t.Context(), getRequest()); err != nil {
		t.Errorf("GetRotation after all that = %v", err)
	}
}
