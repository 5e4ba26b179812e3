package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// maxCuts is how often in a row a watch is taken up again without hearing
// anything. With the back-off of [rollover.Backoff] that is about ten minutes.
const maxCuts = 15

// retries says whether and when a watch that was cut off is taken up again.
type retries struct {
	c    *client
	what string // is watched
	cuts int    // in a row
	ever bool   // something was heard
	used string // the token of the watch that was cut off; "": there is none
}

func (c *client) retries(what string) *retries {
	return &retries{c: c, what: what, used: c.tokenNow()}
}

// next waits until the watch that ended with err is to be taken up again, or says why it
// is not. heard is whether anything came.
func (r *retries) next(ctx context.Context, heard bool, err error) error {
	if heard {
		r.cuts, r.ever = 0, true
	}
	r.cuts++
	switch {
	case ctx.Err() != nil:
		return errStopped
	case err == nil: // It ended, and what is watched did not.
		err = status.Error(codes.Unavailable, "the service ended the watch")
	case status.Code(err) == codes.Unauthenticated:
		return r.renewed(ctx, err)
	case !worthRetrying(err):
		return err
	}
	if r.cuts >= maxCuts {
		return fmt.Errorf("watching %s: cut off %d times in a row: %w", r.what, r.cuts, err)
	}
	// A cut is made good in a moment; what is refused from the start, or thrice, may last.
	if r.cuts == 1 && !r.ever || r.cuts == 3 {
		fmt.Fprintf(r.c.errOut, "watching %s: %s; trying again\n", r.what, status.Convert(err).Message())
	}
	if err := pause(ctx, wait(r.cuts, err)); err != nil {
		return err
	}
	r.used = r.c.tokenNow()
	return nil
}

// renewed waits until the token file has another token than the one that was refused: it
// ends with its time, and somebody else renews it. Each token is tried once. One that was
// never believed is not waited for.
func (r *retries) renewed(ctx context.Context, refused error) error {
	for n := 1; ; n++ {
		if now := r.c.tokenNow(); now != "" && now != r.used {
			r.used = now
			return nil
		}
		if !r.ever || r.used == "" || n >= maxCuts {
			return refused
		}
		if err := pause(ctx, rollover.Backoff(n, 0.5)); err != nil {
			return err
		}
	}
}

// tokenNow returns the token that calls are made with now, "" where there is none, or
// where it cannot be read: then the call says why.
func (c *client) tokenNow() string {
	if c.token.path == "" {
		return ""
	}
	now, err := c.token.read()
	if err != nil {
		return ""
	}
	return now
}

// wait is how long to wait before a watch is taken up again: as long as the service asks
// for, and longer each time.
func wait(cuts int, err error) time.Duration {
	d := rollover.Backoff(cuts, 0.5)
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*errdetails.RetryInfo); ok {
			d = max(d, r.GetRetryDelay().AsDuration())
		}
	}
	return d
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return errStopped
	case <-t.C:
		return nil
	}
}

// worthRetrying reports whether a broken watch can be taken up again.
func worthRetrying(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.DeadlineExceeded:
		return true
	default:
		return false
	}
}
