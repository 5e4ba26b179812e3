package rotation

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/services/edge"
)

// request is what a call asks for, of which rotation; see [edge.Request].
func request(ctx context.Context, method string, m proto.Message, rotation string) (edge.Request, error) {
	q, err := edge.RequestOfCaller(ctx, method, m)
	q.Rotation = rotation
	return q, err
}

// begin stores what a request id is used for, or finds what it was used for.
func (s *Service) begin(ctx context.Context, method string, m proto.Message, rotation string) (edge.Request, error) {
	q, err := request(ctx, method, m, rotation)
	if err != nil {
		return q, err
	}
	return q.Begin(ctx, s.c.Requests)
}

// finish notes that the request was done. If that is lost, a repeat finds out
// from the rotation itself.
func (s *Service) finish(ctx context.Context, q edge.Request) {
	if err := q.Finish(ctx, s.c.Requests); err != nil {
		s.c.Log.WarnContext(ctx, "request was done but is not noted as such", "rotation", q.Rotation, "err", err)
	}
}
