package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/edge/edgetest"
)

// An order changes how a list is told, and never what a filter means.
func TestLists_OrderChangesNoSet(t *testing.T) {
	h := open(t, nil)
	h.ended(t)
	checked := h.succeeded(t, 3).GetName()
	h.checkRotation(t, 0, checked, "")
	h.found(t, checked, target(0, "contoso", rollover.DriftNewMissing, rollover.DriftForeignAdded), target(2, "fabrikam", rollover.DriftUnreadable), target(1, "adatum", rollover.DriftOldBack))
	for _, title := range []string{"b of us", "a of us", "others"} {
		h.clock.set(h.clock.Now().Add(time.Second))
		req := h.request()
		req.Rotation.DisplayName = title
		if _, err := h.client().CreateRotation(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	letters := h.ended(t).GetName() // The last that is written: whoever sees it has seen all.
	h.caughtUp(t, letters, 2)
	type page = func(order, token string) ([]edgetest.Item, string, error)
	for _, k := range []struct {
		name, by string
		want     int
		page     page
	}{
		{"rotations", "display_name", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := h.client().ListRotations(t.Context(), &pb.ListRotationsRequest{Filter: `display_name:"of us"`, OrderBy: order, PageToken: token, PageSize: 1})
			for _, r := range list.GetRotations() {
				out = append(out, edgetest.Item{Name: r.GetName(), By: r.GetDisplayName()})
			}
			return out, list.GetNextPageToken(), err
		}},
		{"tasks", "host", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := h.client().ListRotationTasks(t.Context(), &pb.ListRotationTasksRequest{Parent: letters, Filter: "outcome = OUTCOME_FAILED", OrderBy: order, PageToken: token, PageSize: 1})
			for _, n := range list.GetTasks() {
				out = append(out, edgetest.Item{Name: n.GetName(), By: n.GetHost()})
			}
			return out, list.GetNextPageToken(), err
		}},
		{"drifts", "host", 3, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := h.client().ListDrifts(t.Context(), &pb.ListDriftsRequest{Parent: "rotations/-", Filter: `kind != KIND_UNREADABLE`, OrderBy: order, PageToken: token, PageSize: 1})
			for _, d := range list.GetDrifts() {
				out = append(out, edgetest.Item{Name: d.GetHost() + d.GetKind().String(), By: d.GetHost()})
			}
			return out, list.GetNextPageToken(), err
		}},
		{"dead letters", "host", 4, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := h.desks[0].ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{IncludeSuperseded: true, Filter: "outcome = OUTCOME_FAILED", OrderBy: order, PageToken: token, PageSize: 1})
			for _, l := range list.GetDeadLetters() {
				out = append(out, edgetest.Item{Name: l.GetTask().GetName(), By: l.GetTask().GetHost()})
			}
			return out, list.GetNextPageToken(), err
		}},
	} {
		t.Run(k.name, func(t *testing.T) { edgetest.OrderChangesNoSet(t, k.by, k.want, k.page) })
	}
}

// A page of tasks fits a message, however many endpoints stand behind each, and nothing is
// left out.
func TestListRotationTasks_PagesAreBoundedInBytes(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	id, _ := edge.ParseRotation(r.GetName())
	stored, err := h.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	const n = 400
	items := rollovertest.Plan(n)
	for i := range items {
		items[i].Endpoints = nil
		for e := range 50 {
			items[i].Endpoints = append(items[i].Endpoints, rollover.EndpointRef{
				Tenant: items[i].Tenant, ID: fmt.Sprintf("0190f3a2-7c1e-7b44-9d0a-%012d", i*50+e), Name: strings.Repeat("x", 100),
			})
		}
	}
	if stored, err = stored.Freeze(items, h.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.FreezePlan(t.Context(), stored, items); err != nil {
		t.Fatal(err)
	}
	h.get(t, r.GetName())
	for _, order := range []string{"", "host desc"} {
		got, pages := map[string]bool{}, 0
		for token := ""; ; pages++ {
			list, err := h.client().ListRotationTasks(t.Context(), &pb.ListRotationTasksRequest{Parent: r.GetName(), PageSize: 2000, OrderBy: order, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if size := proto.Size(list); size > 1<<20+1000 || list.GetTotalSize() != n {
				t.Errorf("order_by %q: a page has %d bytes, and %d are said to be there", order, size, list.GetTotalSize())
			}
			for _, k := range list.GetTasks() {
				got[k.GetName()] = true
			}
			if token = list.GetNextPageToken(); token == "" {
				break
			}
		}
		if len(got) != n || pages < 2 {
			t.Errorf("order_by %q: %d tasks on %d pages, want all %d on several", order, len(got), pages+1, n)
		}
	}
}
