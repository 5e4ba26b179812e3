package edge

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of retries and undos, as the contract states them.
const (
	maxTaskNames  = 1000
	maxUndoWindow = 90 * 24 * time.Hour
)

// retryTasks checks what is asked to be tried again.
func (v *violations) retryTasks(m *pb.RetryRotationTasksRequest) {
	v.name("parent", m.GetParent(), isRotation)
	v.requestID(m.GetRequestId())
	v.reason(m.GetReason())
	v.taskNames("names", m.GetParent(), m.GetNames(), 0)
	if len(m.GetNames()) > 0 && m.GetFilter() != "" {
		v.add("filter", "CONFLICT", "must be absent where names says which tasks")
	}
}

// undo checks what is asked to be taken back.
func (v *violations) undo(m *pb.UndoRotationRequest) {
	v.steer(m)
	v.reason(m.GetReason())
	switch s := m.GetScope().GetScope().(type) {
	case *pb.UndoScope_All:
		if !s.All {
			v.add("scope.all", "RANGE", "must be true, or another scope be set instead")
		}
	case *pb.UndoScope_Tenants:
		v.tenantNames("scope.tenants.names", s.Tenants.GetNames())
	case *pb.UndoScope_Wave:
		if s.Wave < 1 {
			v.add("scope.wave", "RANGE", "must be 1 or more")
		}
	case *pb.UndoScope_Tasks:
		v.taskNames("scope.tasks.names", m.GetName(), s.Tasks.GetNames(), 1)
	default:
		v.add("scope", "REQUIRED", "must be set: all, tenants, wave or tasks")
	}
}

// taskNames checks a list of tasks of one rotation.
func (v *violations) taskNames(path, rotation string, names []string, least int) {
	v.count(path, len(names), least, maxTaskNames)
	seen := map[int]bool{}
	for i, n := range names[:min(len(names), maxTaskNames)] {
		at := fmt.Sprintf("%s[%d]", path, i)
		v.name(at, n, isTask)
		id, ord, ok := ParseTask(n)
		switch {
		case !ok:
		case RotationName(id) != rotation:
			v.add(at, "CONFLICT", "must be a task of "+rotation)
		case seen[ord]:
			v.add(at, "CONFLICT", "is there twice")
		}
		seen[ord] = seen[ord] || ok
	}
}

// tenantNames checks a list of tenants.
func (v *violations) tenantNames(path string, names []string) {
	v.count(path, len(names), 1, maxTenants)
	if len(names) > maxTenants {
		return
	}
	seen := make(map[string]bool, len(names))
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		v.name(at, n, isTenant)
		if seen[n] {
			v.add(at, "CONFLICT", "is there twice")
		}
		seen[n] = true
	}
}

// undoWindow checks how long something can be undone.
func (v *violations) undoWindow(path string, d *durationpb.Duration, retires bool) {
	switch {
	case d == nil:
	case d.CheckValid() != nil, d.AsDuration() < 0, d.AsDuration() > maxUndoWindow:
		v.add(path, "RANGE", "must be from 0 to 90 days")
	case !retires:
		v.add(path, "CONFLICT", "must be absent where neither replaces nor replaces_same_subject says what is to be removed")
	}
}
