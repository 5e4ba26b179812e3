package edge_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

func claiming(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "crossfade-caller", name)
}

// One caller's calls are bounded, whoever else calls; it is told when to come again.
func TestQuota_CallsOfOneCaller(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.Quota.CallsPerSecond = 1 })
	h.room.get = func(context.Context) error { return nil }
	var refused error
	for range 10 {
		if _, err := h.client.GetRotation(claiming(t.Context(), "ann"), getRequest()); err != nil {
			refused = err
			break
		}
	}
	checkInfo(t, refused, codes.ResourceExhausted, "TOO_MANY_CALLS")
	q, _ := detail[*errdetails.QuotaFailure](t, refused)
	if v := q.GetViolations(); len(v) != 1 || v[0].GetSubject() != "calls_per_second" {
		t.Errorf("QuotaFailure = %v, want one of calls_per_second", q)
	}
	r, _ := detail[*errdetails.RetryInfo](t, refused)
	if d := r.GetRetryDelay().AsDuration(); d <= 0 || d > 2*time.Second {
		t.Errorf("RetryInfo = %s, want up to the second in which there is room", d)
	}
	if _, err := h.client.GetRotation(claiming(t.Context(), "bob"), getRequest()); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if _, err := h.client.GetRotation(t.Context(), getRequest()); err != nil {
		t.Errorf("nobody: %v", err)
	}
}

// Watches of one caller are bounded; one that ends makes room.
func TestQuota_WatchesOfOneCaller(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.Quota.Watches = 1 })
	opened := make(chan struct{}, 4)
	h.room.watch = func(s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		opened <- struct{}{}
		<-s.Context().Done()
		return s.Context().Err()
	}
	open := func(ctx context.Context) grpc.ServerStreamingClient[pb.WatchRotationResponse] {
		t.Helper()
		w, err := h.client.WatchRotation(ctx, &pb.WatchRotationRequest{Name: "rotations/" + id})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first, leave := context.WithCancel(claiming(t.Context(), "ann"))
	w := open(first)
	<-opened
	_, err := open(claiming(t.Context(), "ann")).Recv()
	checkInfo(t, err, codes.ResourceExhausted, "TOO_MANY_WATCHES")
	if r, ok := detail[*errdetails.RetryInfo](t, err); !ok || r.GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("RetryInfo = %v, want some", r)
	}
	open(claiming(t.Context(), "bob"))
	<-opened
	leave()
	if _, err := w.Recv(); status.Code(err) != codes.Canceled {
		t.Fatalf("the first watch ended with %v", err)
	}
	// The server learns of it a moment later.
	for until := time.Now().Add(10 * time.Second); ; {
		again := open(claiming(t.Context(), "ann"))
		refused := make(chan error, 1)
		go func() {
			_, err := again.Recv()
			refused <- err
		}()
		select {
		case <-opened:
			return
		case err := <-refused:
			if time.Now().After(until) {
				t.Fatalf("there is no room after a watch ended: %v", err)
			}
		}
	}
}
