package edge_test

import (
	"context"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// A request id is its caller's. Another who sends it learns that it is taken, and nothing
// of what it was for.
func TestClaim_ARequestIDIsItsCallers(t *testing.T) {
	h, b := serve(t, nil), tenantstest.NewBucket()
	req := &pb.StartRotationRequest{Name: getRequest().GetName(), PlanDigest: "a", RequestId: id}
	repeat := false
	h.room.get = func(ctx context.Context) (err error) {
		repeat, err = edge.Claim(ctx, b, req, req.GetName())
		return err
	}
	claim := func(by string) error {
		_, err := h.client.GetRotation(claiming(t.Context(), by), getRequest())
		return err
	}
	if err := claim("ann"); err != nil || repeat {
		t.Fatalf("the first = %v, a repeat: %t", err, repeat)
	}
	if err := claim("ann"); err != nil || !repeat {
		t.Errorf("the second = %v, a repeat: %t", err, repeat)
	}
	named := func(err error) bool {
		t.Helper()
		checkInfo(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
		_, ok := detail[*errdetails.ResourceInfo](t, err)
		return ok
	}
	if named(claim("bob")) {
		t.Error("another caller with the same request is told what it was for")
	}
	req.PlanDigest = "b"
	if named(claim("bob")) {
		t.Error("another caller with another request is told what it was for")
	}
	if !named(claim("ann")) {
		t.Error("the caller is not told what its own request was for")
	}
}

// startHash is the SHA-256 of the request below without its id, as earlier builds noted it.
const startHash = "458fcefb3cbe39ede5807ca921681fba5b228617f605372c112dee09dbbaf46d"

// What earlier builds noted, without a caller, is honoured: the same request is a repeat,
// and of another nothing is told.
func TestClaim_RecordsWithoutACaller(t *testing.T) {
	h, b := serve(t, nil), tenantstest.NewBucket()
	req := &pb.StartRotationRequest{Name: getRequest().GetName(), PlanDigest: "a", RequestId: id}
	record := `{"v":1,"method":"StartRotationRequest","hash":"` + startHash + `","rotation":"` + id + `","done":true}`
	if _, err := b.Create(t.Context(), id, []byte(record)); err != nil {
		t.Fatal(err)
	}
	var got edge.Request
	h.room.get = func(ctx context.Context) error {
		q, err := edge.RequestOfCaller(ctx, "StartRotationRequest", req)
		if err == nil {
			got, err = q.Begin(ctx, b)
		}
		return err
	}
	_, err := h.client.GetRotation(claiming(t.Context(), "ann"), getRequest())
	if err != nil || !got.Repeat || !got.Done || got.Rotation != id {
		t.Errorf("the repeat = %+v, %v, want what was noted", got, err)
	}
	req.PlanDigest = "b"
	_, err = h.client.GetRotation(claiming(t.Context(), "ann"), getRequest())
	checkInfo(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	if d, ok := detail[*errdetails.ResourceInfo](t, err); ok {
		t.Errorf("whoever sends it is told of %s", d.GetResourceName())
	}
}
