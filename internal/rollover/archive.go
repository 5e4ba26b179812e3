package rollover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Vault keeps the public bytes of credentials that are removed, by their SHA-256.
type Vault interface {
	// Keep stores the bytes of c. When it returns nil they are there for good.
	// The same again changes nothing.
	Keep(ctx context.Context, c Credential) error
	// Kept returns what was stored, with its bytes, or [ErrNotFound].
	Kept(ctx context.Context, sha256 string) (Credential, error)
}

// Archive says what stood on a target of the credentials that are retired. It is
// saved before the first of them is removed, so that no crash loses it; their
// bytes are in a [Vault].
type Archive struct {
	At    time.Time     `json:"at"`              // when they were removed; until then, when it was made
	Ready bool          `json:"ready,omitempty"` // nothing was tried since it was made
	Keys  []ArchivedKey `json:"keys,omitempty"`
}

// ArchivedKey is one credential as it stood on a target; one that stood there
// twice is there twice.
type ArchivedKey struct {
	SHA256 string    `json:"sha256"`
	Start  time.Time `json:"start"` // the dates that the target kept for it
	End    time.Time `json:"end"`
	Name   string    `json:"name,omitempty"`
	Usage  string    `json:"usage,omitempty"`
}

// same reports whether a and b stand alike.
func (a ArchivedKey) same(b ArchivedKey) bool {
	return a.SHA256 == b.SHA256 && a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.Name == b.Name && a.Usage == b.Usage
}

// stale returns a copy that has to be made anew before anything is removed.
func (a *Archive) stale() *Archive {
	if a == nil || !a.Ready {
		return a
	}
	return &Archive{At: a.At, Keys: a.Keys}
}

// with returns the keys of a and those that stand now, each as often as it stood
// at most: what an earlier try of Retire removed stays in it.
func (a *Archive) with(standing []ArchivedKey) []ArchivedKey {
	var missing []ArchivedKey
	if a != nil {
		missing = slices.Clone(a.Keys)
	}
	for _, s := range standing {
		if i := slices.IndexFunc(missing, s.same); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		}
	}
	return append(missing, standing...)
}

// archive keeps what stands of the credentials that Retire is about to remove.
func (e *Engine) archive(ctx context.Context, d Driver, k Task, w Work) (Task, error) {
	var standing []ArchivedKey
	if e.c.Archive != nil {
		o, err := d.Observe(ctx, w)
		if err != nil {
			return k, err
		}
		for _, s := range o.Standing {
			if s.Reserved || !slices.ContainsFunc(w.Old, func(c Credential) bool { return c.SHA256 == s.SHA256 }) {
				continue
			}
			if len(s.DER) == 0 {
				return k, Permanent(Refused, fmt.Errorf("certificate %s on %s cannot be read, so it could not be put back; rotate without an undo window", s.SHA1, w.Target))
			}
			if err := e.c.Archive.Keep(ctx, s.Credential); err != nil {
				return k, fmt.Errorf("keeping certificate %s: %w", s.SHA1, err)
			}
			standing = append(standing, ArchivedKey{SHA256: s.SHA256, Start: s.Start, End: s.End, Name: s.Name, Usage: s.Usage})
		}
	}
	k.Archive = &Archive{At: e.c.Now(), Ready: true, Keys: k.Archive.with(standing)}
	return k, nil
}

// stalePause is how long after a removal the target is left alone before it is
// asked what has to be put back. Such a service may answer with what stood there a
// moment ago; believing that, ours would be taken away with the old one gone.
const stalePause = 5 * time.Second

// restore puts back what was removed. It only adds.
func (e *Engine) restore(ctx context.Context, d Driver, k Task, w Work) (Task, error) {
	if why := k.NotUndoable(k.Orders.UndoWindow, w.Now); why != "" {
		return k, Permanent(UndoWindowOver, errors.New(why))
	}
	if wait := k.Archive.At.Add(stalePause).Sub(w.Now); wait > 0 {
		return k, RetryAfter(wait, fmt.Errorf("the old certificates of %s may just have been removed: %w", w.Target, errNotYet))
	}
	for _, a := range k.Archive.Keys {
		if e.c.Archive == nil {
			return k, Permanent(UndoWindowOver, errors.New("there is no archive"))
		}
		c, err := e.c.Archive.Kept(ctx, a.SHA256)
		if errors.Is(err, ErrNotFound) {
			return k, Permanent(UndoWindowOver, fmt.Errorf("certificate %s is not in the archive: %w", a.SHA256, err))
		}
		if err != nil {
			return k, fmt.Errorf("reading certificate %s of the archive: %w", a.SHA256, err)
		}
		if err := e.restorable(ctx, c); err != nil {
			return k, err
		}
		w.Restore = append(w.Restore, Standing{Credential: c, Start: a.Start, End: a.End, Name: a.Name, Usage: a.Usage})
	}
	if len(w.Restore) > 0 {
		if err := d.Restore(ctx, w); err != nil {
			return k, err
		}
	}
	k.Archive, k.Removed = nil, nil
	return k, nil
}

// restorable returns an error if the block list has c: not even an undo puts back
// what is on it. Where the list cannot be read nothing is put back, and no try is
// used up.
func (e *Engine) restorable(ctx context.Context, c Credential) error {
	if e.c.Blocks == nil {
		return nil
	}
	why, blocked, err := e.c.Blocks.Blocked(ctx, c)
	switch {
	case err != nil:
		return RetryAfter(siblingPause, fmt.Errorf("asking the block list for certificate %s: %w: %w", c.SHA1, err, errNotYet))
	case blocked:
		return Permanent(Blocked, fmt.Errorf("certificate %s is not put back: %s", c.SHA1, why.Entry))
	default:
		return nil
	}
}

// siblingPause is after how long it is looked again whether the other targets of
// an endpoint have their old credentials back.
const siblingPause = 2 * time.Second

// errNotYet says that something else has to happen before: to wait for that is no
// failed try. It never leaves the engine.
var errNotYet = errors.New("not yet")

// undo takes away what this rotation added, once every target of every endpoint
// behind this one has its old credentials back: a sender that still uses the new
// one must not lose it here while the old one is missing there.
func (e *Engine) undo(ctx context.Context, d Driver, k Task, w Work) (Task, error) {
	if why := k.NotUndoable(k.Orders.UndoWindow, w.Now); why != "" {
		return k, Permanent(UndoWindowOver, errors.New(why))
	}
	for _, ord := range k.Item.Siblings {
		s, err := e.c.Store.Task(ctx, TaskID{k.ID.Rotation, ord})
		switch {
		case err != nil:
			return k, fmt.Errorf("reading sibling %d: %w", ord, err)
		case s.Archive == nil && (s.Phase != Retired || len(s.Removed) == 0):
		case s.Undo != k.Undo: // It is not marked yet.
			return k, RetryAfter(siblingPause, fmt.Errorf("%s is not being undone", s.Item.Target))
		case s.Outcome == Open:
			return k, RetryAfter(siblingPause, fmt.Errorf("%s has not got its old certificates back: %w", s.Item.Target, errNotYet))
		default:
			return k, Permanent(Refused, fmt.Errorf("%s has not got its old certificates back, so the new one stays here", s.Item.Target))
		}
	}
	if err := d.Undo(ctx, w); err != nil {
		return k, err
	}
	k.Phase, k.Added, k.Evidence = Planned, false, nil
	k.Outcome, k.Reason, k.Detail = Undone, ByRequest, ""
	k.Tries, k.NextAt, k.Doubted = 0, time.Time{}, false
	return k, nil
}
