package edge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

func TestValidate_RetryAndUndo(t *testing.T) {
	const name = "rotations/" + id
	task := func(n int) string { return fmt.Sprintf("%s/tasks/%06d", name, n) }
	many := make([]string, 1001)
	for i := range many {
		many[i] = task(i)
	}
	retry := func(f func(*pb.RetryRotationTasksRequest)) proto.Message {
		m := &pb.RetryRotationTasksRequest{Parent: name, Reason: "x"}
		f(m)
		return m
	}
	undo := func(s *pb.UndoScope) proto.Message {
		return &pb.UndoRotationRequest{Name: name, Reason: "x", Scope: s}
	}
	tasks := func(names ...string) *pb.UndoScope {
		return &pb.UndoScope{Scope: &pb.UndoScope_Tasks{Tasks: &pb.TaskNames{Names: names}}}
	}
	window := func(seconds int64, retires bool) proto.Message {
		m := fine()
		m.Rotation.Spec.UndoWindow = &durationpb.Duration{Seconds: seconds}
		if !retires {
			s := m.GetRotation().GetSpec()
			s.ReplacesSameSubject, s.Replaces, s.RetireNotBefore, s.RetirePolicy = false, nil, nil, 0
		}
		return m
	}
	for _, c := range []struct {
		path string // empty: nothing is wrong
		m    proto.Message
	}{
		{"", retry(func(*pb.RetryRotationTasksRequest) {})},
		{"", retry(func(m *pb.RetryRotationTasksRequest) { m.Names = many[:1000] })},
		{"reason", retry(func(m *pb.RetryRotationTasksRequest) { m.Reason = " " })},
		{"parent", retry(func(m *pb.RetryRotationTasksRequest) { m.Parent = "x" })},
		{"names", retry(func(m *pb.RetryRotationTasksRequest) { m.Names = many })},
		{"names[1]", retry(func(m *pb.RetryRotationTasksRequest) { m.Names = []string{task(1), task(1)} })},
		{"names[0]", retry(func(m *pb.RetryRotationTasksRequest) {
			m.Names = []string{strings.ReplaceAll(task(1), id[:8], "00000000")}
		})},
		{"filter", retry(func(m *pb.RetryRotationTasksRequest) { m.Names, m.Filter = many[:1], "phase = PHASE_STAGED" })},
		{"", undo(&pb.UndoScope{Scope: &pb.UndoScope_All{All: true}})},
		{"", undo(tasks(task(1)))},
		{"scope", undo(nil)},
		{"scope.all", undo(&pb.UndoScope{Scope: &pb.UndoScope_All{}})},
		{"scope.wave", undo(&pb.UndoScope{Scope: &pb.UndoScope_Wave{}})},
		{"scope.tasks.names", undo(tasks())},
		{"scope.tasks.names[0]", undo(tasks("x"))},
		{"scope.tenants.names", undo(&pb.UndoScope{Scope: &pb.UndoScope_Tenants{}})},
		{"", window(0, true)},
		{"", window(90*24*3600, true)},
		{"rotation.spec.undo_window", window(90*24*3600+1, true)},
		{"rotation.spec.undo_window", window(-1, true)},
		{"rotation.spec.undo_window", window(3600, false)},
	} {
		vs := edge.Validate(c.m)
		if c.path == "" && len(vs) > 0 {
			t.Errorf("Validate(%v) = %v, want nothing", c.m, vs)
		}
		if c.path != "" && !slices.ContainsFunc(vs, func(v *edge.Violation) bool { return v.GetField() == c.path }) {
			t.Errorf("Validate has nothing against %s: %v", c.path, vs)
		}
	}
}
