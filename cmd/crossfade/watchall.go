package main

import (
	"context"
	"fmt"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// watchAll shows how rotations stand, until it is stopped. A watch of many has no cursor:
// taken up again it begins with all of them.
func (a *app) watchAll(ctx context.Context, cl *client, filter string, withEnded bool) error {
	req := &crossfadev1.WatchRotationsRequest{Filter: filter, IncludeEnded: withEnded}
	for r := cl.retries("rotations"); ; {
		heard, err := a.listenAll(ctx, cl, req)
		if err := r.next(ctx, heard, err); err != nil {
			return err
		}
	}
}

// listenAll is one watch. It reports whether anything came.
func (a *app) listenAll(ctx context.Context, cl *client, req *crossfadev1.WatchRotationsRequest) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := cl.rotations.WatchRotations(ctx, req)
	if err != nil {
		return false, err
	}
	return hear(stream, func(m *crossfadev1.WatchRotationsResponse) error {
		switch e := m.GetEvent().(type) {
		case *crossfadev1.WatchRotationsResponse_Snapshot:
			for _, r := range e.Snapshot.GetRotations() {
				a.rotationLine(r)
			}
		case *crossfadev1.WatchRotationsResponse_Rotation:
			a.rotationLine(e.Rotation)
		case *crossfadev1.WatchRotationsResponse_Gone:
			if a.json {
				a.object("gone", map[string]any{"name": e.Gone})
			} else {
				fmt.Fprintf(a.out, "%s  gone: deleted, or no longer one of those watched\n", e.Gone)
			}
		}
		return nil
	})
}

// rotationLine prints a rotation in one line, or as an object.
func (a *app) rotationLine(r *crossfadev1.Rotation) {
	if a.json {
		a.message("rotation", r)
		return
	}
	fmt.Fprintf(a.out, "%s  %s  %-18s %s %s\n", r.GetName(), instant(r.GetCreateTime()), stateText(r), r.GetDisplayName(), countsText(r.GetCounts()))
}
