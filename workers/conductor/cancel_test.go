package conductor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestConductor_CancelEndsEveryTaskWhereItStands(t *testing.T) {
	h := newHouse(t, 25)
	h.conduct("c1")
	h.plan()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.rotate()
	h.until("r1", "under way", func(v mirror.View) bool { return v.Counts.Phases[rollover.Activated] > 0 })
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	v := h.until("r1", "cancelled", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateCancelled && v.Counts.OpenTasks == 0
	})
	if v.Counts.Outcome(rollover.Cancelled) != 25 {
		t.Errorf("%d tasks cancelled, want 25", v.Counts.Outcome(rollover.Cancelled))
	}
	ks, err := h.mirror.Tasks(t.Context(), "r1", 0, 25)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		_, stands := h.cloud.Standing(k.Item.Target).Find(h.fresh.SHA256)
		if told := k.Phase != rollover.Planned; told != stands {
			t.Errorf("task %d says %q, but that the new credential stands is %v", k.ID.Ord, k.Detail, stands)
		}
	}
	h.ledger.Check(t, "r1")
}

// A cancel waits for what a worker has in hand: the record of that target says
// what became of it.
func TestConductor_CancelWaitsForWhatIsInHand(t *testing.T) {
	h := newHouse(t, 4)
	entered, release := make(chan struct{}, 8), make(chan struct{})
	h.cloud.Fault = &rollovertest.Faults{Break: func(_ int, call string) (rollovertest.Mode, bool) {
		if call == "add" {
			entered <- struct{}{}
			<-release
		}
		return 0, false
	}}
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.create("r1")
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	<-entered
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	h.until("r1", "being cancelled", state(rollover.StateCancelling))
	turns := time.NewTicker(20 * time.Millisecond) // As the conductor's.
	defer turns.Stop()
	for range 15 {
		<-turns.C
		if v, err := h.mirror.Rotation(t.Context(), "r1"); err != nil || v.Counts.Outcome(rollover.Cancelled) != 0 {
			t.Fatalf("%d tasks cancelled, %v, while a worker has one in hand", v.Counts.Outcome(rollover.Cancelled), err)
		}
	}
	close(release)
	h.until("r1", "cancelled", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateCancelled && v.Counts.OpenTasks == 0
	})
	ks, err := h.mirror.Tasks(t.Context(), "r1", 0, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		if _, stands := h.cloud.Standing(k.Item.Target).Find(h.fresh.SHA256); stands != (k.Phase != rollover.Planned) {
			t.Errorf("task %d says %s, but that the new credential stands is %v", k.ID.Ord, k.Phase, stands)
		}
	}
}

// A task whose addition was not answered is looked at before it ends as cancelled.
func TestConductor_CancelLooksWhereNothingIsKnown(t *testing.T) {
	h := newHouse(t, 6)
	h.driver = unanswering{h.cloud, h.hosts[0]}
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.create("r1", func(s *rollover.Spec) { s.MaxTries, s.Strategy.Start = 20, rollover.FullStart })
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.until("r1", "tried", func(mirror.View) bool { return len(h.cloud.Journal()) == 6 })
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	h.until("r1", "cancelled", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateCancelled && v.Counts.Outcome(rollover.Cancelled) == 6
	})
	h.ledger.Check(t, "r1")
	ks, err := h.mirror.Tasks(t.Context(), "r1", 0, 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		if !k.Added || k.Phase == rollover.Planned {
			t.Errorf("task %d ended in %s, added %t: %q; the certificate stands there", k.ID.Ord, k.Phase, k.Added, k.Detail)
		}
	}
}

// unanswering is a driver whose additions are done and never answered, but for those
// to one target.
type unanswering struct {
	rollover.Driver
	but rollover.Target
}

func (d unanswering) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	added, err := d.Driver.Stage(ctx, w)
	if err != nil || w.Target == d.but {
		return added, err
	}
	return false, errors.New("no answer")
}

// A cancellation does not wait for ever for targets that cannot be read, and says
// then that it does not know.
func TestConductor_CancelOfWhatCannotBeRead(t *testing.T) {
	h := newHouse(t, 2)
	h.driver = silent{h.cloud}
	h.lookFor = 300 * time.Millisecond
	h.conduct("c1")
	h.rotate()
	h.plan()
	h.create("r1", func(s *rollover.Spec) { s.MaxTries = 20 })
	h.until("r1", "planned", state(rollover.StatePlanned))
	h.start("r1")
	h.until("r1", "tried", func(v mirror.View) bool { return h.mirror.Row(rollover.TaskID{Rotation: "r1"}).Tries > 0 })
	h.change("r1", func(r rollover.Rotation) (rollover.Rotation, error) { return r.Cancel("enough", h.clock.Now()) })
	h.until("r1", "cancelled", func(v mirror.View) bool {
		return v.Rotation.State == rollover.StateCancelled && v.Counts.Outcome(rollover.Cancelled) == 2
	})
	for ord := range 2 {
		row := h.mirror.Row(rollover.TaskID{Rotation: "r1", Ord: ord})
		if tried := row.Tries > 0 || row.Looks > 0; (row.Reason == rollover.NotKnown) != tried || ord == 0 && !tried {
			t.Errorf("task %d with %d tries says %q", ord, row.Tries, row.Detail)
		}
	}
}

// silent is a driver whose targets never answer.
type silent struct{ rollover.Driver }

func (silent) Stage(context.Context, rollover.Work) (bool, error) {
	return false, errors.New("no answer")
}
func (silent) Observe(context.Context, rollover.Work) (rollover.Observation, error) {
	return rollover.Observation{}, errors.New("no answer")
}
