package calendar_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/calendar"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// ask looks at what was read: it must answer in bounded time, and consistently.
func ask(t *testing.T, s rollover.Schedule) {
	t.Helper()
	cal, err := calendar.Read(s)
	if err != nil {
		return
	}
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	st := cal.At(now)
	if st.Err != nil {
		if cal.Open(now) || cal.OpenTime(now, now.AddDate(1, 0, 0)) != 0 {
			t.Errorf("a schedule that cannot be laid out is open: %v", st.Err)
		}
		return
	}
	if st.Open != cal.Open(now) {
		t.Errorf("At says open %v, Open %v", st.Open, cal.Open(now))
	}
	if next, ok := cal.NextChange(now); ok && (!next.After(now) || cal.Open(next) == st.Open) {
		t.Errorf("NextChange(%s) = %s, and nothing changes there", now, next)
	}
}

// FuzzWindow reads any rule, start and zone.
func FuzzWindow(f *testing.F) {
	f.Add("FREQ=WEEKLY;BYDAY=TU", "2026-11-24T01:00", "Europe/Berlin", int64(4*time.Hour))
	f.Add("FREQ=MONTHLY;BYDAY=1SU;BYSETPOS=1", "2026-01-01T23:30", "America/New_York", int64(time.Hour))
	f.Add("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2024-02-29T01:00", "UTC", int64(time.Minute))
	f.Fuzz(func(t *testing.T, rule, start, zone string, length int64) {
		ask(t, rollover.Schedule{Windows: []rollover.Window{{Rule: rule, Start: start, Zone: zone, Length: time.Duration(length)}}})
	})
}

// FuzzFreeze reads any text as an iCalendar.
func FuzzFreeze(f *testing.F) {
	f.Add(event("SUMMARY:Year's end", "DTSTART;VALUE=DATE:20261220", "DTEND;VALUE=DATE:20270107").Calendar, "Europe/Berlin")
	f.Add(event("DTSTART:20260101T120000Z", "DURATION:P1DT2H", "RRULE:FREQ=WEEKLY;COUNT=5", "EXDATE:20260108T120000Z").Calendar, "")
	f.Add(event("DTSTART;TZID=America/New_York:20260101T120000", "DTEND;TZID=\"Europe/Berlin\":20260101T230000", "RDATE;TZID=UTC:20260501T000000").Calendar, "")
	f.Fuzz(func(t *testing.T, text, zone string) {
		ask(t, rollover.Schedule{Freezes: []rollover.Freeze{{Calendar: text, Zone: zone}}})
	})
}
