package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestScheduleFlags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holidays.ics")
	if err := os.WriteFile(path, []byte("BEGIN:VCALENDAR"), 0o600); err != nil {
		t.Fatal(err)
	}
	const window = "FREQ=WEEKLY;BYDAY=TU,TH 2026-11-24T01:00 Europe/Berlin 4h30m"
	if s, err := (scheduleFlags{}).schedule(); s != nil || err != nil {
		t.Errorf("nothing said: %v, %v; want no schedule", s, err)
	}
	f := scheduleFlags{deadline: "2026-12-18T18:00:00Z", windows: []string{window}, freezes: []string{path}, freezeZone: "Europe/Berlin", policy: "deadline-wins"}
	s, err := f.schedule()
	if err != nil {
		t.Fatal(err)
	}
	w, z := s.GetWindows()[0], s.GetFreezes()[0]
	if w.GetRrule() != "FREQ=WEEKLY;BYDAY=TU,TH" || w.GetStart() != "2026-11-24T01:00" || w.GetTimeZone() != "Europe/Berlin" || w.GetDuration().AsDuration() != 4*time.Hour+30*time.Minute {
		t.Errorf("window = %v, want what was said", w)
	}
	if z.GetDisplayName() != "holidays" || z.GetCalendar() != "BEGIN:VCALENDAR" || z.GetTimeZone() != "Europe/Berlin" || s.GetPolicy() != crossfadev1.Schedule_POLICY_DEADLINE_WINS {
		t.Errorf("freeze = %v, policy %s, want what was said", z, s.GetPolicy())
	}
	for name, f := range map[string]scheduleFlags{
		"--deadline":        {deadline: "tomorrow"},
		"four parts":        {windows: []string{"FREQ=DAILY 01:00 4h"}},
		"no duration":       {windows: []string{"FREQ=DAILY 2026-11-24T01:00 UTC four"}},
		"reading":           {freezes: []string{path + ".missing"}},
		"--schedule-policy": {policy: "freeze-loses"},
		"say --deadline":    {policy: "deadline-wins", windows: []string{window}},
		"--freeze-zone":     {freezeZone: "UTC"},
	} {
		if _, err := f.schedule(); err == nil || exitStatus(err) != exitUsage || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want wrong use with %q", f, err, name)
		}
	}
}

func TestScheduleTexts(t *testing.T) {
	at := func(min int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 12, 18, 12, min, 0, 0, time.UTC))
	}
	r := &crossfadev1.Rotation{
		State: crossfadev1.Rotation_STATE_RUNNING, Phase: crossfadev1.Rotation_PHASE_STAGE, StartTime: at(0),
		Spec:           &crossfadev1.RotationSpec{Schedule: &crossfadev1.Schedule{StageDeadline: at(30)}},
		ScheduleStatus: &crossfadev1.ScheduleStatus{Reason: "frozen: Election", NextChangeTime: at(20)},
		Forecast: &crossfadev1.Forecast{
			TasksPerSecond: 12.34, EarliestTime: at(28), LikelyTime: at(32), LatestTime: at(38), Deadline: at(30), AtRiskSince: at(10), ForecastTime: at(11),
		},
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s:\n got %q\nwant %q", what, got, want)
		}
	}
	check("open", openText(r), "waits until 2026-12-18T12:20:00Z: frozen: Election")
	check("forecast", forecastText(r), "all have it at about 2026-12-18T12:32:00Z, between 2026-12-18T12:28:00Z and 2026-12-18T12:38:00Z, at 12.3 tasks/s")
	check("deadline", deadlineText(r), "2026-12-18T12:30:00Z, AT RISK since 2026-12-18T12:10:00Z")
	check("progress", leftText(r), "; 12/s, 21m0s left ± 5m0s; waits until 2026-12-18T12:20:00Z: frozen: Election; DEADLINE AT RISK")
	var b strings.Builder
	if err := (&report{rotation: r}).markdown(&b); err != nil || !strings.Contains(b.String(), "\n- stage deadline: 2026-12-18T12:30:00Z, AT RISK since") {
		t.Errorf("the report has no line about the deadline: %v\n%s", err, b.String())
	}

	r.Phase, r.Forecast = crossfadev1.Rotation_PHASE_OVERLAP, &crossfadev1.Forecast{Deadline: at(30), AtRiskSince: at(10), ForecastTime: at(40)}
	check("missed", deadlineText(r), "2026-12-18T12:30:00Z, MISSED; at risk since 2026-12-18T12:10:00Z")
	check("no forecast any more", forecastText(r), "")
	r.Forecast.AtRiskSince = nil
	check("kept", deadlineText(r), "2026-12-18T12:30:00Z, kept")
	r.ScheduleStatus = &crossfadev1.ScheduleStatus{Open: true, OutsideWindows: true}
	check("off hours", openText(r), "open outside its windows, since the deadline wins")
	check("nothing to say", scheduleText(&crossfadev1.Rotation{})+openText(&crossfadev1.Rotation{})+forecastText(&crossfadev1.Rotation{})+deadlineText(&crossfadev1.Rotation{})+leftText(&crossfadev1.Rotation{}), "")
}
