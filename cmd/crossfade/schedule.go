package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// scheduleFlags are the flags about time.
type scheduleFlags struct {
	deadline   string
	windows    []string
	freezes    []string
	freezeZone string
	policy     string
}

func (f *scheduleFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.deadline, "deadline", "", "`INSTANT` by which every target is to have the new one, RFC 3339; a plan that cannot keep it is refused")
	fl.StringArrayVar(&f.windows, "window", nil, "when work may be done, `\"RRULE START ZONE DURATION\"`, such as\n'FREQ=WEEKLY;BYDAY=TU 2026-11-24T01:00 Europe/Berlin 4h'; may be repeated (default always)")
	fl.StringArrayVar(&f.freezes, "freeze", nil, "iCalendar `FILE` whose events forbid work; may be repeated")
	fl.StringVar(&f.freezeZone, "freeze-zone", "", "`ZONE` of whole days and of times in --freeze that name none")
	fl.StringVar(&f.policy, "schedule-policy", "", "what wins where the windows are too few for the deadline: \"window-wins\" or \"deadline-wins\" (default window-wins);\na freeze always wins")
}

// schedule reads the flags about time; nothing said is no schedule.
func (f scheduleFlags) schedule() (*crossfadev1.Schedule, error) {
	if f.deadline == "" && len(f.windows) == 0 && len(f.freezes) == 0 && f.policy == "" && f.freezeZone == "" {
		return nil, nil
	}
	s := &crossfadev1.Schedule{}
	if f.deadline != "" {
		t, err := time.Parse(time.RFC3339, f.deadline)
		if err != nil {
			return nil, usage("--deadline %q: want an instant such as 2016-11-04T01:00:00Z", f.deadline)
		}
		s.StageDeadline = timestamppb.New(t)
	}
	switch f.policy {
	case "":
	case "window-wins":
		s.Policy = crossfadev1.Schedule_POLICY_WINDOW_WINS
	case "deadline-wins":
		s.Policy = crossfadev1.Schedule_POLICY_DEADLINE_WINS
		if f.deadline == "" {
			return nil, usage("--schedule-policy deadline-wins: say --deadline too")
		}
	default:
		return nil, usage("--schedule-policy %q: want window-wins or deadline-wins", f.policy)
	}
	if f.freezeZone != "" && len(f.freezes) == 0 {
		return nil, usage("--freeze-zone: there is no --freeze for which it would hold")
	}
	for _, text := range f.windows {
		w, err := windowOf(text)
		if err != nil {
			return nil, err
		}
		s.Windows = append(s.Windows, w)
	}
	for _, path := range f.freezes {
		data, err := readFile(path, maxFreeze+1)
		if err == nil && len(data) > maxFreeze {
			err = fmt.Errorf("%s has more than %d KiB, which is the most that calendars may have together", path, maxFreeze>>10)
		}
		if err != nil {
			return nil, usage("reading the freeze: %w", err)
		}
		name := []rune(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		s.Freezes = append(s.Freezes, &crossfadev1.Freeze{
			DisplayName: string(name[:min(len(name), 63)]), Calendar: string(data), TimeZone: f.freezeZone,
		})
	}
	return s, nil
}

// windowOf reads a window: its four parts have no spaces in them.
func windowOf(text string) (*crossfadev1.MaintenanceWindow, error) {
	parts := strings.Fields(text)
	if len(parts) != 4 {
		return nil, usage("--window %q: want four parts, RRULE START ZONE DURATION, such as 'FREQ=WEEKLY;BYDAY=TU 2026-11-24T01:00 Europe/Berlin 4h'", text)
	}
	d, err := time.ParseDuration(parts[3])
	if err != nil || d <= 0 {
		return nil, usage("--window %q: %q is no duration such as 4h or 90m", text, parts[3])
	}
	return &crossfadev1.MaintenanceWindow{Rrule: parts[0], Start: parts[1], TimeZone: parts[2], Duration: durationpb.New(d)}, nil
}

// scheduleText is when work may be done, or empty where that is always.
func scheduleText(r *crossfadev1.Rotation) string {
	s := r.GetSpec().GetSchedule()
	var parts []string
	for _, w := range s.GetWindows() {
		parts = append(parts, fmt.Sprintf("%s from %s %s for %s", w.GetRrule(), w.GetStart(), w.GetTimeZone(), w.GetDuration().AsDuration()))
	}
	for _, f := range s.GetFreezes() {
		name := f.GetDisplayName()
		if name == "" {
			name = f.GetSha256()[:min(12, len(f.GetSha256()))]
		}
		parts = append(parts, "not in the freeze "+name)
	}
	if len(parts) > 0 && s.GetPolicy() == crossfadev1.Schedule_POLICY_DEADLINE_WINS {
		parts = append(parts, "the deadline wins over the windows")
	}
	return strings.Join(parts, "; ")
}

// openText says whether work may be done now, or is empty.
func openText(r *crossfadev1.Rotation) string {
	s := r.GetScheduleStatus()
	switch {
	case s == nil:
		return ""
	case s.GetOutsideWindows():
		return "open outside its windows, since the deadline wins"
	case s.GetOpen() && s.GetNextChangeTime() == nil:
		return "open"
	case s.GetOpen():
		return "open until " + instant(s.GetNextChangeTime())
	case s.GetNextChangeTime() == nil:
		return "closed: " + s.GetReason()
	default:
		return "waits until " + instant(s.GetNextChangeTime()) + ": " + s.GetReason()
	}
}

// forecastText is when all will have the new credential, or empty.
func forecastText(r *crossfadev1.Rotation) string {
	f := r.GetForecast()
	if f == nil || f.GetEarliestTime() == nil && f.GetLikelyTime() == nil && f.GetDeadline() != nil && f.GetTasksPerSecond() == 0 && !f.GetAssumed() {
		return ""
	}
	if f.GetLikelyTime() == nil {
		return "no end in sight"
	}
	s := fmt.Sprintf("all have it at about %s, between %s and ", instant(f.GetLikelyTime()), instant(f.GetEarliestTime()))
	if f.GetLatestTime() == nil {
		s += "never"
	} else {
		s += instant(f.GetLatestTime())
	}
	switch {
	case !f.GetAssumed():
		s += fmt.Sprintf(", at %.1f tasks/s", f.GetTasksPerSecond())
	case r.GetState() == crossfadev1.Rotation_STATE_PLANNED && r.GetSpec().GetSchedule() == nil:
		return "" // Without a deadline or windows nobody decides by what is only assumed.
	case r.GetState() == crossfadev1.Rotation_STATE_PLANNED:
		s += ", if it is started now; nothing is measured yet"
	default:
		s += "; nothing is measured yet"
	}
	return s
}

// deadlineText is the deadline and how it stands, or empty where there is none.
func deadlineText(r *crossfadev1.Rotation) string {
	d := r.GetSpec().GetSchedule().GetStageDeadline()
	if d == nil {
		return ""
	}
	s, f := instant(d), r.GetForecast()
	staged := r.GetPhase() == crossfadev1.Rotation_PHASE_OVERLAP || r.GetPhase() == crossfadev1.Rotation_PHASE_RETIRE || ended(r)
	switch {
	case f.GetAtRiskSince() != nil && (staged || f.GetForecastTime().AsTime().After(d.AsTime())):
		s += ", MISSED; at risk since " + instant(f.GetAtRiskSince())
	case f.GetAtRiskSince() != nil:
		s += ", AT RISK since " + instant(f.GetAtRiskSince())
	case staged && r.GetStartTime() != nil && r.GetState() != crossfadev1.Rotation_STATE_CANCELLED:
		s += ", kept"
	}
	return s
}

// leftText is what a line of progress says of the time: what is left, and by how
// much that may be off.
func leftText(r *crossfadev1.Rotation) string {
	var s string
	f := r.GetForecast()
	if f.GetLikelyTime() != nil && !f.GetAssumed() && r.GetState() == crossfadev1.Rotation_STATE_RUNNING {
		left := max(0, f.GetLikelyTime().AsTime().Sub(f.GetForecastTime().AsTime()))
		s = fmt.Sprintf("; %.0f/s, %s left", f.GetTasksPerSecond(), left.Round(time.Second))
		if f.GetLatestTime() != nil {
			off := f.GetLatestTime().AsTime().Sub(f.GetEarliestTime().AsTime()) / 2
			s += fmt.Sprintf(" ± %s", off.Round(time.Second))
		}
	}
	if st := r.GetScheduleStatus(); st != nil && !st.GetOpen() && r.GetState() == crossfadev1.Rotation_STATE_RUNNING {
		s += "; " + openText(r)
	}
	if f.GetAtRiskSince() != nil && !ended(r) {
		s += "; DEADLINE AT RISK"
	}
	return s
}
