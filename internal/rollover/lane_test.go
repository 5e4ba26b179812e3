package rollover_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestShare(t *testing.T) {
	type claim = rollover.Claim
	for _, c := range []struct {
		name   string
		room   int
		claims []claim
		want   []int
	}{
		{"nobody", 5, nil, []int{}},
		{"one takes all that it can use", 5, []claim{{0, 3}}, []int{3}},
		{"equal ones share alike", 6, []claim{{0, 9}, {0, 9}, {0, 9}}, []int{2, 2, 2}},
		{"the odd one goes to the first", 4, []claim{{0, 9}, {0, 9}, {0, 9}}, []int{2, 1, 1}},
		{"who has less is raised first", 4, []claim{{10, 20}, {1, 20}}, []int{0, 4}},
		{"and then both", 13, []claim{{10, 20}, {1, 20}}, []int{2, 11}},
		{"what one cannot use goes to the others", 10, []claim{{0, 2}, {0, 90}}, []int{2, 8}},
		{"one that has more than it may gets nothing", 3, []claim{{9, 4}, {0, 9}}, []int{0, 3}},
		{"no room", 0, []claim{{0, 9}}, []int{0}},
		{"less than no room", -3, []claim{{0, 9}}, []int{0}},
	} {
		if got := rollover.Share(c.room, c.claims); !slices.Equal(got, c.want) {
			t.Errorf("%s: Share(%d, %v) = %v, want %v", c.name, c.room, c.claims, got, c.want)
		}
	}
}

// Whatever the claims: nothing is given twice or left while someone could use it,
// and nobody who was given something has more than one above anybody who could
// have used more.
func TestShare_IsFairAndWastesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(-5, 300).Draw(t, "room")
		n := rapid.IntRange(0, 20).Draw(t, "claims")
		claims := make([]rollover.Claim, n)
		use := 0
		for i := range claims {
			claims[i] = rollover.Claim{Has: rapid.IntRange(0, 60).Draw(t, "has"), Most: rapid.IntRange(0, 100).Draw(t, "most")}
			use += max(0, claims[i].Most-claims[i].Has)
		}
		got := rollover.Share(room, claims)
		sum := 0
		for i, g := range got {
			sum += g
			if g < 0 || g > 0 && claims[i].Has+g > claims[i].Most {
				t.Fatalf("Share(%d, %v) = %v: claim %d has too much", room, claims, got, i)
			}
			for j, h := range got {
				if g > 0 && claims[j].Has+h < claims[j].Most && claims[i].Has+g > claims[j].Has+h+1 {
					t.Fatalf("Share(%d, %v) = %v: %d was raised above %d, who has less and could use more", room, claims, got, i, j)
				}
			}
		}
		if want := min(max(0, room), use); sum != want {
			t.Fatalf("Share(%d, %v) gives %d in all, want %d", room, claims, sum, want)
		}
	})
}

func TestRooms(t *testing.T) {
	for _, c := range []struct {
		name           string
		hands, waiting int
		rate, pace     float64
		urgent, most   int
		want           rollover.LaneRoom
	}{
		{"at the start all hands and a few more", 32, 8, 0, 1, 0, 4096, rollover.LaneRoom{Urgent: 36, Bulk: 36}},
		{"a quarter of a second of work may wait", 128, 100, 200, 1, 0, 4096, rollover.LaneRoom{Urgent: 178, Bulk: 178}},
		{"but no more than workers have room for", 128, 32, 2000, 1, 0, 4096, rollover.LaneRoom{Urgent: 160, Bulk: 160}},
		{"nor more than is allowed", 128, 32, 2000, 1, 0, 100, rollover.LaneRoom{Urgent: 100, Bulk: 100}},
		{"slowed by half", 96, 4, 0, 0.5, 0, 4096, rollover.LaneRoom{Urgent: 50, Bulk: 50}},
		{"slowed to the floor", 96, 4, 0, 1.0 / 1024, 0, 4096, rollover.LaneRoom{Urgent: 1, Bulk: 1}},
		{"bulk gives way to urgent work", 36, 4, 0, 1, 10, 4096, rollover.LaneRoom{Urgent: 40, Bulk: 30}},
		{"but not wholly", 36, 4, 0, 1, 40, 4096, rollover.LaneRoom{Urgent: 40, Bulk: 5}},
	} {
		if got := rollover.Rooms(c.hands, c.waiting, c.rate, c.pace, c.urgent, c.most); got != c.want {
			t.Errorf("%s: Rooms = %+v, want %+v", c.name, got, c.want)
		}
	}
}

// A request that names no lane and no limit has the digest that it ever had.
func TestDigest_IsNotChangedByALaneThatIsNotNamed(t *testing.T) {
	s := rollover.Spec{Kind: "k", MaxInFlight: 1, MaxTries: 1}
	before := rollover.Digest(s, nil)
	s.Lane, s.Limits = rollover.Bulk, rollover.Limits{}
	if got := rollover.Digest(s, nil); got != before {
		t.Errorf("Digest with the bulk lane = %s, want %s", got, before)
	}
	for _, change := range []func(*rollover.Spec){
		func(s *rollover.Spec) { s.Lane = rollover.Urgent },
		func(s *rollover.Spec) { s.Limits.PerTenant = 1 },
		func(s *rollover.Spec) { s.Limits.StartsPerSecond = 1 },
	} {
		c := s
		if change(&c); rollover.Digest(c, nil) == before {
			t.Errorf("Digest of %s is that without lane and limits", fmt.Sprintf("%+v", c))
		}
	}
}
