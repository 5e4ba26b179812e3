package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// told waits until the first server's mirror knows that so many tasks have that
// outcome.
func (h *house) told(t *testing.T, name string, want func(*pb.TaskCounts) bool) *pb.Rotation {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		r := h.get(t, name)
		if want(r.GetCounts()) {
			return r
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the counts are %v", r.GetCounts())
		}
	}
}

// ended returns a FAILED rotation of six tasks: two failed, one in conflict, one
// handed over, two succeeded.
func (h *house) ended(t *testing.T) *pb.Rotation {
	t.Helper()
	r := h.start(t, h.plan(t, h.create(t).GetName(), 6))
	for ord, o := range []rollover.Outcome{
		rollover.Failed, rollover.Failed, rollover.Conflict, rollover.HandedOver, rollover.Succeeded, rollover.Succeeded,
	} {
		h.save(t, r.GetName(), ord, rollover.Staged, o)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State, r.EndedAt = rollover.StateFailed, h.clock.Now() })
	return h.told(t, r.GetName(), func(c *pb.TaskCounts) bool {
		return c.GetFailed() == 2 && c.GetSucceeded() == 2 && c.GetConflict()+c.GetHandedOver() == 2
	})
}

func TestRetryRotationTasks_AllNamedAndFiltered(t *testing.T) {
	for name, c := range map[string]struct {
		names  []int
		filter string
		want   int64
	}{
		"all that failed": {nil, "", 2},
		"named":           {[]int{1, 2, 3}, "", 3},
		"by filter":       {nil, "outcome = OUTCOME_CONFLICT OR outcome = OUTCOME_SUCCEEDED", 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, nil)
			r := h.ended(t)
			req := &pb.RetryRotationTasksRequest{Parent: r.GetName(), Filter: c.filter, Reason: "mended", RequestId: requestID, Etag: r.GetEtag()}
			for _, ord := range c.names {
				req.Names = append(req.Names, fmt.Sprintf("%s/tasks/%06d", r.GetName(), ord))
			}
			resp, err := h.client().RetryRotationTasks(t.Context(), req)
			if err != nil || resp.GetRetried() != c.want || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING || resp.GetRotation().GetEndTime() != nil {
				t.Fatalf("RetryRotationTasks = %v, %v, want %d retried and RUNNING", resp, err, c.want)
			}
			h.told(t, r.GetName(), func(n *pb.TaskCounts) bool { return n.GetStaged() == c.want })
			again, err := h.clients[1].RetryRotationTasks(t.Context(), req)
			if err != nil || again.GetRetried() != 0 {
				t.Errorf("RetryRotationTasks again = %v, %v, want nothing more", again, err)
			}
		})
	}
}

// The tasks are opened and then everything is lost; meanwhile one of them fails
// again. The repeat opens none a second time and lets the rotation run.
func TestRetryRotationTasks_RepeatCompletesWhatWasCutOff(t *testing.T) {
	h := open(t, nil)
	r := h.ended(t)
	req := &pb.RetryRotationTasksRequest{Parent: r.GetName(), Reason: "mended", RequestId: requestID}
	h.store.loseNext(1)
	_, err := h.client().RetryRotationTasks(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	h.write(t, r.GetName(), func(r *rollover.Rotation) {
		r.State, r.RetryID, r.Reopened, r.Changes = rollover.StateFailed, "", 0, nil
	})
	h.save(t, r.GetName(), 0, rollover.Staged, rollover.Failed)
	h.told(t, r.GetName(), func(n *pb.TaskCounts) bool { return n.GetStaged() == 1 && n.GetFailed() == 1 })
	resp, err := h.client().RetryRotationTasks(t.Context(), req)
	if err != nil || resp.GetRetried() != 0 || resp.GetRotation().GetState() != pb.Rotation_STATE_RUNNING {
		t.Errorf("RetryRotationTasks again = %v, %v, want RUNNING and no task retried twice", resp, err)
	}
}

func TestRetryRotationTasks_Refusals(t *testing.T) {
	h := open(t, nil)
	r := h.ended(t)
	retry := func(names ...string) error {
		_, err := h.client().RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{Parent: r.GetName(), Names: names, Reason: "x"})
		return err
	}
	refused(t, retry(r.GetName()+"/tasks/000001", r.GetName()+"/tasks/000004"), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	refused(t, retry(r.GetName()+"/tasks/000099"), codes.NotFound, "NOT_FOUND")
	if c := h.get(t, r.GetName()).GetCounts(); c.GetFailed() != 2 {
		t.Errorf("a refused retry left %v", c)
	}
	_, err := h.client().RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{
		Parent: r.GetName(), Filter: "outcome = OUTCOME_SUCCEEDED", Reason: "x",
	})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	_, err = h.client().RetryRotationTasks(t.Context(), &pb.RetryRotationTasksRequest{Parent: r.GetName(), Reason: "x", Etag: "r1"})
	refused(t, err, codes.Aborted, "ETAG_MISMATCH")
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateCancelled })
	refused(t, retry(), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

func all() *pb.UndoScope { return &pb.UndoScope{Scope: &pb.UndoScope_All{All: true}} }

func TestUndoRotation_OrdersItOnce(t *testing.T) {
	h := open(t, nil)
	r := h.ended(t)
	dry, err := h.client().UndoRotation(t.Context(), &pb.UndoRotationRequest{Name: r.GetName(), Scope: all(), Reason: "x", ValidateOnly: true})
	if err != nil || dry.GetCovered() != 6 || dry.GetRotation().GetState() != pb.Rotation_STATE_FAILED {
		t.Fatalf("UndoRotation validate_only = %v, %v, want 6 tasks and nothing changed", dry, err)
	}
	req := &pb.UndoRotationRequest{Name: r.GetName(), Scope: all(), Reason: "wrong one", RequestId: requestID, Etag: r.GetEtag()}
	h.store.loseNext(1)
	_, err = h.client().UndoRotation(t.Context(), req)
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
	resp, err := h.clients[1].UndoRotation(t.Context(), req)
	u := resp.GetRotation().GetUndo()
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_UNDOING || !u.GetScope().GetAll() || u.GetReason() != "wrong one" || u.GetRequestTime() == nil {
		t.Fatalf("UndoRotation again = %v, %v, want the one undo", resp, err)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) { *r = r.EndUndo(rollover.Counts{}, h.clock.Now()) })
	resp, err = h.client().UndoRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetState() != pb.Rotation_STATE_UNDONE {
		t.Errorf("UndoRotation after its end = %v, %v, want the rotation as it is", resp, err)
	}
	req.RequestId, req.Etag = "", ""
	_, err = h.client().UndoRotation(t.Context(), req)
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

func TestUndoRotation_Refusals(t *testing.T) {
	h := open(t, nil)
	r := h.ended(t)
	id, _ := edge.ParseRotation(r.GetName())
	undo := func(s *pb.UndoScope) error {
		_, err := h.client().UndoRotation(t.Context(), &pb.UndoRotationRequest{Name: r.GetName(), Scope: s, Reason: "x"})
		return err
	}
	none := &pb.UndoScope{Scope: &pb.UndoScope_Wave{Wave: 99}}
	refused(t, undo(none), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	for _, archive := range []*rollover.Archive{nil, {At: h.clock.Now().AddDate(0, 0, -8), Keys: []rollover.ArchivedKey{{SHA256: "ab"}}}} {
		k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id, Ord: 4})
		if err != nil {
			t.Fatal(err)
		}
		k.Phase, k.Removed, k.Archive = rollover.Retired, []string{"ab"}, archive
		if _, err := h.store.SaveTask(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		h.told(t, r.GetName(), func(c *pb.TaskCounts) bool { return c.GetRetired() == 1 })
		err = undo(all())
		if got := refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED").GetMetadata()["not_undoable_count"]; got != "1" {
			t.Errorf("not_undoable_count = %q, want 1", got)
		}
		if got := status.Convert(err).Message(); !strings.Contains(got, "1 task of the scope cannot be undone") {
			t.Errorf("an undo of what cannot be undone says %q", got)
		}
	}
	part := &pb.UndoScope{Scope: &pb.UndoScope_Tasks{Tasks: &pb.TaskNames{Names: []string{r.GetName() + "/tasks/000005"}}}}
	if err := undo(part); err != nil {
		t.Errorf("UndoRotation of another task = %v", err)
	}
}

func TestCreateRotation_FailedOfAnOldOne(t *testing.T) {
	h := open(t, nil)
	old := h.ended(t)
	req := h.request()
	req.Rotation.Spec.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_FailedOf{FailedOf: old.GetName()}}
	req.Rotation.Spec.UndoWindow = durationpb.New(36 * time.Hour)
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetTenantCount() != 3 || resp.GetRotation().GetSpec().GetTarget().GetFailedOf() != old.GetName() ||
		resp.GetRotation().GetSpec().GetUndoWindow().AsDuration() != 36*time.Hour {
		t.Fatalf("CreateRotation = %v, %v, want the three tenants of what failed", resp, err)
	}
	h.write(t, old.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateRunning })
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	req.Rotation.Spec.Target.Selection = &pb.TargetSelector_FailedOf{FailedOf: "rotations/" + requestID}
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.NotFound, "NOT_FOUND")
	clean := h.plan(t, h.create(t).GetName(), 2)
	h.write(t, clean.GetName(), func(r *rollover.Rotation) { r.State = rollover.StateSucceeded })
	req.Rotation.Spec.Target.Selection = &pb.TargetSelector_FailedOf{FailedOf: clean.GetName()}
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}
