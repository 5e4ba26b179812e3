package jet_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestCreateRotation_OneOfManyWins(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	var won, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rollovertest.NewRotation("r1", cert, rollovertest.Epoch)
			r.DisplayName = fmt.Sprint(i)
			switch _, err := b.CreateRotation(t.Context(), r, []string{fmt.Sprint(i)}); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, rollover.ErrExists):
				refused.Add(1)
			default:
				t.Errorf("CreateRotation = %v", err)
			}
		}()
	}
	wg.Wait()
	if won.Load() != 1 || refused.Load() != 5 {
		t.Errorf("%d created it and %d were refused, want 1 and 5", won.Load(), refused.Load())
	}
	r, err := b.Rotation(t.Context(), "r1")
	ids, err2 := b.SelectedTenants(t.Context(), "r1")
	if err != nil || err2 != nil || len(ids) != 1 || ids[0] != r.DisplayName {
		t.Errorf("rotation of %s with the selection of %q, %v, %v", r.DisplayName, ids, err, err2)
	}
}

func TestFreezePlan_TakesAHundredThousandItems(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	tenants := make([]string, 20_000)
	for i := range tenants {
		tenants[i] = fmt.Sprintf("0192f0c4-7a1e-7c3a-9f5e-%012d", i)
	}
	r, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", cert, rollovertest.Epoch), tenants)
	if err != nil {
		t.Fatalf("CreateRotation = %v", err)
	}
	if got, err := b.SelectedTenants(t.Context(), "r1"); err != nil || !reflect.DeepEqual(got, tenants) {
		t.Errorf("SelectedTenants gave %d, %v, want %d equal ones", len(got), err, len(tenants))
	}
	plan := rollovertest.Plan(100_000)
	plan[70_000].Endpoints = make([]rollover.EndpointRef, 20_000) // Larger than a message may be.
	for i := range plan[70_000].Endpoints {
		plan[70_000].Endpoints[i] = rollover.EndpointRef{Tenant: "t", ID: fmt.Sprintf("0192f0c4-7a1e-7c3a-9f5e-%012d", i)}
	}
	if r, err = r.Freeze(plan, rollovertest.Epoch); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err = b.FreezePlan(t.Context(), r, plan); err != nil {
		t.Fatalf("FreezePlan = %v", err)
	}
	t.Logf("froze %d items in %s", len(plan), time.Since(begun))
	if got, err := b.Plan(t.Context(), "r1", 0, 200_000); err != nil || !reflect.DeepEqual(got, plan) {
		t.Errorf("Plan gave %d items, %v, want %d equal ones", len(got), err, len(plan))
	}
	if k, err := b.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: 99_999}); err != nil || k.Item.Ord != 99_999 {
		t.Errorf("Task of the last item = %+v, %v", k.Item, err)
	}
}

func TestFreezePlan_RefusedStoresNothing(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	c.MaxStore = 4 << 20
	b := open(t, c)
	r, err := b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", cert, rollovertest.Epoch), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	for name, plan := range map[string][]rollover.Item{
		"too many for their states": rollovertest.Plan(50_000),
		"too large for the plan":    fat(1000),
	} {
		f, err := r.Freeze(plan, rollovertest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.FreezePlan(t.Context(), f, plan); !errors.Is(err, rollover.ErrFull) {
			t.Errorf("%s: FreezePlan = %v, want ErrFull", name, err)
		}
	}
	if got, err := b.Rotation(t.Context(), "r1"); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("Rotation = %+v, %v, want it as created", got, err)
	}
	small := rollovertest.Plan(300)
	f, err := r.Freeze(small, rollovertest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.FreezePlan(t.Context(), f, small); err != nil {
		t.Fatalf("FreezePlan of a small plan after refused ones = %v: parts of those were stored", err)
	}
	if got, err := b.Plan(t.Context(), "r1", 0, 300); err != nil || !reflect.DeepEqual(got, small) {
		t.Errorf("Plan gave %d items, %v", len(got), err)
	}
}

// fat returns a plan of n items with long details.
func fat(n int) []rollover.Item {
	plan := rollovertest.Plan(n)
	for i := range plan {
		plan[i].Detail = fmt.Sprintf("%04096d", i)
	}
	return plan
}

func TestSaveTasks_SaysWhichWereLost(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	const n = 600
	planned(t, b, cert, "r1", n)
	tasks := make([]rollover.Task, n)
	for i := range tasks {
		tasks[i].ID = rollover.TaskID{Rotation: "r1", Ord: i}
		tasks[i].Phase, tasks[i].Outcome = rollover.Planned, rollover.Cancelled
	}
	moved := stage(t, b, tasks[300].ID, 1) // Someone else was quicker.
	got, err := b.SaveTasks(t.Context(), tasks)
	if !errors.Is(err, rollover.ErrConflict) {
		t.Errorf("SaveTasks = %v, want ErrConflict for one", err)
	}
	var te *jet.TaskError
	if !errors.As(err, &te) || te.ID != tasks[300].ID {
		t.Errorf("SaveTasks = %v, want a TaskError for %s", err, tasks[300].ID)
	}
	for i, k := range got {
		now, err := b.Task(t.Context(), k.ID)
		switch {
		case err != nil:
			t.Fatalf("Task(%s) = %v", k.ID, err)
		case i == 300 && (k.Rev != 0 || now.Rev != moved.Rev || now.Outcome != rollover.Open):
			t.Errorf("task 300 has Rev %d, stored is %d as %q, want the other's %d", k.Rev, now.Rev, now.Outcome, moved.Rev)
		case i != 300 && (k.Rev == 0 || now.Rev != k.Rev || now.Outcome != rollover.Cancelled):
			t.Fatalf("task %d has Rev %d, stored is %d as %q", i, k.Rev, now.Rev, now.Outcome)
		}
	}
}

func TestSaveTask_ManyWritersOfOneTask(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	planned(t, b, cert, "r1", 1)
	id := rollover.TaskID{Rotation: "r1"}
	var wins atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			k := rollover.Task{ID: id}
			k.Phase, k.Tries = rollover.Staged, i
			_, err := b.SaveTask(t.Context(), k)
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, rollover.ErrConflict) {
				t.Errorf("SaveTask = %v, want ErrConflict", err)
			}
		}()
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d of 100 writers of one version won, want 1", wins.Load())
	}
}

func TestSaveTask_FullIsSaid(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	c.MaxStore = 1 << 20
	b := open(t, c)
	planned(t, b, cert, "r1", 1)
	k := rollover.Task{ID: rollover.TaskID{Rotation: "r1"}}
	k.Phase, k.Detail = rollover.Staged, fmt.Sprintf("%0600000d", 1)
	if _, err := b.SaveTask(t.Context(), k); !errors.Is(err, rollover.ErrFull) {
		t.Errorf("SaveTask beyond the stream's bound = %v, want ErrFull", err)
	}
}

func TestDeleteRotation_KeepsTheRecordOnly(t *testing.T) {
	cert := newCert(t)
	b := open(t, config(t, cert))
	planned(t, b, cert, "r1", 300)
	planned(t, b, cert, "r2", 300)
	for _, id := range []string{"r1", "r2"} {
		stage(t, b, rollover.TaskID{Rotation: id, Ord: 299}, 1)
		if err := b.SaveFinding(t.Context(), id, 0, rollover.Finding{Tenant: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.DeleteRotation(t.Context(), "r1"); err != nil {
			t.Fatalf("DeleteRotation = %v", err)
		}
	}
	if _, err := b.Rotation(t.Context(), "r1"); err != nil {
		t.Errorf("Rotation = %v, want its record", err)
	}
	if _, err := b.Plan(t.Context(), "r1", 0, 1); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Plan = %v, want ErrNotFound", err)
	}
	if f, err := b.Findings(t.Context(), "r1"); err != nil || len(f) != 0 {
		t.Errorf("Findings = %v, %v, want none", f, err)
	}
	k, err := b.Task(t.Context(), rollover.TaskID{Rotation: "r2", Ord: 299})
	f, ferr := b.Findings(t.Context(), "r2")
	if err != nil || k.Rev == 0 || ferr != nil || len(f) != 1 {
		t.Errorf("the other rotation: task at %d, %v, %d findings, %v", k.Rev, err, len(f), ferr)
	}
}
