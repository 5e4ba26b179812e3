package calendar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The bounds of a freeze.
const (
	maxCalendar = 64 << 10 // bytes
	maxEvents   = 500
	maxDates    = 1_000 // of RDATE and EXDATE in one event
	maxFreeze   = 3_660 // days that one event lasts
)

// readFreeze reads the events of an iCalendar as rules. Whatever is not understood
// is refused: a freeze that was overlooked would be work in a frozen time.
func readFreeze(at string, f rollover.Freeze) (_ []named, err error) {
	defer func() { // The text comes from outside.
		if p := recover(); p != nil {
			err = &FieldError{at + ".calendar", fmt.Sprintf("cannot be read: %v", p)}
		}
	}()
	bad := func(format string, args ...any) error {
		return &FieldError{at + ".calendar", fmt.Sprintf(format, args...)}
	}
	if f.Calendar == "" || len(f.Calendar) > maxCalendar {
		return nil, bad("must be an iCalendar of at most %d KiB", maxCalendar>>10)
	}
	cal, err := ics.ParseCalendarWithOptions(strings.NewReader(f.Calendar))
	if err != nil || cal == nil {
		return nil, bad("is no iCalendar that can be read: %v", err)
	}
	if !strings.HasSuffix(strings.ToUpper(strings.TrimSpace(f.Calendar)), "END:VCALENDAR") {
		return nil, bad("is cut off: it must end with END:VCALENDAR")
	}
	home, err := homeOf(cal, f.Zone)
	if err != nil {
		return nil, &FieldError{at + ".time_zone", err.Error()}
	}
	events := cal.Events()
	if len(events) == 0 || len(events) > maxEvents {
		return nil, bad("has %d events, 1 to %d are allowed", len(events), maxEvents)
	}
	var out []named
	for i, e := range events {
		r, err := readEvent(e, home)
		if err != nil {
			return nil, bad("event %d %s: %v", i+1, quoted(text(e, "SUMMARY")), err)
		}
		if strings.EqualFold(text(e, "STATUS"), "CANCELLED") && text(e, "RECURRENCE-ID") == "" {
			continue
		}
		out = append(out, named{r, nameOf(f.Name, text(e, "SUMMARY"))})
	}
	return out, nil
}

// homeOf returns the zone of what names none; nil if there is none.
func homeOf(cal *ics.Calendar, name string) (*time.Location, error) {
	if name != "" {
		return zone(name)
	}
	for _, p := range cal.CalendarProperties {
		if strings.EqualFold(p.IANAToken, "X-WR-TIMEZONE") {
			return zone(p.Value)
		}
	}
	return nil, nil
}

func nameOf(freeze, summary string) string {
	if freeze == "" || summary == "" {
		return clip(freeze + summary)
	}
	return clip(freeze + ", " + summary)
}

// clip makes a name one short line.
func clip(s string) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	return string(r[:min(len(r), 120)])
}

func quoted(s string) string {
	if s == "" {
		return "(no summary)"
	}
	return strconv.Quote(clip(s))
}

func text(e *ics.VEvent, name string) string {
	if p := e.GetProperty(ics.ComponentProperty(name)); p != nil {
		return p.Value
	}
	return ""
}

// readEvent reads one event.
func readEvent(e *ics.VEvent, home *time.Location) (rule, error) {
	var r rule
	capitals(e)
	starts := properties(e, "DTSTART")
	if len(starts) != 1 {
		return r, errors.New("must have one DTSTART")
	}
	first, err := readMoment(starts[0], starts[0].Value, home)
	if err != nil {
		return r, err
	}
	r.start, r.zone, r.checked = first.wall, first.zone, true
	if err := r.lasts(e, first, home); err != nil {
		return r, err
	}
	if len(properties(e, "EXRULE")) > 0 {
		return r, errors.New("has an EXRULE, which RFC 5545 no longer knows; use EXDATE")
	}
	switch rules := properties(e, "RRULE"); len(rules) {
	case 0:
	case 1:
		if r.recurs, err = recurrence(rules[0].Value, r.start, r.zone); err != nil {
			return r, fmt.Errorf("RRULE %w", err)
		}
	default:
		return r, errors.New("must have at most one RRULE")
	}
	return r, r.dates(e, first, home)
}

// capitals writes the names of properties and parameters as RFC 5545 does, which
// takes any case: a rule must not be overlooked because it is written "rrule".
func capitals(e *ics.VEvent) {
	for i := range e.Properties {
		p := &e.Properties[i]
		p.IANAToken = strings.ToUpper(p.IANAToken)
		params := map[string][]string{}
		for name, values := range p.ICalParameters {
			params[strings.ToUpper(name)] = append(params[strings.ToUpper(name)], values...)
		}
		p.ICalParameters = params
	}
}

// properties returns all properties of that name.
func properties(e *ics.VEvent, name string) []*ics.IANAProperty {
	return e.GetProperties(ics.ComponentProperty(name))
}

// moment is a date or a time as an event writes it.
type moment struct {
	wall time.Time // local time, written as UTC
	zone *time.Location
	date bool // a whole day
}

// readMoment reads one value of a property.
func readMoment(p *ics.IANAProperty, value string, home *time.Location) (moment, error) {
	m := moment{zone: home}
	value = strings.TrimSpace(value)
	if ids := p.ICalParameters["TZID"]; len(ids) > 0 {
		z, err := zone(strings.TrimPrefix(ids[0], "/"))
		if err != nil {
			return m, fmt.Errorf("%s: TZID %w", p.IANAToken, err)
		}
		m.zone = z
	}
	t, err := time.Parse("20060102T150405Z", value)
	if err == nil {
		m.wall, m.zone = t, time.UTC
		return m, inYears(t)
	}
	if t, err = time.Parse("20060102", value); err == nil {
		m.date = true
	} else if t, err = time.Parse("20060102T150405", value); err != nil {
		return m, fmt.Errorf("%s %.40q: must be a date or a time such as 20261224T180000", p.IANAToken, value)
	}
	if m.zone == nil {
		return m, fmt.Errorf("%s names no time zone, and neither does the calendar; give time_zone with the freeze", p.IANAToken)
	}
	m.wall = t
	return m, inYears(t)
}

// lasts reads how long an event lasts: from DTEND, from DURATION, or as RFC 5545
// section 3.6.1 says, a day if it begins with a date, else no time at all, which is
// refused.
func (r *rule) lasts(e *ics.VEvent, first moment, home *time.Location) error {
	ends, durations := properties(e, "DTEND"), properties(e, "DURATION")
	switch {
	case len(ends)+len(durations) > 1:
		return errors.New("must have one DTEND or one DURATION")
	case len(ends) == 1:
		end, err := readMoment(ends[0], ends[0].Value, home)
		if err != nil {
			return err
		}
		if end.date != first.date {
			return errors.New("DTSTART and DTEND must both be dates, or both times")
		}
		if first.date {
			r.days = int(end.wall.Sub(first.wall).Hours() / 24)
		} else {
			r.length = instant(end.wall, end.zone).Sub(instant(first.wall, first.zone))
		}
	case len(durations) == 1:
		var err error
		if r.days, r.length, err = duration(durations[0].Value); err != nil {
			return err
		}
	case first.date:
		r.days = 1
	}
	if r.days < 0 || r.length < 0 || r.days == 0 && r.length == 0 {
		return errors.New("must last longer than no time")
	}
	if r.days > maxFreeze || r.length > maxFreeze*24*time.Hour {
		return fmt.Errorf("must last at most %d days", maxFreeze)
	}
	return nil
}

// duration reads a DURATION of RFC 5545, section 3.3.6. Weeks and days are days by
// the calendar, the rest is time by the clock.
func duration(text string) (days int, length time.Duration, err error) {
	bad := fmt.Errorf("DURATION %.40q: must be one such as P1D or PT4H", text)
	s, ok := strings.CutPrefix(strings.TrimPrefix(text, "+"), "P")
	if !ok || s == "" {
		return 0, 0, bad
	}
	units, clock := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}, false
	for s != "" {
		if s[0] == 'T' && !clock {
			clock, s = true, s[1:]
		}
		i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' })
		if i < 1 {
			return 0, 0, bad
		}
		n, err := strconv.Atoi(s[:i])
		if err != nil || n > 10_000_000 {
			return 0, 0, bad
		}
		unit, known := units[s[i]]
		switch {
		case clock && known:
			length += time.Duration(n) * unit
		case !clock && s[i] == 'W':
			days += 7 * n
		case !clock && s[i] == 'D':
			days += n
		default:
			return 0, 0, bad
		}
		s = s[i+1:]
	}
	return days, length, nil
}

// dates reads RDATE and EXDATE.
func (r *rule) dates(e *ics.VEvent, first moment, home *time.Location) error {
	r.not = map[int64]bool{}
	n := 0
	for _, name := range []string{"RDATE", "EXDATE"} {
		for _, p := range properties(e, name) {
			for _, value := range strings.Split(p.Value, ",") {
				if n++; n > maxDates {
					return fmt.Errorf("has more than %d dates in RDATE and EXDATE", maxDates)
				}
				m, err := readMoment(p, value, home)
				if err != nil {
					return err
				}
				if m.date != first.date {
					return fmt.Errorf("%s and DTSTART must both be dates, or both times", name)
				}
				at := instant(m.wall, m.zone)
				if name == "EXDATE" {
					r.not[at.Unix()] = true
				} else {
					r.also = append(r.also, wall(at.In(r.zone)))
				}
			}
		}
	}
	return nil
}
