package edge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Validate says what is wrong with a request by itself, field by field, as the
// comments of the contract demand. What takes a look at the store is checked by
// the services. A message that is no request of ours has nothing wrong.
func Validate(m proto.Message) []*Violation {
	var v violations
	switch m := m.(type) {
	case *pb.CreateRotationRequest:
		v.createRotation(m)
	case *pb.GetRotationRequest:
		v.name("name", m.GetName(), isRotation)
	case *pb.ListRotationsRequest:
		v.page(m)
	case *pb.ListRotationTasksRequest:
		v.name("parent", m.GetParent(), isRotation)
		v.page(m)
	case *pb.GetRotationTaskRequest:
		v.name("name", m.GetName(), isTask)
	case *pb.WatchRotationRequest:
		v.name("name", m.GetName(), isRotation)
	case *pb.StartRotationRequest:
		v.name("name", m.GetName(), isRotation)
		v.requestID(m.GetRequestId())
		v.digest(m.GetPlanDigest())
	case *pb.CancelRotationRequest:
		v.steer(m)
		v.reason(m.GetReason())
	case *pb.PauseRotationRequest:
		v.steer(m)
		v.reason(m.GetReason())
	case *pb.DecideWaveRequest:
		v.steer(m)
		v.decision(m)
	case *pb.ResumeRotationRequest:
		v.steer(m)
	case *pb.RetireRotationRequest:
		v.steer(m)
		if t := m.GetRetireNotBefore(); t != nil && !t.IsValid() {
			v.add("retire_not_before", "RANGE", "must be an instant between the years 1 and 9999")
		}
	case *pb.ApproveRotationRequest:
		v.approve(m)
	case *pb.CheckRotationRequest:
		v.steer(m)
	case *pb.ListDriftsRequest:
		v.name("parent", m.GetParent(), isRotationOrAll)
		v.page(m)
	case *pb.ListDeadLettersRequest:
		v.page(m)
	case *pb.SummarizeDeadLettersRequest: // Its filter is read where it is used.
	case *pb.RetryRotationTasksRequest:
		v.retryTasks(m)
	case *pb.UndoRotationRequest:
		v.undo(m)
	case *pb.ImportTenantsRequest:
		v.count("tenants", len(m.GetTenants()), 1, MaxImport)
	case *pb.GetTenantRequest:
		v.name("name", m.GetName(), isTenant)
	case *pb.ListTenantsRequest:
		v.page(m)
	case *pb.ListEndpointsRequest:
		v.name("parent", m.GetParent(), isTenantOrAll)
		v.page(m)
	case *pb.UploadCertificateRequest:
		v.bytes("content", len(m.GetContent()), MaxCertificate)
	case *pb.GetCertificateRequest:
		v.name("name", m.GetName(), isCertificate)
	case *pb.ListCertificatesRequest:
		v.page(m)
	case *pb.BlockCertificateRequest:
		v.block(m)
	case *pb.UnblockCertificateRequest:
		v.name("name", m.GetName(), isBlock)
		v.reason(m.GetReason())
		v.requestID(m.GetRequestId())
	case *pb.ListBlocksRequest:
		v.page(m)
	case *pb.CreateTargetSetRequest:
		v.createTargetSet(m)
	case *pb.AddTargetsRequest:
		v.name("name", m.GetName(), isTargetSet)
		v.chunk(m.GetFirstRow(), len(m.GetTargets()))
	case *pb.UploadTargetsRequest:
		v.upload(m)
	case *pb.GetTargetSetRequest:
		v.name("name", m.GetName(), isTargetSet)
	case *pb.ListTargetSetsRequest:
		v.page(m)
	case *pb.DeleteTargetSetRequest:
		v.name("name", m.GetName(), isTargetSet)
	default:
		v.inventory(m)
	}
	return v
}

// steer checks what all requests have that change a rotation's course.
func (v *violations) steer(m interface {
	GetName() string
	GetRequestId() string
}) {
	v.name("name", m.GetName(), isRotation)
	v.requestID(m.GetRequestId())
}

// reason checks why something is done.
func (v *violations) reason(why string) {
	v.required("reason", why)
	v.text("reason", why, maxReason)
}

// The bounds of requests, as the contract states them.
const (
	MaxImport      = 1000                // tenants in one import
	MaxCertificate = 64 << 10            // bytes of a certificate file
	maxTenants     = 1000                // tenants in a selector
	maxReplaces    = 20                  // thumbprints in a spec
	maxReason      = 1000                // characters of a reason
	maxDisplayName = 63                  // characters of a rotation's name
	maxIdentity    = 128                 // bytes of a service identity's name
	maxLabels      = 32                  // labels of a rotation
	maxLabelKey    = 63                  // bytes
	maxLabelValue  = 128                 // bytes
	maxInFlight    = 10_000              // tasks released at once
	maxTries       = 20                  // tries of one step
	maxFailures    = 1_000_000           // tasks that may fail, or are in a wave
	maxWaves       = 100                 // waves of a strategy
	maxBake        = 30 * 24 * time.Hour // between two waves
)

// violations gathers what is wrong, all of it, so that a caller is told once.
type violations []*Violation

func (v *violations) add(path, reason, description string) {
	*v = append(*v, Violated(path, reason, description))
}

// form is what a resource name must look like.
type form struct {
	like string
	ok   func(name string) bool
}

func (v *violations) name(path, name string, want func() form) {
	switch f := want(); {
	case name == "":
		v.add(path, "REQUIRED", "must be set, as "+f.like)
	case !f.ok(name):
		v.add(path, "FORMAT", "must be "+f.like)
	}
}

func isRotation() form {
	return form{"rotations/{id}", func(n string) bool { _, ok := ParseRotation(n); return ok }}
}

func isRotationOrAll() form {
	return form{"rotations/{id}, or rotations/- for all", func(n string) bool { _, ok := ParseRotation(n); return ok || n == AllRotations }}
}

func isTask() form {
	return form{"rotations/{id}/tasks/{position}", func(n string) bool { _, _, ok := ParseTask(n); return ok }}
}

func isTenant() form {
	return form{"tenants/{id}", func(n string) bool { _, ok := ParseTenant(n); return ok }}
}

func isTenantOrAll() form {
	return form{"tenants/{id}, or tenants/- for all", func(n string) bool { _, ok := ParseTenant(n); return ok || n == AllTenants }}
}

func isCertificate() form {
	return form{"certificates/{sha256}, 64 hex digits in lower case", func(n string) bool { _, ok := ParseCertificate(n); return ok }}
}

// page checks what all lists have. Tokens and filters are read by the services.
func (v *violations) page(m interface{ GetPageSize() int32 }) {
	if m.GetPageSize() < 0 {
		v.add("page_size", "RANGE", "must not be negative")
	}
}

func (v *violations) requestID(id string) {
	if id != "" && !isUUID(strings.ToLower(id)) {
		v.add("request_id", "FORMAT", "must be a UUID such as 0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37")
	}
}

func (v *violations) required(path, s string) {
	if strings.TrimSpace(s) == "" {
		v.add(path, "REQUIRED", "must be set")
	}
}

func (v *violations) text(path, s string, limit int) {
	switch {
	case utf8.RuneCountInString(s) > limit:
		v.add(path, "LENGTH", fmt.Sprintf("must have at most %d characters", limit))
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		v.add(path, "FORMAT", "must not have control characters")
	}
}

func (v *violations) bytes(path string, n, most int) {
	switch {
	case n == 0:
		v.add(path, "REQUIRED", "must be set")
	case n > most:
		v.add(path, "LENGTH", fmt.Sprintf("has %d bytes, at most %d are allowed", n, most))
	}
}

func (v *violations) count(path string, n, least, most int) {
	switch {
	case n < least:
		v.add(path, "REQUIRED", "must be set")
	case n > most:
		v.add(path, "LENGTH", fmt.Sprintf("has %d, at most %d are allowed", n, most))
	}
}

// between checks a number for which 0 means the default.
func (v *violations) between(path string, n, most int32) {
	if n < 0 || n > most {
		v.add(path, "RANGE", fmt.Sprintf("must be 1 to %d, or absent", most))
	}
}

func (v *violations) labels(path string, labels map[string]string) {
	if len(labels) > maxLabels {
		v.add(path, "LENGTH", fmt.Sprintf("has %d, at most %d are allowed", len(labels), maxLabels))
		return
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if !isLabelKey(k) {
			v.add(path, "FORMAT", "keys have 1 to 63 lower-case letters, digits, hyphens and underscores and begin with a letter")
			continue
		}
		if len(labels[k]) > maxLabelValue {
			v.add(path+"."+k, "LENGTH", fmt.Sprintf("must have at most %d bytes", maxLabelValue))
		}
	}
}

func isLabelKey(s string) bool {
	if s == "" || len(s) > maxLabelKey || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
