package edge_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// uploads is a service that takes a stream in, and says how that ended.
type uploads struct {
	pb.UnimplementedInventoryServiceServer
	began chan struct{} // each message; nil: nobody waits for it
	ended chan error    // of each handler; nil: as above
}

func (u *uploads) ImportInventory(s grpc.ClientStreamingServer[pb.ImportInventoryRequest, pb.ImportInventoryResponse]) (err error) {
	if u.ended != nil {
		defer func() { u.ended <- err }()
	}
	for rows := int64(0); ; {
		m, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return s.SendAndClose(&pb.ImportInventoryResponse{Job: &pb.InventoryJob{
				Name: "inventoryJobs/" + requestOne, State: pb.InventoryJob_STATE_SUCCEEDED, RowCount: rows, CreatedCount: rows,
			}})
		case err != nil:
			return err
		}
		rows += int64(len(m.GetChunk().GetTenants()))
		if u.began != nil {
			u.began <- struct{}{}
		}
	}
}

type upload = grpc.ClientStreamingClient[pb.ImportInventoryRequest, pb.ImportInventoryResponse]

// upload begins one, and returns when its first message was received.
func (h *house) upload(ctx context.Context, t *testing.T) upload {
	t.Helper()
	u := h.beginUpload(ctx, t)
	<-h.uploads.began
	return u
}

func (h *house) beginUpload(ctx context.Context, t *testing.T) upload {
	t.Helper()
	u, err := pb.NewInventoryServiceClient(h.conn).ImportInventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = u.Send(&pb.ImportInventoryRequest{Part: &pb.ImportInventoryRequest_Header{Header: &pb.ImportHeader{}}})
	if err != nil && !errors.Is(err, io.EOF) { // Then the answer tells.
		t.Fatal(err)
	}
	return u
}

// wait returns how an upload ended that its caller leaves open.
func wait(u upload) error { return u.RecvMsg(&pb.ImportInventoryResponse{}) }

// A caller who goes away in the middle of an upload made no mistake of ours.
func TestUpload_ACallerWhoGoesAwayIsNoMistakeOfOurs(t *testing.T) {
	h := serve(t, nil)
	h.uploads.began, h.uploads.ended = make(chan struct{}, 1), make(chan error, 1)
	ctx, leave := context.WithCancel(t.Context())
	h.upload(ctx, t)
	leave()
	if p := edge.ProblemOf(<-h.uploads.ended); p.Code != codes.Canceled || p.Reason != pb.ErrorReason_ERROR_REASON_CALLER_GONE {
		t.Errorf("the upload ended with %s %s, want CANCELLED", p.Code, p.Reason)
	}
	h.stop() // The line is written when the call is over.
	if log := h.log.String(); !strings.Contains(log, "reason=CALLER_GONE") || strings.Contains(log, "error_id") {
		t.Errorf("the log has no CALLER_GONE, or an error of ours:\n%s", log)
	}
}

func TestUpload_AMessageThatIsTooLarge(t *testing.T) {
	h := serve(t, nil)
	h.uploads.began = make(chan struct{}, 1)
	u := h.upload(t.Context(), t)
	large := &pb.Tenant{Name: "tenants/a", DisplayName: strings.Repeat("x", 5<<20)}
	err := u.Send(&pb.ImportInventoryRequest{Part: &pb.ImportInventoryRequest_Chunk{Chunk: &pb.ImportChunk{Tenants: []*pb.Tenant{large}}}})
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := wait(u); status.Code(err) != codes.ResourceExhausted { // gRPC's own answer.
		t.Errorf("the upload ended with %v, want RESOURCE_EXHAUSTED", err)
	}
	h.stop()
	if log := h.log.String(); !strings.Contains(log, "reason=MESSAGE_TOO_LARGE") || strings.Contains(log, "error_id") {
		t.Errorf("the log has no MESSAGE_TOO_LARGE, or an error of ours:\n%s", log)
	}
}

func TestUpload_OneOfWhichNothingComesIsEnded(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.UploadIdle = 20 * time.Millisecond })
	err := wait(h.beginUpload(t.Context(), t))
	checkInfo(t, err, codes.DeadlineExceeded, "SLOW_SENDER")
}

func TestUpload_EndsAtItsAge(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.MaxStreamAge = 20 * time.Millisecond })
	err := wait(h.beginUpload(t.Context(), t))
	checkInfo(t, err, codes.Unavailable, "STREAM_TOO_OLD")
	if s := status.Convert(err); strings.Contains(s.Message(), "watch") {
		t.Errorf("an upload is told %q", s.Message())
	}
}

func TestUpload_EndsWithTheToken(t *testing.T) {
	b := &table{}
	b.set(t, "grants:\n  - {subjects: [\"corp:jane\"], role: admin}\n")
	h := identified(t, tokens{until: time.Now().Add(time.Second)}, b)
	err := wait(h.beginUpload(as(t, "jane"), t))
	checkInfo(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
}

// An upload may be finished while the server stops, and is told so when it takes longer.
func TestUpload_WhileTheServerStops(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.StopTimeout = 4 * time.Second })
	h.uploads.began = make(chan struct{}, 1)
	short, long := h.upload(t.Context(), t), h.upload(t.Context(), t)
	w := h.open(t)
	stopped := make(chan struct{})
	go func() {
		h.stop()
		close(stopped)
	}()
	if _, err := w.Recv(); err == nil { // Ended: the stop has begun.
		t.Error("the watch goes on while the server stops")
	}
	if _, err := short.CloseAndRecv(); err != nil {
		t.Errorf("an upload that was finished while the server stopped = %v", err)
	}
	checkInfo(t, wait(long), codes.Unavailable, "DRAINING")
	<-stopped
}

// Uploads of one caller are bounded, apart from its watches; one that ends makes room.
func TestQuota_UploadsOfOneCaller(t *testing.T) {
	h := serve(t, func(c *edge.Config) { c.Quota.Uploads, c.Quota.Watches = 1, 1 })
	h.uploads.began = make(chan struct{}, 1)
	h.open(t)
	first := h.upload(t.Context(), t)
	err := wait(h.beginUpload(t.Context(), t))
	checkInfo(t, err, codes.ResourceExhausted, "TOO_MANY_UPLOADS")
	if q, _ := detail[*errdetails.QuotaFailure](t, err); len(q.GetViolations()) != 1 || q.GetViolations()[0].GetSubject() != "uploads" {
		t.Errorf("QuotaFailure = %v, want one of uploads", q)
	}
	h.upload(claiming(t.Context(), "bob"), t)
	if _, err := first.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	h.upload(t.Context(), t) // The answer was sent after the room was given back.
}
