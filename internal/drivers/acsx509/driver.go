// Package acsx509 replaces X.509 certificates on service identities of the Azure
// Access Control Service (ACS 2.0), which ran until 2018-11-07. Adding one is
// safe at any time: ACS tries every certificate of an identity that is valid.
//
// The driver keeps nothing between calls but management tokens. What is ours on
// a target is said there, by the display name of the key.
package acsx509

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Kind names this driver's kind of credential.
const Kind = "acs-x509"

// markPrefix begins the display name of every key that we add; the rotation's id
// follows. It is how a later call, whose forerunner's answer was lost, knows the
// key as ours, and how Undo knows what it may remove.
const markPrefix = "Crossfade "

// markIn returns the rotation id in a display name, "" where there is none.
func markIn(displayName string) string {
	id, ours := strings.CutPrefix(displayName, markPrefix)
	if !ours {
		return ""
	}
	return id
}

// maxRounds bounds how often a removal reads the target again, because someone
// else changed it meanwhile or a reading was stale. The engine tries again later.
const maxRounds = 3

// Driver is the [rollover.Driver] for certificates in ACS.
type Driver struct {
	client Client
	kit    kit.Kit
}

// Open returns the driver for its part of the configuration, see [Config].
func Open(raw []byte, k kit.Kit) (rollover.Driver, error) {
	cfg := Defaults()
	if err := kit.Decode(raw, &cfg); err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	k, err := k.Check()
	if err != nil {
		return nil, err
	}
	c, err := newAPI(cfg, k)
	if err != nil {
		return nil, err
	}
	return &Driver{client: c, kit: k}, nil
}

// New returns a driver with a client of its own, such as a [Fake].
func New(c Client, now func() time.Time) *Driver {
	k, _ := kit.Kit{Now: now}.Check() // It has no way out of its own and needs none.
	return &Driver{client: c, kit: k}
}

// Observe implements [rollover.Driver].
func (d *Driver) Observe(ctx context.Context, w rollover.Work) (rollover.Observation, error) {
	id, err := d.look(ctx, w)
	return observation(id, w), mark(err)
}

// Stage implements [rollover.Driver]. ACS may have made the key although its
// answer was an error, so we look before every create; a blind retry would leave
// two. A key that stands is never rewritten, whoever made it. Stage does not read
// back what it wrote: Verify does, always, and nothing rests on less.
func (d *Driver) Stage(ctx context.Context, w rollover.Work) (added bool, err error) {
	if len(w.New.DER) == 0 || w.Rotation == "" {
		return false, rollover.Permanent(rollover.Refused, errors.New("staging without a certificate's bytes or a rotation's id"))
	}
	id, err := d.look(ctx, w)
	if err != nil {
		return false, mark(err)
	}
	if present, ours := stands(id, w); present {
		return ours, nil
	}
	if o := observation(id, w); w.Observed != "" && o.Digest(w.New.SHA256) != w.Observed {
		return false, rollover.Changed(rollover.ChangedSincePlan,
			fmt.Errorf("%s holds %d certificates that are not those of the plan", w.Target, len(o.Standing)))
	}
	if w.Careful {
		return false, fmt.Errorf("the new certificate may have been added to %s before: %w", w.Target, rollover.ErrUnseen)
	}
	if err = d.client.AddKey(ctx, place(w), id.ID, fresh(w)); err == nil {
		return true, nil
	}
	// It may have been done all the same, or someone else was faster. A look now
	// tells, most times; where it does not, the next call begins with one.
	if again, lookErr := d.look(ctx, w); lookErr == nil {
		if present, ours := stands(again, w); present {
			return ours, nil
		}
	}
	if statusOf(err) == http.StatusNotFound { // The identity was renumbered meanwhile.
		return false, fmt.Errorf("adding to an identity that has moved: %w", err)
	}
	return false, mark(err)
}

// fresh returns the new certificate as we add it: with its own dates, and with our
// mark for a name.
func fresh(w rollover.Work) rollover.Standing {
	return rollover.Standing{
		Credential: w.New, Start: w.New.NotBefore, End: w.New.NotAfter,
		Mark: w.Rotation, Name: markPrefix + w.Rotation, Usage: usageSigning,
	}
}

// stands reports whether the new certificate is on the identity, and whether a
// copy of it is there by this rotation's doing.
func stands(id Identity, w rollover.Work) (present, ours bool) {
	for _, k := range id.Keys {
		if k.SHA256 == w.New.SHA256 {
			present = true
			ours = ours || k.Mark == w.Rotation
		}
	}
	return present, ours
}

// Verify implements [rollover.Driver]. A new key that is not there yet is no
// reason to give up at once: ACS may answer from a stale copy.
func (d *Driver) Verify(ctx context.Context, w rollover.Work) (rollover.Evidence, error) {
	id, err := d.look(ctx, w)
	if err != nil {
		return rollover.Evidence{}, mark(err)
	}
	at := d.kit.Now()
	detail, err := proof(id, w)
	if err != nil {
		return rollover.Evidence{}, err
	}
	if err := oldStand(id, w); err != nil {
		return rollover.Evidence{}, err
	}
	ev := rollover.Evidence{Kind: rollover.Listed, At: at, Detail: detail}
	if !w.New.ValidAt(at) {
		return ev, nil
	}
	tried, err := d.kit.Try(ctx, w.Target, w.New)
	if err != nil {
		return rollover.Evidence{}, fmt.Errorf("trying the new certificate on %s: %w", w.Target, err)
	}
	if tried {
		ev.Kind = rollover.Tried
	}
	return ev, nil
}

// proof returns the ids of the keys that are the new certificate with its dates,
// or why there is no proof. One good copy is proof, whatever else stands.
func proof(id Identity, w rollover.Work) (string, error) {
	var good []string
	var wrong error
	for _, k := range id.Keys {
		switch {
		case k.SHA256 != w.New.SHA256:
		case string(k.DER) != string(w.New.DER), !sameDates(k.Standing, w.New):
			wrong = fmt.Errorf("key %d on %s is kept from %s to %s, the certificate is valid from %s to %s", k.ID, w.Target,
				stamp(k.Start), stamp(k.End), stamp(w.New.NotBefore), stamp(w.New.NotAfter))
		default:
			good = append(good, fmt.Sprintf("%d", k.ID))
		}
	}
	switch {
	case len(good) > 0:
		slices.Sort(good)
		return "key " + strings.Join(good, " and "), nil
	case wrong != nil:
		return "", rollover.Permanent(rollover.VerificationFailed, wrong)
	default:
		return "", fmt.Errorf("the new certificate %s is not on %s: %w", w.New.SHA1, w.Target, rollover.ErrNoEvidence)
	}
}

// oldStand says that the target changed if an old certificate is gone. Once the
// old ones may go and the new one works, their absence is what was wanted: an
// earlier Retire, whose answer was lost, may have brought it about.
func oldStand(id Identity, w rollover.Work) error {
	if w.ReadyToRetire(observation(id, w)) == nil {
		return nil
	}
	for _, old := range w.Old {
		if !slices.ContainsFunc(id.Keys, func(k Key) bool { return k.SHA256 == old.SHA256 }) {
			return rollover.Changed(rollover.ChangedSincePlan, fmt.Errorf("the old certificate %s is gone from %s", old.SHA1, w.Target))
		}
	}
	return nil
}

// Activate implements [rollover.Driver]. CRM switches by itself, at the instant
// that Microsoft chose.
func (d *Driver) Activate(context.Context, rollover.Work) error { return nil }

// SelfSwitching implements [rollover.SelfSwitching].
func (d *Driver) SelfSwitching() bool { return true }

// Retire implements [rollover.Driver]. All copies of each named certificate go,
// each by the id and version of a reading that showed the new one beside it.
func (d *Driver) Retire(ctx context.Context, w rollover.Work) (removed []string, err error) {
	// Too early is too early whatever stands there: nobody is asked.
	if err := w.ReadyToRetire(rollover.Observation{}); errors.Is(err, rollover.ErrTooEarly) {
		return nil, err
	}
	named := func(k Key) bool {
		return slices.ContainsFunc(w.Old, func(c rollover.Credential) bool { return c.SHA256 == k.SHA256 })
	}
	if named(Key{Standing: rollover.Standing{Credential: w.New}}) {
		return nil, rollover.Permanent(rollover.Refused, errors.New("the plan names the new certificate as an old one"))
	}
	seen := false
	left, err := d.remove(ctx, w, named, func(id Identity) error {
		seen = seen || slices.ContainsFunc(id.Keys, named)
		return readyToRetire(id, w)
	})
	if left == nil { // Nothing was read; nothing is known.
		return nil, err
	}
	if err == nil && !seen && w.Careful {
		return nil, fmt.Errorf("the old certificates of %s: %w", w.Target, rollover.ErrUnseen)
	}
	for _, c := range w.Old {
		if !slices.ContainsFunc(left.Keys, func(k Key) bool { return k.SHA256 == c.SHA256 }) {
			removed = append(removed, c.SHA256)
		}
	}
	return removed, err
}

// readyToRetire adds to [rollover.Work.ReadyToRetire] that the new key is kept
// with the certificate's own dates, and what to do about a refusal: wait for a
// certificate that is not valid yet, and for nothing else.
func readyToRetire(id Identity, w rollover.Work) error {
	err := w.ReadyToRetire(observation(id, w))
	if errors.Is(err, rollover.ErrTooEarly) {
		return err
	}
	if present, _ := stands(id, w); !present {
		return rollover.Changed(rollover.NewMissing, err)
	}
	if _, proofErr := proof(id, w); proofErr != nil {
		return rollover.Permanent(rollover.VerificationFailed, fmt.Errorf("%w: %w", rollover.ErrNoEvidence, proofErr))
	}
	if wait := w.New.NotBefore.Sub(w.Now); err != nil && wait > 0 {
		return rollover.RetryAfter(wait, fmt.Errorf("%w: %w", err, rollover.ErrTooEarly))
	}
	if err != nil {
		return rollover.Permanent(rollover.Refused, err)
	}
	return nil
}

// remove deletes the keys that goes picks, if may allows it for the identity as
// just read, and reads again until none stands. It never deletes unless a key
// stays that is valid now. It returns the last reading; nil: there was none.
func (d *Driver) remove(ctx context.Context, w rollover.Work, goes func(Key) bool, may func(Identity) error) (*Identity, error) {
	var last *Identity
	for range maxRounds {
		id, err := d.look(ctx, w)
		if err != nil {
			return last, mark(err)
		}
		last = &id
		if err := may(id); err != nil {
			return last, err
		}
		going := slices.DeleteFunc(slices.Clone(id.Keys), func(k Key) bool { return !goes(k) })
		if len(going) == 0 {
			return last, nil
		}
		if err := removable(id, w, goes); err != nil {
			return last, err
		}
		for _, k := range going {
			err := d.client.DeleteKey(ctx, place(w), k)
			if errors.Is(err, rollover.ErrConflict) {
				break // Someone else edited it: read again, then decide.
			}
			if err != nil {
				return last, mark(err)
			}
		}
	}
	return last, fmt.Errorf("removing from %s: still there after %d rounds", w.Target, maxRounds)
}

// removable refuses to take what is reserved, and the last key that is valid now.
func removable(id Identity, w rollover.Work, goes func(Key) bool) error {
	stays := false
	for _, k := range id.Keys {
		switch {
		case !goes(k):
			stays = stays || usable(k, w.Now)
		case k.Reserved:
			return rollover.Permanent(rollover.Refused, fmt.Errorf("certificate %s on %s is reserved by ACS", k.SHA1, w.Target))
		}
	}
	if !stays {
		return rollover.Permanent(rollover.Refused, fmt.Errorf("no other certificate on %s is valid now", w.Target))
	}
	return nil
}

// usable reports whether a sender can sign in with the key at t: ACS wants the
// certificate and the dates that it keeps for it to include the instant.
func usable(k Key, t time.Time) bool {
	return k.ValidAt(t) && !t.Before(k.Start) && t.Before(k.End)
}

// look reads the identity of w's target.
func (d *Driver) look(ctx context.Context, w rollover.Work) (Identity, error) {
	id, err := d.client.Identity(ctx, place(w), w.Target.Identity)
	if err != nil {
		return Identity{}, fmt.Errorf("reading %s: %w", w.Target, err)
	}
	return id, nil
}

func place(w rollover.Work) At { return At{Tenant: w.Tenant, Host: w.Target.Host} }

// observation returns what stands. Of several copies of the new certificate the
// best comes first, since one look at each is all that the rules take.
func observation(id Identity, w rollover.Work) rollover.Observation {
	o := rollover.Observation{Standing: make([]rollover.Standing, 0, len(id.Keys))}
	for _, k := range id.Keys {
		o.Standing = append(o.Standing, k.Standing)
	}
	slices.SortStableFunc(o.Standing, func(a, b rollover.Standing) int { return rank(a, w) - rank(b, w) })
	return o
}

func rank(s rollover.Standing, w rollover.Work) int {
	if s.SHA256 == w.New.SHA256 && sameDates(s, w.New) {
		return 0
	}
	return 1
}

// sameDates compares to the second: ACS keeps dates in a SQL type that rounds.
func sameDates(s rollover.Standing, c rollover.Credential) bool {
	return s.Start.Unix() == c.NotBefore.Unix() && s.End.Unix() == c.NotAfter.Unix()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
