package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// view shows what a watch tells. It is used by one goroutine.
type view interface {
	rotation(r *crossfadev1.Rotation, reset bool)
	tasks(ks []*crossfadev1.RotationTask)
	cursor(c string)
	close()
}

// errEnough ends a watch from within a view's condition.
var errEnough = errors.New("seen enough")

// errStopped says that whoever watched did not want to any longer.
var errStopped = errors.New("stopped watching; the rotation goes on")

// watching says what to follow and until when.
type watching struct {
	name   string
	cursor string
	// until ends the watch when it returns true for the latest rotation. Nil: to
	// the rotation's end.
	until func(*crossfadev1.Rotation) bool
}

// follow watches a rotation and shows it, and takes the watch up again from the
// last cursor when it is cut off. It returns the rotation as last told.
func (c *client) follow(ctx context.Context, w watching, v view) (*crossfadev1.Rotation, error) {
	defer v.close()
	var last *crossfadev1.Rotation
	for r := c.retries(w.name); ; {
		heard, err := c.listen(ctx, &w, v, &last)
		if errors.Is(err, errEnough) || err == nil && last != nil && ended(last) {
			return last, nil
		}
		// Without an error the service ended the watch without an end of the rotation.
		if err := r.next(ctx, heard, err); err != nil {
			return last, err
		}
	}
}

// listen is one watch, from the cursor on. It reports whether anything came.
func (c *client) listen(ctx context.Context, w *watching, v view, last **crossfadev1.Rotation) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rotations.WatchRotation(ctx, &crossfadev1.WatchRotationRequest{Name: w.name, Cursor: w.cursor, IncludeTasks: true})
	if err != nil {
		return false, err
	}
	return hear(stream, func(m *crossfadev1.WatchRotationResponse) error {
		var r *crossfadev1.Rotation
		switch e := m.Event.(type) {
		case *crossfadev1.WatchRotationResponse_Snapshot:
			r = e.Snapshot.GetRotation()
			v.rotation(r, true)
		case *crossfadev1.WatchRotationResponse_Rotation:
			r = e.Rotation
			v.rotation(r, false)
		case *crossfadev1.WatchRotationResponse_Tasks:
			v.tasks(e.Tasks.GetTasks())
		}
		if m.Cursor != "" {
			w.cursor = m.Cursor
			v.cursor(m.Cursor)
		}
		if r != nil {
			*last = r
			if w.until != nil && w.until(r) {
				return errEnough
			}
		}
		return nil
	})
}

// hear hands on what a stream tells until the stream ends or each returns an error. It
// reports whether anything came.
func hear[M any](stream grpc.ServerStreamingClient[M], each func(*M) error) (heard bool, err error) {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return heard, nil
		}
		if err != nil {
			return heard, err
		}
		heard = true
		if err := each(m); err != nil {
			return true, err
		}
	}
}

// ended reports whether a rotation has come to its end.
func ended(r *crossfadev1.Rotation) bool {
	switch r.GetState() {
	case crossfadev1.Rotation_STATE_SUCCEEDED, crossfadev1.Rotation_STATE_FAILED, crossfadev1.Rotation_STATE_CANCELLED,
		crossfadev1.Rotation_STATE_UNDONE:
		return true
	default:
		return false
	}
}

// verdictOf turns the end of a rotation into the command's end.
func verdictOf(r *crossfadev1.Rotation) error {
	if r.GetState() == crossfadev1.Rotation_STATE_FAILED {
		// An undo that failed may have left tasks to their owners alone.
		if c := r.GetCounts(); r.GetUndo() != nil && c.GetFailed() == 0 && c.GetConflict() == 0 && c.GetHandedOver() > 0 {
			return &exitError{code: exitFailures, err: fmt.Errorf("%s: the undo left tasks to their owners; see \"crossfade rotation tasks %s --filter 'outcome = OUTCOME_HANDED_OVER'\"",
				r.GetName(), r.GetName())}
		}
		return &exitError{code: exitFailures, err: fmt.Errorf("%s ended with failures: %d failed, %d in conflict; see \"crossfade rotation tasks %s --filter 'outcome = OUTCOME_FAILED OR outcome = OUTCOME_CONFLICT'\"",
			r.GetName(), r.GetCounts().GetFailed(), r.GetCounts().GetConflict(), r.GetName())}
	}
	return nil
}
