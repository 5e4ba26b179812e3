package inventory

import (
	"context"
	"fmt"
	"strings"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/services/edge"
)

// belongings are what tenants are reached by, so that nobody brings in a tenant of their
// own with what is another's: planning would sign in with the others' secret, rotations
// would write where the others are, and a key would be sent to the host that stands
// beside its reference.
type belongings struct {
	reach rights.Reach
	hosts map[string]bool           // of organisations and namespaces of tenants that are out of reach
	refs  map[string]bool           // of their secrets
	have  map[string]tenants.Tenant // as they stand, by id
}

// belongings returns what the caller may not enter, by one look at the inventory. For
// callers who may enter everything it looks at nothing.
func (s *Service) belongings(ctx context.Context) (*belongings, error) {
	b := &belongings{reach: edge.Reach(ctx)}
	if b.reach.All() && b.reach.AnySecret() {
		return b, nil
	}
	list, err := s.inventory.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	b.hosts, b.refs, b.have = map[string]bool{}, map[string]bool{}, make(map[string]tenants.Tenant, len(list))
	for _, t := range list {
		b.have[t.ID] = t
		if b.reach.Has(t) {
			continue
		}
		b.hosts[hostKey(t.OrganizationHost())] = true
		for _, n := range t.Namespaces {
			b.hosts[hostKey(n.Host)] = true
			b.refs[refKey(n.Secret)] = true
		}
		for _, ref := range []secrets.Ref{t.Login.Secret, t.Login.Certificate} {
			if ref != "" {
				b.refs[refKey(ref)] = true
			}
		}
	}
	return b, nil
}

// refuse says that the caller may not bring in a tenant that is, by its name or labels or
// by what it is reached by, not theirs, in the same words. What stood there as a whole
// before is not brought in: a reference is looked at anew when what it is sent to changes.
func (b *belongings) refuse(t tenants.Tenant) []tenants.FieldError {
	if b.have == nil {
		return nil
	}
	old := b.have[t.ID]
	enters := func(host string, refs ...secrets.Ref) bool {
		if b.hosts[hostKey(host)] {
			return false
		}
		for _, ref := range refs {
			if ref != "" && (b.refs[refKey(ref)] || !b.reach.MayEnter(t, string(ref))) {
				return false
			}
		}
		return true
	}
	if (t.Organization != old.Organization || t.EntraTenant != old.EntraTenant || t.Login != old.Login) &&
		!enters(t.OrganizationHost(), t.Login.Secret, t.Login.Certificate) {
		return notTheirs()
	}
	for _, n := range t.Namespaces {
		if was, ok := old.Namespace(n.Host); (!ok || was != n) && !enters(n.Host, n.Secret) {
			return notTheirs()
		}
	}
	return nil
}

// notTheirs is what is wrong with a tenant that is not within the caller's rights.
func notTheirs() []tenants.FieldError {
	return []tenants.FieldError{{Field: "name", Problem: "is not within your rights", Fix: "leave the row out, or have somebody with rights to all tenants import it"}}
}

// hostKey is the same for all names of one host: an organisation answers at
// contoso.api.crm4.dynamics.com as well.
func hostKey(host string) string {
	host = strings.ToLower(host)
	if p, ok := crm.PlaceOf(host); ok {
		name, _, _ := strings.Cut(host, ".")
		return name + "." + p.Base()
	}
	return host
}

// refKey is the same for all references to one secret: names in a key vault are compared
// without regard to case, and may have a version behind them.
func refKey(ref secrets.Ref) string {
	key := strings.ToLower(string(ref))
	if rest, ok := strings.CutPrefix(key, secrets.SchemeKeyVault+"://"); ok {
		parts := strings.SplitN(rest, "/", 3)
		return secrets.SchemeKeyVault + "://" + strings.Join(parts[:min(len(parts), 2)], "/")
	}
	return key
}
