package jet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Workers say what room they have, at once when they are asked, and that they are
// gone.
func TestRoom_IsThatOfAllWorkers(t *testing.T) {
	b := open(t, listening(t))
	other := joined(t, b, listening(t))
	idle := func(ctx context.Context, d *jet.Delivery) { _ = d.Done(ctx) }
	stop := consuming(t, b, 40, idle)
	consuming(t, other, 8, idle)
	for name, x := range map[string]*jet.Broker{"same": b, "other": other} {
		eventually(t, "the "+name+" broker to hear both", func() bool {
			r, err := x.Room(jet.Tasks)
			return err == nil && r == jet.Room{Hands: 48, Waiting: 18}
		})
	}
	stop()
	eventually(t, "one to be gone", func() bool {
		r, err := other.Room(jet.Tasks)
		return err == nil && r == jet.Room{Hands: 8, Waiting: 8}
	})
	if r, err := b.Room(jet.Plans); err != nil || r != (jet.Room{}) {
		t.Errorf("Room of planning = %+v, %v, want none", r, err)
	}
	if _, err := b.Room("x"); err == nil {
		t.Error("Room of an unknown queue = nil, want an error")
	}
}

// With every hand and every place to wait taken by bulk work that does not move, an
// urgent nudge is handed out, and no more bulk ones.
func TestConsume_UrgentHasHandsOfItsOwn(t *testing.T) {
	b := open(t, listening(t))
	begun, release := make(chan rollover.Nudge, 64), make(chan struct{})
	const slots, waiting = 4, 8
	consuming(t, b, slots, func(ctx context.Context, d *jet.Delivery) {
		begun <- d.Nudge
		if !d.Nudge.Urgent {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		_ = d.Done(ctx)
	})
	for i := range slots + waiting {
		if err := b.NudgeTask(t.Context(), fmt.Sprintf("bulk%d", i), rollover.Nudge{Rotation: "bulk", Ord: i}); err != nil {
			t.Fatal(err)
		}
	}
	for range slots {
		wait(t, begun, "a bulk nudge")
	}
	for i := range 3 {
		if err := b.NudgeTask(t.Context(), fmt.Sprintf("urgent%d", i), rollover.Nudge{Rotation: "urgent", Ord: i, Urgent: true}); err != nil {
			t.Fatal(err)
		}
		if n := wait(t, begun, "the urgent nudge"); !n.Urgent {
			t.Errorf("%+v was begun while all hands were taken, want the urgent one", n)
		}
	}
	close(release)
	for range waiting {
		wait(t, begun, "the bulk nudges that waited")
	}
}

// A nudge that waits for a hand when its worker ends goes to another at once.
func TestConsume_WhatWaitsIsGivenBack(t *testing.T) {
	c := listening(t)
	c.AckWait = patience // Too long to be waited for.
	b := open(t, c)
	begun := make(chan int, 8)
	stop := consuming(t, b, 1, func(ctx context.Context, d *jet.Delivery) {
		begun <- d.Nudge.Ord
		<-ctx.Done()
		_ = d.Done(ctx)
	})
	for i := range 2 {
		if err := b.NudgeTask(t.Context(), fmt.Sprintf("host%d", i), rollover.Nudge{Rotation: "r", Ord: i}); err != nil {
			t.Fatal(err)
		}
	}
	first := wait(t, begun, "one of them")
	// Nudges are handed out in their order: when this one is, the other one waits here.
	if err := b.NudgeTask(t.Context(), "urgent", rollover.Nudge{Rotation: "r", Ord: 2, Urgent: true}); err != nil {
		t.Fatal(err)
	}
	if n := wait(t, begun, "the urgent one"); n != 2 {
		t.Fatalf("nudge %d was begun, want the urgent one", n)
	}
	stop()
	at := time.Now()
	consuming(t, b, 1, func(ctx context.Context, d *jet.Delivery) { begun <- d.Nudge.Ord; _ = d.Done(ctx) })
	if n := wait(t, begun, "the one that waited"); n == first || time.Since(at) > patience/2 {
		t.Errorf("nudge %d came after %s, want the one that waited at once", n, time.Since(at))
	}
}
