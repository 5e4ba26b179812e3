package edge

import (
	"fmt"
	"time"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of a schedule, as the contract states.
const (
	maxWindows      = 20
	maxFreezes      = 20
	maxFreezeBytes  = 64 << 10 // of all calendars together
	minWindowLength = time.Minute
	maxWindowLength = 31 * 24 * time.Hour
)

// schedule checks the size and shape of a schedule. Whether its rules and calendars
// can be read is found out by the service.
func (v *violations) schedule(path string, s *pb.Schedule) {
	if s == nil {
		return
	}
	if t := s.GetStageDeadline(); t != nil && t.CheckValid() != nil {
		v.add(path+".stage_deadline", "FORMAT", "must be an instant between the years 1 and 9999")
	}
	if _, known := pb.Schedule_Policy_name[int32(s.GetPolicy())]; !known {
		v.add(path+".policy", "UNKNOWN", "must be WINDOW_WINS or DEADLINE_WINS, or absent")
	}
	if s.GetPolicy() == pb.Schedule_POLICY_DEADLINE_WINS && s.GetStageDeadline() == nil {
		v.add(path+".stage_deadline", "REQUIRED", "must be set where the deadline wins")
	}
	v.count(path+".windows", len(s.GetWindows()), 0, maxWindows)
	for i, w := range s.GetWindows()[:min(len(s.GetWindows()), maxWindows)] {
		at := fmt.Sprintf("%s.windows[%d]", path, i)
		v.required(at+".rrule", w.GetRrule())
		v.required(at+".start", w.GetStart())
		v.required(at+".time_zone", w.GetTimeZone())
		if d := w.GetDuration(); d.CheckValid() != nil || d.AsDuration() < minWindowLength || d.AsDuration() > maxWindowLength {
			v.add(at+".duration", "RANGE", "must be from one minute to 31 days")
		}
	}
	v.count(path+".freezes", len(s.GetFreezes()), 0, maxFreezes)
	size := 0
	for i, f := range s.GetFreezes()[:min(len(s.GetFreezes()), maxFreezes)] {
		at := fmt.Sprintf("%s.freezes[%d]", path, i)
		v.text(at+".display_name", f.GetDisplayName(), maxDisplayName)
		v.required(at+".calendar", f.GetCalendar())
		size += len(f.GetCalendar())
	}
	if size > maxFreezeBytes {
		v.add(path+".freezes", "LENGTH", fmt.Sprintf("have %d bytes together, at most %d are allowed", size, maxFreezeBytes))
	}
}
