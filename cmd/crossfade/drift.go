package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) rotationCheckCommand() *cobra.Command {
	var wait bool
	var requestID string
	c := a.verb("check", "Read again what a rotation left, and say what is other now", `  crossfade rotation check 0198… --wait
  crossfade rotation drifts 0198…`, func(ctx context.Context, cl *client, name string) error {
		if requestID == "" {
			requestID = uuid.NewString()
		}
		bctx, cancel := bounded(ctx)
		defer cancel()
		res, err := cl.rotations.CheckRotation(bctx, &crossfadev1.CheckRotationRequest{Name: name, RequestId: requestID})
		if err != nil {
			return err
		}
		r := res.GetRotation()
		if wait {
			if r, err = cl.checked(ctx, r); err != nil {
				return err
			}
		}
		if a.json {
			a.message("rotation", r)
		} else {
			fmt.Fprintf(a.out, "%s: %s\n", r.GetName(), checkText(r.GetCheck()))
		}
		if !wait {
			return nil
		}
		return checkVerdict(r)
	})
	c.Long = "Check reads every target of a rotation again that was rotated, and changes none. What is\nother than the rotation left it is listed by \"rotation drifts\"."
	c.Flags().BoolVar(&wait, "wait", false, "wait for the end; exit status 1 if anything drifted or could not be read")
	c.Flags().StringVar(&requestID, "request-id", "", "`UUID` of this request; the same one again begins no second check (default a new one)")
	return c
}

// checked waits until a rotation's check has ended.
func (c *client) checked(ctx context.Context, r *crossfadev1.Rotation) (*crossfadev1.Rotation, error) {
	number := r.GetCheck().GetNumber()
	over := func(r *crossfadev1.Rotation) bool {
		k := r.GetCheck()
		return k.GetNumber() > number || (k.GetNumber() == number && k.GetState() != crossfadev1.CheckStatus_STATE_RUNNING)
	}
	for !over(r) {
		// The watch may end first, with the rotation.
		if _, err := c.follow(ctx, watching{name: r.GetName(), until: over}, silent{}); err != nil {
			return nil, err
		}
		var err error
		if r, err = c.rotation(ctx, r.GetName()); err != nil || over(r) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, errStopped
		case <-time.After(askEvery):
		}
	}
	return c.rotation(ctx, r.GetName())
}

// askEvery is the pause between two questions where a watch tells no more.
const askEvery = time.Second

// checkVerdict turns the end of a check into the command's end.
func checkVerdict(r *crossfadev1.Rotation) error {
	k := r.GetCheck()
	switch {
	case k.GetState() != crossfadev1.CheckStatus_STATE_DONE:
		return &exitError{code: exitFailures, err: fmt.Errorf("the check of %s did not come to its end: %s", r.GetName(), k.GetDetail())}
	case k.GetDrifted()+k.GetUnreadable() > 0:
		return &exitError{code: exitFailures, err: fmt.Errorf("%s: %s drifted, %d could not be read; see \"crossfade rotation drifts %s\"",
			r.GetName(), amount(k.GetDrifted(), "target"), k.GetUnreadable(), r.GetName())}
	default:
		return nil
	}
}

// checkText is how the checks of a rotation stand, in one line; empty where there
// are none.
func checkText(k *crossfadev1.CheckStatus) string {
	if k == nil {
		return ""
	}
	var b strings.Builder
	if k.GetNumber() > 0 {
		fmt.Fprintf(&b, "check %d %s, %d of %d targets checked, %d drifted, %d unreadable", k.GetNumber(),
			enumText(k.GetState().String(), "STATE_"), k.GetChecked(), k.GetTargets(), k.GetDrifted(), k.GetUnreadable())
		for _, c := range k.GetCounts() {
			if c.GetKind() == crossfadev1.Drift_KIND_UNREADABLE {
				continue // Told above.
			}
			fmt.Fprintf(&b, ", %d %s", c.GetCount(), enumText(c.GetKind().String(), "KIND_"))
		}
		fmt.Fprintf(&b, "; begun %s", instant(k.GetStartTime()))
		if k.GetEndTime() != nil {
			fmt.Fprintf(&b, ", ended %s", instant(k.GetEndTime()))
		}
		if k.GetDetail() != "" {
			fmt.Fprintf(&b, ": %s", k.GetDetail())
		}
	}
	if k.GetNextTime() != nil {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "next at %s", instant(k.GetNextTime()))
	}
	return b.String()
}

func (a *app) rotationDriftsCommand() *cobra.Command {
	var l listing
	c := a.verb("drifts", "List what checks found to be other than a rotation left it", `  crossfade rotation drifts 0198… --filter 'kind = KIND_NEW_MISSING'
  crossfade rotation drifts - --json`, func(ctx context.Context, cl *client, name string) error {
		return cl.eachDrift(ctx, name, l, func(d *crossfadev1.Drift) {
			if a.json {
				a.message("drift", d)
				return
			}
			fmt.Fprintf(a.out, "%s\n    %s\n", driftLine(d), d.GetHint())
		})
	})
	c.Long = "Drifts lists what the last check of a rotation found; with - instead of a name, of all\nrotations."
	l.flags(c, "kind, tenant, host and identity", "tenant, host and kind")
	return c
}

// eachDrift calls do for every drift that matches.
func (c *client) eachDrift(ctx context.Context, parent string, l listing, do func(*crossfadev1.Drift)) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := c.rotations.ListDrifts(pctx, &crossfadev1.ListDriftsRequest{Parent: parent, PageSize: 1000, PageToken: token, Filter: l.filter, OrderBy: l.order})
		cancel()
		if err != nil {
			return err
		}
		for _, d := range res.GetDrifts() {
			do(d)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

// driftLine is one drift in one line: where, whose, what, and since when.
func driftLine(d *crossfadev1.Drift) string {
	line := fmt.Sprintf("%s  %s  %s@%s  %s", strings.TrimPrefix(d.GetTask(), "rotations/"), strings.TrimPrefix(d.GetTenant(), "tenants/"),
		d.GetIdentity(), d.GetHost(), enumText(d.GetKind().String(), "KIND_"))
	if d.GetSha1Thumbprint() != "" {
		line += fmt.Sprintf(" %s (%s)", d.GetSha1Thumbprint(), d.GetSubject())
	}
	return fmt.Sprintf("%s: %s; seen since %s", line, d.GetDetail(), instant(d.GetFirstSeenTime()))
}

// driftFlags adds what "rotate" takes for drift.
func (f *rotateFlags) driftFlags(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.driftedOf, "drifted-of", "", "only the targets that the last check of this `ROTATION` found drifted and that a rotation mends")
	fl.DurationVar(&f.checkEvery, "check-every", 0, "check for drift so often after the end, 1h or longer (default as the service is configured)")
	fl.DurationVar(&f.checkFor, "check-for", 0, "how long after the end to go on checking; needed with --check-every")
}

// checkDrift says what does not fit together.
func (f *rotateFlags) checkDrift() error {
	if (f.checkEvery == 0) != (f.checkFor == 0) {
		return usage("--check-every and --check-for: one needs the other")
	}
	return nil
}

// drift puts the flags for drift into a request.
func (f *rotateFlags) drift(s *crossfadev1.RotationSpec) {
	if f.driftedOf != "" {
		s.Target.Selection = &crossfadev1.TargetSelector_DriftedOf{DriftedOf: rotationName(f.driftedOf)}
	}
	if f.checkEvery != 0 {
		s.Drift = &crossfadev1.DriftPolicy{Every: durationpb.New(f.checkEvery), For: durationpb.New(f.checkFor)}
	}
}
