package calendar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The bounds of what is read.
const (
	maxRule     = 500    // bytes
	maxInterval = 1_000  //
	maxCount    = 10_000 //
	maxTimes    = 48     // times of day that a rule names
	firstYear   = 1970
	lastYear    = 2200
	minLength   = time.Minute         // of a window
	maxLength   = 31 * 24 * time.Hour // of a window
)

// rule is when something begins, again and again, and how long it lasts.
//
// It is counted in local time, as if all days had 24 hours, and then read in the
// zone: so 01:00 stays 01:00 through all changes of the clocks.
type rule struct {
	start   time.Time // the first beginning; local time, written as UTC
	zone    *time.Location
	recurs  *rrule.RRule // nil: it begins once, at start
	also    []time.Time  // further beginnings; local time, written as UTC
	not     map[int64]bool
	days    int           // it lasts so many days by the calendar,
	length  time.Duration // and then so long by the clock
	checked bool          // start is a beginning even if the rule does not say so
}

// readWindow reads a window.
func readWindow(at string, w rollover.Window) (rule, error) {
	var r rule
	var err error
	if r.zone, err = zone(w.Zone); err != nil {
		return r, &FieldError{at + ".time_zone", err.Error()}
	}
	if r.start, err = localTime(w.Start); err != nil {
		return r, &FieldError{at + ".start", err.Error()}
	}
	if w.Length < minLength || w.Length > maxLength {
		return r, &FieldError{at + ".duration", "must be one minute to 31 days"}
	}
	r.length = w.Length
	if r.recurs, err = recurrence(w.Rule, r.start, r.zone); err != nil {
		return r, &FieldError{at + ".rrule", err.Error()}
	}
	first, err := r.first()
	if err != nil {
		return r, &FieldError{at + ".rrule", err.Error()}
	}
	if first.IsZero() {
		return r, &FieldError{at + ".rrule", "never occurs; check its days, months and UNTIL against start"}
	}
	return r, nil
}

// localTime reads a local time as ISO 8601 and RFC 5545 write it, without a zone.
func localTime(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "20060102T150405"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, inYears(t)
		}
	}
	return time.Time{}, errors.New("must be a local time such as 2026-11-24T01:00, without an offset")
}

func inYears(t time.Time) error {
	if t.Year() < firstYear || t.Year() > lastYear {
		return fmt.Errorf("must be in the years %d to %d", firstYear, lastYear)
	}
	return nil
}

// zone returns an IANA time zone. The machine's own is none: what a window means
// must not depend on who reads it.
func zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || len(name) > 64 {
		return nil, errors.New("must be the name of an IANA time zone, such as Europe/Berlin")
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%.64q is no IANA time zone; it must be one such as Europe/Berlin", name)
	}
	return z, nil
}

// recurrence reads an RRULE. UNTIL is an instant; it is turned into local time, in
// which the rule is counted.
func recurrence(text string, start time.Time, z *time.Location) (_ *rrule.RRule, err error) {
	defer func() { // The rule comes from outside, and the library indexes by what it says.
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be read: %v", p)
		}
	}()
	text = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(text)), "RRULE:")
	until, err := checkRule(text, z)
	if err != nil {
		return nil, err
	}
	opt, err := rrule.StrToROption(text)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	opt.Dtstart = start
	if !until.IsZero() {
		opt.Until = until
	}
	r, err := rrule.NewRRule(*opt)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return r, nil
}

// checkRule holds a rule to its bounds and returns its UNTIL in local time.
func checkRule(text string, z *time.Location) (until time.Time, err error) {
	if text == "" || len(text) > maxRule || strings.ContainsAny(text, "\r\n") {
		return until, fmt.Errorf("must be a recurrence rule of RFC 5545, such as FREQ=WEEKLY;BYDAY=TU, of at most %d bytes", maxRule)
	}
	seen, times := map[string]bool{}, 1
	for _, part := range strings.Split(text, ";") {
		key, value, _ := strings.Cut(part, "=")
		if seen[key] {
			return until, fmt.Errorf("says %s twice", key)
		}
		seen[key] = true
		switch key {
		case "FREQ":
			if !slices.Contains([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}, value) {
				return until, errors.New("must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY")
			}
		case "INTERVAL":
			err = between(key, value, maxInterval)
		case "COUNT":
			err = between(key, value, maxCount)
		case "UNTIL":
			until, err = readUntil(value, z)
		case "BYHOUR", "BYMINUTE", "BYSECOND":
			times *= strings.Count(value, ",") + 1
		case "WKST", "BYSETPOS", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY":
		default:
			err = fmt.Errorf("has the part %.20q, which RFC 5545 does not know", key)
		}
		if err != nil {
			return until, err
		}
	}
	switch {
	case !seen["FREQ"]:
		return until, errors.New("must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY")
	case seen["COUNT"] && seen["UNTIL"]:
		return until, errors.New("must have COUNT or UNTIL, not both")
	case times > maxTimes:
		return until, fmt.Errorf("names %d times of day, at most %d are allowed", times, maxTimes)
	}
	return until, nil
}

func between(key, value string, most int) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > most {
		return fmt.Errorf("must have an %s from 1 to %d", key, most)
	}
	return nil
}

// readUntil reads UNTIL as local time: an instant, a local time, or a whole day,
// which is included.
func readUntil(text string, z *time.Location) (time.Time, error) {
	if t, err := time.Parse("20060102T150405Z", text); err == nil {
		return wall(t.In(z)), nil
	}
	if t, err := time.Parse("20060102T150405", text); err == nil {
		return t, nil
	}
	if t, err := time.Parse("20060102", text); err == nil {
		return t.Add(24*time.Hour - time.Second), nil
	}
	return time.Time{}, errors.New("must have an UNTIL such as 20261231T235959Z")
}

// wall returns what a clock on the wall shows, written as UTC.
func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant returns the instant at which a clock on the wall of a zone shows w. What
// a change of the clocks skips is read with the offset before it, and of what comes
// twice it is the first (RFC 5545, section 3.3.5). Changes are more than two days
// apart.
func instant(w time.Time, z *time.Location) time.Time {
	offset := func(t time.Time) time.Duration {
		_, s := t.In(z).Zone()
		return time.Duration(s) * time.Second
	}
	before, after := offset(w.Add(-36*time.Hour)), offset(w.Add(36*time.Hour))
	first, second := w.Add(-before), w.Add(-after)
	if offset(first) != before && offset(second) == after {
		return second
	}
	return first
}

// last returns when a beginning ends.
func (r rule) last(w time.Time) time.Time {
	if r.days > 0 {
		return instant(w.AddDate(0, 0, r.days), r.zone).Add(r.length)
	}
	return instant(w, r.zone).Add(r.length)
}

// within returns the spans that lie at least in part in all, cut to it.
func (r rule) within(all span) (spans []span, err error) {
	defer func() { // As in recurrence.
		if p := recover(); p != nil {
			spans, err = nil, fmt.Errorf("laying out a rule: %v", p)
		}
	}()
	// Local time is at most 14 hours off, and what began before may still last.
	from, to := all.from.Add(-r.length).AddDate(0, 0, -r.days-2), all.to.AddDate(0, 0, 2)
	begins := slices.Clone(r.also)
	if r.recurs == nil || r.checked {
		begins = append(begins, r.start)
	}
	if r.recurs != nil {
		next := r.recurs.Iterator()
		for w, ok := next(); ok && w.Before(to); w, ok = next() {
			if w.Before(from) {
				continue
			}
			if begins = append(begins, w); len(begins) > maxSpans {
				return nil, fmt.Errorf("a rule occurs more than %d times in a year", maxSpans)
			}
		}
	}
	for _, w := range begins {
		if w.Before(from) || !w.Before(to) {
			continue
		}
		s := span{instant(w, r.zone), r.last(w)}
		if r.not[s.from.Unix()] {
			continue
		}
		if s.from, s.to = later(s.from, all.from), earlier(s.to, all.to); s.from.Before(s.to) {
			spans = append(spans, s)
		}
	}
	return spans, nil
}

// first returns the first beginning of a rule that recurs, in local time; the zero
// time if it never occurs.
func (r rule) first() (_ time.Time, err error) {
	defer func() { // As in recurrence.
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be laid out: %v", p)
		}
	}()
	w, ok := r.recurs.Iterator()()
	if !ok || w.Year() > lastYear {
		return time.Time{}, nil
	}
	return w, nil
}
