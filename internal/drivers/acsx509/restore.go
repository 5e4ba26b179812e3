package acsx509

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Restore implements [rollover.Driver]. It looks, adds what is missing, and looks
// again: ACS may have made a key although its answer was an error, and what was
// added counts only when it was read back.
func (d *Driver) Restore(ctx context.Context, w rollover.Work) error {
	for _, s := range w.Restore {
		if len(s.DER) == 0 {
			return rollover.Permanent(rollover.Refused, fmt.Errorf("putting back certificate %s without its bytes", s.SHA1))
		}
	}
	before, err := d.look(ctx, w)
	if err != nil {
		return mark(err)
	}
	if err := worthRestoring(before, w); err != nil {
		return err
	}
	missing := absent(before, w)
	if len(missing) == 0 {
		return nil
	}
	for _, s := range missing {
		if err = d.client.AddKey(ctx, place(w), before.ID, s); err != nil {
			break
		}
	}
	after, lookErr := d.look(ctx, w)
	switch {
	case lookErr == nil && len(absent(after, w)) == 0:
		return nil
	case err != nil:
		if statusOf(err) == http.StatusNotFound { // The identity was renumbered meanwhile.
			return fmt.Errorf("adding to an identity that has moved: %w", err)
		}
		return mark(err)
	case lookErr != nil:
		return mark(lookErr)
	case len(after.Keys) >= len(before.Keys)+len(missing):
		return rollover.Permanent(rollover.VerificationFailed, fmt.Errorf("what was put back on %s is kept otherwise than it was sent", w.Target))
	default: // A stale reading; the next call looks first.
		return fmt.Errorf("what was put back on %s was not read back: %w", w.Target, rollover.ErrNoEvidence)
	}
}

// absent returns which of w.Restore do not stand on the identity. A copy that
// stands exactly as it did is found first; then one of the same bytes with other
// dates or another name, which somebody else has put back.
func absent(id Identity, w rollover.Work) []rollover.Standing {
	free := slices.Clone(id.Keys)
	take := func(fits func(Key) bool) bool {
		i := slices.IndexFunc(free, fits)
		if i >= 0 {
			free = slices.Delete(free, i, i+1)
		}
		return i >= 0
	}
	var rest, missing []rollover.Standing
	for _, s := range w.Restore {
		if !take(func(k Key) bool { return standsAs(k, s) }) {
			rest = append(rest, s)
		}
	}
	for _, s := range rest {
		if !take(func(k Key) bool { return k.SHA256 == s.SHA256 && string(k.DER) == string(s.DER) }) {
			missing = append(missing, s)
		}
	}
	return missing
}

// standsAs reports whether the key is kept as s was. Dates are compared to the
// second, see sameDates.
func standsAs(k Key, s rollover.Standing) bool {
	return k.SHA256 == s.SHA256 && string(k.DER) == string(s.DER) && k.Name == s.Name && k.Usage == s.Usage &&
		k.Start.Unix() == s.Start.Unix() && k.End.Unix() == s.End.Unix()
}

// worthRestoring refuses where nothing that stands of the old certificates, or
// would stand, could be signed in with: there would be no use in it, and ours
// could not be taken away after it.
func worthRestoring(id Identity, w rollover.Work) error {
	all := slices.Clone(id.Keys)
	for _, s := range w.Restore {
		all = append(all, Key{Standing: s})
	}
	return oldUsable(Identity{Keys: all}, w)
}

// oldUsable returns an error unless one of the old certificates, where the plan
// names any, can be signed in with, by a clock that is wrong by the margin too.
func oldUsable(id Identity, w rollover.Work) error {
	if len(w.Old) == 0 {
		return nil
	}
	for _, k := range id.Keys {
		named := slices.ContainsFunc(w.Old, func(c rollover.Credential) bool { return c.SHA256 == k.SHA256 })
		if named && usable(k, w.Now.Add(-w.Margin)) && usable(k, w.Now.Add(w.Margin)) {
			return nil
		}
	}
	return rollover.Permanent(rollover.Refused, fmt.Errorf("no old certificate on %s is valid now, so the new one stays", w.Target))
}

// Undo implements [rollover.Driver]. Only keys with our mark go; the same
// certificate added by someone else is theirs.
func (d *Driver) Undo(ctx context.Context, w rollover.Work) error {
	if w.Rotation == "" {
		return rollover.Permanent(rollover.Refused, errors.New("undoing without a rotation's id"))
	}
	ours := func(k Key) bool { return k.SHA256 == w.New.SHA256 && k.Mark == w.Rotation }
	seen := false
	_, err := d.remove(ctx, w, ours, func(id Identity) error {
		if !slices.ContainsFunc(id.Keys, ours) {
			return nil // Nothing goes.
		}
		seen = true
		if len(w.Old) == 0 {
			return senderKeeps(id, w)
		}
		return oldUsable(id, w)
	})
	if err == nil && !seen && w.Careful {
		return fmt.Errorf("what we added to %s: %w", w.Target, rollover.ErrUnseen)
	}
	return err
}

// senderKeeps is for a plan that named no old certificate: ours may go only while
// the identity holds what it held when the plan was made, or another certificate
// of the same subject that is valid. What the sender used may have been removed by
// another rotation that found ours in place.
func senderKeeps(id Identity, w rollover.Work) error {
	if w.Observed != "" && observation(id, w).Digest(w.New.SHA256) == w.Observed {
		return nil
	}
	for _, k := range id.Keys {
		if k.SHA256 != w.New.SHA256 && k.Subject == w.New.Subject && usable(k, w.Now.Add(-w.Margin)) && usable(k, w.Now.Add(w.Margin)) {
			return nil
		}
	}
	return rollover.Permanent(rollover.Refused,
		fmt.Errorf("%s is not as it was planned and holds no other valid certificate of that subject, so the new one stays", w.Target))
}
