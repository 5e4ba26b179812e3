package jet_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestLease_OneHolderUntilItIsGivenBack(t *testing.T) {
	b := open(t, listening(t))
	other := joined(t, b, listening(t))
	const ttl = 4 * time.Second // A machine at its limit renews late, but not by seconds.
	l, err := b.Lease(t.Context(), "host/1", "me", ttl)
	if err != nil || !l.Held() {
		t.Fatalf("Lease = %v, held", err)
	}
	// Longer than its time: it must renew itself, with its time each time.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(ttl * 3 / 2); time.Now().Before(end); <-tick.C {
		if _, err := other.Lease(t.Context(), "host/1", "me", ttl); !errors.Is(err, jet.ErrBusy) {
			t.Fatalf("Lease of a second holder = %v, want ErrBusy", err)
		}
	}
	if !l.Held() {
		t.Error("Held = false after renewals, want true")
	}
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("Release = %v", err)
	}
	if wait(t, l.Done(), "Done"); l.Held() {
		t.Error("Held = true after Release")
	}
	l2, err := other.Lease(t.Context(), "host/1", "other", time.Second)
	if err != nil {
		t.Fatalf("Lease after Release = %v", err)
	}
	if err := l.Release(t.Context()); err != nil || !l2.Held() {
		t.Errorf("Release again = %v, must not take the other's", err)
	}
	if _, err := b.Lease(t.Context(), "host/1", "me", time.Second); !errors.Is(err, jet.ErrBusy) {
		t.Errorf("Lease = %v, want ErrBusy: the first holder's Release gave back another's", err)
	}
}

func TestLease_ANewHolderComesAfterTheOldStoppedBelieving(t *testing.T) {
	b := open(t, listening(t))
	dying := joined(t, b, listening(t))
	l, err := dying.Lease(t.Context(), "k", "dying", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, dying) // It renews no more and gives nothing back.
	wait(t, l.Done(), "the end of the lease")
	begun := time.Now()
	eventually(t, "the lease to run out", func() bool {
		_, err := b.Lease(t.Context(), "k", "next", time.Second)
		if err != nil && !errors.Is(err, jet.ErrBusy) {
			t.Fatalf("Lease = %v", err)
		}
		if err == nil && l.Held() {
			t.Error("two hold the lease")
		}
		return err == nil
	})
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the lease ran out after %s, want about 1 s: a renewal lost its time to live", took)
	}
}

func TestElect_AnotherTakesOverAndNeverTwoLead(t *testing.T) {
	b := open(t, listening(t))
	first, second := joined(t, b, listening(t)), joined(t, b, listening(t))
	var leading atomic.Int64
	led := make(chan string, 16)
	elect := func(ctx context.Context, x *jet.Broker, name string) <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- x.Elect(ctx, "conductor", name, 3*time.Second, func(ctx context.Context) {
				if n := leading.Add(1); n != 1 {
					t.Errorf("%d lead at once", n)
				}
				defer leading.Add(-1)
				led <- name
				<-ctx.Done()
			})
		}()
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	done1 := elect(ctx, first, "first")
	if who := wait(t, led, "a leader"); who != "first" {
		t.Fatalf("leader = %s", who)
	}
	ctx2, cancel2 := context.WithCancel(t.Context())
	done2 := elect(ctx2, second, "second")
	cancel()
	if err := wait(t, done1, "the first to end"); !errors.Is(err, context.Canceled) {
		t.Errorf("Elect = %v", err)
	}
	if who := wait(t, led, "a new leader"); who != "second" {
		t.Errorf("leader = %s, want second", who)
	}
	shut(t, second)
	if err := wait(t, done2, "the second to end"); err == nil {
		t.Error("Elect = nil when the broker is closed, want an error")
	}
	cancel2()
}

func TestBucket_KeepsWhatItIsGiven(t *testing.T) {
	b := open(t, config(t))
	if _, err := b.Bucket("nonsense"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Bucket of an unknown name = %v, want ErrNotFound", err)
	}
	k, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	const key = "contoso.crm/ä *>"
	if _, _, err := k.Get(t.Context(), key); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
	rev, err := k.Create(t.Context(), key, []byte("one"))
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	if _, err := k.Create(t.Context(), key, []byte("two")); !errors.Is(err, rollover.ErrExists) {
		t.Errorf("Create again = %v, want ErrExists", err)
	}
	rev2, err := k.Update(t.Context(), key, []byte("two"), rev)
	if err != nil {
		t.Errorf("Update = %v", err)
	}
	if _, err := k.Update(t.Context(), key, []byte("three"), rev); !errors.Is(err, rollover.ErrConflict) {
		t.Errorf("Update of a stale version = %v, want ErrConflict", err)
	}
	if v, r, err := k.Get(t.Context(), key); err != nil || string(v) != "two" || r != rev2 {
		t.Errorf("Get = %q at %d, %v, want two at %d", v, r, err, rev2)
	}
	if _, err := k.Put(t.Context(), "other", []byte("x")); err != nil {
		t.Errorf("Put = %v", err)
	}
	for range 2 {
		if err := k.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	if _, _, err := k.Get(t.Context(), key); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Get after Delete = %v, want ErrNotFound", err)
	}
	if keys, err := k.Keys(t.Context()); err != nil || len(keys) != 1 || keys[0] != "other" {
		t.Errorf("Keys = %q, %v, want other", keys, err)
	}
	if _, err := k.Create(t.Context(), key, []byte("again")); err != nil {
		t.Errorf("Create after Delete = %v", err)
	}
}

func TestBucket_AllOfTwentyThousand(t *testing.T) {
	b := open(t, config(t))
	k, err := b.Bucket("endpoints")
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	errs := make(chan error, 64)
	for w := range 64 {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += 64 {
				_, err = k.Put(t.Context(), fmt.Sprintf("t%d/e%d", i%100, i), []byte(fmt.Sprint(i)))
			}
			errs <- err
		}()
	}
	for range 64 {
		if err := wait(t, errs, "the writers"); err != nil {
			t.Fatalf("Put = %v", err)
		}
	}
	begun := time.Now()
	all, err := k.All(t.Context())
	if err != nil || len(all) != n || string(all["t1/e1"]) != "1" {
		t.Errorf("All = %d values, %v, want %d", len(all), err, n)
	}
	t.Logf("read %d values in %s", len(all), time.Since(begun))
}

// Each gives every value with the version that Update wants, and none that was deleted.
func TestBucket_EachGivesVersions(t *testing.T) {
	b := open(t, jet.Config{Dir: t.TempDir()})
	k, err := b.Bucket("webhooks")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"portal/a", "portal/b", "hook/gone"} {
		if _, err := k.Create(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Delete(t.Context(), "hook/gone"); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = k.Each(t.Context(), func(key string, val []byte, rev uint64) error {
		seen++
		if string(val) != key {
			t.Errorf("Each gave %q for %q", val, key)
		}
		_, err := k.Update(t.Context(), key, []byte("new"), rev)
		return err
	})
	if err != nil || seen != 2 {
		t.Errorf("Each = %v after %d values, want two whose versions stand", err, seen)
	}
	stop := errors.New("stop")
	if err := k.Each(t.Context(), func(string, []byte, uint64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each = %v, want the error of the one who was called", err)
	}
}

// What is retired leaves a mark, which nothing is stored over by who does not know it.
func TestBucket_RetiredAndPurged(t *testing.T) {
	b := open(t, config(t))
	k, err := b.Bucket("tenants")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Former(t.Context(), "a"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Former of what never was = %v, want ErrNotFound", err)
	}
	rev, err := k.Create(t.Context(), "a", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Retire(t.Context(), "a", []byte("m"), rev+1); !errors.Is(err, rollover.ErrConflict) {
		t.Errorf("Retire of another version = %v, want ErrConflict", err)
	}
	if err := k.Retire(t.Context(), "a", []byte("m"), rev); err != nil {
		t.Fatal(err)
	}
	mark, at, err := k.Former(t.Context(), "a")
	if err != nil || string(mark) != "m" {
		t.Fatalf("Former = %q, %v, want m", mark, err)
	}
	if _, _, err := k.Get(t.Context(), "a"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Get of what is retired = %v, want ErrNotFound", err)
	}
	if keys, err := k.Keys(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("Keys = %q, %v, want none", keys, err)
	}
	if _, err := k.Create(t.Context(), "a", []byte("two")); !errors.Is(err, rollover.ErrExists) {
		t.Errorf("Create over a mark = %v, want ErrExists", err)
	}
	if rev, err = k.Update(t.Context(), "a", []byte("two"), at); err != nil {
		t.Errorf("Update over the mark = %v", err)
	}
	if err := k.Purge(t.Context(), "a", at); err != nil {
		t.Error(err)
	}
	if v, _, err := k.Get(t.Context(), "a"); err != nil || string(v) != "two" {
		t.Errorf("after a purge of an earlier version there is %q, %v, want two", v, err)
	}
	if err := k.Purge(t.Context(), "a", rev); err != nil {
		t.Error(err)
	}
	if _, err := k.Create(t.Context(), "a", []byte("three")); err != nil {
		t.Errorf("Create after Purge = %v", err)
	}
	if err := k.Purge(t.Context(), "a", 0); err != nil {
		t.Error(err)
	}
	if _, _, err := k.Get(t.Context(), "a"); !errors.Is(err, rollover.ErrNotFound) {
		t.Errorf("Get after Purge = %v, want ErrNotFound", err)
	}
}

// With one replica the leases live in memory. Where no worker runs nobody else makes
// them anew, and nobody would lead again.
func TestLease_IsThereAgainAfterTheServerWas(t *testing.T) {
	dir, port := t.TempDir(), ports(t, 1)[0]
	run := func() *server.Server {
		t.Helper()
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("the server is not ready")
		}
		return s
	}
	stop := func(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }
	s := run()
	c := config(t, newCert(t))
	c.Dir, c.URL, c.MaxStore, c.Replicas = "", fmt.Sprintf("nats://127.0.0.1:%d", port), 64<<20, 1
	b := open(t, c)
	if _, err := b.Lease(t.Context(), "conductor", "first", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	stop(s)
	s = run()
	t.Cleanup(func() { stop(s) })
	eventually(t, "a lease after the start", func() bool {
		l, err := b.Lease(t.Context(), "conductor", "second", 2*time.Second)
		return err == nil && l.Held()
	})
}
