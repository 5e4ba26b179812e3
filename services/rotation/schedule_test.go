package rotation_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// tuesdays is a window in the night of each Tuesday.
func tuesdays() *pb.MaintenanceWindow {
	return &pb.MaintenanceWindow{Rrule: "FREQ=WEEKLY;BYDAY=TU", Start: "2016-01-01T01:00", TimeZone: "Europe/Berlin", Duration: durationpb.New(4 * time.Hour)}
}

// freeze is a calendar with one event.
func freeze(from, to string) *pb.Freeze {
	return &pb.Freeze{DisplayName: "Change board", Calendar: "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:1\nDTSTART:" + from + "\nDTEND:" + to + "\nEND:VEVENT\nEND:VCALENDAR\n"}
}

// scheduled is a request with a schedule; the clock of the house is at
// 2016-11-01T01:00:00Z, and old credentials stand until the 5th.
func (h *house) scheduled(s *pb.Schedule) *pb.CreateRotationRequest {
	req := h.request()
	req.Rotation.Spec.Schedule = s
	return req
}

func after(d time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(rollovertest.Epoch.Add(d))
}

func TestRotation_ShowsItsScheduleAndForecast(t *testing.T) {
	h := open(t, nil)
	s := &pb.Schedule{
		StageDeadline: after(48 * time.Hour), Windows: []*pb.MaintenanceWindow{tuesdays()},
		Freezes: []*pb.Freeze{freeze("20161101T020000Z", "20161101T030000Z")}, Policy: pb.Schedule_POLICY_DEADLINE_WINS,
	}
	resp, err := h.client().CreateRotation(t.Context(), h.scheduled(s))
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(s)
	want.Freezes[0].Calendar = ""
	got := proto.CloneOf(resp.GetRotation().GetSpec().GetSchedule())
	if sum := got.GetFreezes()[0].GetSha256(); len(sum) != 64 {
		t.Errorf("sha256 of the calendar = %q", sum)
	}
	got.Freezes[0].Sha256 = ""
	if !proto.Equal(got, want) {
		t.Errorf("schedule = %v\nwant %v", got, want)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 20)
	st := r.GetScheduleStatus()
	if !st.GetOpen() || st.GetReason() != "" || !st.GetNextChangeTime().AsTime().Equal(rollovertest.Epoch.Add(time.Hour)) {
		t.Errorf("at one on a Tuesday: schedule_status = %v, want it open until the freeze", st)
	}
	f := r.GetForecast()
	if !f.GetAssumed() || f.GetLikelyTime() == nil || !f.GetDeadline().AsTime().Equal(s.GetStageDeadline().AsTime()) || f.GetTasksPerSecond() != 0 {
		t.Errorf("forecast of a plan = %v, want one that is assumed", f)
	}
	h.start(t, r)
	h.clock.set(rollovertest.Epoch.Add(90 * time.Minute))
	if st := h.get(t, r.GetName()).GetScheduleStatus(); st.GetOpen() || st.GetReason() != "frozen: Change board" {
		t.Errorf("in the freeze: schedule_status = %v", st)
	}
	h.clock.set(rollovertest.Epoch.Add(12 * time.Hour))
	h.write(t, r.GetName(), func(r *rollover.Rotation) {
		r.Opening = rollover.Opening{OpenUntil: rollovertest.Epoch.AddDate(0, 0, 6), OffHours: true}
		r.AtRiskSince = h.clock.Now()
	})
	got2 := h.get(t, r.GetName())
	if st := got2.GetScheduleStatus(); !st.GetOpen() || !st.GetOutsideWindows() {
		t.Errorf("with a deadline that wins: schedule_status = %v", st)
	}
	if !got2.GetForecast().GetAtRiskSince().AsTime().Equal(h.clock.Now()) {
		t.Errorf("forecast = %v, want it at risk since now", got2.GetForecast())
	}
}

// The rate and the end are measured from when tasks got past their risk.
func TestRotation_ForecastIsMeasured(t *testing.T) {
	h := open(t, nil)
	req := h.request()
	req.Rotation.Spec.Strategy = &pb.Strategy{Start: pb.Strategy_START_FULL}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 101)
	h.start(t, r)
	id := strings.TrimPrefix(r.GetName(), "rotations/")
	h.write(t, r.GetName(), func(r *rollover.Rotation) { r.WaveNumber, r.WaveAt = 2, rollovertest.Epoch })
	for i := range 51 {
		k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id, Ord: i})
		if err != nil {
			t.Fatal(err)
		}
		h.clock.set(rollovertest.Epoch.Add(time.Duration(i) * time.Second))
		k.Phase, k.UpdatedAt = rollover.Activated, h.clock.Now()
		if _, err := h.store.SaveTask(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	var f *pb.Forecast
	for range 1000 { // The mirror is behind by a moment.
		got := h.get(t, r.GetName())
		if f = got.GetForecast(); got.GetCounts().GetActivated() == 51 {
			break
		}
	}
	likely := f.GetLikelyTime().AsTime().Sub(rollovertest.Epoch)
	if f.GetAssumed() || f.GetTasksPerSecond() < 0.9 || f.GetTasksPerSecond() > 1.1 || likely < 95*time.Second || likely > 105*time.Second {
		t.Errorf("forecast = %v (%s), want one a second and the end after 100 s", f, likely)
	}
	if e, l := f.GetEarliestTime().AsTime(), f.GetLatestTime().AsTime(); !e.Before(f.GetLikelyTime().AsTime()) || !l.After(f.GetLikelyTime().AsTime()) {
		t.Errorf("forecast = %v, want the likely end between the two others", f)
	}
}

func TestCreateRotation_RefusesAScheduleThatCannotBe(t *testing.T) {
	h := open(t, nil)
	wrong := tuesdays()
	wrong.TimeZone = "Europe/Bonn"
	over := tuesdays()
	over.Rrule += ";UNTIL=20160301T000000Z"
	for field, s := range map[string]*pb.Schedule{
		"rotation.spec.schedule.stage_deadline":       {StageDeadline: after(0)},
		"rotation.spec.schedule.stage_deadline ":      {StageDeadline: after(30 * 24 * time.Hour)}, // After retire_not_before.
		"rotation.spec.schedule.stage_deadline  ":     {StageDeadline: after(3 * 365 * 24 * time.Hour)},
		"rotation.spec.schedule.windows[1].time_zone": {Windows: []*pb.MaintenanceWindow{tuesdays(), wrong}},
		"rotation.spec.schedule.windows":              {Windows: []*pb.MaintenanceWindow{over}},
		"rotation.spec.schedule.freezes[0].calendar":  {Freezes: []*pb.Freeze{{Calendar: "hello"}}},
	} {
		_, err := h.client().CreateRotation(t.Context(), h.scheduled(s))
		if status.Code(err) != codes.InvalidArgument || violated(err) != strings.TrimSpace(field) {
			t.Errorf("CreateRotation with %v = %v, %q; want a violation of %s", s, err, violated(err), field)
		}
	}
	_, err := h.client().CreateRotation(t.Context(), h.scheduled(&pb.Schedule{
		StageDeadline: after(48 * time.Hour), Freezes: []*pb.Freeze{freeze("20161031T000000Z", "20161110T000000Z")}, Policy: pb.Schedule_POLICY_DEADLINE_WINS,
	}))
	refused(t, err, codes.FailedPrecondition, "DEADLINE_IMPOSSIBLE")
	if m := status.Convert(err).Message(); !strings.Contains(m, "of which the schedule leaves 0s") {
		t.Errorf("a freeze over the deadline is refused with %q, without the arithmetic", m)
	}
}

// violated returns the first field that an error names.
func violated(err error) string {
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok && len(b.GetFieldViolations()) > 0 {
			return b.GetFieldViolations()[0].GetField()
		}
	}
	return ""
}

func TestStartRotation_RefusesAPlanThatIsImpossible(t *testing.T) {
	h := open(t, nil)
	req := h.scheduled(&pb.Schedule{StageDeadline: after(2 * time.Hour)})
	req.Rotation.Spec.Strategy = &pb.Strategy{BakeTime: durationpb.New(time.Hour)}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, resp.GetRotation().GetName(), 20)
	start := &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()}
	_, err = h.client().StartRotation(t.Context(), start)
	refused(t, err, codes.FailedPrecondition, "DEADLINE_IMPOSSIBLE")
	for _, part := range []string{"20 tasks", "in 5 waves with 4h0m0s between them", "there are 2h0m0s", "the end is not before 2016-11-01T05:00:02Z", "larger or fewer waves"} {
		if m := status.Convert(err).Message(); !strings.Contains(m, part) {
			t.Errorf("StartRotation = %q, without %q", m, part)
		}
	}
	if got := h.get(t, r.GetName()).GetState(); got != pb.Rotation_STATE_PLANNED {
		t.Errorf("it is %s after it was refused, want it planned", got)
	}
}
