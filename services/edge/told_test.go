package edge_test

import (
	"context"
	"errors"
	"strconv"
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
	if got := len(b.all()); got < 200 || got > 300 {
		t.Errorf("%d refusals are told by themselves, want about 200 of %d", got, calls)
	}
	h.stop()
	alone, together := b.refused(t, "")
	if alone+together != calls || together == 0 {
		t.Errorf("%d refusals are told by themselves and %d together, want all %d when the server has stopped", alone, together, calls)
	}
}

// refused returns how many refusals of a caller are told by themselves, and how many
// together.
func (b *book) refused(t *testing.T, who string) (alone, together int) {
	t.Helper()
	for _, r := range b.all() {
		switch {
		case r.Who != who || r.Outcome != audit.Refused:
		case r.Act == "calls.refused":
			n, err := strconv.Atoi(r.Detail["more"])
			if err != nil {
				t.Fatal(err)
			}
			together += n
		default:
			alone++
		}
	}
	return alone, together
}

// What strangers do, and what others try, hides nothing of what somebody tries.
func TestTold_NoiseHidesNobody(t *testing.T) {
	b, grants := &book{}, &table{}
	grants.set(t, viewer)
	h := serve(t, func(c *edge.Config) {
		c.Audit, c.TellEvery = b, 20*time.Millisecond
		c.Identity = &edge.Identity{Tokens: tokens{until: time.Now().Add(time.Hour)}, Rights: grants.now.Load, Now: time.Now}
	})
	const noise = 250
	pause := func(ctx context.Context) codes.Code {
		_, err := h.client.PauseRotation(ctx, &pb.PauseRotationRequest{Name: "rotations/" + id, Reason: "lunch"})
		return status.Code(err)
	}
	for range noise {
		if got := pause(t.Context()); got != codes.Unauthenticated {
			t.Fatalf("PauseRotation by nobody = %s", got)
		}
		if got := pause(as(t, "jane")); got != codes.PermissionDenied {
			t.Fatalf("PauseRotation by who may not = %s", got)
		}
	}
	if got := pause(as(t, "joe")); got != codes.PermissionDenied {
		t.Fatalf("PauseRotation by another who may not = %s", got)
	}
	if alone, together := b.refused(t, "corp:joe"); alone != 1 || together != 0 {
		t.Errorf("the one call of joe's is told %d times by itself and %d together, want once", alone, together)
	}
	// Without anybody calling any more the counted are told.
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, who := range []string{"", "corp:jane"} {
		for {
			alone, together := b.refused(t, who)
			if alone+together == noise && together > 0 {
				break
			}
			select {
			case <-deadline.C:
				t.Fatalf("of %q %d refusals are told by themselves and %d together, want %d in all", who, alone, together, noise)
			case <-tick.C:
			}
		}
	}
}
