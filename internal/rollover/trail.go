package rollover

import (
	"slices"
	"sort"
	"time"
)

// Trail remembers when tasks got past their risk in the stage phase: how many had
// by when. It keeps every one of the first few and then one in 64 of what there
// is, so that it needs a few hundred entries for a hundred thousand tasks, and both
// ends of each standstill. Copies share their past and may be read while the
// original goes on.
type Trail struct {
	marks []mark
	last  mark // the latest one, which marks may lack
}

// mark says that n tasks were past by an instant.
type mark struct {
	n  int
	at time.Time
}

// Note takes in that n tasks are past, n having grown or shrunk by one, since at.
// Clocks of workers differ by a little: time does not go back in here. What says no
// time is passed over.
func (p *Trail) Note(n int, at time.Time) {
	if at.IsZero() {
		return
	}
	if n < p.last.n { // An end was taken back.
		k := sort.Search(len(p.marks), func(i int) bool { return p.marks[i].n > n })
		p.marks = slices.Clip(p.marks[:k])
		p.last.n = n
		return
	}
	if at.Before(p.last.at) {
		at = p.last.at
	}
	next := mark{n, at}
	if len(p.marks) > 0 {
		newest := p.marks[len(p.marks)-1]
		if gap := at.Sub(p.last.at); gap > at.Sub(p.marks[0].at)/64 && newest.n < p.last.n {
			p.marks = append(p.marks, p.last)
			newest = p.last
		}
		if next.n < newest.n+max(1, newest.n/64) {
			p.last = next
			return
		}
	}
	p.marks, p.last = append(p.marks, next), next
}

// when returns the instant by which n tasks were past, or false while fewer are.
func (p Trail) when(n int) (time.Time, bool) {
	i := sort.Search(len(p.marks), func(i int) bool { return p.marks[i].n >= n })
	switch {
	case i < len(p.marks):
		return p.marks[i].at, true
	case n <= p.last.n && !p.last.at.IsZero():
		return p.last.at, true
	default:
		return time.Time{}, false
	}
}

// before returns how many tasks were past by an instant, and when the last of them
// was; none and the zero time where there were none.
func (p Trail) before(t time.Time) (int, time.Time) {
	if !p.last.at.After(t) {
		return p.last.n, p.last.at
	}
	i := sort.Search(len(p.marks), func(i int) bool { return p.marks[i].at.After(t) })
	if i == 0 {
		return 0, time.Time{}
	}
	return p.marks[i-1].n, p.marks[i-1].at
}

// at returns how many tasks were past by an instant.
func (p Trail) at(t time.Time) int {
	n, _ := p.before(t)
	return n
}
