package rollovertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Kind is the kind of credential that a [Cloud] keeps.
const Kind = "acs-x509"

// Write is one effect on a target of a [Cloud].
type Write struct {
	At     time.Time
	Target rollover.Target
	Op     string // "add" or "delete"
	SHA256 string
	Before []rollover.Standing // what stood there
}

// Cloud is a target service and the driver for it, in memory. It has three
// calls, as the real one has: list, add and delete. Add makes a second copy if
// it is called twice: only the driver's care keeps it at one.
type Cloud struct {
	Now func() time.Time
	// Fault is asked before every call and may break it. Nil: nothing breaks.
	Fault *Faults

	mu       sync.Mutex // guards the rest
	standing map[rollover.Target][]rollover.Standing
	journal  []Write
}

// NewCloud returns a cloud without targets.
func NewCloud(now func() time.Time) *Cloud {
	return &Cloud{Now: now, standing: map[rollover.Target][]rollover.Standing{}}
}

// Set makes a target hold the given credentials, as if its owner had done it.
func (c *Cloud) Set(t rollover.Target, s ...rollover.Standing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.standing[t] = slices.Clone(s)
}

// Standing returns what a target holds.
func (c *Cloud) Standing(t rollover.Target) rollover.Observation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rollover.Observation{Standing: slices.Clone(c.standing[t])}
}

// Journal returns every write in order.
func (c *Cloud) Journal() []Write {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.journal)
}

// Stand returns a credential as it stands on a target, with the certificate's
// own dates.
func Stand(c rollover.Credential) rollover.Standing {
	return rollover.Standing{Credential: c, Start: c.NotBefore, End: c.NotAfter}
}

func (c *Cloud) list(ctx context.Context, t rollover.Target) (o rollover.Observation, err error) {
	err = c.Fault.Call(ctx, "list", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		s, ok := c.standing[t]
		if !ok {
			return rollover.HandOver(rollover.IdentityMissing, fmt.Errorf("no identity %s", t))
		}
		o.Standing = slices.Clone(s)
		return nil
	})
	if err != nil {
		return rollover.Observation{}, err
	}
	return o, nil
}

func (c *Cloud) add(ctx context.Context, t rollover.Target, s rollover.Standing) error {
	return c.Fault.Call(ctx, "add", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.journal = append(c.journal, Write{c.Now(), t, "add", s.SHA256, slices.Clone(c.standing[t])})
		c.standing[t] = append(c.standing[t], s)
		return nil
	})
}

func (c *Cloud) delete(ctx context.Context, t rollover.Target, sha string) error {
	return c.Fault.Call(ctx, "delete", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.IndexFunc(c.standing[t], func(s rollover.Standing) bool { return s.SHA256 == sha })
		if i < 0 {
			return nil // Gone is what was wanted.
		}
		c.journal = append(c.journal, Write{c.Now(), t, "delete", sha, slices.Clone(c.standing[t])})
		c.standing[t] = slices.Delete(slices.Clone(c.standing[t]), i, i+1)
		return nil
	})
}

// Observe implements [rollover.Driver].
func (c *Cloud) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	return c.list(ctx, w.Target)
}

// Stage implements [rollover.Driver].
func (c *Cloud) Stage(ctx context.Context, w rollover.Work) (bool, error) {
	o, err := c.list(ctx, w.Target)
	if err != nil {
		return false, err
	}
	if w.Observed != "" && o.Digest(w.New.SHA256) != w.Observed {
		return false, rollover.Changed(rollover.ChangedSincePlan, fmt.Errorf("%s is not as planned", w.Target))
	}
	if s, ok := o.Find(w.New.SHA256); ok {
		return s.Mark == w.Rotation, nil
	}
	s := Stand(w.New)
	s.Mark = w.Rotation
	return true, c.add(ctx, w.Target, s)
}

// Verify implements [rollover.Driver].
func (c *Cloud) Verify(ctx context.Context, w rollover.Work) (rollover.Evidence, error) {
	o, err := c.list(ctx, w.Target)
	if err != nil {
		return rollover.Evidence{}, err
	}
	s, ok := o.Find(w.New.SHA256)
	if !ok || string(s.DER) != string(w.New.DER) {
		return rollover.Evidence{}, fmt.Errorf("new credential is not on %s", w.Target)
	}
	for _, old := range w.Old {
		if _, ok := o.Find(old.SHA256); !ok {
			return rollover.Evidence{}, rollover.Changed(rollover.ChangedSincePlan, fmt.Errorf("%s is gone from %s", old.SHA1, w.Target))
		}
	}
	return rollover.Evidence{Kind: rollover.Listed, At: w.Now}, nil
}

// Activate implements [rollover.Driver]: the sender switches by itself.
func (c *Cloud) Activate(context.Context, rollover.Work) error { return nil }

// SelfSwitching implements [rollover.SelfSwitching].
func (c *Cloud) SelfSwitching() bool { return true }

// Retire implements [rollover.Driver].
func (c *Cloud) Retire(ctx context.Context, w rollover.Work) ([]string, error) {
	o, err := c.list(ctx, w.Target)
	if err != nil {
		return nil, err
	}
	if err := w.ReadyToRetire(o); err != nil {
		return nil, err
	}
	var removed []string
	for _, old := range w.Old {
		for range holds(o.Standing, old.SHA256) {
			if err := c.delete(ctx, w.Target, old.SHA256); err != nil {
				return nil, err
			}
		}
		removed = append(removed, old.SHA256)
	}
	return removed, nil
}

// Restore implements [rollover.Driver].
func (c *Cloud) Restore(ctx context.Context, w rollover.Work) error {
	o, err := c.list(ctx, w.Target)
	if err != nil {
		return err
	}
	if !oldValid(append(slices.Clone(o.Standing), w.Restore...), w) {
		return rollover.Permanent(rollover.Refused, fmt.Errorf("no old credential of %s is valid", w.Target))
	}
	for _, s := range w.Restore {
		if len(s.DER) == 0 {
			return rollover.Permanent(rollover.Refused, fmt.Errorf("no bytes to put back on %s", w.Target))
		}
		if holds(o.Standing, s.SHA256) >= holds(w.Restore, s.SHA256) {
			continue
		}
		if err := c.add(ctx, w.Target, s); err != nil {
			return err
		}
		o.Standing = append(o.Standing, s)
	}
	return nil
}

// Undo implements [rollover.Driver].
func (c *Cloud) Undo(ctx context.Context, w rollover.Work) error {
	o, err := c.list(ctx, w.Target)
	if err != nil {
		return err
	}
	s, ok := o.Find(w.New.SHA256)
	if !ok || s.Mark != w.Rotation {
		return nil
	}
	asPlanned := w.Observed != "" && o.Digest(w.New.SHA256) == w.Observed
	sameSubject := func(s rollover.Standing) bool {
		return s.SHA256 != w.New.SHA256 && s.Subject == w.New.Subject && s.ValidAt(w.Now)
	}
	if !oldValid(o.Standing, w) || len(w.Old) == 0 && !asPlanned && !slices.ContainsFunc(o.Standing, sameSubject) {
		return rollover.Permanent(rollover.Refused, fmt.Errorf("no old credential of %s is valid", w.Target))
	}
	for _, other := range o.Standing {
		if other.SHA256 != w.New.SHA256 && other.ValidAt(w.Now) {
			return c.delete(ctx, w.Target, w.New.SHA256)
		}
	}
	return rollover.Permanent(rollover.Refused, fmt.Errorf("the credential is the last valid one on %s", w.Target))
}

// oldValid reports whether one of w.Old is valid among those standing, or none is
// named.
func oldValid(standing []rollover.Standing, w rollover.Work) bool {
	return len(w.Old) == 0 || slices.ContainsFunc(standing, func(s rollover.Standing) bool {
		return s.ValidAt(w.Now) && slices.ContainsFunc(w.Old, func(c rollover.Credential) bool { return c.SHA256 == s.SHA256 })
	})
}
