package rotation_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestListRotations_PagesNewestFirst(t *testing.T) {
	h := open(t, nil)
	var made []string
	for range 5 {
		made = append(made, h.create(t).GetName())
	}
	h.write(t, made[2], func(r *rollover.Rotation) { r.State = rollover.StateFailed })
	h.get(t, made[4]) // The live copy has them.
	var got []string
	req := &pb.ListRotationsRequest{PageSize: 2}
	for {
		resp, err := h.client().ListRotations(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.GetRotations() {
			got = append(got, r.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
		if len(got) == 2 {
			h.create(t) // Does not shift the pages.
		}
	}
	if want := []string{made[4], made[3], made[2], made[1], made[0]}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pages = %v\nwant %v", got, want)
	}
	h.get(t, made[2]) // The live copy has it.
	resp, err := h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{Filter: `state = STATE_FAILED AND labels.wave = "1" AND display_name:"nov"`})
	if err != nil || len(resp.GetRotations()) != 1 || resp.GetRotations()[0].GetName() != made[2] {
		t.Errorf("ListRotations(failed) = %v, %v, want %s", resp, err, made[2])
	}
	_, err = h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{Filter: "colour = 1"})
	refused(t, err, codes.InvalidArgument, "FILTER_INVALID")
}

func TestListRotationTasks_FiltersCountsAndPages(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	resp, err := h.client().ListRotationTasks(t.Context(), &pb.ListRotationTasksRequest{Parent: r.GetName()})
	if err != nil || len(resp.GetTasks()) != 0 {
		t.Errorf("ListRotationTasks while PLANNING = %v, %v, want none", resp, err)
	}
	const n = 2500 // more than two steps of the scan
	h.plan(t, r.GetName(), n)
	var failed []string
	for ord := 3; ord < n; ord += 500 {
		h.save(t, r.GetName(), ord, rollover.Staged, rollover.Failed)
		failed = append(failed, fmt.Sprintf("%s/tasks/%06d", r.GetName(), ord))
	}
	h.caughtUp(t, r.GetName(), int64(len(failed)))

	page := func(req *pb.ListRotationTasksRequest) (names []string, total int32) {
		t.Helper()
		for {
			resp, err := h.client().ListRotationTasks(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range resp.GetTasks() {
				names = append(names, k.GetName())
			}
			total = resp.GetTotalSize()
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return names, total
			}
		}
	}
	names, total := page(&pb.ListRotationTasksRequest{Parent: r.GetName(), PageSize: 2, Filter: `outcome = OUTCOME_FAILED`})
	if fmt.Sprint(names) != fmt.Sprint(failed) || total != int32(len(failed)) {
		t.Errorf("failed tasks = %v of %d\nwant %v", names, total, failed)
	}
	names, total = page(&pb.ListRotationTasksRequest{Parent: r.GetName(), PageSize: 2000})
	if len(names) != n || total != n || names[n-1] != fmt.Sprintf("%s/tasks/%06d", r.GetName(), n-1) {
		t.Errorf("%d tasks of %d, want %d", len(names), total, n)
	}
	names, total = page(&pb.ListRotationTasksRequest{Parent: r.GetName(), Filter: `tenant = "tenants/tenant-7" OR host:"ns000008-"`})
	if len(names) != 2 || total != 2 {
		t.Errorf("tasks by tenant or host = %v of %d, want two", names, total)
	}
	got, err := h.client().GetRotationTask(t.Context(), &pb.GetRotationTaskRequest{Name: failed[0]})
	if err != nil || got.GetTask().GetOutcome() != pb.RotationTask_OUTCOME_FAILED || !got.GetTask().GetWillAdd() || len(got.GetTask().GetWillRetire()) != 1 {
		t.Errorf("GetRotationTask = %v, %v, want a failed one with its plan", got, err)
	}
	_, err = h.client().GetRotationTask(t.Context(), &pb.GetRotationTaskRequest{Name: fmt.Sprintf("%s/tasks/%06d", r.GetName(), n)})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}

// caughtUp watches until so many tasks have failed.
func (h *house) caughtUp(t *testing.T, name string, failed int64) {
	t.Helper()
	w := h.watch(t, &pb.WatchRotationRequest{Name: name})
	for {
		m := w.next(t)
		r := m.GetRotation()
		if s := m.GetSnapshot(); s != nil {
			r = s.GetRotation()
		}
		if r.GetCounts().GetFailed() == failed {
			return
		}
	}
}
