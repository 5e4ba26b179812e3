package edge_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/audit"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// book keeps what it is told, or refuses it.
type book struct {
	mu      sync.Mutex
	records []audit.Record
	err     error
}

func (b *book) Tell(_ context.Context, rs ...audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.records = append(b.records, rs...)
	}
	return b.err
}

func (b *book) all() []audit.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records
}

func TestTold_AChangeBeforeAndAfter(t *testing.T) {
	b := &book{}
	h := serve(t, func(c *edge.Config) { c.Audit = b })
	_, err := h.client.PauseRotation(t.Context(), &pb.PauseRotationRequest{Name: "rotations/0198c0de-0000-7000-8000-000000000000", Reason: "lunch"})
	if err == nil {
		t.Fatal("PauseRotation of an empty server = nil")
	}
	_, _ = h.client.ListRotations(t.Context(), &pb.ListRotationsRequest{}) // It changes nothing, whatever comes of it.
	got := b.all()
	if len(got) != 2 || got[0].Outcome != audit.Asked || got[0].Act != "RotationService/PauseRotation" || got[0].Why != "lunch" ||
		got[0].Object != "rotations/0198c0de-0000-7000-8000-000000000000" || got[1].Outcome == audit.Asked || got[1].Request != got[0].Request || got[0].Request == "" {
		t.Errorf("told %+v, want that a pause was asked for, and what came of it, and nothing of the list", got)
	}
}

// What cannot be told is not done.
func TestTold_NothingIsDoneThatCannotBeTold(t *testing.T) {
	// A room that pauses would say Unimplemented here; it is not reached.
	h := serve(t, func(c *edge.Config) { c.Audit = &book{err: errors.New("no disk")} })
	_, err := h.client.PauseRotation(t.Context(), &pb.PauseRotationRequest{Name: "rotations/0198c0de-0000-7000-8000-000000000000", Reason: "lunch"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("PauseRotation = %v, want UNAVAILABLE from before the service", err)
	}
	if _, err := h.client.GetRotation(t.Context(), getRequest()); status.Code(err) == codes.Unavailable {
		t.Errorf("GetRotation = %v: what changes nothing needs no telling", err)
	}
}

// Strangers do not decide how long the log gets, and none of them is forgotten.
func TestTold_RefusalsAreBounded(t *testing.T) {
	b, grants := &book{}, &table{}
	grants.set(t, viewer)
	h := serve(t, func(c *edge.Config) {
		c.Audit, c.Identity = b, &edge.Identity{Rights: grants.now.Load, Now: time.Now}
	})
	const calls = 400
	for range calls {
		if _, err := h.client.ListRotations(t.Context(), &pb.ListRotationsRequest{}); status.Code(err) != codes.Unauthenticated {
			t.Fatalf("ListRotations by nobody = %v", err)
		}
	}
	got := len(b.all())
	if got < 200 || got > 300 {
		t.Errorf("%d refusals are told by themselves, want about 200 of %d", got, calls)
	}
}
