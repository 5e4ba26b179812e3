package edge_test

import (
	"context"
	"errors"
	"io"
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

// told asks for something that the server cannot do, and returns what was told of it: as
// it was asked for.
func toldOf(t *testing.T, call func(h *house) error) audit.Record {
	t.Helper()
	b := &book{}
	h := serve(t, func(c *edge.Config) { c.Audit = b })
	if err := call(h); err == nil {
		t.Fatal("an empty server does it")
	}
	got := b.all()
	if len(got) != 2 || got[0].Outcome != audit.Asked || got[1].Outcome == audit.Asked || got[0].Object != got[1].Object || got[0].Why != got[1].Why {
		t.Fatalf("told %+v, want that it was asked for, and the same with what came of it", got)
	}
	if len(got[0].Private["request_sha256"]) != 64 || got[0].Private["request_sha256"] != got[1].Private["request_sha256"] {
		t.Errorf("the digests of the request are %q and %q", got[0].Private["request_sha256"], got[1].Private["request_sha256"])
	}
	return got[0]
}

const (
	rotationOne = "rotations/0198c0de-0000-7000-8000-000000000000"
	requestOne  = "0198c0de-0000-7000-8000-00000000000a"
)

// What was asked for is told by what it is about, and for whom, and what may name others
// is sealed.
func TestTold_WhatWasAskedFor(t *testing.T) {
	many := make([]string, 500)
	for i := range many {
		many[i] = edge.TaskName(rotationOne[len("rotations/"):], 2*i)
	}
	for name, tt := range map[string]struct {
		call   func(h *house) error
		object string
		tenant string
		why    string
		detail map[string]string
		sealed map[string]string
	}{
		"tasks that are tried again": {
			call: func(h *house) error {
				_, err := h.client.RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{Parent: rotationOne, Names: []string{
					rotationOne + "/tasks/000004", rotationOne + "/tasks/000002", rotationOne + "/tasks/000003",
				}, Reason: "again", RequestId: requestOne})
				return err
			},
			object: rotationOne, why: "again", detail: map[string]string{"tasks": "3", "ords": "2-4"}, sealed: map[string]string{"request_id": requestOne},
		},
		"more tasks than a record has room for": {
			call: func(h *house) error {
				_, err := h.client.RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{Parent: rotationOne, Names: many, Reason: "again"})
				return err
			},
			object: rotationOne, why: "again", detail: map[string]string{"tasks": "500", "ords_more": "true"},
		},
		"an undo for a tenant": {
			call: func(h *house) error {
				_, err := h.client.UndoRotation(t.Context(), &pb.UndoRotationRequest{Name: rotationOne, Reason: "back", Scope: &pb.UndoScope{
					Scope: &pb.UndoScope_Tenants{Tenants: &pb.TenantNames{Names: []string{"tenants/contoso"}}},
				}})
				return err
			},
			object: rotationOne, tenant: "contoso", why: "back", detail: map[string]string{"scope": "tenants", "tenants": "1"}, sealed: map[string]string{"tenants": "tenants/contoso"},
		},
		"an undo of a wave that is approved": {
			call: func(h *house) error {
				_, err := h.client.ApproveRotation(t.Context(), &pb.ApproveRotationRequest{Name: rotationOne, Act: pb.ApprovalAct_APPROVAL_ACT_UNDO, Undo: &pb.ApprovedUndo{Wave: 3}})
				return err
			},
			object: rotationOne, detail: map[string]string{"for": "APPROVAL_ACT_UNDO", "scope": "wave 3"},
		},
		"a wave that is decided on": {
			call: func(h *house) error {
				_, err := h.client.DecideWave(t.Context(), &pb.DecideWaveRequest{Name: rotationOne, Wave: 2, Result: pb.GateResult_GATE_RESULT_PASS, Reason: "looks fine"})
				return err
			},
			object: rotationOne, why: "looks fine", detail: map[string]string{"wave": "2", "result": "GATE_RESULT_PASS"},
		},
		"a rotation": {
			call: func(h *house) error {
				_, err := h.client.CreateRotation(t.Context(), &pb.CreateRotationRequest{Rotation: &pb.Rotation{Spec: &pb.RotationSpec{Kind: "acs-x509", Reason: "it ends"}}})
				return err
			},
			why: "it ends", detail: map[string]string{"kind": "acs-x509"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := toldOf(t, tt.call)
			if r.Object != tt.object || r.Tenant != tt.tenant || r.Why != tt.why {
				t.Errorf("told %+v, want it of %q, about %q, because %q", r, tt.object, tt.tenant, tt.why)
			}
			for k, want := range tt.detail {
				if r.Detail[k] != want {
					t.Errorf("%s is %q, want %q", k, r.Detail[k], want)
				}
			}
			for k, want := range tt.sealed {
				if r.Private[k] != want {
					t.Errorf("sealed %s is %q, want %q", k, r.Private[k], want)
				}
			}
			if tt.detail["ords_more"] == "true" && (len(r.Detail["ords"]) > 512 || len(r.Detail["ords"]) < 400) {
				t.Errorf("%d bytes name some of the tasks", len(r.Detail["ords"]))
			}
		})
	}
}

// imports sends two messages of an import, of one row.
func imports(t *testing.T, h *house, tenant string) error {
	t.Helper()
	stream, err := pb.NewInventoryServiceClient(h.conn).ImportInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*pb.ImportInventoryRequest{
		{Part: &pb.ImportInventoryRequest_Header{Header: &pb.ImportHeader{RequestId: requestOne, ValidateOnly: true, ExpectedRows: 1}}},
		{Part: &pb.ImportInventoryRequest_Chunk{Chunk: &pb.ImportChunk{FirstRow: 1, Tenants: []*pb.Tenant{{Name: tenant}}}}},
	} {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// Of an import in one stream the log tells that it was asked for, by its first message,
// and what came of all of it after.
func TestTold_AStream(t *testing.T) {
	b := &book{}
	h := serve(t, func(c *edge.Config) { c.Audit = b })
	for _, tenant := range []string{"tenants/contoso", "tenants/fabrikam"} {
		if err := imports(t, h, tenant); err != nil {
			t.Fatal(err)
		}
	}
	got := b.all()
	if len(got) != 4 || got[0].Outcome != audit.Asked || got[0].Detail["expected_rows"] != "1" || got[0].Detail["validate_only"] != "true" || got[0].Private["request_id"] != requestOne {
		t.Fatalf("told %+v, want that it was asked for", got)
	}
	done := got[1]
	if done.Outcome != audit.Done || done.Object != "inventoryJobs/"+requestOne || done.Detail["rows"] != "1" || done.Detail["created"] != "1" || done.Detail["state"] != "STATE_SUCCEEDED" {
		t.Errorf("told %+v, want the job and how much there was", done)
	}
	if len(done.Private["request_sha256"]) != 64 || done.Private["request_sha256"] == got[3].Private["request_sha256"] {
		t.Errorf("imports of other rows have the digests %q and %q", done.Private["request_sha256"], got[3].Private["request_sha256"])
	}
	// What cannot be told is not done, in a stream too.
	h = serve(t, func(c *edge.Config) { c.Audit = &book{err: errors.New("no disk")} })
	if err := imports(t, h, "tenants/contoso"); status.Code(err) != codes.Unavailable {
		t.Errorf("an import that cannot be told = %v, want UNAVAILABLE", err)
	}
}
