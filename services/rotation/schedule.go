package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/calendar"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// shelf keeps schedules that were read, by rotation: a spec never changes, and
// reading its calendars for each answer would be slow.
type shelf struct {
	mu   sync.Mutex // guards read
	read map[string]*schedule
}

// schedule is what became of reading one.
type schedule struct {
	calendar *calendar.Calendar
	table    rollover.Timetable
	broken   error
}

// maxShelf bounds how many schedules are kept; then all are forgotten.
const maxShelf = 256

func newShelf() *shelf { return &shelf{read: map[string]*schedule{}} }

// readSchedule reads the schedule of a spec. Of one that cannot be read, no hour is
// open.
func readSchedule(s rollover.Schedule) *schedule {
	out := &schedule{table: rollover.AnyTime()}
	if s.Empty() {
		return out
	}
	if out.calendar, out.broken = calendar.Read(s); out.broken == nil {
		out.table = out.calendar.Timetable()
	} else {
		out.table = rollover.Timetable{Regular: rollover.Never{}, OffHours: rollover.Never{}}
	}
	return out
}

// of returns the schedule of a rotation.
func (s *shelf) of(r rollover.Rotation) *schedule {
	if r.Spec.Schedule.Empty() || r.ID == "" {
		return readSchedule(r.Spec.Schedule)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.read[r.ID]
	if got == nil {
		if len(s.read) >= maxShelf {
			clear(s.read)
		}
		got = readSchedule(r.Spec.Schedule)
		s.read[r.ID] = got
	}
	return got
}

// show returns a rotation as callers see it, with what depends on the time: whether
// its schedule is open, and when it will be done.
func (s *Service) show(ctx context.Context, v mirror.View) *pb.Rotation {
	p, now := rotationProto(v.Rotation, v.Counts), s.c.Now()
	sch := s.shelf.of(v.Rotation)
	p.ScheduleStatus = statusProto(v.Rotation, sch.calendar, sch.broken, now)
	f, left := rollover.Predict(v.Rotation, v.Counts, v.Trail, sch.table, now)
	p.Forecast = forecastProto(v.Rotation, f, left, now)
	p.Containment = containmentProto(v.Rotation, v.Counts, now)
	if v.Rotation.State == rollover.StatePlanned {
		p.ApprovalsNeeded = s.tellNeeded(ctx, v)
	}
	return p
}

// untimely says what is wrong with the deadline and the schedule of a spec.
func untimely(spec rollover.Spec, now time.Time) []*edge.Violation {
	const at = "rotation.spec.schedule."
	var vs []*edge.Violation
	switch d := spec.StageDeadline; {
	case d.IsZero():
	case !d.After(now):
		vs = append(vs, edge.Violated(at+"stage_deadline", "RANGE", "must lie ahead; it is "+now.UTC().Format(time.RFC3339)))
	case d.After(spec.New.NotAfter):
		vs = append(vs, edge.Violated(at+"stage_deadline", "RANGE", "must not be after the new certificate ends, "+spec.New.NotAfter.UTC().Format(time.RFC3339)))
	case spec.Retires() && d.After(spec.RetireNotBefore):
		vs = append(vs, edge.Violated(at+"stage_deadline", "RANGE", fmt.Sprintf(
			"must not be after retire_not_before, %s: by then every target is to have the new certificate", spec.RetireNotBefore.UTC().Format(time.RFC3339))))
	}
	cal, err := calendar.Read(spec.Schedule)
	var f *calendar.FieldError
	switch {
	case errors.As(err, &f):
		return append(vs, edge.Violated(at+f.Field, "FORMAT", f.Why))
	case err != nil:
		return append(vs, edge.Violated(at+"windows", "FORMAT", err.Error()))
	}
	if st := cal.At(now); st.Err != nil {
		return append(vs, edge.Violated(at+"windows", "RANGE", st.Err.Error()))
	}
	if _, ok := cal.NextOpen(now); !ok {
		vs = append(vs, edge.Violated(at+"windows", "RANGE", fmt.Sprintf("never open within %d years: either they are over, or freezes cover them", calendar.Sight)))
	}
	return vs
}

// inTime returns an error with the arithmetic if so many tasks cannot be done until
// the deadline, begun now.
func (s *Service) inTime(spec rollover.Spec, tasks int, now time.Time) error {
	if spec.StageDeadline.IsZero() {
		return nil
	}
	return spec.EstimateFrom(now, tasks, float64(spec.Limits.StartsPerSecond), readSchedule(spec.Schedule).table).Err()
}

// workable returns how many tasks of a rotation are to be worked on, where a
// deadline makes that matter.
func (s *Service) workable(ctx context.Context, name string) (int, error) {
	id, _ := edge.ParseRotation(name)
	r, err := s.c.Store.Rotation(ctx, id)
	if err != nil {
		return 0, edge.About(name, err)
	}
	if r.Spec.StageDeadline.IsZero() || r.Digest == "" { // Without a plan nothing is started.
		return 0, nil
	}
	v, err := s.view(ctx, id)
	if err != nil {
		return 0, edge.About(name, err)
	}
	return v.Counts.Workable, nil
}
