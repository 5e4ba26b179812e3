// Package calendar says when work may be done: it reads maintenance windows, which
// are recurrence rules of RFC 5545 in a time zone, and freezes, which are
// iCalendars, and answers whether an instant is open, what comes next and how much
// of a time is.
package calendar

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Sight is how far ahead a calendar looks for its next change.
const Sight = 10 // years

// maxSpans bounds what one year of a schedule holds: 20 windows that open twice a
// day, and as much again. A schedule with more is broken, and closed.
const maxSpans = 40_000

// FieldError says what is wrong with which part of a schedule.
type FieldError struct {
	Field string // such as "windows[0].rrule"
	Why   string // what was wrong, and what to do
}

// Error names the field and what is wrong.
func (e *FieldError) Error() string { return e.Field + ": " + e.Why }

// Calendar is a schedule that was read. It is safe for concurrent use.
type Calendar struct {
	windows []rule
	freezes []named
	always  bool // there are no windows, so it is open but for the freezes

	mu    sync.Mutex // guards years; held while one is laid out
	years map[int]*year
}

// named is a rule of a freeze, with what people call it.
type named struct {
	rule
	name string
}

// span is a time, without its end. spans are sorted, do not touch and are not
// empty.
type span struct{ from, to time.Time }

// year is one calendar year of UTC, laid out.
type year struct {
	open   []span // windows, without the freezes
	frozen []span
	freeze []string // the name that goes with each of frozen
	broken error    // it could not be laid out: then nothing is open
}

// Read reads a schedule. Its errors are of type [*FieldError].
func Read(s rollover.Schedule) (*Calendar, error) {
	c := &Calendar{always: len(s.Windows) == 0, years: map[int]*year{}}
	for i, w := range s.Windows {
		r, err := readWindow(fmt.Sprintf("windows[%d]", i), w)
		if err != nil {
			return nil, err
		}
		c.windows = append(c.windows, r)
	}
	for i, f := range s.Freezes {
		rs, err := readFreeze(fmt.Sprintf("freezes[%d]", i), f)
		if err != nil {
			return nil, err
		}
		c.freezes = append(c.freezes, rs...)
	}
	return c, nil
}

// State is what a calendar says of an instant.
type State struct {
	Open   bool
	Frozen bool      // a freeze is why it is closed
	Why    string    // it is closed, for people
	Until  time.Time // Open or Frozen change; zero: not within [Sight]
	Err    error     // the schedule cannot be laid out; then it is closed
}

// At returns what holds at an instant.
func (c *Calendar) At(t time.Time) State {
	y := c.year(t.UTC().Year())
	if y.broken != nil {
		return State{Why: "the schedule cannot be read: " + y.broken.Error(), Err: y.broken}
	}
	s := State{Open: within(y.open, t) >= 0}
	if i := within(y.frozen, t); i >= 0 {
		s.Frozen, s.Why = true, "frozen"
		if y.freeze[i] != "" {
			s.Why += ": " + y.freeze[i]
		}
	} else if !s.Open {
		s.Why = "outside its windows"
	}
	s.Until, _ = c.scan(t, func(at State) bool { return at.Open != s.Open || at.Frozen != s.Frozen })
	return s
}

// Open reports whether work may be done at an instant.
func (c *Calendar) Open(t time.Time) bool {
	y := c.year(t.UTC().Year())
	return y.broken == nil && within(y.open, t) >= 0
}

// NextChange returns the first instant after t at which Open is not what it is at
// t, and false if there is none within [Sight].
func (c *Calendar) NextChange(t time.Time) (time.Time, bool) {
	now := c.Open(t)
	return c.scan(t, func(at State) bool { return at.Open != now })
}

// NextOpen returns t if it is open, or the next instant that is, and false if there
// is none within [Sight].
func (c *Calendar) NextOpen(t time.Time) (time.Time, bool) {
	if c.Open(t) {
		return t, true
	}
	return c.NextChange(t)
}

// scan returns the first instant after t, of those at which something begins or
// ends, for which found says yes.
func (c *Calendar) scan(t time.Time, found func(State) bool) (time.Time, bool) {
	first := t.UTC().Year()
	for n := first; n <= first+Sight; n++ {
		y := c.year(n)
		if y.broken != nil {
			return time.Time{}, false
		}
		edges := []time.Time{time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC)} // A year may begin otherwise than the last one ended.
		for _, list := range [][]span{y.open, y.frozen} {
			for _, s := range list {
				edges = append(edges, s.from, s.to)
			}
		}
		slices.SortFunc(edges, time.Time.Compare)
		for _, at := range edges {
			if !at.After(t) || at.Year() != n { // The end of a year is looked at in the next.
				continue
			}
			if found(State{Open: within(y.open, at) >= 0, Frozen: within(y.frozen, at) >= 0}) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

// OpenTime returns how much of the time from from to to is open.
func (c *Calendar) OpenTime(from, to time.Time) time.Duration {
	var sum time.Duration
	for n := from.UTC().Year(); n <= to.UTC().Year() && n <= from.UTC().Year()+Sight; n++ {
		for _, s := range c.year(n).open {
			s.from, s.to = later(s.from, from), earlier(s.to, to)
			sum += max(0, s.to.Sub(s.from))
		}
	}
	return sum
}

// Advance returns the instant at which d of open time has passed since t, and false
// if that is not within [Sight]. With d of 0 it is the first open instant.
func (c *Calendar) Advance(t time.Time, d time.Duration) (time.Time, bool) {
	first := t.UTC().Year()
	for n := first; n <= first+Sight; n++ {
		for _, s := range c.year(n).open {
			if s.from = later(s.from, t); !s.from.Before(s.to) {
				continue
			}
			if has := s.to.Sub(s.from); d > has {
				d -= has
				continue
			}
			return s.from.Add(d), true
		}
	}
	return time.Time{}, false
}

// OffHours are the hours of a calendar without its windows: all but the freezes.
func (c *Calendar) OffHours() *Calendar {
	return &Calendar{freezes: c.freezes, always: true, years: map[int]*year{}}
}

// Timetable returns the calendar as plans are counted with.
func (c *Calendar) Timetable() rollover.Timetable {
	return rollover.Timetable{Regular: c, OffHours: c.OffHours()}
}

// keepYears is how many years that were laid out are kept.
const keepYears = 2 * Sight

// year lays out a year, once.
func (c *Calendar) year(n int) *year {
	c.mu.Lock()
	defer c.mu.Unlock()
	if y := c.years[n]; y != nil {
		return y
	}
	if len(c.years) >= keepYears {
		clear(c.years)
	}
	y := c.layOut(n)
	c.years[n] = y
	return y
}

// layOut lays out a year.
func (c *Calendar) layOut(n int) *year {
	y := &year{}
	all := span{time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(n+1, 1, 1, 0, 0, 0, 0, time.UTC)}
	open := []span{all}
	if !c.always {
		open = nil
		for _, r := range c.windows {
			spans, err := r.within(all)
			if err != nil {
				return &year{broken: err}
			}
			open = append(open, spans...)
		}
	}
	for _, f := range c.freezes {
		spans, err := f.within(all)
		if err != nil {
			return &year{broken: err}
		}
		for _, s := range spans {
			y.frozen, y.freeze = append(y.frozen, s), append(y.freeze, f.name)
		}
		if len(y.frozen)+len(open) > maxSpans {
			return &year{broken: fmt.Errorf("the year %d has more than %d windows and freezes", n, maxSpans)}
		}
	}
	y.frozen, y.freeze = mergeNamed(y.frozen, y.freeze)
	y.open = subtract(merge(open), y.frozen)
	return y
}

// within returns which of the spans t lies in, or -1.
func within(spans []span, t time.Time) int {
	i, _ := slices.BinarySearchFunc(spans, t, func(s span, t time.Time) int {
		if s.to.After(t) {
			return 1
		}
		return -1
	})
	if i < len(spans) && !t.Before(spans[i].from) {
		return i
	}
	return -1
}

// merge sorts spans and makes one of those that touch.
func merge(spans []span) []span {
	out, _ := mergeNamed(spans, make([]string, len(spans)))
	return out
}

// mergeNamed is merge for spans with names; of several that are made one, the
// first name stays.
func mergeNamed(spans []span, names []string) ([]span, []string) {
	order := make([]int, len(spans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return spans[a].from.Compare(spans[b].from) })
	var out []span
	var outNames []string
	for _, i := range order {
		s := spans[i]
		if !s.from.Before(s.to) {
			continue
		}
		if n := len(out); n > 0 && !s.from.After(out[n-1].to) {
			out[n-1].to = later(out[n-1].to, s.to)
			continue
		}
		out, outNames = append(out, s), append(outNames, names[i])
	}
	return out, outNames
}

// subtract returns what of a does not lie in b. Both are merged.
func subtract(a, b []span) []span {
	var out []span
	for _, s := range a {
		for len(b) > 0 && !b[0].to.After(s.from) {
			b = b[1:]
		}
		for _, cut := range b {
			if !cut.from.Before(s.to) {
				break
			}
			if s.from.Before(cut.from) {
				out = append(out, span{s.from, cut.from})
			}
			s.from = later(s.from, cut.to)
		}
		if s.from.Before(s.to) {
			out = append(out, s)
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
