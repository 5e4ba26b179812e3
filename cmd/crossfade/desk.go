package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/handover"
	"github.com/crossfade-project/crossfade/internal/rollover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) deskCommand() *cobra.Command {
	return group("desk", "See, hand over and try again what needs a person", a.deskListCommand(), a.deskRequeueCommand(), a.deskHandoverCommand())
}

func (a *app) deskHandoverCommand() *cobra.Command {
	var dir, tenant string
	c := a.verb("handover", "Write a text for the solution developer of each tenant that needs one", `  crossfade desk handover 0198… --out handover
  crossfade desk handover 0198… --out handover --tenant contoso`, func(ctx context.Context, cl *client, name string) error {
		if dir == "" {
			return usage("--out: name the folder to write the texts into")
		}
		rep, err := cl.report(ctx, name)
		if err != nil {
			return err
		}
		bctx, cancel := bounded(ctx)
		defer cancel()
		cert, err := cl.certificates.GetCertificate(bctx, &crossfadev1.GetCertificateRequest{Name: rep.rotation.GetSpec().GetCertificate()})
		if err != nil {
			return err
		}
		return a.saveHandovers(rep, cert.GetCertificate(), dir, strings.TrimPrefix(tenant, "tenants/"))
	})
	c.Flags().StringVar(&dir, "out", "", "write TENANT.md and the public certificate new.pem into this `DIR` (required)")
	c.Flags().StringVar(&tenant, "tenant", "", "only for this `TENANT`")
	return c
}

// saveHandovers writes a text for each tenant with a task that needs a person.
func (a *app) saveHandovers(r *report, cert *crossfadev1.Certificate, dir, only string) error {
	for _, t := range r.tenants() { // Before anything is written: nobody may be asked to add such a certificate.
		for _, k := range t.tasks {
			if k.GetReason() == crossfadev1.RotationTask_REASON_BLOCKED {
				return fmt.Errorf("task %s: %w", k.GetName(), handover.ErrBlocked)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // The texts are for others to read and hold no secret.
		return fmt.Errorf("making the folder: %w", err)
	}
	n := 0
	for _, t := range r.tenants() {
		if only != "" && t.id != only {
			continue
		}
		text, err := handoverLetter(r.rotation, cert, t, time.Now()).Markdown()
		if errors.Is(err, handover.ErrNothing) {
			continue
		}
		if err != nil {
			return err
		}
		err = writeFile(filepath.Join(dir, url.PathEscape(t.id)+".md"), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			return err
		}
		n++
	}
	if n == 0 && only != "" {
		return fmt.Errorf("--tenant %s: no task of it in %s needs a person", only, r.rotation.GetName())
	}
	if n > 0 {
		err := writeFile(filepath.Join(dir, "new.pem"), func(w io.Writer) error {
			return pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: cert.GetDer()})
		})
		if err != nil {
			return err
		}
	}
	if a.json {
		a.object("handover", map[string]any{"dir": dir, "tenants": n})
	} else {
		fmt.Fprintf(a.out, "texts for %s in %s\n", amount(n, "tenant"), dir)
	}
	return nil
}

func handoverLetter(r *crossfadev1.Rotation, cert *crossfadev1.Certificate, t tenantReport, now time.Time) handover.Letter {
	l := handover.Letter{
		Tenant: t.id, Rotation: strings.TrimPrefix(r.GetName(), "rotations/"), Now: now,
		StageDeadline: goTime(r.GetSpec().GetSchedule().GetStageDeadline()), Retires: r.GetSpec().GetReplacesSameSubject() || len(r.GetSpec().GetReplaces()) > 0,
		RetireNotBefore: goTime(retireFrom(r)),
		New: rollover.Credential{
			SHA256: strings.TrimPrefix(cert.GetName(), "certificates/"), SHA1: cert.GetSha1Thumbprint(), Subject: cert.GetSubject(),
			NotBefore: goTime(cert.GetNotBeforeTime()), NotAfter: goTime(cert.GetNotAfterTime()),
		},
	}
	l.Incident = incidentOf(r)
	for _, k := range t.tasks {
		l.Tasks = append(l.Tasks, handoverTask(k))
	}
	return l
}

// handoverTask returns what a text tells of a task.
func handoverTask(k *crossfadev1.RotationTask) rollover.Task {
	t := rollover.Task{Item: rollover.Item{
		Tenant: strings.TrimPrefix(k.GetTenant(), "tenants/"),
		Target: rollover.Target{Kind: k.GetKind(), Host: k.GetHost(), Identity: k.GetIdentity()},
	}}
	t.Outcome = rollover.Outcome(strings.ToLower(strings.TrimPrefix(k.GetOutcome().String(), "OUTCOME_")))
	t.Reason = rollover.Reason(strings.ToLower(strings.TrimPrefix(k.GetReason().String(), "REASON_")))
	t.Detail = k.GetDetail()
	for _, e := range k.GetEndpoints() {
		if p := strings.Split(e.GetName(), "/"); len(p) == 4 {
			t.Item.Endpoints = append(t.Item.Endpoints, rollover.EndpointRef{Tenant: p[1], ID: p[3], Name: e.GetDisplayName(), Federated: e.GetFederated()})
		}
	}
	for _, v := range k.GetAdvice() {
		t.Item.Advice = append(t.Item.Advice, rollover.Advice(strings.ToLower(strings.TrimPrefix(v.String(), "ADVICE_"))))
	}
	return t
}

func goTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
