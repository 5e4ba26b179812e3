package rollover

import "slices"

// Lane says how soon the tasks of a rotation are begun beside those of others.
type Lane string

// The lanes. A rotation of the urgent lane is planned and worked on before those
// of the bulk lane, on hands that bulk work never takes. Bulk work goes on beside
// it.
const (
	Bulk   Lane = "" // so that a request that names no lane is stored as it ever was
	Urgent Lane = "urgent"
)

// Limits bound a rotation in favour of others. Zero fields set no bound.
type Limits struct {
	PerTenant       int `json:"per_tenant,omitempty"`        // tasks of one tenant in hand at once, those of other rotations counted too
	StartsPerSecond int `json:"starts_per_second,omitempty"` // tasks sent to workers in a second
}

// Claim is what one of several sharers has of something and could have at most.
type Claim struct {
	Has  int // in use now
	Most int // it could use so many in all
}

// Share divides room among claims so that what they then have is as equal as it
// can be: no one is given more while another, who has less, could use it. What one
// cannot use goes to the others. Earlier ones get the odd ones out. It returns what
// each is given on top of what it has; together at most room.
func Share(room int, claims []Claim) []int {
	given := make([]int, len(claims))
	order := make([]int, 0, len(claims))
	for i, c := range claims {
		if c.Most > c.Has {
			order = append(order, i)
		}
	}
	// Level by level: the poorest are raised to the next one's level, or as far
	// as room goes.
	for room > 0 && len(order) > 0 {
		slices.SortStableFunc(order, func(a, b int) int { return claims[a].Has + given[a] - claims[b].Has - given[b] })
		level := claims[order[0]].Has + given[order[0]]
		low := 1
		for low < len(order) && claims[order[low]].Has+given[order[low]] == level {
			low++
		}
		lift := max(1, room/low)
		if low < len(order) {
			lift = min(lift, claims[order[low]].Has+given[order[low]]-level)
		}
		for _, i := range order[:low] {
			lift = min(lift, claims[i].Most-level)
		}
		for _, i := range order[:low] {
			n := min(lift, room)
			given[i] += n
			room -= n
		}
		order = slices.DeleteFunc(order, func(i int) bool { return claims[i].Has+given[i] >= claims[i].Most })
	}
	return given
}

// LaneRoom is how many tasks of each lane may be out: with workers, and waiting
// for one of their hands.
type LaneRoom struct{ Urgent, Bulk int }

// prefetch is the work, in seconds at the rate of late, that may wait for a hand.
// Less would leave hands idle while the next nudge is under way.
const prefetch = 0.25

// leastAhead is how many may wait whatever the rate: at the start none is known.
const leastAhead = 4

// Rooms says how many tasks may be out when the workers have so many hands and
// room for waiting ones together, rate tasks were settled a second of late, slowed
// is the pace that is left, from 0 to 1, and urgent ones are out. most bounds all.
// Bulk work gives way to urgent work down to an eighth of what it would have.
func Rooms(hands, waiting int, rate, pace float64, urgent, most int) LaneRoom {
	ahead := min(waiting, max(leastAhead, int(rate*prefetch)))
	all := min(most, hands+ahead)
	all = max(1, int(float64(all)*pace))
	return LaneRoom{Urgent: all, Bulk: max(1, all/8, all-urgent)}
}
