package acsx509

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// ErrLine is what a broken call of a [Fake] returns: the line was cut.
var ErrLine = errors.New("connection reset")

// Fake is a [Client] that keeps identities in memory, as ACS would, and complains
// when a promise is broken. It is safe for concurrent use.
type Fake struct {
	now      func() time.Time
	complain func(format string, args ...any)

	mu         sync.Mutex // guards all below
	ids        int64
	identities map[string][]*fakeIdentity // by host
	lost       map[string]string          // call → how the next one breaks: "lost" or "done"
	calls      []string
	stale      int   // how many of the next readings show before
	before     []Key // what stood before the last write
}

type fakeIdentity struct {
	name string
	seen []Key // what the latest reading showed
	Identity
}

// NewFake returns a Fake without identities. complain is testing.T.Errorf or alike.
func NewFake(now func() time.Time, complain func(format string, args ...any)) *Fake {
	return &Fake{now: now, complain: complain, ids: 10000000, identities: map[string][]*fakeIdentity{}, lost: map[string]string{}}
}

// Put makes an identity on a host, which may be the second of its name.
func (f *Fake) Put(host, name string, standing ...rollover.Standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids++
	i := &fakeIdentity{name: name, Identity: Identity{ID: f.ids}}
	f.identities[host] = append(f.identities[host], i)
	for _, s := range standing {
		f.add(i, s)
	}
}

// Edit changes what stands on the first identity of that name, as its owner
// would. Keys that stay keep their ids and get no new version.
func (f *Fake) Edit(host, name string, change func([]rollover.Standing) []rollover.Standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.find(host, name)[0]
	old := i.Keys
	i.Keys = nil
	for _, s := range change(standings(old)) {
		at := slices.IndexFunc(old, func(k Key) bool {
			return k.SHA256 == s.SHA256 && k.Mark == s.Mark && k.Start.Equal(s.Start) && k.End.Equal(s.End)
		})
		if at < 0 {
			f.add(i, s)
			continue
		}
		i.Keys = append(i.Keys, old[at])
		old = slices.Delete(slices.Clone(old), at, at+1)
	}
}

// Renumber gives every identity and key another id and version, as a service
// upgrade may.
func (f *Fake) Renumber() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, all := range f.identities {
		for _, i := range all {
			f.ids++
			i.ID = f.ids
			for n := range i.Keys {
				f.ids++
				i.Keys[n].ID, i.Keys[n].IdentityID, i.Keys[n].Version = f.ids, i.ID, fmt.Sprintf("v%d", f.ids)
			}
		}
	}
}

// Stale lets the next n readings show what stood before the last write, as a
// service of several machines may.
func (f *Fake) Stale(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = n
}

// Touch gives every key of the identity another version, as an edit of something
// that we do not look at does.
func (f *Fake) Touch(host, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.find(host, name) {
		for n := range i.Keys {
			f.ids++
			i.Keys[n].Version = fmt.Sprintf("v%d", f.ids)
		}
	}
}

// Standing returns what stands on the first identity of that name.
func (f *Fake) Standing(host, name string) []rollover.Standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return standings(f.find(host, name)[0].Keys)
}

// Break breaks the next call of "read", "add" or "delete": it never arrives, or
// it is done and its answer is lost.
func (f *Fake) Break(call string, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost[call] = map[bool]string{false: "lost", true: "done"}[done]
}

// Calls returns the names of all calls made so far.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Identity implements [Client].
func (f *Fake) Identity(ctx context.Context, at At, name string) (id Identity, err error) {
	err = f.call(ctx, "read", func() error {
		found := f.find(at.Host, name)
		switch {
		case f.identities[at.Host] == nil:
			return rollover.HandOver(rollover.NamespaceUnknown, fmt.Errorf("no host %s", at.Host))
		case len(found) == 0:
			return rollover.HandOver(rollover.IdentityMissing, fmt.Errorf("no service identity %q", name))
		case len(found) > 1:
			return rollover.HandOver(rollover.IdentityAmbiguous, fmt.Errorf("%d service identities %q", len(found), name))
		}
		id = Identity{ID: found[0].ID, Keys: slices.Clone(found[0].Keys)}
		if f.stale > 0 && f.before != nil {
			f.stale--
			id.Keys = slices.Clone(f.before)
		}
		found[0].seen = id.Keys
		return nil
	})
	return id, err
}

// AddKey implements [Client].
func (f *Fake) AddKey(ctx context.Context, at At, identity int64, s rollover.Standing) error {
	return f.call(ctx, "add", func() error {
		for _, i := range f.identities[at.Host] {
			if i.ID != identity {
				continue
			}
			if slices.ContainsFunc(i.seen, func(k Key) bool { return k.SHA256 == s.SHA256 }) {
				f.complain("one-effect: certificate %s was added to %s, where it was just seen", s.SHA1, i.name)
			}
			if len(s.DER) == 0 || s.Usage == "" {
				f.complain("certificate %s was added without bytes or usage (%q)", s.SHA1, s.Name)
			}
			f.before = slices.Clone(i.Keys)
			s.Mark = markIn(s.Name)
			f.add(i, s)
			return nil
		}
		return &StatusError{Op: "add", Host: at.Host, Status: 404}
	})
}

// DeleteKey implements [Client].
func (f *Fake) DeleteKey(ctx context.Context, at At, k Key) error {
	return f.call(ctx, "delete", func() error {
		for _, i := range f.identities[at.Host] {
			n := slices.IndexFunc(i.Keys, func(x Key) bool { return x.ID == k.ID })
			if n < 0 {
				continue
			}
			if k.Version != i.Keys[n].Version {
				return fmt.Errorf("%w: %w", rollover.ErrConflict, &StatusError{Op: "delete", Host: at.Host, Status: 412})
			}
			rest := slices.Delete(slices.Clone(i.Keys), n, n+1)
			if !slices.ContainsFunc(rest, func(x Key) bool { return usable(x, f.now()) }) {
				f.complain("never-both-gone: the last valid certificate of %s was deleted", i.name)
			}
			if i.Keys[n].Reserved {
				f.complain("a reserved certificate of %s was deleted", i.name)
			}
			f.before = slices.Clone(i.Keys)
			i.Keys = rest
		}
		return nil
	})
}

// call does a call, or breaks it.
func (f *Fake) call(ctx context.Context, name string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	how := f.lost[name]
	delete(f.lost, name)
	switch how {
	case "lost":
		return ErrLine
	case "done":
		_ = do() // Its answer, good or bad, is what gets lost.
		return ErrLine
	default:
		return do()
	}
}

func (f *Fake) add(i *fakeIdentity, s rollover.Standing) {
	f.ids++
	i.Keys = append(i.Keys, Key{ID: f.ids, IdentityID: i.ID, Version: fmt.Sprintf("v%d", f.ids), X509: true, Standing: s})
}

func (f *Fake) find(host, name string) (found []*fakeIdentity) {
	for _, i := range f.identities[host] {
		if i.name == name {
			found = append(found, i)
		}
	}
	return found
}

func standings(keys []Key) []rollover.Standing {
	out := make([]rollover.Standing, len(keys))
	for n, k := range keys {
		out[n] = k.Standing
	}
	return out
}
