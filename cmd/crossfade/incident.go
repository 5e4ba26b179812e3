package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// incidentFlags is what "crossfade rotate --incident" was told.
type incidentFlags struct {
	on          bool
	compromised []string
	shortened   time.Duration
	summary     string
}

func (f *incidentFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.BoolVar(&f.on, "incident", false, "get rid of what --compromised names, wherever it stands, in the urgent lane")
	fl.StringSliceVar(&f.compromised, "compromised", nil, "`HASH` of what others may have got hold of: a thumbprint (SHA-1 or SHA-256) or the\nSHA-256 of a key, or key:HASH or sha256:HASH to say which; may be repeated")
	fl.DurationVar(&f.shortened, "shortened-overlap", 0, "how long both stand once all is verified and a second person has approved")
	fl.StringVar(&f.summary, "summary", "", "what happened, for the block list and the record")
}

// incident reads the flags, nil where there is no incident.
func (f *incidentFlags) incident() (*crossfadev1.Incident, error) {
	switch {
	case !f.on && (len(f.compromised) > 0 || f.shortened != 0 || f.summary != ""):
		return nil, usage("--compromised, --shortened-overlap and --summary are only for --incident")
	case !f.on:
		return nil, nil
	case len(f.compromised) == 0:
		return nil, usage("--incident: say what is compromised, with --compromised")
	case f.shortened < 0:
		return nil, usage("--shortened-overlap %s: must not be negative", f.shortened)
	}
	i := &crossfadev1.Incident{Summary: f.summary}
	if f.shortened > 0 {
		i.ShortenedOverlap = durationpb.New(f.shortened)
	}
	for _, text := range f.compromised {
		xs, err := compromisedOf(text)
		if err != nil {
			return nil, err
		}
		i.Compromised = append(i.Compromised, xs...)
	}
	return i, nil
}

// compromisedOf reads one hash. 64 digits that do not say what they are of stand for
// the certificate and for the key: no hash is both, and in an incident nobody should
// have to think about which it is.
func compromisedOf(text string) ([]*crossfadev1.Compromised, error) {
	sort, hash, said := strings.Cut(text, ":")
	if sort = strings.ToLower(strings.TrimSpace(sort)); !said || sort != "key" && sort != "sha256" && sort != "sha1" {
		sort, hash = "", text // Colons may stand between the digits.
	}
	h, err := certs.ParseThumbprint(hash)
	want := map[string]int{"key": 64, "sha256": 64, "sha1": 40}[sort]
	if err != nil || want != 0 && len(h) != want {
		return nil, usage("--compromised %q: want a thumbprint of 40 or 64 hexadecimal digits, key:HASH or sha256:HASH with 64, or sha1:HASH with 40", text)
	}
	sha1 := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_Sha1{Sha1: h}}
	sha256 := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_Sha256{Sha256: h}}
	key := &crossfadev1.Compromised{Subject: &crossfadev1.Compromised_KeyHash{KeyHash: h}}
	switch {
	case len(h) == 40:
		return []*crossfadev1.Compromised{sha1}, nil
	case sort == "key":
		return []*crossfadev1.Compromised{key}, nil
	case sort == "sha256":
		return []*crossfadev1.Compromised{sha256}, nil
	default:
		return []*crossfadev1.Compromised{sha256, key}, nil
	}
}

// containText says how far an incident is contained, or is empty.
func containText(r *crossfadev1.Rotation) string {
	c := r.GetContainment()
	if c == nil || r.GetPlanDigest() == "" {
		return ""
	}
	took := c.GetElapsed().AsDuration().Round(time.Second)
	text := fmt.Sprintf("%d of %d carriers", c.GetContained(), c.GetCarriers())
	if c.GetContainedTime() != nil {
		return fmt.Sprintf("contained in %s: %s", took, text)
	}
	if n := c.GetLeft(); n > 0 {
		text += fmt.Sprintf(", %d ended and still carry it", n)
	}
	if n := c.GetUnknown(); n > 0 {
		text += fmt.Sprintf(", %d could not be read and may carry it", n)
	}
	return fmt.Sprintf("NOT contained after %s: %s", took, text)
}

// approvalText says who approved, or how to, or is empty.
func approvalText(r *crossfadev1.Rotation) string {
	c := r.GetContainment()
	switch a := c.GetApproval(); {
	case a != nil:
		return fmt.Sprintf("by %s at %s: %s", a.GetApprover(), instant(a.GetApproveTime()), a.GetReason())
	case c == nil || r.GetPlanDigest() == "" || ended(r) || r.GetPhase() == crossfadev1.Rotation_PHASE_RETIRE:
		return ""
	default:
		return fmt.Sprintf("nobody's; a second person can bring the removal forward: crossfade rotation approve %s --digest %s --reason …",
			strings.TrimPrefix(r.GetName(), "rotations/"), r.GetPlanDigest())
	}
}

// compromisedText names what is compromised, or is empty.
func compromisedText(r *crossfadev1.Rotation) string {
	var parts []string
	for _, x := range r.GetSpec().GetIncident().GetCompromised() {
		switch s := x.GetSubject().(type) {
		case *crossfadev1.Compromised_Sha256:
			parts = append(parts, "sha256:"+s.Sha256)
		case *crossfadev1.Compromised_Sha1:
			parts = append(parts, "sha1:"+s.Sha1)
		case *crossfadev1.Compromised_KeyHash:
			parts = append(parts, "key:"+s.KeyHash)
		}
	}
	return strings.Join(parts, " ")
}

// incidentOf returns what is compromised, nil where nothing is.
func incidentOf(r *crossfadev1.Rotation) *rollover.Incident {
	if r.GetSpec().GetIncident() == nil {
		return nil
	}
	i := &rollover.Incident{}
	for _, x := range r.GetSpec().GetIncident().GetCompromised() {
		if id, ok := edge.CompromisedSubject(x); ok {
			i.Compromised = append(i.Compromised, rollover.Compromised{Sort: rollover.CompromisedSort(id.Sort), Hash: id.Hash})
		}
	}
	return i
}

// retireText is when the old credentials may go at the earliest.
func retireText(r *crossfadev1.Rotation) string { return instant(retireFrom(r)) }

// retireFrom is that instant, as it holds now. A service of before it was told by
// itself tells what was asked for.
func retireFrom(r *crossfadev1.Rotation) *timestamppb.Timestamp {
	switch {
	case r.GetRetireNotBefore() != nil:
		return r.GetRetireNotBefore()
	case r.GetContainment().GetRetireNotBefore() != nil:
		return r.GetContainment().GetRetireNotBefore()
	default:
		return r.GetSpec().GetRetireNotBefore()
	}
}
