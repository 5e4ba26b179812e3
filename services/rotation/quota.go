package rotation

import (
	"context"
	"fmt"
	"strconv"
	"time"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// roomIn is after how long it may be worth asking again whether a rotation has ended.
const roomIn = time.Minute

// room refuses a caller who has as many rotations under way as one may.
func (s *Service) room(ctx context.Context) error {
	most := s.c.LiveRotations
	if most <= 0 {
		return nil
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	// Whoever has several log-ins, or another name by now, has one quota all the same.
	live, p := 0, s.people(ctx, "")
	for _, v := range s.c.Mirror.Rotations() {
		if !v.Rotation.State.Ended() && p.Created(v.Rotation, p.actor) {
			live++
		}
	}
	if live < most {
		return nil
	}
	return edge.With(edge.Exhausted(pb.ErrorReason_ERROR_REASON_TOO_MANY_ROTATIONS, "live_rotations",
		fmt.Sprintf("you have %d rotations that have not ended, and may have %d; finish or cancel one, or ask for several tenants in one", live, most), roomIn),
		"live", strconv.Itoa(live))
}
