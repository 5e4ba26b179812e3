package jet_test

import (
	"errors"
	"fmt"
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

func usage(t *testing.T, b *jet.Broker) map[string]jet.Usage {
	t.Helper()
	u, err := b.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}
