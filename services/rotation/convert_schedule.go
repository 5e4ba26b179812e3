package rotation

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/calendar"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// scheduleOf reads a deadline and a schedule.
func scheduleOf(p *pb.Schedule) (deadline time.Time, s rollover.Schedule) {
	if t := p.GetStageDeadline(); t != nil {
		deadline = t.AsTime()
	}
	for _, w := range p.GetWindows() {
		s.Windows = append(s.Windows, rollover.Window{Rule: w.GetRrule(), Start: w.GetStart(), Zone: w.GetTimeZone(), Length: w.GetDuration().AsDuration()})
	}
	for _, f := range p.GetFreezes() {
		s.Freezes = append(s.Freezes, rollover.Freeze{Name: f.GetDisplayName(), Calendar: f.GetCalendar(), Zone: f.GetTimeZone()})
	}
	if s.Empty() { // There is nothing for a policy to decide.
		return deadline, s
	}
	s.Policy = rollover.WindowWins
	if p.GetPolicy() == pb.Schedule_POLICY_DEADLINE_WINS {
		s.Policy = rollover.DeadlineWins
	}
	return deadline, s
}

// scheduleProto is the way back, but for the calendars, which may be long: their
// digests stand for them. It is nothing where there is neither.
func scheduleProto(s rollover.Spec) *pb.Schedule {
	if s.StageDeadline.IsZero() && s.Schedule.Empty() {
		return nil
	}
	p := &pb.Schedule{StageDeadline: instant(s.StageDeadline), Policy: pb.Schedule_POLICY_WINDOW_WINS}
	if s.Schedule.Policy == rollover.DeadlineWins {
		p.Policy = pb.Schedule_POLICY_DEADLINE_WINS
	}
	for _, w := range s.Schedule.Windows {
		p.Windows = append(p.Windows, &pb.MaintenanceWindow{Rrule: w.Rule, Start: w.Start, TimeZone: w.Zone, Duration: durationpb.New(w.Length)})
	}
	for _, f := range s.Schedule.Freezes {
		sum := sha256.Sum256([]byte(f.Calendar))
		p.Freezes = append(p.Freezes, &pb.Freeze{DisplayName: f.Name, TimeZone: f.Zone, Sha256: hex.EncodeToString(sum[:])})
	}
	return p
}

// statusProto says whether steps may be begun now; nothing where there is no
// schedule.
func statusProto(r rollover.Rotation, c *calendar.Calendar, broken error, now time.Time) *pb.ScheduleStatus {
	switch {
	case r.Spec.Schedule.Empty(), r.State.Ended():
		return nil
	case broken != nil:
		return &pb.ScheduleStatus{Reason: "the schedule cannot be read: " + broken.Error()}
	}
	st := c.At(now)
	p := &pb.ScheduleStatus{Open: st.Open, Reason: st.Why}
	if next, ok := c.NextChange(now); ok && st.Err == nil {
		p.NextChangeTime = instant(next)
	}
	if r.Opening.OffHours && !r.Closed(now) && !st.Open && !st.Frozen && st.Err == nil {
		p.Open, p.OutsideWindows, p.Reason = true, true, ""
	}
	return p
}

// forecastProto is nothing where there is neither a forecast nor a deadline.
func forecastProto(r rollover.Rotation, f rollover.Forecast, left bool, now time.Time) *pb.Forecast {
	if !left && r.Spec.StageDeadline.IsZero() {
		return nil
	}
	p := &pb.Forecast{Deadline: instant(r.Spec.StageDeadline), AtRiskSince: instant(r.AtRiskSince), ForecastTime: instant(now)}
	if left {
		p.TasksPerSecond, p.Assumed = f.Rate, f.Assumed
		p.EarliestTime, p.LikelyTime, p.LatestTime = instant(f.Earliest), instant(f.Likely), instant(f.Latest)
	}
	return p
}
