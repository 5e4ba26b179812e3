package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/crossfade-project/crossfade/internal/emulator/issuer"
	"github.com/crossfade-project/crossfade/internal/rights"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// refusal is a call that the service must refuse.
type refusal struct {
	who, what string
	code      codes.Code
	do        func(ctx context.Context) error
}

// tried makes a call and notes whether it was refused as it should be.
func (s *secureDemo) tried(ctx context.Context, r refusal) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := r.do(ctx)
	got := status.Code(err)
	if err == nil || got != r.code {
		s.unexpected = append(s.unexpected, fmt.Sprintf("%s: %s: answered %s, want %s", r.who, r.what, got, r.code))
		return
	}
	s.refused++
	if r.code != codes.NotFound { // What is not there, or out of sight, is looked for every day.
		s.told++
	}
	s.say("  refused  %-10s %-48s %s", r.who, r.what, got)
}

// tryStrangers tries whoever is not who they say, and those who may not do what they ask.
func (s *secureDemo) tryStrangers(ctx context.Context) error {
	s.say("what the service must refuse:")
	list := func(a *app) func(context.Context) error {
		return func(ctx context.Context) error {
			return a.with(func(cl *client) error {
				_, err := cl.rotations.ListRotations(ctx, &crossfadev1.ListRotationsRequest{})
				return err
			})
		}
	}
	s.tried(ctx, refusal{"nobody", "without any proof", codes.Unauthenticated, s.bare})
	good := issuer.Claims{Subject: demoPortal, Groups: []string{"rotators"}, Audience: demoAudience}
	late, elsewhere := good, good
	late.Issued, late.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	elsewhere.Audience = "api://another"
	is := s.cloud.Issuer()
	for _, t := range []struct {
		name, what string
		token      func() (string, error)
	}{
		{"late", "with a token that has ended", func() (string, error) { return is.Sign(late) }},
		{"elsewhere", "with a token for another service", func() (string, error) { return is.Sign(elsewhere) }},
		{"unsigned", "with a token of alg none", func() (string, error) { return is.Unsigned(good) }},
		{"forger", "with a token signed with another key", func() (string, error) { return is.Forge(good) }},
	} {
		token, err := t.token()
		if err != nil {
			return err
		}
		if err := s.keep(t.name, token); err != nil {
			return err
		}
		s.tried(ctx, refusal{t.name, t.what, codes.Unauthenticated, list(s.by(t.name))})
	}
	s.tried(ctx, refusal{demoRevoked, "with a client certificate that is revoked", codes.Unauthenticated, list(s.by(demoRevoked))})
	return s.tryRights(ctx)
}

// bare calls without a word of who it is.
func (s *secureDemo) bare(ctx context.Context) error {
	creds, err := s.credentials()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // The one call is answered.
	_, err = crossfadev1.NewRotationServiceClient(conn).ListRotations(ctx, &crossfadev1.ListRotationsRequest{})
	return err
}

// tryRights lets the viewer call every method that is not for viewers, and the limited
// operator reach for all tenants.
func (s *secureDemo) tryRights(ctx context.Context) error {
	scopes := edge.MethodScopes()
	var methods []string
	for m, scope := range scopes {
		if scope != rights.Read && !strings.HasPrefix(m, "/grpc.") {
			methods = append(methods, m)
		}
	}
	slices.Sort(methods)
	err := s.by(demoViewer).with(func(cl *client) error {
		for _, m := range methods {
			s.tried(ctx, refusal{demoViewer, "may only look, and calls " + m[strings.LastIndexByte(m, '/')+1:], codes.PermissionDenied, func(ctx context.Context) error { return callEmpty(ctx, cl.conn, m) }})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.by(demoLimited).with(func(cl *client) error {
		other := s.cloud.World().Tenants[1].ID
		s.tried(ctx, refusal{demoLimited, "may rotate one tenant, and looks at another", codes.NotFound, func(ctx context.Context) error {
			_, err := cl.inventory.GetTenant(ctx, &crossfadev1.GetTenantRequest{Name: "tenants/" + other})
			return err
		}})
		spec, err := s.by(demoLimited).spec(ctx, cl, rotateFlags{certificate: s.path("emulated/new.cer"), tenants: []string{other}, reason: "more than is hers"})
		if err != nil {
			return err
		}
		s.tried(ctx, refusal{demoLimited, "may rotate one tenant, and asks for another", codes.PermissionDenied, func(ctx context.Context) error {
			_, err := cl.rotations.CreateRotation(ctx, &crossfadev1.CreateRotationRequest{Rotation: &crossfadev1.Rotation{Spec: spec}, RequestId: uuid.NewString()})
			return err
		}})
		return nil
	})
}

// callEmpty calls any method with an empty request: rights are asked before the request is
// looked at.
func callEmpty(ctx context.Context, conn *grpc.ClientConn, method string) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}

// tryAgainstThePlan tries to get round the second person.
func (s *secureDemo) tryAgainstThePlan(ctx context.Context, portal *client, r *crossfadev1.Rotation) {
	start := func(ctx context.Context) error {
		_, err := portal.rotations.StartRotation(ctx, &crossfadev1.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest(), RequestId: uuid.NewString()})
		return err
	}
	approve := func(cl *client, digest string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := cl.rotations.ApproveRotation(ctx, &crossfadev1.ApproveRotationRequest{
				Name: r.GetName(), PlanDigest: digest, Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START, Reason: "trust me", RequestId: uuid.NewString(),
			})
			return err
		}
	}
	s.tried(ctx, refusal{demoPortal, "starts what nobody has approved", codes.FailedPrecondition, start})
	s.tried(ctx, refusal{demoPortal, "approves its own request", codes.PermissionDenied, approve(portal, r.GetPlanDigest())})
	err := s.by(demoLimited).with(func(cl *client) error {
		s.tried(ctx, refusal{demoLimited, "cancels a rotation that has others' tenants too", codes.PermissionDenied, func(ctx context.Context) error {
			_, err := cl.rotations.CancelRotation(ctx, &crossfadev1.CancelRotationRequest{Name: r.GetName(), Reason: "mine", RequestId: uuid.NewString()})
			return err
		}})
		return nil
	})
	if err != nil {
		s.unexpected = append(s.unexpected, err.Error())
	}
	err = s.by(demoApprover).with(func(cl *client) error {
		s.tried(ctx, refusal{demoApprover, "approves a plan that is not this one", codes.FailedPrecondition, approve(cl, strings.Repeat("0", len(r.GetPlanDigest())))})
		return nil
	})
	if err != nil {
		s.unexpected = append(s.unexpected, err.Error())
	}
	s.tried(ctx, refusal{demoPortal, "starts it all the same", codes.FailedPrecondition, start})
}
