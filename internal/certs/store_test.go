package certs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

var update = flag.Bool("update", false, "write golden files anew")

func TestStore_FindsWhatWasAdded(t *testing.T) {
	bucket := tenantstest.NewBucket()
	store := certs.NewStore(bucket)
	c := read(t, "chain.pem")
	for i, want := range []bool{true, false} {
		if created, err := store.Add(t.Context(), c); created != want || err != nil {
			t.Fatalf("Add, call %d = %v, %v, want %v", i+1, created, err, want)
		}
	}
	for _, name := range []string{c.SHA256, strings.ToUpper(c.SHA256), c.SHA1, "\u200e" + c.SHA1} {
		// A fresh store reads the bucket, the first one what it keeps in memory.
		for _, s := range []*certs.Store{certs.NewStore(bucket), store, store} {
			got, err := s.Certificate(t.Context(), name)
			if err != nil || !reflect.DeepEqual(got, c) {
				t.Errorf("Certificate(%q) = %+v, %v, want what was added", name, got, err)
			}
		}
	}
	for _, name := range []string{strings.Repeat("0", 64), strings.Repeat("0", 40)} {
		if _, err := store.Certificate(t.Context(), name); !errors.Is(err, rollover.ErrNotFound) {
			t.Errorf("Certificate(%q) = %v, want ErrNotFound", name, err)
		}
	}
	if _, err := store.Certificate(t.Context(), "sha1.x"); !errors.Is(err, certs.ErrThumbprint) {
		t.Errorf("Certificate(sha1.x) = %v, want ErrThumbprint", err)
	}
}

func TestStore_ListsEachOnce(t *testing.T) {
	store := certs.NewStore(tenantstest.NewBucket())
	if all, err := store.List(t.Context()); len(all) != 0 || err != nil {
		t.Fatalf("List of nothing = %v, %v", all, err)
	}
	var want []string
	for _, name := range []string{"old.pem", "new.pem", "old.pem", "ec.pem"} {
		c := read(t, name)
		if _, err := store.Add(t.Context(), c); err != nil {
			t.Fatalf("Add(%s) = %v", name, err)
		}
		want = append(want, c.SHA256)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	all, err := store.List(t.Context())
	var got []string
	for _, c := range all {
		got = append(got, c.SHA256)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %v, %v, want %v", got, err, want)
	}
}

func TestStore_HandsOutCopies(t *testing.T) {
	store := certs.NewStore(tenantstest.NewBucket())
	c := read(t, "chain.pem")
	if _, err := store.Add(t.Context(), c); err != nil {
		t.Fatalf("Add = %v", err)
	}
	for range 2 {
		got, err := store.Certificate(t.Context(), c.SHA256)
		if err != nil || !bytes.Equal(got.DER, c.DER) || !bytes.Equal(got.Chain[0], c.Chain[0]) {
			t.Fatalf("Certificate = %x, %v, want what was added", got.DER, err)
		}
		clear(got.DER)
		clear(got.Chain[0])
	}
}

func TestStore_DoesNotBelieveWhatItReads(t *testing.T) {
	c, other := read(t, "new.pem"), read(t, "old.pem")
	wrong, err := json.Marshal(map[string]any{"v": 1, "der": other.DER})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"another certificate": string(wrong), "another version": `{"v":2,"der":""}`, "no certificate": `{"v":1,"der":"AAAA"}`, "no JSON": "x",
	} {
		bucket := tenantstest.NewBucket()
		if _, err := bucket.Create(t.Context(), c.SHA256, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, err := certs.NewStore(bucket).Certificate(t.Context(), c.SHA256); err == nil {
			t.Errorf("%s: Certificate = %q, want an error", name, got.Subject)
		}
	}
	c.SHA256 = other.SHA256
	if created, err := certs.NewStore(tenantstest.NewBucket()).Add(t.Context(), c); err == nil {
		t.Errorf("Add with the name of another = %v, want an error", created)
	}
}

func TestStore_RefusesASecondCertificateWithOneSHA1(t *testing.T) {
	bucket := tenantstest.NewBucket()
	c := read(t, "new.pem")
	if _, err := bucket.Create(t.Context(), "sha1."+strings.ToLower(c.SHA1), []byte(strings.Repeat("0", 64))); err != nil {
		t.Fatal(err)
	}
	if created, err := certs.NewStore(bucket).Add(t.Context(), c); created || !errors.Is(err, rollover.ErrExists) {
		t.Errorf("Add = %v, %v, want ErrExists", created, err)
	}
}

// Each call of the bucket is broken, once before it does anything and once after
// it is done; adding again must then end with the certificate there, findable
// under both its names.
func TestStore_AddSurvivesEveryFault(t *testing.T) {
	c := read(t, "new.pem")
	lost := errors.New("connection lost")
	for n := 1; ; n++ {
		hit := false
		for _, after := range []bool{false, true} {
			bucket := tenantstest.NewBucket()
			calls := 0
			fail := func(_, _ string) error {
				if calls++; calls == n {
					hit = true
					return lost
				}
				return nil
			}
			if after {
				bucket.After = fail
			} else {
				bucket.Before = fail
			}
			store := certs.NewStore(bucket)
			if _, err := store.Add(t.Context(), c); err != nil && !errors.Is(err, lost) {
				t.Errorf("fault %d: Add = %v, want the fault", n, err)
			}
			bucket.Before, bucket.After = nil, nil
			if _, err := store.Add(t.Context(), c); err != nil {
				t.Errorf("fault %d: Add again = %v", n, err)
			}
			for _, name := range []string{c.SHA1, c.SHA256} {
				if _, err := store.Certificate(t.Context(), name); err != nil {
					t.Errorf("fault %d: Certificate(%s) = %v", n, name, err)
				}
			}
		}
		if !hit {
			if n < 3 {
				t.Errorf("Add made %d calls, want at least 2", n-1)
			}
			return
		}
	}
}

func TestStore_RecordStillDecodes(t *testing.T) {
	bucket := tenantstest.NewBucket()
	c := read(t, "chain.pem")
	if _, err := certs.NewStore(bucket).Add(t.Context(), c); err != nil {
		t.Fatalf("Add = %v", err)
	}
	written, _, err := bucket.Get(t.Context(), c.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/record.golden.json"
	if *update {
		if err := os.WriteFile(golden, append(written, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored := bytes.TrimSpace(file(t, "record.golden.json"))
	if !bytes.Equal(stored, written) {
		t.Errorf("Add writes\n%s\nwant as in %s\n%s", written, golden, stored)
	}
	old := tenantstest.NewBucket()
	if _, err := old.Create(t.Context(), c.SHA256, stored); err != nil {
		t.Fatal(err)
	}
	if got, err := certs.NewStore(old).Certificate(t.Context(), c.SHA256); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("Certificate of the golden record = %+v, %v, want %+v", got, err, c)
	}
}
