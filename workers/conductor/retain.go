package conductor

import (
	"context"
	"errors"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The pace of deletion: every second a few, beside the turns, so that no rotation
// waits for it. It is a million a week.
const (
	retainEvery = time.Second
	retainMost  = 64
)

// retain has rotations deleted whose time is over. First the record says that the
// rotation is gone, under a compare-and-swap, so that one that was changed meanwhile
// stays and that nobody sees half of one; then the rest goes; long after, the
// record. A successor finds what is gone in the records and purges it once more.
func (t *turn) retain(ctx context.Context, views []mirror.View) {
	if t.cleaning != nil {
		select {
		case c := <-t.cleaning:
			t.cleaning = nil
			for _, id := range c.purge {
				t.drop(id)
				t.cleaned[id] = true
			}
			for _, id := range c.forget {
				delete(t.cleaned, id)
			}
		default:
			return
		}
	}
	if time.Since(t.looked) < min(retainEvery, 10*t.Tick) {
		return
	}
	t.looked = time.Now()
	now := t.Now()
	kept := make([]rollover.Kept, len(views))
	byID := make(map[string]rollover.Rotation, len(views))
	for i, v := range views {
		kept[i] = rollover.Kept{Rotation: v.Rotation, Counts: v.Counts}
		byID[v.Rotation.ID] = v.Rotation
	}
	discoveries := t.Mirror.Discoveries()
	found := make([]rollover.Rotation, len(discoveries))
	for i, v := range discoveries {
		found[i], byID[v.Rotation.ID] = v.Rotation, v.Rotation
	}
	var c cleaning
	for _, id := range append(t.Retention.Expired(kept, now), rollover.ExpiredDiscoveries(found, now)...) {
		if len(c.mark) < retainMost {
			c.mark = append(c.mark, byID[id])
		}
	}
	for _, g := range t.Mirror.Gone() {
		switch {
		case len(c.purge)+len(c.forget) == retainMost:
		case now.Sub(g.At) > rollover.GoneFor:
			c.forget = append(c.forget, g.ID)
		case !t.cleaned[g.ID]:
			c.purge = append(c.purge, g.ID)
		}
	}
	if len(c.mark)+len(c.purge)+len(c.forget) == 0 {
		return
	}
	ready := make(chan cleaning, 1)
	t.cleaning = ready
	t.jobs.Go(func() { ready <- t.clean(ctx, c, now) })
}

// cleaning is what one round of deletion has to do.
type cleaning struct {
	mark   []rollover.Rotation // to be deleted
	purge  []string            // gone, perhaps by a reign that ended half-way
	forget []string            // gone so long that nobody asks for them
}

// clean does one round and returns what was purged and what was forgotten. What
// fails is tried again in the next.
func (t *turn) clean(ctx context.Context, c cleaning, now time.Time) (done cleaning) {
	purge := c.purge
	n := 0
	for _, r := range c.mark {
		gone, err := r.Forget(now)
		if err == nil {
			_, err = t.Store.SaveRotation(ctx, gone)
		}
		if err != nil {
			t.badly(ctx, r.ID, err)
			continue
		}
		t.Log.InfoContext(ctx, "rotation deleted, as the retention says", "rotation", r.ID, "ended", r.EndedAt)
		purge = append(purge, r.ID)
		n++
	}
	if n > 0 && t.Deleted != nil {
		t.Deleted(n)
	}
	for _, id := range purge {
		if err := t.Store.DeleteRotation(ctx, id); err != nil {
			t.badly(ctx, id, err)
			continue
		}
		done.purge = append(done.purge, id)
	}
	for _, id := range c.forget {
		if err := t.Store.ForgetRotation(ctx, id); err != nil {
			t.badly(ctx, id, err)
			continue
		}
		t.Mirror.Forgotten(id)
		done.forget = append(done.forget, id)
	}
	return done
}

// badly logs why a rotation could not be deleted. One that was changed meanwhile is
// no failure.
func (t *turn) badly(ctx context.Context, id string, err error) {
	if !errors.Is(err, rollover.ErrConflict) && ctx.Err() == nil {
		t.Log.WarnContext(ctx, "rotation is not deleted yet; trying on", "rotation", id, "err", err)
	}
}

// drop forgets what this reign remembers of a rotation that was deleted.
func (t *turn) drop(id string) {
	delete(t.tenants, id)
	delete(t.said, id)
	delete(t.said, id+" (check)")
	delete(t.times, id)
	delete(t.recalled, id)
	delete(t.scans, id)
	delete(t.limiters, id)
	delete(t.freezing, id)
	for u := range t.undoing {
		if u.rotation == id {
			delete(t.undoing, u)
		}
	}
}
