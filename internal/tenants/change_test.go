package tenants_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
)

// delete takes a tenant away.
func (p pair) delete(t *testing.T, id string) error {
	t.Helper()
	_, err := p.Change(t.Context(), id, func(_, _ *tenants.Tenant) (*tenants.Tenant, error) { return nil, nil })
	return err
}

// Whoever takes over an id is decided by whose it was, and gets nothing of what was found
// of it.
func TestChange_AnIDThatWasUsedSaysOfWhom(t *testing.T) {
	p := open()
	old := contoso()
	if _, _, err := p.Put(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := p.SaveEndpoints(t.Context(), "contoso", endpoints(3, "old")); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut off")
	p.endpoints.Before = func(call, _ string) error {
		if call == "Delete" {
			return cut
		}
		return nil
	}
	if err := p.delete(t, "contoso"); !errors.Is(err, cut) {
		t.Fatalf("the deletion that was cut off = %v", err)
	}
	p.endpoints.Before = nil
	if es, err := p.Endpoints(t.Context(), "contoso"); err != nil || len(es) != 3 {
		t.Fatalf("the deletion that was cut off left %d endpoints, %v: nothing is tried here", len(es), err)
	}
	mark, _, err := p.tenants.Former(t.Context(), "contoso")
	if err != nil || strings.Contains(string(mark), "secret") || strings.Contains(string(mark), "accesscontrol") {
		t.Errorf("what is kept of a deleted tenant is %s, %v; want no references and no namespaces", mark, err)
	}
	next := contoso()
	next.Labels = map[string]string{"region": "apac"}
	stored, err := p.Change(t.Context(), "contoso", func(now, former *tenants.Tenant) (*tenants.Tenant, error) {
		if now != nil || former == nil || former.Labels["tier"] != old.Labels["tier"] || former.Organization != old.Organization {
			t.Errorf("the rule is asked about %v and %v, want the one that was deleted", now, former)
		}
		return &next, nil
	})
	if err != nil || stored.Labels["region"] != "apac" {
		t.Fatalf("Change = %v, %v", stored, err)
	}
	if es, err := p.Endpoints(t.Context(), "contoso"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("the new one has the endpoints %v of the old one, %v", es, err)
	}
	if got, err := p.Tenant(t.Context(), "contoso"); err != nil || got.Etag() != next.Etag() {
		t.Errorf("Tenant = %v, %v, want the new one", got, err)
	}
}

// An id that is used and deleted between the rule and the write is asked about again.
func TestChange_AnIDIsNotTakenFromUnderTheRule(t *testing.T) {
	p := open()
	theirs, ours := contoso(), contoso()
	theirs.Labels = map[string]string{"of": "them"}
	asked := 0
	_, err := p.Change(t.Context(), "contoso", func(_, former *tenants.Tenant) (*tenants.Tenant, error) {
		if asked++; asked == 1 {
			if _, _, err := p.Put(t.Context(), theirs); err != nil {
				t.Error(err)
			}
			if err := p.delete(t, "contoso"); err != nil {
				t.Error(err)
			}
			return &ours, nil
		}
		if former == nil || former.Labels["of"] != "them" {
			t.Errorf("asked again, the rule is not told of the one that was deleted meanwhile: %v", former)
		}
		return nil, rollover.ErrState
	})
	if !errors.Is(err, rollover.ErrState) || asked != 2 {
		t.Errorf("Change = %v after %d questions, want that the second is refused", err, asked)
	}
}
