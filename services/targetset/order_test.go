package targetset_test

import (
	"testing"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge/edgetest"
)

// An order changes how a list is told, and never what a filter means.
func TestListTargetSets_OrderChangesNoSet(t *testing.T) {
	h := open(t, 1)
	for name, title := range map[string]string{"one": "b of us", "two": "a of us", "three": "others"} {
		if _, err := h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{TargetSet: &pb.TargetSet{Name: "targetSets/" + name, DisplayName: title, ExpectedRows: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	edgetest.OrderChangesNoSet(t, "display_name", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
		list, err := h.ListTargetSets(t.Context(), &pb.ListTargetSetsRequest{Filter: `display_name:"of us"`, OrderBy: order, PageToken: token, PageSize: 1})
		for _, s := range list.GetTargetSets() {
			out = append(out, edgetest.Item{Name: s.GetName(), By: s.GetDisplayName()})
		}
		return out, list.GetNextPageToken(), err
	})
}
