package targetset_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

// FuzzRecord reads any bytes as a stored set and as a chunk of it: never a panic, and
// never rows that another digest names.
func FuzzRecord(f *testing.F) {
	const (
		hash   = "7ebee576b8b2e7ce7ee911828f0f4c3e5d720c072888ffb81103014eb70845c6"
		digest = "a4c711ae17225fc30e57b1e04abd644356f1ad08ba187af1167854a8c4bef254"
		head   = `{"v":1,"id":"x","expected":2,"chunks":["` + hash + `"],"tenants":2,"digest":"` + digest + `","by":"ada","at":"2016-10-30T12:00:00Z"}`
	)
	for _, s := range []string{
		head, strings.Replace(head, `"expected":2`, `"expected":-5`, 1), `{"v":1,"id":"x","expected":-5,"chunks":[],"digest":"` + digest + `"}`, `{"v":1,"id":"x","expected":9223372036854775807,"chunks":[]}`,
		`{"v":1,"id":"x","expected":1,"chunks":["` + hash + `"],"at":"0001-01-01T00:00:00Z"}`, `{"v":2,"id":"x"}`, "null", "", `{"v":1,"id":"x","expected":1000000000,"chunks":null}`,
	} {
		f.Add([]byte(s), []byte(`{"v":1,"rows":["a","b/1"]}`))
	}
	f.Fuzz(func(t *testing.T, head, chunk []byte) {
		heads, chunks := tenantstest.NewBucket(), tenantstest.NewBucket()
		if _, err := heads.Create(t.Context(), "x", head); err != nil {
			t.Fatal(err)
		}
		if _, err := chunks.Create(t.Context(), "x.14824d76b6d78000.0."+hash, chunk); err != nil {
			t.Fatal(err)
		}
		s := targetset.NewStore(heads, chunks)
		set, err := s.Set(t.Context(), "x")
		if err != nil {
			return
		}
		if set.ID != "x" || set.Expected < 1 || set.Expected > targetset.MaxRows || set.Rows < 0 || set.Rows > set.Expected {
			t.Errorf("a record %q reads %+v", head, set)
		}
		rows, err := s.Rows(t.Context(), "x", set.Digest)
		if err == nil && (set.Digest != digest || len(rows.Tenants()) == 0) {
			t.Errorf("a record %q with a chunk %q gives %d tenants", head, chunk, len(rows.Tenants()))
		}
	})
}

// FuzzRows fills a set with any rows: it has the tenants that they name, each once and
// sorted, and nothing else.
func FuzzRows(f *testing.F) {
	f.Add("b/2\na/1\nb\nb/3\na/1")
	f.Add("a/b/c\n\n/\n//\n\x00\xff/1")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		if len(lines) > targetset.Chunk {
			return
		}
		var rows []targetset.Row
		want := map[string]bool{}
		for _, line := range lines {
			tenant, endpoint, _ := strings.Cut(line, "/")
			rows = append(rows, targetset.Row{Tenant: tenant, Endpoint: endpoint})
			want[tenant] = true
		}
		s := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
		if _, err := s.Create(t.Context(), targetset.Set{ID: "x", Expected: len(rows)}, ""); err != nil {
			t.Fatal(err)
		}
		set, err := s.Add(t.Context(), "x", 0, rows)
		if err != nil || !set.Ready() || set.Rows != len(rows) {
			t.Fatalf("Add(%q) = %+v, %v", rows, set, err)
		}
		got, err := s.Rows(t.Context(), "x", set.Digest)
		if !strings.ContainsFunc(strings.ToValidUTF8(text, "\ufffd"), func(r rune) bool { return r == '\ufffd' }) {
			if err != nil || len(got.Tenants()) != len(want) || !slices.IsSorted(got.Tenants()) {
				t.Fatalf("Rows of %q = %q, %v", rows, got.Tenants(), err)
			}
			for _, r := range rows {
				if ids, named := got.Of(r.Tenant); !named || (ids != nil && !slices.Contains(ids, r.Endpoint)) {
					t.Errorf("Rows of %q have %q of %q, %v", rows, ids, r.Tenant, named)
				}
			}
		}
	})
}
