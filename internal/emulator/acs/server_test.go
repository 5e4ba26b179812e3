package acs_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

func TestNamespaces_ComeAndGo(t *testing.T) {
	b := newBench(t, acs.Config{})
	if err := b.s.AddNamespace(acs.Namespace{Host: "CONTOSO-sb.accesscontrol.windows.net:443"}); err == nil {
		t.Errorf("AddNamespace of what is there = nil")
	}
	if err := b.s.AddNamespace(acs.Namespace{Host: "x.accesscontrol.windows.net", Identities: []acs.Identity{{Name: "a", Keys: []acs.Key{{Type: "Symmetric", Usage: "Signing", Value: []byte("short")}}}}}); err == nil {
		t.Errorf("AddNamespace with a key that is none = nil")
	}
	if !b.s.HasNamespace("Contoso-SB.accesscontrol.windows.net") {
		t.Errorf("HasNamespace = false")
	}
	b.login()
	b.s.RemoveNamespace(host)
	if b.s.HasNamespace(host) || b.s.Identity(host, crm) != nil {
		t.Errorf("the namespace is still there")
	}
	r, err := b.try("GET", "https://"+plain+"/v2/mgmt/service/", "", "Authorization: x")
	if err != nil || r.status != 200 {
		t.Errorf("the other one = %d (%v)", r.status, err)
	}
}

func TestMode_ClosesANamespace(t *testing.T) {
	b := newBench(t, acs.Config{})
	for m, want := range map[acs.Mode]int{acs.ModeGone: 404, acs.ModeUnavailable: 503, acs.ModeRefuse: 0, acs.ModeLive: 200} {
		b.s.SetMode(plain, m)
		r, err := b.try("GET", "https://"+plain+"/v2/mgmt/service/", "")
		if r.status != want || (err != nil) != (want == 0) {
			t.Errorf("mode %q = %d (%v), want %d", m, r.status, err, want)
		}
	}
}

func TestIdentity_IsACopy(t *testing.T) {
	b := newBench(t, acs.Config{})
	one := b.s.Identity(host, crm)
	one[0].Value[0] ^= 1
	if two := b.s.Identity(host, crm); bytes.Equal(one[0].Value, two[0].Value) {
		t.Errorf("changing what Identity gave changed what stands")
	}
}

func TestRenumber_KeepsEverythingButTheIDs(t *testing.T) {
	b := newBench(t, acs.Config{})
	one := b.s.Identity(host, crm)
	if r := b.call("POST", "https://"+host+"/_emulator/renumber", ""); r.status != 204 {
		t.Fatalf("renumber = %d", r.status)
	}
	two := b.s.Identity(host, crm)
	for i := range two {
		if two[i].ID == one[i].ID {
			t.Errorf("key %d kept its ID", i)
		}
		two[i].ID = one[i].ID
	}
	if !reflect.DeepEqual(one, two) {
		t.Errorf("the keys are %+v, want %+v", two, one)
	}
}

func TestSetKeys_IsSomeoneElsesEdit(t *testing.T) {
	b := newBench(t, acs.Config{})
	keys := b.s.Identity(host, crm)
	path := fmt.Sprintf("ServiceIdentityKeys(%dL)", keys[0].ID)
	tag := b.call("GET", path, "").header.Get("ETag")
	if err := b.s.SetKeys(host, crm, keys); err != nil {
		t.Fatal(err)
	}
	if r := b.call("DELETE", path, "", "If-Match: "+tag); r.status != 412 {
		t.Errorf("DELETE with the tag of before = %d, want 412", r.status)
	}
	if err := b.s.SetKeys(host, "nobody", nil); err == nil {
		t.Errorf("SetKeys of nobody = nil")
	}
}

// TestWrites_OfManyAtOnce adds from many goroutines and counts what stands.
func TestWrites_OfManyAtOnce(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	body := keyEntry(next2016(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if r, err := b.try("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", body); err != nil || r.status != 201 {
					t.Errorf("POST = %d (%v)", r.status, err)
				}
				if r, err := b.try("GET", "ServiceIdentityKeys?$filter=ServiceIdentityId eq "+id, ""); err != nil || r.status != 200 {
					t.Errorf("GET = %d (%v)", r.status, err)
				}
			}
		})
	}
	wg.Wait()
	keys := b.s.Identity(host, crm)
	ids, versions := map[int64]bool{}, map[uint64]bool{}
	for _, k := range keys {
		ids[k.ID], versions[k.Version] = true, true
	}
	if len(keys) != 83 || len(ids) != 83 || len(versions) != 83 {
		t.Errorf("%d keys, %d IDs, %d versions; want 83", len(keys), len(ids), len(versions))
	}
	if c := b.s.Counters(); c.Writes != 80 || c.Reads < 80 {
		t.Errorf("Counters() = %+v", c)
	}
}

func TestJournal_ForgetsTheOldest(t *testing.T) {
	b := newBench(t, acs.Config{JournalLimit: 3})
	for i := range 5 {
		b.form("/WRAPv0.9/", "wrap_name", fmt.Sprint("n", i), "wrap_password", "x", "wrap_scope", realm)
	}
	var got []string
	for _, e := range b.s.Journal() {
		got = append(got, e.Identity)
	}
	if fmt.Sprint(got) != "[n2 n3 n4]" {
		t.Errorf("the journal has %v", got)
	}
}

// TestFiveThousandNamespaces_AreCheap adds them and uses each once.
func TestFiveThousandNamespaces_AreCheap(t *testing.T) {
	const n = 5000
	crmKey := next2016(t).keyOf()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := acs.New(acs.Config{})
	began := time.Now()
	for i := range n {
		err := s.AddNamespace(acs.Namespace{Host: fmt.Sprintf("tenant%05d-sb.accesscontrol.windows.net", i), Identities: []acs.Identity{{Name: crm, Keys: []acs.Key{crmKey}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	added := time.Since(began)
	for i := range n {
		if keys := s.Identity(fmt.Sprintf("tenant%05d-sb.accesscontrol.windows.net", i), crm); len(keys) != 1 {
			t.Fatalf("tenant %d has %d keys", i, len(keys))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("added in %v, %d bytes each in use", added, each)
	if each > 32<<10 {
		t.Errorf("a namespace takes %d bytes, want at most 32 KiB", each)
	}
	runtime.KeepAlive(s)
}

func BenchmarkReads(b *testing.B) {
	bn := newBench(b, acs.Config{})
	id := bn.identityID()
	for name, target := range map[string]string{
		"identity": "/v2/mgmt/service/ServiceIdentities?$filter=Name%20eq%20'" + crm + "'",
		"keys":     "/v2/mgmt/service/ServiceIdentityKeys?$filter=ServiceIdentityId%20eq%20" + id + "L",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", "https://"+host+target, nil)
				r.Header.Set("Authorization", "Bearer "+bn.login())
				w := httptest.NewRecorder()
				bn.s.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatalf("GET %s = %d", target, w.Code)
				}
			}
		})
	}
}
