package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// foretelling is what a watch was told of the end of a rotation. Likely is zero for
// one that is too small: it was over before anybody looked.
type foretelling struct {
	likely time.Time
	err    error
}

// foretold watches a rotation until a fifth of its tasks are done and tells which
// end is forecast then. Its goroutine ends with the rotation, with the fleet's
// connection or with ctx.
func (f *benchFleet) foretold(ctx context.Context, name string, tasks int) <-chan foretelling {
	out := make(chan foretelling, 1)
	go func() {
		r, err := f.until(ctx, name, func(r *crossfadev1.Rotation) bool {
			return r.GetCounts().GetSucceeded()*5 >= int64(tasks) || ended(r)
		})
		switch {
		case err != nil:
			out <- foretelling{err: err}
		case r.GetForecast().GetLikelyTime() == nil || r.GetForecast().GetAssumed():
			out <- foretelling{}
		default:
			out <- foretelling{likely: r.GetForecast().GetLikelyTime().AsTime()}
		}
	}()
	return out
}

// forecastError returns by how much the forecast was off, as a percentage of what
// the rotation took, and false if there was none.
func (f *benchFleet) forecastError(ctx context.Context, name string, told <-chan foretelling) (float64, bool, error) {
	said := <-told
	if said.err != nil {
		return 0, false, fmt.Errorf("reading the forecast: %w", said.err)
	}
	if said.likely.IsZero() {
		return 0, false, nil
	}
	r, err := f.cl.rotation(ctx, name)
	if err != nil {
		return 0, false, err
	}
	begun, end := r.GetStartTime().AsTime(), r.GetEndTime().AsTime()
	if !end.After(begun) {
		return 0, false, errors.New("the rotation took no time")
	}
	return 100 * math.Abs(said.likely.Sub(end).Seconds()) / end.Sub(begun).Seconds(), true, nil
}
