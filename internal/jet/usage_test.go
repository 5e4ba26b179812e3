package jet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// TestCreateRotation_LeavesRoomForWhatWasBegun fills the store with rotations
// until no more are taken in. The one that was begun is worked on to its end, and
// when others are deleted new ones are taken in again.
func TestCreateRotation_LeavesRoomForWhatWasBegun(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	c.MaxStore = 4 << 20
	b := open(t, c)
	begun := 300
	planned(t, b, cert, "begun", begun)
	var tenants []string
	for i := range 4000 {
		tenants = append(tenants, fmt.Sprintf("tenant-%08d", i))
	}
	create := func(i int) error {
		n := rollovertest.NewRotation(fmt.Sprintf("r%04d", i), cert, rollovertest.Epoch)
		n.Tenants = len(tenants)
		_, err := b.CreateRotation(t.Context(), n, tenants)
		return err
	}
	var err error
	made := 0
	for err == nil && made < 1000 {
		if err = create(made); err == nil {
			made++
		}
	}
	if !errors.Is(err, rollover.ErrFull) || made == 0 {
		t.Fatalf("CreateRotation = %v after %d, want ErrFull", err, made)
	}
	if u := usage(t, b)["ROT"]; u.Bytes > u.Max/100*90 {
		t.Errorf("new rotations filled %d of %d bytes, want a tenth left", u.Bytes, u.Max)
	}
	for ord := range begun {
		stage(t, b, rollover.TaskID{Rotation: "begun", Ord: ord}, 1)
	}
	r, err := b.Rotation(t.Context(), "begun")
	if err == nil {
		_, err = b.SaveRotation(t.Context(), r)
	}
	if err != nil {
		t.Errorf("saving the rotation that was begun = %v, want it saved", err)
	}
	for i := range made {
		if err := b.DeleteRotation(t.Context(), fmt.Sprintf("r%04d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(made); err != nil {
		t.Errorf("CreateRotation after room was made = %v", err)
	}
}

// TestFreezePlan_LeavesRoomForOtherPlans freezes plans until no more find room: what
// the frozen ones have yet to write counts, and what they have written does so once.
func TestFreezePlan_LeavesRoomForOtherPlans(t *testing.T) {
	cert := newCert(t)
	c := config(t, cert)
	c.MaxStore = 4 << 20
	b := open(t, c)
	freeze := func(id string, tasks int) error {
		n := rollovertest.NewRotation(id, cert, rollovertest.Epoch)
		r, err := b.CreateRotation(t.Context(), n, []string{"a", "b"})
		if err == nil {
			r, err = r.Freeze(rollovertest.Plan(tasks), rollovertest.Epoch)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.FreezePlan(t.Context(), r, rollovertest.Plan(tasks))
		return err
	}
	u := usage(t, b)["STATE"]
	fit := int(u.Max / 100 * 90 / 900)
	if err := freeze("first", fit/2); err != nil {
		t.Fatal(err)
	}
	if err := freeze("second", fit*6/10); !errors.Is(err, rollover.ErrFull) || !strings.Contains(err.Error(), "other plans") {
		t.Errorf("a plan of %d tasks beside one of %d that has written nothing, where %d fit = %v, want ErrFull for the sake of other plans", fit*6/10, fit/2, fit, err)
	}
	for ord := range fit / 2 {
		stage(t, b, rollover.TaskID{Rotation: "first", Ord: ord}, 1)
	}
	left := int((u.Max/100*90 - usage(t, b)["STATE"].Bytes) / 900)
	if left <= fit/2 {
		t.Fatalf("%d tasks fit beside %d written ones, want more than %d, or nothing is counted twice here", left, fit/2, fit/2)
	}
	if err := freeze("third", left); err != nil {
		t.Errorf("a plan of %d tasks beside one that has written all its states = %v, want it frozen", left, err)
	}
	r, err := b.Rotation(t.Context(), "third")
	if err != nil {
		t.Fatal(err)
	}
	if err := freeze("fourth", 1); !errors.Is(err, rollover.ErrFull) {
		t.Errorf("a plan of one task where all is taken = %v, want ErrFull", err)
	}
	r.State = rollover.StateCancelled
	if _, err := b.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := freeze("fifth", left/4); err != nil {
		t.Errorf("a plan of %d tasks after the other was cancelled = %v, want it frozen", left/4, err)
	}
}

func usage(t *testing.T, b *jet.Broker) map[string]jet.Usage {
	t.Helper()
	u, err := b.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}
