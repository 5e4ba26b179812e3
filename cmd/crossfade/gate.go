package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) rotationGateCommand() *cobra.Command {
	req := &crossfadev1.DecideWaveRequest{}
	var pass, fail, inconclusive bool
	c := a.verb("gate", "Answer the manual gate at which a wave waits", `  crossfade rotation gate 0198… --wave 2 --pass --reason "no complaints overnight"`,
		func(ctx context.Context, cl *client, name string) error {
			switch {
			case req.GetWave() < 1:
				return usage("--wave %d: want the number of a wave, from 1", req.GetWave())
			case pass:
				req.Result = crossfadev1.GateResult_GATE_RESULT_PASS
			case fail:
				req.Result = crossfadev1.GateResult_GATE_RESULT_FAIL
			case inconclusive:
				req.Result = crossfadev1.GateResult_GATE_RESULT_INCONCLUSIVE
			default:
				return usage("say --pass, --fail or --inconclusive")
			}
			req.Name = name
			ctx, cancel := bounded(ctx)
			defer cancel()
			res, err := cl.rotations.DecideWave(ctx, req)
			if err != nil {
				return err
			}
			a.showRotation(res.GetRotation())
			return nil
		})
	fl := c.Flags()
	fl.Int32Var(&req.Wave, "wave", 0, "the `NUMBER` of the wave, as \"rotation show\" says")
	fl.BoolVar(&pass, "pass", false, "go on")
	fl.BoolVar(&fail, "fail", false, "stop; the rotation is paused")
	fl.BoolVar(&inconclusive, "inconclusive", false, "it cannot be said; the rotation is paused")
	fl.StringVar(&req.Reason, "reason", "", "why, for the record")
	fl.StringVar(&req.RequestId, "request-id", "", "`UUID` of this request; the same one again changes nothing")
	_ = c.MarkFlagRequired("wave") // The flags exist: they were made above.
	_ = c.MarkFlagRequired("reason")
	c.MarkFlagsOneRequired("pass", "fail", "inconclusive")
	c.MarkFlagsMutuallyExclusive("pass", "fail", "inconclusive")
	return c
}

// waveRules reads the flags about order, gates and the tolerance of tenants.
func (f rotateFlags) waveRules(s *crossfadev1.RotationSpec) error {
	if f.tenantTolerance != "" {
		n, percent, ok := share(f.tenantTolerance)
		if !ok {
			return usage("--tenant-tolerance %q: want a number of tasks such as 2, or a percentage from 0%% to 100%%", f.tenantTolerance)
		}
		s.TenantTolerance = &crossfadev1.Tolerance{Limit: &crossfadev1.Tolerance_Failures{Failures: n}}
		if percent {
			s.TenantTolerance.Limit = &crossfadev1.Tolerance_Percent{Percent: n}
		}
	}
	if len(f.order)+len(f.gates) > 0 && s.Strategy == nil {
		s.Strategy = &crossfadev1.Strategy{}
	}
	for _, text := range f.order {
		k, err := orderKey(text)
		if err != nil {
			return err
		}
		s.Strategy.Order = append(s.Strategy.Order, k)
	}
	for _, text := range f.gates {
		check, named := strings.CutPrefix(text, "check:")
		switch {
		case text == "manual":
			s.Strategy.Gates = append(s.Strategy.Gates, &crossfadev1.Gate{Gate: &crossfadev1.Gate_Manual{Manual: true}})
		case named && check != "":
			s.Strategy.Gates = append(s.Strategy.Gates, &crossfadev1.Gate{Gate: &crossfadev1.Gate_Check{Check: check}})
		default:
			return usage("--gate %q: want manual or check:NAME", text)
		}
	}
	return nil
}

// orderKey reads one key, such as label:ring=canary,early or region.
func orderKey(text string) (*crossfadev1.OrderKey, error) {
	by, list, listed := strings.Cut(text, "=")
	k := &crossfadev1.OrderKey{}
	if listed {
		k.Values = strings.Split(list, ",")
	}
	label, named := strings.CutPrefix(by, "label:")
	switch {
	case named && label != "":
		k.Key = &crossfadev1.OrderKey_Label{Label: label}
	case by == "tier":
		k.Key = &crossfadev1.OrderKey_Tier{Tier: true}
	case by == "region":
		k.Key = &crossfadev1.OrderKey_Region{Region: true}
	case by == "cloud":
		k.Key = &crossfadev1.OrderKey_Cloud{Cloud: true}
	default:
		return nil, usage("--order %q: want label:NAME, tier, region or cloud, and after it =VALUE,VALUE if some come first", text)
	}
	return k, nil
}

// tenantToleranceText is the rule for each tenant, or empty.
func tenantToleranceText(r *crossfadev1.Rotation) string {
	t := r.GetSpec().GetTenantTolerance()
	if t == nil {
		return ""
	}
	n := fmt.Sprint(t.GetFailures())
	if _, ok := t.GetLimit().(*crossfadev1.Tolerance_Percent); ok {
		n = fmt.Sprintf("%d %% of its", t.GetPercent())
	}
	return "no more of a tenant's tasks are begun when more than " + n + " have failed; the others go on"
}

func orderText(r *crossfadev1.Rotation) string {
	var out []string
	for _, k := range r.GetSpec().GetStrategy().GetOrder() {
		s := "region"
		switch by := k.GetKey().(type) {
		case *crossfadev1.OrderKey_Label:
			s = "label " + by.Label
		case *crossfadev1.OrderKey_Cloud:
			s = "cloud"
		case *crossfadev1.OrderKey_Tier:
			s = "tier"
		}
		if len(k.GetValues()) > 0 {
			s += " (" + strings.Join(k.GetValues(), ", ") + " first)"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", then ")
}

func gatesText(r *crossfadev1.Rotation) string {
	var out []string
	for _, g := range r.GetSpec().GetStrategy().GetGates() {
		if g.GetManual() {
			out = append(out, "manual")
			continue
		}
		out = append(out, "check "+g.GetCheck())
	}
	if len(out) == 0 {
		return ""
	}
	return "after each wave: " + strings.Join(out, ", then ")
}

func gateText(r *crossfadev1.Rotation) string {
	g := r.GetGate()
	if g == nil {
		return ""
	}
	s := fmt.Sprintf("%s, after wave %d: ", g.GetName(), g.GetWave())
	if g.GetResult() == crossfadev1.GateResult_GATE_RESULT_UNSPECIFIED {
		return s + "waits since " + instant(g.GetTime())
	}
	s += strings.ToLower(strings.TrimPrefix(g.GetResult().String(), "GATE_RESULT_"))
	if g.GetReason() != "" {
		s += ": " + g.GetReason()
	}
	return s
}
