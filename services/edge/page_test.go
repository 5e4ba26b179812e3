package edge_test

import (
	"strings"
	"testing"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// A page has one item at least, and then as many as fit by number and by bytes.
func TestRoom_ByNumberAndBytes(t *testing.T) {
	item := func(n int) *pb.Tenant { return &pb.Tenant{DisplayName: strings.Repeat("x", n)} }
	for _, tt := range []struct {
		name  string
		items int
		sizes []int
		want  int // so many of them are taken
	}{
		{"by number", 2, []int{1, 1, 1}, 2},
		{"by bytes", 100, []int{400_000, 400_000, 400_000}, 2},
		{"one that is larger than a page", 100, []int{3 << 20, 1}, 1},
		{"a small one before it", 100, []int{1, 3 << 20}, 1},
		{"all", 100, []int{1, 2, 3}, 3},
	} {
		room, got := edge.NewRoom(tt.items), 0
		for _, n := range tt.sizes {
			if !room.Takes(item(n)) {
				break
			}
			got++
		}
		if got != tt.want {
			t.Errorf("%s: %d are taken, want %d", tt.name, got, tt.want)
		}
	}
}
