package main

import (
	"fmt"
	"strings"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// actText is the act as flags and people write it.
func actText(a crossfadev1.ApprovalAct) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(a.String(), "APPROVAL_ACT_"), "_", "-"))
}

// approvalsText says who approved what, and until when that holds, or is empty. What
// approved an incident's containment is told there.
func approvalsText(r *crossfadev1.Rotation) string {
	var out []string
	for _, p := range r.GetApprovals() {
		text := fmt.Sprintf("%s by %s at %s, until %s", actText(p.GetAct()), p.GetApprover(), instant(p.GetApproveTime()), instant(p.GetExpireTime()))
		if at := p.GetRetireNotBefore(); at != nil {
			text += ", not before " + instant(at)
		}
		if p.GetReason() != "" {
			text += ": " + p.GetReason()
		}
		if p.GetPlanDigest() != r.GetPlanDigest() {
			text += " (void: of another plan)"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// neededText says that others must approve the start, and how, or is empty.
func neededText(r *crossfadev1.Rotation) string {
	n := r.GetApprovalsNeeded()
	if n == 0 || r.GetState() != crossfadev1.Rotation_STATE_PLANNED {
		return ""
	}
	return fmt.Sprintf("%d other than %s to start: crossfade rotation approve %s --digest %s --act start --reason …",
		n, r.GetCreator(), strings.TrimPrefix(r.GetName(), "rotations/"), r.GetPlanDigest())
}
