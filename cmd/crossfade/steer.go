package main

import (
	"context"

	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) rotationPauseCommand() *cobra.Command {
	var reason string
	c := a.verb("pause", "Hold a running rotation; what is in hand is finished", `  crossfade rotation pause 0198… --reason "customers complain"`,
		func(ctx context.Context, cl *client, name string) error {
			ctx, cancel := bounded(ctx)
			defer cancel()
			res, err := cl.rotations.PauseRotation(ctx, &crossfadev1.PauseRotationRequest{Name: name, Reason: reason})
			if err != nil {
				return err
			}
			a.showRotation(res.GetRotation())
			return nil
		})
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

func (a *app) rotationResumeCommand() *cobra.Command {
	var accept, gate bool
	c := a.verb("resume", "Let a paused rotation go on", `  crossfade rotation resume 0198…
  crossfade rotation resume 0198… --accept-failures`, func(ctx context.Context, cl *client, name string) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		res, err := cl.rotations.ResumeRotation(ctx, &crossfadev1.ResumeRotationRequest{Name: name, AcceptFailures: accept, AcceptGate: gate})
		if err != nil {
			return err
		}
		a.showRotation(res.GetRotation())
		return nil
	})
	c.Flags().BoolVar(&accept, "accept-failures", false, "go on although more failed than tolerated; the failures so far count no more")
	c.Flags().BoolVar(&gate, "accept-gate", false, "go on although a gate did not pass")
	return c
}
