package conductor

import (
	"context"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// strangers is how many nudges may be out while no worker of a queue has said
// what room it has: at the beginning of a reign, or where no worker is. They must
// fit into the room of the smallest worker, or the first urgent ones would wait.
const strangers = 8

// settleSpan is over how long the rate of settling is measured.
const settleSpan = 250 * time.Millisecond

// tempo measures how many nudges of a queue are settled a second.
type tempo struct {
	since time.Time
	n     int
	rate  float64
}

// add takes in that n were settled by now, in real time.
func (p *tempo) add(n int, now time.Time) {
	p.n += n
	d := now.Sub(p.since)
	if d < settleSpan {
		return
	}
	if d < 8*settleSpan {
		p.rate = (p.rate + float64(p.n)/d.Seconds()) / 2
	} else {
		p.rate = 0 // Nobody looked for so long that it says nothing.
	}
	p.since, p.n = now, 0
}

// load is what is out of a queue, counted once a turn and kept while nudges are
// sent in it. What only waits for a taken slot is not out.
type load struct {
	rotations map[string]int
	tenants   map[string]int
	hosts     map[string]bool
	urgent    int
	bulk      int
}

func loadOf(o outbox[rollover.TaskID]) *load {
	l := &load{rotations: map[string]int{}, tenants: map[string]int{}, hosts: map[string]bool{}}
	for id, s := range o {
		if !s.busy {
			l.add(id, s)
		}
	}
	return l
}

func (l *load) add(id rollover.TaskID, s sent) {
	l.rotations[id.Rotation]++
	if s.tenant != "" {
		l.tenants[s.tenant]++
	}
	if s.host != "" {
		l.hosts[s.host] = true
	}
	if s.urgent {
		l.urgent++
	} else {
		l.bulk++
	}
}

// rooms returns how many nudges of each lane may be out of a queue.
func (t *turn) rooms(ctx context.Context, q jet.Queue, p *tempo, urgent, most int) rollover.LaneRoom {
	r, err := t.Queue.Room(q)
	t.once(ctx, "room "+string(q), "what room workers have is not known; trying on", err)
	if r.Hands == 0 {
		r = jet.Room{Hands: strangers}
	}
	pace := 1.0
	if q == jet.Tasks {
		pace = t.Mirror.Pace()
	}
	return rollover.Rooms(r.Hands, r.Waiting, p.rate, pace, urgent, most)
}

// rounds is how often what rotations did not use of their shares is given to the
// others within one turn.
const rounds = 3

// serve divides the room of both lanes among rotations, the urgent lane first, and
// has each use its share. use sends up to n nudges and returns how many it sent
// and whether it could have sent more.
func (t *turn) serve(ctx context.Context, l *load, r rollover.LaneRoom, views []mirror.View, use func(mirror.View, int) (int, bool, error)) {
	for _, lane := range []rollover.Lane{rollover.Urgent, rollover.Bulk} {
		room := r.Urgent - l.urgent
		if lane == rollover.Bulk {
			room = r.Bulk - l.bulk
		}
		var hungry []mirror.View
		for _, v := range views {
			if v.Rotation.Spec.Lane == lane {
				hungry = append(hungry, v)
			}
		}
		for i := 0; i < rounds && room > 0 && len(hungry) > 0; i++ {
			shares := rollover.Share(room, claimsOf(l, hungry))
			var more []mirror.View
			for i, v := range hungry {
				if shares[i] == 0 {
					continue
				}
				n, wants, err := use(v, shares[i])
				t.complain(ctx, v.Rotation.ID, err)
				if room -= n; wants && err == nil {
					more = append(more, v)
				}
			}
			hungry = more
		}
	}
}

// claimsOf returns what rotations have out, and could have.
func claimsOf(l *load, views []mirror.View) []rollover.Claim {
	out := make([]rollover.Claim, len(views))
	for i, v := range views {
		out[i] = rollover.Claim{Has: l.rotations[v.Rotation.ID], Most: max(1, v.Rotation.Spec.MaxInFlight)}
	}
	return out
}
