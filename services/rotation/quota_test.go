package rotation_test

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// A caller may have so many rotations under way, and one that has ended makes room.
func TestCreateRotation_LiveRotationsOfOneCaller(t *testing.T) {
	h := open(t, func(c *rotation.Config) { c.LiveRotations = 2 })
	create := func(who string) (*pb.Rotation, error) {
		resp, err := h.client().CreateRotation(metadata.AppendToOutgoingContext(t.Context(), "crossfade-caller", who), h.request())
		if err == nil {
			h.get(t, resp.GetRotation().GetName()) // The live copy has it.
		}
		return resp.GetRotation(), err
	}
	var last *pb.Rotation
	for range 2 {
		r, err := create("ann")
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	_, err := create("ann")
	s := status.Convert(err)
	found := map[string]bool{}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			found["info"] = d.GetReason() == "TOO_MANY_ROTATIONS" && d.GetMetadata()["live"] == "2"
		case *errdetails.QuotaFailure:
			found["quota"] = len(d.GetViolations()) == 1 && d.GetViolations()[0].GetSubject() == "live_rotations"
		case *errdetails.RetryInfo:
			found["retry"] = d.GetRetryDelay().AsDuration() > 0
		}
	}
	if s.Code() != codes.ResourceExhausted || !found["info"] || !found["quota"] || !found["retry"] {
		t.Errorf("the third = %v with %v, want RESOURCE_EXHAUSTED with the number, the quota and when to ask again", err, s.Details())
	}
	if _, err := create("bob"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if _, err := h.client().CancelRotation(t.Context(), &pb.CancelRotationRequest{Name: last.GetName(), Reason: "room"}); err != nil {
		t.Fatal(err)
	}
	// Nobody conducts here.
	h.write(t, last.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	h.get(t, last.GetName())
	if _, err := create("ann"); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// Whoever has several log-ins, or acts under another name by now, has one quota.
func TestCreateRotation_LiveRotationsOfOnePerson(t *testing.T) {
	g := openGuarded(t, func(c *rotation.Config) { c.LiveRotations = 1 })
	const grants = "grants:\n  - {subjects: [\"corp:ann\", \"corp:ann-admin\", \"corp:bob\"], role: operator}\n"
	g.grant(t, grants)
	resp, err := g.rotations.CreateRotation(by(t, "ann"), g.request())
	if err != nil {
		t.Fatal(err)
	}
	get := func(who string) {
		t.Helper()
		if _, err := g.rotations.GetRotation(by(t, who), &pb.GetRotationRequest{Name: resp.GetRotation().GetName()}); err != nil {
			t.Fatal(err) // The live copy has it.
		}
	}
	get("ann")
	g.grant(t, grants+"people:\n  - {name: ann.lee, subjects: [\"corp:ann\", \"corp:ann-admin\"]}\n")
	for _, who := range []string{"ann", "ann-admin"} {
		_, err = g.rotations.CreateRotation(by(t, who), g.request())
		refused(t, err, codes.ResourceExhausted, "TOO_MANY_ROTATIONS")
	}
	if _, err := g.rotations.CreateRotation(by(t, "bob"), g.request()); err != nil {
		t.Errorf("another person: %v", err)
	}
}
