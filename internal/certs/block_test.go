package certs_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
)

// ticking is a clock that a test pushes on.
type ticking struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *ticking) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ids returns the three entries that block c.
func ids(t *testing.T, c rollover.Credential) map[string]certs.BlockID {
	t.Helper()
	key, err := rollover.KeyHash(c.DER)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]certs.BlockID{}
	for sort, hash := range map[certs.BlockSort]string{certs.BlockSHA256: c.SHA256, certs.BlockSHA1: c.SHA1, certs.BlockKeyHash: key} {
		id, err := certs.NewBlockID(sort, strings.ToUpper(hash[:2])+":"+hash[2:])
		if err != nil {
			t.Fatal(err)
		}
		if back, ok := certs.ParseBlockID(id.String()); !ok || back != id {
			t.Errorf("ParseBlockID(%s) = %v, %v", id, back, ok)
		}
		out[string(sort)] = id
	}
	return out
}

func TestBlocks_EachSortBlocksUntilItIsRemoved(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	other, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	for sort, id := range ids(t, c) {
		b := certs.NewBlocks(tenantstest.NewBucket(), time.Now)
		check := func(c rollover.Credential, want bool) {
			t.Helper()
			why, got, err := b.Blocked(t.Context(), c)
			if err != nil || got != want || got != strings.Contains(why.Full, "leaked") || got != strings.Contains(why.Entry, id.Hash) {
				t.Errorf("%s: Blocked = %q, %v, %v, want %v", sort, why, got, err, want)
			}
			if strings.Contains(why.Entry, "leaked") || strings.Contains(why.Entry, " by ") {
				t.Errorf("%s: what everybody is told has what people wrote: %q", sort, why.Entry)
			}
		}
		check(c, false)
		e := certs.Block{ID: id, Reason: "leaked", By: "ada", At: rollovertest.Epoch}
		if _, err := b.Block(t.Context(), e, ""); err != nil {
			t.Fatal(err)
		}
		check(c, true)
		check(other, false)
		if got, err := b.Block(t.Context(), certs.Block{ID: id, Reason: "again", By: "eve"}, ""); err != nil || got.By != "ada" || got.Reason != "leaked" {
			t.Errorf("%s: Block again = %+v, %v, want the first", sort, got, err)
		}
		if list, err := b.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != id || list[0].By != "ada" || !list[0].At.Equal(rollovertest.Epoch) {
			t.Errorf("%s: List = %+v, %v", sort, list, err)
		}
		if _, err := b.Unblock(t.Context(), id, certs.Removal{Reason: "mistaken", By: "ada"}, ""); err != nil {
			t.Fatal(err)
		}
		check(c, false)
		if _, err := b.Unblock(t.Context(), id, certs.Removal{Reason: "x"}, ""); !errors.Is(err, rollover.ErrNotFound) {
			t.Errorf("%s: Unblock again = %v, want ErrNotFound", sort, err)
		}
		if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: List = %+v, %v, want none", sort, list, err)
		}
		if e, err := b.Entry(t.Context(), id); err != nil || e.Removal == nil || e.Removal.Reason != "mistaken" {
			t.Errorf("%s: Entry = %+v, %v, want who removed it and why", sort, e, err)
		}
	}
}

// A call that is repeated late does not undo what was done since.
func TestBlocks_ALateRepeatChangesNothing(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	id := ids(t, c)["sha1"]
	b := certs.NewBlocks(tenantstest.NewBucket(), time.Now)
	block := func(request string) {
		t.Helper()
		if _, err := b.Block(t.Context(), certs.Block{ID: id, Reason: "r"}, request); err != nil {
			t.Fatal(err)
		}
	}
	unblock := func(request string) {
		t.Helper()
		if _, err := b.Unblock(t.Context(), id, certs.Removal{Reason: "r"}, request); err != nil {
			t.Fatal(err)
		}
	}
	blocked := func(when string, want bool) {
		t.Helper()
		if _, got, err := b.Blocked(t.Context(), c); err != nil || got != want {
			t.Errorf("%s: blocked = %v, %v, want %v", when, got, err, want)
		}
	}
	block("B1")
	unblock("u1")
	block("b1")
	blocked("a late repeat of the first block", false)
	block("b2")
	unblock("U1")
	blocked("a late repeat of the first removal", true)
}

func TestBlocks_WhatIsToldIsAtMostASecondOld(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	bucket, clock := tenantstest.NewBucket(), &ticking{now: time.Now()}
	here, there := certs.NewBlocks(bucket, clock.Now), certs.NewBlocks(bucket, clock.Now)
	asked := 0
	bucket.Before = func(call, _ string) error {
		if call == "Get" {
			asked++
		}
		return nil
	}
	for range 1000 {
		if _, blocked, err := here.Blocked(t.Context(), c); err != nil || blocked {
			t.Fatalf("Blocked = %v, %v", blocked, err)
		}
	}
	if asked != 3 {
		t.Errorf("1000 questions within a second read %d times, want 3", asked)
	}
	if _, err := there.Block(t.Context(), certs.Block{ID: ids(t, c)["key_hash"], Reason: "leaked"}, ""); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Second)
	if _, blocked, err := here.Blocked(t.Context(), c); err != nil || !blocked {
		t.Errorf("a second later Blocked = %v, %v, want true", blocked, err)
	}
	clock.pass(-time.Hour) // The clock was set back: nothing is taken from memory.
	bucket.Before = func(string, string) error { return rollover.ErrUnavailable }
	if _, _, err := here.Blocked(t.Context(), c); !errors.Is(err, rollover.ErrUnavailable) {
		t.Errorf("Blocked with a store that is away = %v, want its error", err)
	}
}

func TestBlocks_WhatCannotBeKnownIsAnError(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	for name, value := range map[string]string{
		"rubbish": `{`, "another version": `{"v":2,"id":"sha256.` + c.SHA256 + `"}`, "another entry": `{"v":1,"id":"sha1.` + strings.ToLower(c.SHA1) + `"}`,
	} {
		bucket := tenantstest.NewBucket()
		if _, err := bucket.Create(t.Context(), "sha256."+c.SHA256, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if _, blocked, err := certs.NewBlocks(bucket, time.Now).Blocked(t.Context(), c); err == nil || blocked {
			t.Errorf("%s: Blocked = %v, %v, want an error", name, blocked, err)
		}
	}
	b := certs.NewBlocks(tenantstest.NewBucket(), time.Now)
	if _, _, err := b.Blocked(t.Context(), c.Named()); err == nil {
		t.Error("Blocked of a certificate without its bytes = nil, want an error")
	}
	if _, _, err := b.Blocked(t.Context(), rollover.Credential{DER: []byte("no certificate")}); err == nil {
		t.Error("Blocked of no certificate = nil, want an error")
	}
}

func TestBlocks_WritersAtOnceLeaveOneEntry(t *testing.T) {
	c, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	bucket := tenantstest.NewBucket()
	var wg sync.WaitGroup
	got := make([]certs.Block, 8)
	for i := range got {
		wg.Go(func() {
			var err error
			got[i], err = certs.NewBlocks(bucket, time.Now).Block(context.WithoutCancel(t.Context()), certs.Block{
				ID: ids(t, c)["sha256"], Reason: "r", By: string(rune('a' + i)),
			}, "")
			if err != nil {
				t.Errorf("Block = %v", err)
			}
		})
	}
	wg.Wait()
	for _, e := range got {
		if e.By != got[0].By {
			t.Errorf("one is told %q and another %q", e.By, got[0].By)
		}
	}
}

func TestParseBlockID_TakesOnlyTheOneSpelling(t *testing.T) {
	for _, s := range []string{"", ".", "sha1.", "sha256." + strings.Repeat("a", 40), "sha1." + strings.Repeat("A", 40), "md5." + strings.Repeat("a", 32), "sha1." + strings.Repeat("g", 40), "." + strings.Repeat("a", 40)} {
		if id, ok := certs.ParseBlockID(s); ok {
			t.Errorf("ParseBlockID(%q) = %v, want none", s, id)
		}
	}
}

// Programs of this version wrote such records.
func TestBlocks_RecordsStillDecode(t *testing.T) {
	sha1 := strings.Repeat("ab", 20)
	record := `{"v":1,"id":"sha1.` + sha1 + `","reason":"leaked","by":"ada","at":"2016-10-30T12:00:00Z","requests":["0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"]}`
	bucket := tenantstest.NewBucket()
	if _, err := bucket.Create(t.Context(), "sha1."+sha1, []byte(record)); err != nil {
		t.Fatal(err)
	}
	b := certs.NewBlocks(bucket, time.Now)
	list, err := b.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Reason != "leaked" || list[0].By != "ada" || list[0].At.Format(time.DateOnly) != "2016-10-30" {
		t.Fatalf("List = %+v, %v", list, err)
	}
	other := tenantstest.NewBucket()
	id := certs.BlockID{Sort: certs.BlockSHA1, Hash: sha1}
	_, err = certs.NewBlocks(other, time.Now).Block(t.Context(), certs.Block{ID: id, Reason: "leaked", By: "ada", At: list[0].At}, "0190F3A2-7C1E-7B44-9D0A-2F5C8E6B1A37")
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := other.Get(t.Context(), id.String()); string(got) != record {
		t.Errorf("a block is written as\n%s\nwant\n%s", got, record)
	}
}
