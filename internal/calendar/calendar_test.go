package calendar_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // The tables hold on a machine without time zones.

	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/calendar"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, s rollover.Schedule) *calendar.Calendar {
	t.Helper()
	c, err := calendar.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func window(rule, start, zone string, length time.Duration) rollover.Window {
	return rollover.Window{Rule: rule, Start: start, Zone: zone, Length: length}
}

// event is a calendar with one event of these lines.
func event(lines ...string) rollover.Freeze {
	return rollover.Freeze{Calendar: "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n" +
		strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"}
}

// Each row names the first openings from an instant on.
func TestCalendar_Openings(t *testing.T) {
	daily, berlin := "FREQ=DAILY", "Europe/Berlin"
	for _, c := range []struct {
		name     string
		schedule rollover.Schedule
		from     string
		want     []string // from and to, by turns
	}{
		{
			"Tuesdays at one, in winter and in summer",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", berlin, 4*time.Hour)}},
			"2026-03-20T00:00:00Z",
			[]string{"2026-03-24T00:00:00Z", "2026-03-24T04:00:00Z", "2026-03-30T23:00:00Z", "2026-03-31T03:00:00Z"},
		},
		{
			"clocks go forward within it: it lasts as long, by the clock on the wall to six",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-03-01T01:00", berlin, 4*time.Hour)}},
			"2026-03-28T12:00:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z", "2026-03-29T23:00:00Z", "2026-03-30T03:00:00Z"},
		},
		{
			"clocks go back within it: it lasts as long, by the clock on the wall to four",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-03-01T01:00", berlin, 4*time.Hour)}},
			"2026-10-24T12:00:00Z",
			[]string{"2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z", "2026-10-26T00:00:00Z", "2026-10-26T04:00:00Z"},
		},
		{
			"it begins in the hour that is skipped: an hour later by the clock on the wall",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-03-01T02:30", berlin, time.Hour)}},
			"2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z", "2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"},
		},
		{
			"it begins in the hour that comes twice: the first time only",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-03-01T02:30", berlin, time.Hour)}},
			"2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z", "2026-10-26T02:30:00Z"},
		},
		{
			"midnight is skipped (Santiago)",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-09-01T00:00", "America/Santiago", time.Hour)}},
			"2026-09-05T12:00:00Z",
			[]string{"2026-09-06T04:00:00Z", "2026-09-06T05:00:00Z", "2026-09-07T03:00:00Z", "2026-09-07T04:00:00Z"},
		},
		{
			"a change by half an hour (Lord Howe)",
			rollover.Schedule{Windows: []rollover.Window{window(daily, "2026-01-01T02:15", "Australia/Lord_Howe", time.Hour)}},
			"2026-10-03T00:00:00Z", // 02:15 is skipped on the 4th, and is 02:45.
			[]string{"2026-10-03T15:45:00Z", "2026-10-03T16:45:00Z", "2026-10-04T15:15:00Z", "2026-10-04T16:15:00Z"},
		},
		{
			"a leap day comes in leap years only",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=YEARLY", "2024-02-29T01:00", "UTC", time.Hour)}},
			"2025-01-01T00:00:00Z",
			[]string{"2028-02-29T01:00:00Z", "2028-02-29T02:00:00Z", "2032-02-29T01:00:00Z", "2032-02-29T02:00:00Z"},
		},
		{
			"the last day of February is another thing",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", "2024-02-29T01:00", "UTC", time.Hour)}},
			"2027-01-01T00:00:00Z",
			[]string{"2027-02-28T01:00:00Z", "2027-02-28T02:00:00Z", "2028-02-29T01:00:00Z", "2028-02-29T02:00:00Z"},
		},
		{
			"the 31st leaves short months out",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=MONTHLY", "2026-01-31T01:00", "UTC", time.Hour)}},
			"2026-02-01T00:00:00Z",
			[]string{"2026-03-31T01:00:00Z", "2026-03-31T02:00:00Z", "2026-05-31T01:00:00Z", "2026-05-31T02:00:00Z"},
		},
		{
			"over the turn of the year it is one opening",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=YEARLY", "2025-12-31T20:00", "UTC", 8*time.Hour)}},
			"2026-12-01T00:00:00Z",
			[]string{"2026-12-31T20:00:00Z", "2027-01-01T04:00:00Z", "2027-12-31T20:00:00Z", "2028-01-01T04:00:00Z"},
		},
		{
			"two windows that touch are one opening",
			rollover.Schedule{Windows: []rollover.Window{
				window(daily, "2026-01-01T01:00", "UTC", time.Hour), window(daily, "2026-01-01T02:00", "UTC", time.Hour),
			}},
			"2026-05-01T00:00:00Z",
			[]string{"2026-05-01T01:00:00Z", "2026-05-01T03:00:00Z", "2026-05-02T01:00:00Z", "2026-05-02T03:00:00Z"},
		},
		{
			"UNTIL is an instant and is included",
			rollover.Schedule{Windows: []rollover.Window{window("FREQ=DAILY;UNTIL=20260502T230000Z", "2026-05-01T01:00", berlin, time.Hour)}},
			"2026-05-01T12:00:00Z",
			[]string{"2026-05-01T23:00:00Z", "2026-05-02T00:00:00Z", "2026-05-02T23:00:00Z", "2026-05-03T00:00:00Z", "", ""},
		},
		{
			"a freeze cuts a window",
			rollover.Schedule{
				Windows: []rollover.Window{window(daily, "2026-12-01T22:00", berlin, 4*time.Hour)},
				Freezes: []rollover.Freeze{event("SUMMARY:Christmas", "DTSTART;VALUE=DATE;TZID=Europe/Berlin:20261224", "DTEND;VALUE=DATE;TZID=Europe/Berlin:20261227")},
			},
			"2026-12-23T12:00:00Z",
			[]string{"2026-12-23T21:00:00Z", "2026-12-23T23:00:00Z", "2026-12-26T23:00:00Z", "2026-12-27T01:00:00Z"},
		},
		{
			"a freeze without windows, with an exception",
			rollover.Schedule{Freezes: []rollover.Freeze{event("DTSTART:20260101T120000Z", "DURATION:PT2H", "RRULE:FREQ=DAILY", "EXDATE:20260502T120000Z,20260504T120000Z")}},
			"2026-05-01T13:00:00Z",
			[]string{"2026-05-01T14:00:00Z", "2026-05-03T12:00:00Z", "2026-05-03T14:00:00Z", "2026-05-05T12:00:00Z"},
		},
		{
			"a whole day of the calendar has 23 hours when the clocks go forward",
			rollover.Schedule{Freezes: []rollover.Freeze{event("DTSTART;VALUE=DATE;TZID=Europe/Berlin:20260329")}},
			"2026-03-28T23:00:00Z",
			[]string{"2026-03-29T22:00:00Z", ""},
		},
		{
			"whole days in the zone of the calendar, with a further one",
			rollover.Schedule{Freezes: []rollover.Freeze{{
				Zone:     "America/New_York",
				Calendar: event("DTSTART;VALUE=DATE:20260704", "RDATE;VALUE=DATE:20260706").Calendar,
			}}},
			"2026-07-04T12:00:00Z",
			[]string{"2026-07-05T04:00:00Z", "2026-07-06T04:00:00Z", "2026-07-07T04:00:00Z", ""},
		},
		{
			"names in small letters are read too",
			rollover.Schedule{Freezes: []rollover.Freeze{event("dtstart;tzid=Europe/Berlin:20260101T120000", "duration:PT2H", "rrule:FREQ=DAILY")}},
			"2026-05-01T10:00:00Z",
			[]string{"2026-05-01T12:00:00Z", "2026-05-02T10:00:00Z", "2026-05-02T12:00:00Z", "2026-05-03T10:00:00Z"},
		},
		{
			"what was cancelled forbids nothing",
			rollover.Schedule{Freezes: []rollover.Freeze{event("STATUS:CANCELLED", "DTSTART:20260101T120000Z", "DURATION:PT2H")}},
			"2026-01-01T00:00:00Z",
			[]string{"2026-01-01T00:00:00Z", ""},
		},
	} {
		cal, now, got := read(t, c.schedule), at(t, c.from), []string{}
		for len(got) < len(c.want) {
			open, ok := cal.NextOpen(now)
			got = append(got, show(open, ok))
			end, more := cal.NextChange(open)
			if got, now = append(got, show(end, ok && more)), end; !ok || !more {
				break
			}
		}
		if g, w := strings.Join(got, " "), strings.Join(c.want, " "); strings.TrimSpace(g) != strings.TrimSpace(w) {
			t.Errorf("%s: openings from %s\n got %s\nwant %s", c.name, c.from, g, w)
		}
	}
}

func show(t time.Time, ok bool) string {
	if !ok {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func TestRead_Refuses(t *testing.T) {
	ok := window("FREQ=DAILY", "2026-01-01T01:00", "Europe/Berlin", time.Hour)
	with := func(change func(*rollover.Window)) rollover.Schedule {
		w := ok
		change(&w)
		return rollover.Schedule{Windows: []rollover.Window{ok, w}}
	}
	rule := func(text string) rollover.Schedule { return with(func(w *rollover.Window) { w.Rule = text }) }
	freeze := func(lines ...string) rollover.Schedule {
		return rollover.Schedule{Freezes: []rollover.Freeze{event(lines...)}}
	}
	for _, c := range []struct {
		name  string
		s     rollover.Schedule
		field string
		why   string
	}{
		{"no rule", rule(""), "windows[1].rrule", "FREQ=WEEKLY"},
		{"a rule that is none", rule("every Tuesday"), "windows[1].rrule", "RFC 5545"},
		{"hourly", rule("FREQ=HOURLY"), "windows[1].rrule", "DAILY, WEEKLY"},
		{"the 30th of February", rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "windows[1].rrule", "never occurs"},
		{"the 30th of February, day by day", rule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"), "windows[1].rrule", "never occurs"},
		{"over before it begins", rule("FREQ=DAILY;UNTIL=20251231T000000Z"), "windows[1].rrule", "never occurs"},
		{"both COUNT and UNTIL", rule("FREQ=DAILY;COUNT=2;UNTIL=20261231T000000Z"), "windows[1].rrule", "not both"},
		{"an interval out of bounds", rule("FREQ=YEARLY;INTERVAL=9223372036854775807"), "windows[1].rrule", "INTERVAL from 1 to 1000"},
		{"too many times of day", rule("FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7;BYMINUTE=0,1,2,3,4,5,6"), "windows[1].rrule", "56 times"},
		{"a part twice", rule("FREQ=DAILY;FREQ=DAILY"), "windows[1].rrule", "FREQ twice"},
		{"Easter", rule("FREQ=YEARLY;BYEASTER=0"), "windows[1].rrule", "BYEASTER"},
		{"no zone", with(func(w *rollover.Window) { w.Zone = "" }), "windows[1].time_zone", "IANA"},
		{"the machine's zone", with(func(w *rollover.Window) { w.Zone = "Local" }), "windows[1].time_zone", "IANA"},
		{"an unknown zone", with(func(w *rollover.Window) { w.Zone = "Europe/Bonn" }), "windows[1].time_zone", "Europe/Bonn"},
		{"a path", with(func(w *rollover.Window) { w.Zone = "../../etc/passwd" }), "windows[1].time_zone", "IANA"},
		{"a start with an offset", with(func(w *rollover.Window) { w.Start = "2026-01-01T01:00:00Z" }), "windows[1].start", "without an offset"},
		{"a start long ago", with(func(w *rollover.Window) { w.Start = "1066-01-01T01:00" }), "windows[1].start", "1970"},
		{"too short", with(func(w *rollover.Window) { w.Length = time.Second }), "windows[1].duration", "one minute"},
		{"too long", with(func(w *rollover.Window) { w.Length = 32 * 24 * time.Hour }), "windows[1].duration", "31 days"},
		{"no calendar", rollover.Schedule{Freezes: []rollover.Freeze{{}}}, "freezes[0].calendar", "64 KiB"},
		{"too large", rollover.Schedule{Freezes: []rollover.Freeze{{Calendar: strings.Repeat("x", 65<<10)}}}, "freezes[0].calendar", "64 KiB"},
		{"no iCalendar", rollover.Schedule{Freezes: []rollover.Freeze{{Calendar: "hello"}}}, "freezes[0].calendar", "iCalendar"},
		{"no events", rollover.Schedule{Freezes: []rollover.Freeze{{Calendar: "BEGIN:VCALENDAR\nEND:VCALENDAR\n"}}}, "freezes[0].calendar", "0 events"},
		{"cut off", rollover.Schedule{Freezes: []rollover.Freeze{{Calendar: strings.TrimSuffix(event("DTSTART:20260101T120000Z", "DURATION:PT2H").Calendar, "END:VCALENDAR\r\n")}}}, "freezes[0].calendar", "cut off"},
		{"an unknown zone of a freeze", freeze("DTSTART;TZID=W. Europe Standard Time:20260101T120000", "DURATION:PT1H"), "freezes[0].calendar", "W. Europe"},
		{"a floating time", freeze("DTSTART:20260101T120000", "DURATION:PT1H"), "freezes[0].calendar", "time_zone"},
		{"no length", freeze("DTSTART:20260101T120000Z"), "freezes[0].calendar", "longer than no time"},
		{"an end before the beginning", freeze("DTSTART:20260101T120000Z", "DTEND:20260101T110000Z"), "freezes[0].calendar", "longer than no time"},
		{"an exception of another kind", freeze("DTSTART:20260101T120000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY", "EXDATE;VALUE=DATE;TZID=UTC:20260103"), "freezes[0].calendar", "EXDATE"},
		{"no beginning", freeze("DURATION:PT1H"), "freezes[0].calendar", "DTSTART"},
		{"a period", freeze("DTSTART:20260101T120000Z", "DURATION:PT1H", "RDATE;VALUE=PERIOD:20260103T120000Z/PT2H"), "freezes[0].calendar", "RDATE"},
		{"a rule of every second", freeze("DTSTART:20260101T120000Z", "DURATION:PT1H", "RRULE:FREQ=SECONDLY"), "freezes[0].calendar", "RRULE"},
		{"a wrong zone for a freeze", rollover.Schedule{Freezes: []rollover.Freeze{{Zone: "x", Calendar: event("DTSTART:20260101T120000Z", "DURATION:PT1H").Calendar}}}, "freezes[0].time_zone", "IANA"},
	} {
		begun := time.Now()
		_, err := calendar.Read(c.s)
		var f *calendar.FieldError
		if !errors.As(err, &f) || f.Field != c.field || !strings.Contains(f.Why, c.why) {
			t.Errorf("%s: Read = %v, want %s: … %s …", c.name, err, c.field, c.why)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: Read took %s", c.name, took)
		}
	}
}

func TestCalendar_SaysWhyItIsClosed(t *testing.T) {
	cal := read(t, rollover.Schedule{
		Windows: []rollover.Window{window("FREQ=DAILY", "2026-01-01T01:00", "UTC", 4*time.Hour)},
		Freezes: []rollover.Freeze{{Name: "Change board", Calendar: event("SUMMARY:Quarter's end", "DTSTART:20260331T020000Z", "DURATION:P1D").Calendar}},
	})
	for _, c := range []struct {
		at           string
		open, frozen bool
		why, until   string
	}{
		{"2026-03-30T01:00:00Z", true, false, "", "2026-03-30T05:00:00Z"},
		{"2026-03-30T05:00:00Z", false, false, "outside its windows", "2026-03-31T01:00:00Z"},
		{"2026-03-31T02:00:00Z", false, true, "frozen: Change board, Quarter's end", "2026-04-01T02:00:00Z"},
	} {
		s := cal.At(at(t, c.at))
		if s.Open != c.open || s.Frozen != c.frozen || s.Why != c.why || show(s.Until, true) != c.until || s.Err != nil {
			t.Errorf("At(%s) = %+v, want %+v", c.at, s, c)
		}
	}
	off := cal.OffHours()
	if !off.Open(at(t, "2026-03-30T12:00:00Z")) || off.Open(at(t, "2026-03-31T12:00:00Z")) {
		t.Error("OffHours must be open outside the windows and closed in a freeze")
	}
}

// A freeze that lasts over a deadline leaves no time before it.
func TestCalendar_AFreezeOverTheDeadlineMakesItImpossible(t *testing.T) {
	now := at(t, "2026-12-20T12:00:00Z")
	long := event("SUMMARY:Year's end", "DTSTART:20261220T000000Z", "DTEND:20270107T000000Z")
	for _, c := range []struct {
		name     string
		s        rollover.Schedule
		deadline string
		possible bool
		has      string
	}{
		{"frozen from now beyond the deadline", rollover.Schedule{Freezes: []rollover.Freeze{long}}, "2027-01-05T00:00:00Z", false, "of which the schedule leaves 0s; the end is not before 2027-01-07"},
		{"the deadline wins over windows, not over a freeze", rollover.Schedule{Policy: rollover.DeadlineWins, Freezes: []rollover.Freeze{long}}, "2027-01-05T00:00:00Z", false, "leaves 0s"},
		{"an hour after the freeze", rollover.Schedule{Freezes: []rollover.Freeze{long}}, "2027-01-07T01:00:00Z", true, ""},
		{"the freeze ends in time but no window opens", rollover.Schedule{
			Freezes: []rollover.Freeze{long}, Windows: []rollover.Window{window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", "UTC", time.Hour)},
		}, "2027-01-10T00:00:00Z", false, "not before 2027-01-12"},
		{"the same, and the deadline wins", rollover.Schedule{
			Policy: rollover.DeadlineWins, Freezes: []rollover.Freeze{long}, Windows: []rollover.Window{window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", "UTC", time.Hour)},
		}, "2027-01-10T00:00:00Z", true, ""},
	} {
		spec := rollover.Spec{MaxInFlight: 10, StageDeadline: at(t, c.deadline), Schedule: c.s}
		e := spec.EstimateFrom(now, 100, 0, read(t, c.s).Timetable())
		if e.Possible() != c.possible || (e.Err() == nil) != c.possible || !strings.Contains(e.String(), c.has) {
			t.Errorf("%s: possible %v, %q; want %v with %q", c.name, e.Possible(), e, c.possible, c.has)
		}
		if err := e.Err(); err != nil && !errors.Is(err, rollover.ErrDeadline) {
			t.Errorf("%s: Err = %v, want an ErrDeadline", c.name, err)
		}
	}
}

// drawn is a schedule of windows and freezes by chance.
func drawn(t *rapid.T) rollover.Schedule {
	var s rollover.Schedule
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"}
	rules := []string{"FREQ=DAILY", "FREQ=WEEKLY;BYDAY=TU,SA", "FREQ=MONTHLY;BYDAY=-1SU", "FREQ=YEARLY", "FREQ=DAILY;INTERVAL=3;COUNT=40", "FREQ=DAILY;BYHOUR=1,2,3,14"}
	for range rapid.IntRange(0, 3).Draw(t, "windows") {
		s.Windows = append(s.Windows, window(rapid.SampledFrom(rules).Draw(t, "rule"),
			fmt.Sprintf("2026-%02d-%02dT%02d:30", rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour")),
			rapid.SampledFrom(zones).Draw(t, "zone"), time.Duration(rapid.IntRange(1, 3000).Draw(t, "minutes"))*time.Minute))
	}
	for range rapid.IntRange(0, 2).Draw(t, "freezes") {
		f := event(fmt.Sprintf("DTSTART:2026%02d%02dT120000", rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day")),
			fmt.Sprintf("DURATION:PT%dH", rapid.IntRange(1, 500).Draw(t, "hours")), "RRULE:"+rapid.SampledFrom(rules).Draw(t, "rule"))
		f.Zone = rapid.SampledFrom(zones).Draw(t, "zone")
		s.Freezes = append(s.Freezes, f)
	}
	return s
}

// Open time adds up, the next change is one and the first, and Advance is the way
// back of OpenTime.
func TestCalendar_IsConsistent(t *testing.T) {
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		cal, err := calendar.Read(drawn(t))
		if err != nil {
			t.Fatal(err)
		}
		instant := func(label string) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(0, 800*24*60).Draw(t, label)) * time.Minute)
		}
		a, b, c := instant("a"), instant("b"), instant("c")
		if b.Before(a) {
			a, b = b, a
		}
		if c.Before(a) || c.After(b) {
			c = a.Add(b.Sub(a) / 2)
		}
		if whole, sum := cal.OpenTime(a, b), cal.OpenTime(a, c)+cal.OpenTime(c, b); whole != sum || whole < 0 || whole > b.Sub(a) {
			t.Fatalf("OpenTime(%s, %s) = %s, but %s with a stop at %s", a, b, whole, sum, c)
		}
		open := cal.Open(a)
		if next, ok := cal.NextChange(a); ok {
			if !next.After(a) || cal.Open(next) == open || cal.Open(next.Add(-1)) != open {
				t.Fatalf("NextChange(%s) = %s: open %v before, %v at it", a, next, open, cal.Open(next))
			}
			if got := cal.OpenTime(a, next); open && got != next.Sub(a) || !open && got != 0 {
				t.Fatalf("OpenTime up to the next change = %s, open %v", got, open)
			}
		}
		if s := cal.At(a); s.Open != open || (s.Why == "") != open || s.Open && s.Frozen {
			t.Fatalf("At(%s) = %+v, Open = %v", a, s, open)
		}
		d := time.Duration(rapid.IntRange(1, 1000).Draw(t, "d")) * time.Minute
		if to, ok := cal.Advance(a, d); ok && (cal.OpenTime(a, to) != d || !cal.Open(to.Add(-1))) {
			t.Fatalf("Advance(%s, %s) = %s, of which %s are open", a, d, to, cal.OpenTime(a, to))
		}
	})
}
