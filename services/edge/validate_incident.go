package edge

import (
	"fmt"
	"time"

	"github.com/crossfade-project/crossfade/internal/certs"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of an incident, as the contract states them.
const (
	maxCompromised = 20
	maxShortened   = 30 * 24 * time.Hour
)

// CompromisedSubject returns what is compromised in the form of the block list, and
// whether it can be read.
func CompromisedSubject(x *pb.Compromised) (id certs.BlockID, ok bool) {
	id, _, ok = compromisedSubject(x)
	return id, ok
}

func compromisedSubject(x *pb.Compromised) (id certs.BlockID, field string, ok bool) {
	var err error
	switch s := x.GetSubject().(type) {
	case *pb.Compromised_Sha256:
		field = "sha256"
		id, err = certs.NewBlockID(certs.BlockSHA256, s.Sha256)
	case *pb.Compromised_Sha1:
		field = "sha1"
		id, err = certs.NewBlockID(certs.BlockSHA1, s.Sha1)
	case *pb.Compromised_KeyHash:
		field = "key_hash"
		id, err = certs.NewBlockID(certs.BlockKeyHash, s.KeyHash)
	default:
		return id, "", false
	}
	return id, field, err == nil
}

// incident checks what is compromised, and that nothing else in the spec speaks
// against it.
func (v *violations) incident(at string, s *pb.RotationSpec) {
	i := s.GetIncident()
	if i == nil {
		return
	}
	path := at + "incident."
	v.count(path+"compromised", len(i.GetCompromised()), 1, maxCompromised)
	seen := map[certs.BlockID]bool{}
	for n, x := range i.GetCompromised()[:min(len(i.GetCompromised()), maxCompromised)] {
		one := fmt.Sprintf("%scompromised[%d]", path, n)
		switch id, field, ok := compromisedSubject(x); {
		case field == "":
			v.add(one, "REQUIRED", "must be set: sha256, sha1 or key_hash")
		case !ok:
			v.add(one+"."+field, "FORMAT", "must be hexadecimal digits: 64, or 40 for sha1")
		case seen[id]:
			v.add(one, "CONFLICT", "is there twice")
		default:
			seen[id] = true
		}
	}
	if d := i.GetShortenedOverlap(); d != nil && (d.CheckValid() != nil || d.AsDuration() < 0 || d.AsDuration() > maxShortened) {
		v.add(path+"shortened_overlap", "RANGE", "must be from 0 to 30 days")
	}
	v.text(path+"summary", i.GetSummary(), maxReason)
	if len(s.GetReplaces()) > 0 {
		v.add(at+"replaces", "CONFLICT", "must be empty: incident.compromised says what is removed")
	}
	if s.GetReplacesSameSubject() {
		v.add(at+"replaces_same_subject", "CONFLICT", "must be false: incident.compromised says what is removed")
	}
	if s.GetLane() == pb.Lane_LANE_BULK {
		v.add(at+"lane", "CONFLICT", "must be URGENT or absent: an incident's rotation is urgent")
	}
}

// approve checks an approval.
func (v *violations) approve(m *pb.ApproveRotationRequest) {
	v.steer(m)
	v.digest(m.GetPlanDigest())
	v.reason(m.GetReason())
	early, undo := m.GetAct() == pb.ApprovalAct_APPROVAL_ACT_RETIRE_EARLY, m.GetAct() == pb.ApprovalAct_APPROVAL_ACT_UNDO
	if _, known := pb.ApprovalAct_name[int32(m.GetAct())]; !known {
		v.add("act", "UNKNOWN", "must be START, RETIRE_EARLY, CONTAIN or UNDO, or absent")
	}
	switch t := m.GetRetireNotBefore(); {
	case early && (t == nil || !t.IsValid()):
		v.add("retire_not_before", "REQUIRED", "must be the instant from which old credentials may go, with act RETIRE_EARLY")
	case !early && t != nil:
		v.add("retire_not_before", "CONFLICT", "must be absent without act RETIRE_EARLY")
	}
	switch {
	case undo:
		v.approvedUndo(m.GetName(), m.GetUndo())
	case m.GetUndo() != nil:
		v.add("undo", "CONFLICT", "must be absent without act UNDO")
	}
}

// approvedUndo checks what of a rotation may be taken back.
func (v *violations) approvedUndo(rotation string, m *pb.ApprovedUndo) {
	set := 0
	for _, given := range []bool{m.GetAll(), len(m.GetTenants()) > 0, m.GetWave() != 0, len(m.GetTasks()) > 0} {
		if given {
			set++
		}
	}
	if set != 1 {
		v.add("undo", "REQUIRED", "exactly one of all, tenants, wave and tasks must be set, with act UNDO")
	}
	if m.GetWave() < 0 {
		v.add("undo.wave", "RANGE", "must be 1 or more")
	}
	if len(m.GetTenants()) > 0 {
		v.tenantNames("undo.tenants", m.GetTenants())
	}
	if len(m.GetTasks()) > 0 {
		v.taskNames("undo.tasks", rotation, m.GetTasks(), 1)
	}
}

func (v *violations) digest(plan string) {
	if !isHex(plan, 64) {
		v.add("plan_digest", "FORMAT", "must be the plan_digest of the rotation as it was shown: 64 hex digits in lower case")
	}
}
