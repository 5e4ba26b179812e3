package tenants_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

var update = flag.Bool("update", false, "write golden files anew")

// pair is an inventory with its buckets.
type pair struct {
	*tenants.Inventory
	tenants, endpoints *tenantstest.Bucket
}

func open() pair {
	p := pair{tenants: tenantstest.NewBucket(), endpoints: tenantstest.NewBucket()}
	p.Inventory = tenants.New(p.tenants, p.endpoints)
	return p
}

// keys returns the keys of a bucket.
func keys(t *testing.T, b *tenantstest.Bucket) []string {
	t.Helper()
	k, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// big returns a tenant whose record is longer than one value of a bucket; mark
// makes it differ from another.
func big(mark string) tenants.Tenant {
	k := contoso()
	k.Namespaces = nil
	for i := range 6000 {
		k.Namespaces = append(k.Namespaces, tenants.Namespace{
			Host: fmt.Sprintf("ns%d-sb.accesscontrol.windows.net", i), Account: mark, Secret: "file:key",
		})
	}
	return k
}

// endpoints returns n endpoints; mark makes them differ from others.
func endpoints(n int, mark string) []tenants.Seen {
	out := make([]tenants.Seen, n)
	for i := range out {
		out[i] = tenants.Seen{Endpoint: rollover.Endpoint{
			Tenant: "contoso", ID: fmt.Sprintf("%08x-0000-0000-0000-000000000000", i), Name: mark + " endpoint with a name of some length",
			AuthType: "acs", Contract: "queue", Path: "orders/incoming", Namespace: fmt.Sprintf("sb://contoso%d.servicebus.windows.net/", i), Federated: i%2 == 0,
		}}
	}
	return out
}

func TestInventory_PutSaysWhatItDid(t *testing.T) {
	v := open()
	if _, err := v.Tenant(t.Context(), "contoso"); !errors.Is(err, rollover.ErrNotFound) {
		t.Fatalf("Tenant before Put = %v, want ErrNotFound", err)
	}
	k := contoso()
	other := contoso()
	other.Disabled = true
	for i, step := range []struct {
		put              tenants.Tenant
		created, changed bool
	}{{k, true, false}, {k, false, false}, {other, false, true}, {other, false, false}, {k, false, true}} {
		created, changed, err := v.Put(t.Context(), step.put)
		if created != step.created || changed != step.changed || err != nil {
			t.Errorf("Put %d = %v, %v, %v, want %v, %v", i, created, changed, err, step.created, step.changed)
		}
		if got, err := v.Tenant(t.Context(), "contoso"); err != nil || !reflect.DeepEqual(got, step.put) {
			t.Errorf("Tenant after Put %d = %+v, %v, want %+v", i, got, err, step.put)
		}
	}
	for _, id := range []string{"", "Contoso", "contoso.1", "../x", "fabrikam"} {
		if _, err := v.Tenant(t.Context(), id); !errors.Is(err, rollover.ErrNotFound) {
			t.Errorf("Tenant(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func TestInventory_TakesNothingInvalid(t *testing.T) {
	v := open()
	k := contoso()
	k.Organization, k.Login.Secret = "https://example.com", "hunter2"
	_, _, err := v.Put(t.Context(), k)
	var invalid *tenants.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Fields) != 2 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Put = %v, want an InvalidError with two fields and no value", err)
	}
	if got := keys(t, v.tenants); len(got) != 0 {
		t.Errorf("Put of what is invalid stored %v", got)
	}
}

func TestInventory_ListsByID(t *testing.T) {
	v := open()
	if all, err := v.List(t.Context()); len(all) != 0 || err != nil {
		t.Fatalf("List of nothing = %v, %v", all, err)
	}
	a, b := contoso(), big("x")
	a.ID, b.ID = "zz", "bb"
	want := []tenants.Tenant{b, fabrikam(), a}
	for _, k := range []tenants.Tenant{a, fabrikam(), b} {
		if _, _, err := v.Put(t.Context(), k); err != nil {
			t.Fatalf("Put(%s) = %v", k.ID, err)
		}
	}
	calls := 0
	v.tenants.Before = func(string, string) error { calls++; return nil }
	if all, err := v.List(t.Context()); err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("List = %d tenants, %v, want bb, fabrikam, zz as they were put", len(all), err)
	}
	if calls != 1 {
		t.Errorf("List made %d calls, want 1", calls)
	}
}

func TestInventory_KeepsEndpoints(t *testing.T) {
	v := open()
	if _, err := v.Endpoints(t.Context(), "contoso"); !errors.Is(err, rollover.ErrNotFound) {
		t.Fatalf("Endpoints before any = %v, want ErrNotFound", err)
	}
	for _, want := range [][]tenants.Seen{endpoints(3, "a"), endpoints(5000, "b"), endpoints(5000, "b"), endpoints(5000, "c"), {}, endpoints(9000, "d"), endpoints(1, "e")} {
		if err := v.SaveEndpoints(t.Context(), "contoso", want); err != nil {
			t.Fatalf("SaveEndpoints of %d = %v", len(want), err)
		}
		got, err := v.Endpoints(t.Context(), "contoso")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Endpoints = %d, %v, want the %d that were saved", len(got), err, len(want))
		}
		all, err := v.endpoints.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for key, value := range all {
			total += len(value)
			if len(value) > tenants.MaxValue {
				t.Errorf("value %s has %d bytes, want at most %d", key, len(value), tenants.MaxValue)
			}
		}
		if total > 300*len(want)+10_000 {
			t.Errorf("%d endpoints take %d bytes in %v: old pieces are left", len(want), total, keys(t, v.endpoints))
		}
	}
	if err := v.SaveEndpoints(t.Context(), "contoso", nil); err != nil {
		t.Fatalf("SaveEndpoints of none = %v", err)
	}
	if got, err := v.Endpoints(t.Context(), "contoso"); got == nil || len(got) != 0 || err != nil {
		t.Errorf("Endpoints = %v, %v, want an empty list", got, err)
	}
	if err := v.SaveEndpoints(t.Context(), "no id", nil); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("SaveEndpoints for a bad id = %v, want ErrNotFound", err)
	}
}

func TestInventory_SavesTheSameWithoutWriting(t *testing.T) {
	v := open()
	for i := range 2 {
		if err := v.SaveEndpoints(t.Context(), "contoso", endpoints(5000, "a")); err != nil {
			t.Fatalf("SaveEndpoints = %v", err)
		}
		if i == 0 {
			v.endpoints.Before = func(call, key string) error {
				if call != "Get" {
					t.Errorf("saving the same again calls %s(%s), want reading only", call, key)
				}
				return nil
			}
		}
	}
}

func TestInventory_TellsWhereAccessIs(t *testing.T) {
	v := open()
	if _, _, err := v.Put(t.Context(), contoso()); err != nil {
		t.Fatalf("Put = %v", err)
	}
	for _, host := range []string{"contoso-sb.accesscontrol.windows.net", "Contoso-SB.accesscontrol.windows.net"} {
		account, ref, err := v.Access(t.Context(), "contoso", host)
		if account != "SBManagementClient" || ref != "file:contoso-sb.accesscontrol.windows.net.key" || err != nil {
			t.Errorf("Access(%s) = %q, %q, %v", host, account, ref, err)
		}
	}
	for _, k := range [][2]string{{"contoso", "other.accesscontrol.windows.net"}, {"contoso", ""}, {"fabrikam", "contoso-sb.accesscontrol.windows.net"}} {
		if account, ref, err := v.Access(t.Context(), k[0], k[1]); !errors.Is(err, rollover.ErrNotFound) || account != "" || ref != "" {
			t.Errorf("Access(%s, %s) = %q, %q, %v, want ErrNotFound", k[0], k[1], account, ref, err)
		}
	}
}

// Each call of the bucket is broken, once before it does anything and once after
// it is done. A reader then finds the old or the new, whole, and saving again
// ends with the new.
func TestInventory_SurvivesEveryFault(t *testing.T) {
	before, after := endpoints(5000, "old"), endpoints(5000, "new")
	lost := errors.New("connection lost")
	for n := 1; ; n++ {
		hit := false
		for _, done := range []bool{false, true} {
			v := open()
			if err := v.SaveEndpoints(t.Context(), "contoso", before); err != nil {
				t.Fatalf("SaveEndpoints = %v", err)
			}
			calls := 0
			fail := func(string, string) error {
				if calls++; calls == n {
					hit = true
					return lost
				}
				return nil
			}
			if done {
				v.endpoints.After = fail
			} else {
				v.endpoints.Before = fail
			}
			if err := v.SaveEndpoints(t.Context(), "contoso", after); err != nil && !errors.Is(err, lost) {
				t.Errorf("fault %d: SaveEndpoints = %v, want the fault", n, err)
			}
			v.endpoints.Before, v.endpoints.After = nil, nil
			if got, err := v.Endpoints(t.Context(), "contoso"); err != nil || !reflect.DeepEqual(got, before) && !reflect.DeepEqual(got, after) {
				t.Errorf("fault %d: Endpoints = %d, %v, want the old ones or the new ones", n, len(got), err)
			}
			if err := v.SaveEndpoints(t.Context(), "contoso", after); err != nil {
				t.Errorf("fault %d: SaveEndpoints again = %v", n, err)
			}
			if got, err := v.Endpoints(t.Context(), "contoso"); err != nil || !reflect.DeepEqual(got, after) {
				t.Errorf("fault %d: Endpoints in the end = %d, %v, want the new ones", n, len(got), err)
			}
		}
		if !hit {
			if n < 6 {
				t.Errorf("SaveEndpoints made %d calls, want more: were there no pieces?", n-1)
			}
			return
		}
	}
}

// Writers and readers at once: whoever reads finds one writer's endpoints and
// never a mixture, and in the end no piece is left that nobody names.
func TestInventory_MixesNothingUp(t *testing.T) {
	v := open()
	if err := v.SaveEndpoints(t.Context(), "contoso", endpoints(4000, "w0")); err != nil {
		t.Fatalf("SaveEndpoints = %v", err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 4 {
				err := v.SaveEndpoints(t.Context(), "contoso", endpoints(4000, fmt.Sprintf("w%d", (w+i)%4)))
				if err != nil && !errors.Is(err, rollover.ErrConflict) {
					t.Errorf("SaveEndpoints = %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 6 {
				got, err := v.Endpoints(t.Context(), "contoso")
				if errors.Is(err, rollover.ErrConflict) {
					continue
				}
				if err != nil || len(got) != 4000 || got[0].Name != got[3999].Name {
					t.Errorf("Endpoints = %d, %v, want 4000 of one writer", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	// The head, and the pieces of one record of about a megabyte.
	if got := keys(t, v.endpoints); len(got) > 4 {
		t.Errorf("keys in the end = %v, want a head and its pieces", got)
	}
}

func TestInventory_RecordsStillDecode(t *testing.T) {
	v := open()
	if _, _, err := v.Put(t.Context(), contoso()); err != nil {
		t.Fatalf("Put = %v", err)
	}
	if err := v.SaveEndpoints(t.Context(), "contoso", endpoints(2, "a")); err != nil {
		t.Fatalf("SaveEndpoints = %v", err)
	}
	if err := v.SaveEndpoints(t.Context(), "large", endpoints(5000, "a")); err != nil {
		t.Fatalf("SaveEndpoints = %v", err)
	}
	for _, k := range []struct {
		file, key string
		bucket    *tenantstest.Bucket
	}{
		{"tenant.golden.json", "contoso", v.tenants}, {"endpoints.golden.json", "contoso", v.endpoints}, {"head.golden.json", "large", v.endpoints},
	} {
		written, rev, err := k.bucket.Get(t.Context(), k.key)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", k.file), append(written, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stored := []byte(strings.TrimSpace(fixture(t, k.file)))
		if !bytes.Equal(written, stored) {
			t.Errorf("%s is written as\n%s\nwant\n%s", k.key, written, stored)
		}
		if _, err := k.bucket.Update(t.Context(), k.key, stored, rev); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := v.Tenant(t.Context(), "contoso"); err != nil || !reflect.DeepEqual(got, contoso()) {
		t.Errorf("Tenant of the golden record = %+v, %v", got, err)
	}
	for id, n := range map[string]int{"contoso": 2, "large": 5000} {
		if got, err := v.Endpoints(t.Context(), id); err != nil || !reflect.DeepEqual(got, endpoints(n, "a")) {
			t.Errorf("Endpoints(%s) of the golden record = %d, %v, want %d", id, len(got), err, n)
		}
	}
}

func TestInventory_DoesNotBelieveWhatItReads(t *testing.T) {
	for name, value := range map[string]string{
		"another version": `{"v":2,"id":"contoso"}`, "no version": `{"id":"contoso"}`, "another tenant": `{"v":1,"id":"fabrikam"}`, "no JSON": "x",
		"pieces that are gone": `{"v":1,"pieces":["contoso.0.a.0"],"sha256":""}`, "other pieces": `{"v":1,"pieces":["contoso.1"],"sha256":"00"}`,
	} {
		v := open()
		for key, value := range map[string]string{"contoso": value, "contoso.1": "x"} {
			if _, err := v.tenants.Create(t.Context(), key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := v.Tenant(t.Context(), "contoso"); err == nil {
			t.Errorf("%s: Tenant = %+v, want an error", name, got)
		}
		if got, err := v.List(t.Context()); err == nil {
			t.Errorf("%s: List = %+v, want an error", name, got)
		}
	}
}

func BenchmarkInventory_List20000(b *testing.B) {
	v := open()
	for i := range 20_000 {
		k := contoso()
		k.ID = fmt.Sprintf("t%d", i)
		if _, _, err := v.Put(b.Context(), k); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := v.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead_YAML20000(b *testing.B) {
	body := strings.Split(fixture(b, "tenants.yaml"), "tenants:\n")[1]
	var s strings.Builder
	s.WriteString("tenants:\n")
	for i := range 10_000 {
		s.WriteString(strings.NewReplacer("id: contoso", fmt.Sprintf("id: c%d", i), "id: fabrikam", fmt.Sprintf("id: f%d", i)).Replace(body))
	}
	for b.Loop() {
		if got, errs := tenants.Read(tenants.YAML, strings.NewReader(s.String())); len(got) != 20_000 || len(errs) > 0 {
			b.Fatalf("Read = %d, %v", len(got), errs)
		}
	}
}
