package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// rotateFlags is what "crossfade rotate" was told.
type rotateFlags struct {
	certificate      string
	replaces         []string
	tenants          []string
	selected         string
	driftedOf        string
	checkEvery       time.Duration
	checkFor         time.Duration
	endpoints        string
	targets          string
	identity         string
	retireNotBefore  string
	retireOnRequest  bool
	maxInFlight      int32
	maxTries         int32
	tolerate         string
	soft             bool
	start            string
	waves            []string
	bake             time.Duration
	lane             string
	perTenant        int32
	perSecond        int32
	times            scheduleFlags
	undoWindow       string
	failedOf         string
	tenantTolerance  string
	order, gates     []string
	incident         incidentFlags
	reason, name     string
	labels           []string
	requestID        string
	planOnly, follow bool
	plain            bool
}

func (a *app) rotateCommand() *cobra.Command {
	var f rotateFlags
	c := &cobra.Command{
		Use:   "rotate --certificate FILE",
		Short: "Plan a rotation to a new certificate, and start it",
		Long: `Rotate plans a rotation over the tenants of the inventory, shows the plan, and
starts exactly that. Nothing is removed unless --replaces says what, and nothing
before --retire-not-before.

With --incident what --compromised names is put on the block list at once, also with
--plan-only, and is removed wherever it stands: not before --retire-not-before, or
sooner if a second person approves; see "crossfade rotation approve".`,
		Example: `  crossfade rotate --certificate new.cer --plan-only
  crossfade rotate --certificate new.cer --replaces same-subject --retire-not-before 2016-11-04T01:00:00Z --watch
  crossfade rotate --certificate new.cer --tenant contoso --tenant fabrikam
  crossfade rotate --certificate new.cer --select 'labels.tier = "gold"' --plan-only
  crossfade rotate --certificate new.cer --deadline 2026-12-18T18:00:00Z --freeze holidays.ics \
      --window 'FREQ=WEEKLY;BYDAY=TU 2026-11-24T01:00 Europe/Berlin 4h'
  crossfade rotate --certificate new.cer --tenant contoso --lane urgent --watch
  crossfade rotate --certificate new.cer --endpoints 'thumbprint:"9A2F…" AND NOT has_new'
  crossfade rotate --certificate new.cer --targets november
  crossfade rotate --certificate new.cer --replaces same-subject --failed-of 0198… --plan-only
  crossfade rotate --incident --compromised 9A2F… --certificate new.cer --shortened-overlap 15m --summary "key in a public repository" --watch`,
		RunE: func(c *cobra.Command, _ []string) error {
			if ways := f.selections(); len(ways) > 1 {
				return usage("%s: only one of them can say for whom", strings.Join(ways, " and "))
			}
			if err := f.checkDrift(); err != nil {
				return err
			}
			if f.failedOf != "" && (len(f.tenants) > 0 || f.selected != "") {
				return usage("--failed-of, --tenant and --select: only one of them can say for whom")
			}
			return a.with(func(cl *client) error { return a.rotate(c.Context(), cl, f) })
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.certificate, "certificate", "", "the new certificate: a `FILE` (DER, PEM or PKCS#7), or the name of one that was added")
	fl.StringSliceVar(&f.replaces, "replaces", nil, "`THUMBPRINT` of an old certificate to remove (SHA-1 or SHA-256), or \"same-subject\"")
	fl.StringSliceVar(&f.tenants, "tenant", nil, "only this `TENANT`; may be repeated (default all tenants)")
	fl.StringVar(&f.selected, "select", "", "only tenants that this `FILTER` selects, such as 'labels.tier = \"gold\" AND region = \"crm4\"'")
	f.driftFlags(c)
	f.bindSelection(c)
	fl.StringVar(&f.failedOf, "failed-of", "", "only what failed or was in conflict in this `ROTATION`, which has ended")
	fl.StringVar(&f.undoWindow, "undo-window", "", "`TIME` for which a removed certificate can be put back, such as 36h or 30d; 0: not at all (default 7d)")
	fl.StringVar(&f.identity, "identity", "", "`NAME` of the service identity, if not the tenants' own")
	fl.StringVar(&f.retireNotBefore, "retire-not-before", "", "`INSTANT` before which nothing is removed, RFC 3339 (default a day after the new one becomes valid)")
	fl.BoolVar(&f.retireOnRequest, "retire-on-request", false, "remove the old only when \"rotation retire\" asks for it")
	fl.Int32Var(&f.maxInFlight, "max-in-flight", 0, "tasks worked on at once (default the service's)")
	fl.Int32Var(&f.maxTries, "max-tries", 0, "tries within one step (default the service's)")
	fl.StringVar(&f.tolerate, "tolerate", "", "how many tasks may fail before new starts stop: a `NUMBER` or a percentage (default 10%)")
	fl.BoolVar(&f.soft, "tolerate-soft", false, "work at full speed; tasks that are in hand when new starts stop may fail as well")
	fl.StringVar(&f.start, "start", "", "`HOW` to begin: \"slow\", in waves of 1, 2, 4, … tasks, or \"full\", one task and then the waves (default slow)")
	fl.StringSliceVar(&f.waves, "wave", nil, "`SIZE` of a wave after the start, a number of tasks or a percentage; may be repeated")
	fl.DurationVar(&f.bake, "bake", 0, "how long a wave that is done is left alone before the next")
	f.limitFlags(c)
	f.times.add(c)
	fl.StringVar(&f.tenantTolerance, "tenant-tolerance", "", "how many tasks of one tenant may fail before no more of its are begun: a `NUMBER` or a percentage (default no limit)")
	fl.StringArrayVar(&f.order, "order", nil, "which tenants come first: `KEY` is label:NAME, tier, region or cloud, and may go on with =VALUE,VALUE; may be repeated")
	fl.StringArrayVar(&f.gates, "gate", nil, "what must pass after each wave: \"manual\", or check:`NAME` of the service's configuration; may be repeated")
	f.incident.bind(c)
	fl.StringVar(&f.reason, "reason", "", "why, for the record")
	fl.StringVar(&f.name, "display-name", "", "a name for people")
	fl.StringArrayVar(&f.labels, "label", nil, "a label `KEY=VALUE` of the rotation, for lists and webhooks; may be repeated")
	fl.StringVar(&f.requestID, "request-id", "", "`UUID` of this request; the same one again gives the same rotation (default a new one)")
	fl.BoolVar(&f.planOnly, "plan-only", false, "show the plan and start nothing")
	fl.BoolVar(&f.follow, "watch", false, "show the progress to the end")
	fl.BoolVar(&f.plain, "plain", false, "plain lines on a terminal too")
	_ = c.MarkFlagRequired("certificate") // The flag exists: it was made above.
	return c
}

// rotate uploads, plans, shows, starts and watches.
func (a *app) rotate(ctx context.Context, cl *client, f rotateFlags) error {
	labels, err := readLabels(f.labels)
	if err != nil {
		return err
	}
	spec, err := a.spec(ctx, cl, f)
	if err != nil {
		return err
	}
	if f.requestID == "" {
		f.requestID = uuid.NewString()
	}
	req := &crossfadev1.CreateRotationRequest{
		RequestId: f.requestID,
		Rotation:  &crossfadev1.Rotation{DisplayName: f.name, Labels: labels, Spec: spec},
	}
	cctx, cancel := bounded(ctx)
	defer cancel()
	created, err := cl.rotations.CreateRotation(cctx, req)
	if err != nil {
		return err
	}
	r, err := a.planned(ctx, cl, created.GetRotation())
	if err != nil {
		return err
	}
	if err := a.showPlan(ctx, cl, r); err != nil {
		return err
	}
	if f.planOnly {
		if !a.json {
			fmt.Fprintf(a.out, "to start exactly this: crossfade rotation start %s --digest %s\n", r.GetName(), r.GetPlanDigest())
		}
		return nil
	}
	sctx, cancel := bounded(ctx)
	defer cancel()
	started, err := cl.rotations.StartRotation(sctx, &crossfadev1.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
	if err != nil {
		return err
	}
	if !f.follow {
		if a.json {
			a.message("rotation", started.GetRotation())
		} else {
			fmt.Fprintf(a.out, "started; to see it: crossfade rotation watch %s\n", r.GetName())
		}
		return nil
	}
	last, err := cl.follow(ctx, watching{name: r.GetName()}, a.newView(f.plain))
	if err != nil {
		return err
	}
	return verdictOf(last)
}

// readLabels reads --label.
func readLabels(given []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, l := range given {
		key, value, ok := strings.Cut(l, "=")
		if _, twice := labels[key]; !ok || twice {
			return nil, usage("--label %q: want KEY=VALUE, each KEY once", l)
		}
		labels[key] = value
	}
	return labels, nil
}

// spec reads the flags into a request, and uploads the certificate.
func (a *app) spec(ctx context.Context, cl *client, f rotateFlags) (*crossfadev1.RotationSpec, error) {
	s := &crossfadev1.RotationSpec{
		Kind: "acs-x509", Identity: f.identity, MaxInFlight: f.maxInFlight, MaxTries: f.maxTries, Reason: f.reason,
		Target: &crossfadev1.TargetSelector{Selection: &crossfadev1.TargetSelector_AllTenants{AllTenants: true}},
	}
	if f.retireOnRequest {
		s.RetirePolicy = crossfadev1.RotationSpec_RETIRE_POLICY_ON_REQUEST
	}
	if len(f.tenants) > 0 {
		names := make([]string, len(f.tenants))
		for i, t := range f.tenants {
			names[i] = "tenants/" + strings.TrimPrefix(t, "tenants/")
		}
		s.Target.Selection = &crossfadev1.TargetSelector_Tenants{Tenants: &crossfadev1.TenantNames{Names: names}}
	}
	if f.selected != "" {
		s.Target.Selection = &crossfadev1.TargetSelector_Filter{Filter: f.selected}
	}
	f.drift(s)
	f.narrow(s.Target)
	if f.failedOf != "" {
		s.Target.Selection = &crossfadev1.TargetSelector_FailedOf{FailedOf: rotationName(f.failedOf)}
	}
	if i := slices.Index(f.replaces, "same-subject"); i >= 0 {
		s.ReplacesSameSubject = true
		f.replaces = slices.Delete(slices.Clone(f.replaces), i, i+1)
	}
	for _, p := range f.replaces {
		t, err := certs.ParseThumbprint(p)
		if err != nil {
			return nil, usage("--replaces %q: %w", p, err)
		}
		s.Replaces = append(s.Replaces, t)
	}
	if f.retireNotBefore != "" {
		t, err := time.Parse(time.RFC3339, f.retireNotBefore)
		if err != nil {
			return nil, usage("--retire-not-before %q: want an instant such as 2016-11-04T01:00:00Z", f.retireNotBefore)
		}
		s.RetireNotBefore = timestamppb.New(t)
	}
	var err error
	if s.UndoWindow, err = f.window(); err != nil {
		return nil, err
	}
	if s.Tolerance, err = f.tolerance(); err != nil {
		return nil, err
	}
	if s.Strategy, err = f.strategy(); err != nil {
		return nil, err
	}
	if err := f.waveRules(s); err != nil {
		return nil, err
	}
	if s.Lane, err = f.laneOf(); err != nil {
		return nil, err
	}
	s.Limits = f.limits()
	if s.Incident, err = f.incident.incident(); err != nil {
		return nil, err
	}
	if s.Schedule, err = f.times.schedule(); err != nil {
		return nil, err
	}
	s.Certificate, err = a.certificateName(ctx, cl, f.certificate)
	return s, err
}

// certificateName returns the name of a certificate on the service, after
// uploading it if it is a file.
func (a *app) certificateName(ctx context.Context, cl *client, arg string) (string, error) {
	if strings.HasPrefix(arg, "certificates/") {
		return arg, nil
	}
	data, err := readCertificateFile(arg)
	if err != nil {
		return "", err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.certificates.UploadCertificate(ctx, &crossfadev1.UploadCertificateRequest{Content: data})
	if err != nil {
		return "", err
	}
	return res.GetCertificate().GetName(), nil
}

// readCertificateFile reads a file and refuses, before anything is sent, one
// that holds a private key.
func readCertificateFile(path string) ([]byte, error) {
	data, err := readFile(path, certs.MaxFile+1) // One more, for certs.Read to say that it is too long.
	if err != nil {
		return nil, usage("reading the certificate: %w", err)
	}
	if _, err := certs.Read(slices.Clone(data)); err != nil {
		clear(data)
		return nil, usage("%s: %w", path, err)
	}
	return data, nil
}

// planned waits until a rotation has its plan.
func (a *app) planned(ctx context.Context, cl *client, r *crossfadev1.Rotation) (*crossfadev1.Rotation, error) {
	if r.GetState() != crossfadev1.Rotation_STATE_PLANNING {
		return r, nil
	}
	if !a.json {
		fmt.Fprintf(a.out, "planning %s over %s …\n", r.GetName(), amount(r.GetTenantCount(), "tenant"))
	}
	return cl.follow(ctx, watching{
		name:  r.GetName(),
		until: func(r *crossfadev1.Rotation) bool { return r.GetState() != crossfadev1.Rotation_STATE_PLANNING },
	}, silent{})
}

// silent is a view that shows nothing.
type silent struct{}

func (silent) rotation(*crossfadev1.Rotation, bool) {}
func (silent) tasks([]*crossfadev1.RotationTask)    {}
func (silent) cursor(string)                        {}
func (silent) close()                               {}
