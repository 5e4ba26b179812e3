package targetset_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

func chunk(n, of int) []targetset.Row {
	rows := make([]targetset.Row, min(targetset.Chunk, of-n*targetset.Chunk))
	for i := range rows {
		rows[i] = targetset.Row{Tenant: fmt.Sprintf("t%d", i%7), Endpoint: fmt.Sprint(n, "-", i)}
	}
	return rows
}

// Every call to the buckets is lost, or done with its answer lost, one after
// another; begun again each time, the set ends the same.
func TestStore_EveryFault(t *testing.T) {
	want := ""
	lost := errors.New("lost")
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			heads, chunks := tenantstest.NewBucket(), tenantstest.NewBucket()
			calls, hit := 0, false
			fault := func(string, string) error {
				if calls++; calls-1 == n {
					hit = true
					return lost
				}
				return nil
			}
			if after {
				heads.After, chunks.After = fault, fault
			} else {
				heads.Before, chunks.Before = fault, fault
			}
			s := targetset.NewStore(heads, chunks)
			for {
				_, err := s.Create(t.Context(), targetset.Set{ID: "x", Expected: 1500}, "r1")
				if err == nil {
					break
				}
				if !errors.Is(err, lost) {
					t.Fatalf("fault %d: Create = %v", n, err)
				}
			}
			var set targetset.Set
			for i := 0; i < 2; {
				var err error
				if set, err = s.Add(t.Context(), "x", 1000*i, chunk(i, 1500)); err == nil {
					i++
				} else if !errors.Is(err, lost) {
					t.Fatalf("fault %d: Add = %v", n, err)
				}
			}
			if want == "" {
				want = set.Digest
			}
			found := hit
			heads.Before, heads.After, chunks.Before, chunks.After = nil, nil, nil, nil
			if !set.Ready() || set.Digest != want || set.Rows != 1500 || set.Tenants != 7 {
				t.Errorf("fault %d: set = %+v, want it ready with digest %s", n, set, want)
			}
			if all, _ := chunks.All(t.Context()); len(all) != 2 {
				t.Errorf("fault %d: %d chunks, want 2", n, len(all))
			}
			if !found {
				break
			}
		}
	}
}

func TestStore_ChunksSentAtOnceAreAllThere(t *testing.T) {
	s := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
	if _, err := s.Create(t.Context(), targetset.Set{ID: "x", Expected: 12_000}, ""); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			if _, err := s.Add(context.WithoutCancel(t.Context()), "x", 1000*n, chunk(n, 12_000)); err != nil {
				t.Errorf("Add of chunk %d = %v", n, err)
			}
		})
	}
	wg.Wait()
	if set, err := s.Set(t.Context(), "x"); err != nil || !set.Ready() || set.Rows != 12_000 {
		t.Errorf("Set = %+v, %v, want it ready", set, err)
	}
}

func TestRows_ATenantTakesItsEndpointsIn(t *testing.T) {
	s := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
	rows := []targetset.Row{{"b", "2"}, {"a", "1"}, {"b", ""}, {"b", "3"}, {"a", "1"}, {"a", "0"}}
	if _, err := s.Create(t.Context(), targetset.Set{ID: "x", Expected: len(rows)}, ""); err != nil {
		t.Fatal(err)
	}
	set, err := s.Add(t.Context(), "x", 0, rows)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Rows(t.Context(), "x", set.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, named := r.Of("a"); !named || !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("Of(a) = %q, %v, want each once", got, named)
	}
	if got, named := r.Of("b"); !named || got != nil {
		t.Errorf("Of(b) = %q, %v, want all", got, named)
	}
	if _, named := r.Of("c"); named || !slices.Equal(r.Tenants(), []string{"a", "b"}) {
		t.Errorf("Of(c) is named: %v; tenants %q", named, r.Tenants())
	}
}

func TestRows_NotWhatWasMeant(t *testing.T) {
	heads, chunks := tenantstest.NewBucket(), tenantstest.NewBucket()
	s := targetset.NewStore(heads, chunks)
	if _, err := s.Create(t.Context(), targetset.Set{ID: "x", Expected: 2}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rows(t.Context(), "x", ""); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rows of one that is not complete = %v, want ErrNotFound", err)
	}
	set, err := s.Add(t.Context(), "x", 0, []targetset.Row{{"a", ""}, {"b", ""}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rows(t.Context(), "x", strings.Repeat("0", 64)); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rows of another digest = %v, want ErrNotFound", err)
	}
	all, _ := chunks.All(t.Context())
	for key := range all { // Somebody wrote over what was stored.
		_, rev, _ := chunks.Get(t.Context(), key)
		if _, err := chunks.Update(t.Context(), key, []byte(`{"v":1,"rows":["a","evil"]}`), rev); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := targetset.NewStore(heads, chunks).Rows(t.Context(), "x", set.Digest); err == nil || errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Rows of changed bytes = %v, want an error of its own", err)
	}
}

// Programs of this version wrote such records.
func TestStore_RecordsStillDecode(t *testing.T) {
	const (
		chunk  = `{"v":1,"rows":["a","b/1"]}`
		hash   = "7ebee576b8b2e7ce7ee911828f0f4c3e5d720c072888ffb81103014eb70845c6"
		digest = "a4c711ae17225fc30e57b1e04abd644356f1ad08ba187af1167854a8c4bef254"
		head   = `{"v":1,"id":"x","display_name":"November","expected":2,"chunks":["` + hash + `"],"tenants":2,"digest":"` + digest +
			`","by":"ada","at":"2016-10-30T12:00:00Z","request_id":"r1"}`
	)
	heads, chunks := tenantstest.NewBucket(), tenantstest.NewBucket()
	s := targetset.NewStore(heads, chunks)
	at := time.Date(2016, 10, 30, 12, 0, 0, 0, time.UTC)
	if _, err := s.Create(t.Context(), targetset.Set{ID: "x", DisplayName: "November", Expected: 2, By: "ada", At: at}, "R1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "x", 0, []targetset.Row{{"a", ""}, {"b", "1"}}); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := heads.Get(t.Context(), "x"); string(got) != head {
		t.Errorf("a set is written as\n%s\nwant\n%s", got, head)
	}
	key := "x.14824d76b6d78000.0." + hash
	if got, _, err := chunks.Get(t.Context(), key); string(got) != chunk {
		t.Errorf("a chunk is written as\n%s, %v\nwant\n%s", got, err, chunk)
	}

	heads, chunks = tenantstest.NewBucket(), tenantstest.NewBucket()
	for key, put := range map[string]struct {
		in    *tenantstest.Bucket
		value string
	}{"x": {heads, head}, key: {chunks, chunk}} {
		if _, err := put.in.Create(t.Context(), key, []byte(put.value)); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := targetset.NewStore(heads, chunks).Rows(t.Context(), "x", digest)
	if err != nil || !slices.Equal(rows.Tenants(), []string{"a", "b"}) {
		t.Errorf("Rows of the golden record = %v, %v", rows, err)
	}
}

func TestStore_SaysThatThereMayBeNoMoreSets(t *testing.T) {
	s := targetset.NewStore(tenantstest.NewBucket(), tenantstest.NewBucket())
	for i := range 1000 {
		if _, err := s.Create(t.Context(), targetset.Set{ID: fmt.Sprintf("s%d", i), Expected: 1}, ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Create(t.Context(), targetset.Set{ID: "more", Expected: 1}, "")
	var full *rollover.FullError
	if !errors.As(err, &full) || full.Of != "target_sets" || !errors.Is(err, rollover.ErrFull) {
		t.Errorf("Create of the 1001st set = %v, want a FullError of target_sets", err)
	}
}
