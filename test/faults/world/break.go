package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/test/faults/record"
	"github.com/crossfade-project/crossfade/test/faults/relay"
)

// Break plays the schedule until it or ctx ends. Everything is mended when it
// returns. An error says what could not be broken or mended.
func (w *World) Break(ctx context.Context, schedule []Action) error {
	begun := time.Now()
	var all sync.WaitGroup
	errs := make([]error, len(schedule))
	for i, a := range schedule {
		if !until(ctx, begun.Add(a.After)) {
			break
		}
		all.Go(func() { errs[i] = w.play(ctx, a) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// until waits for an instant, and reports whether it came before ctx ended.
func until(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// play does one action, waits, and mends it.
func (w *World) play(ctx context.Context, a Action) error {
	f := record.Fault{Real: time.Now(), At: w.Now(), Kind: a.Kind, Victim: a.Victim, For: a.For}
	if a.Skew != 0 {
		f.Detail = fmt.Sprintf("by %s", a.Skew.Round(time.Second))
	}
	if a.Share != 0 {
		f.Detail = fmt.Sprintf("%.0f %% of the hosts", a.Share*100)
	}
	if strings.HasPrefix(a.Victim, "nats") {
		// One node in three may be out of order. The one before must have caught
		// up: what a machine needs for that is not in the schedule.
		if !w.brokers.TryLock() {
			w.count(a.Kind, func(t *Tally) { t.Skipped++ })
			return nil
		}
		defer func() {
			w.healthy(context.WithoutCancel(ctx))
			w.brokers.Unlock()
		}()
	}
	mend, err := w.damage(ctx, a, &f)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", a.Kind, a.Victim, err)
	}
	w.count(a.Kind, func(t *Tally) { t.Injected++ })
	until(ctx, f.Real.Add(a.For))
	if err := mend(); err != nil { // It is written down all the same, as not mended.
		return errors.Join(fmt.Errorf("mending %s of %s: %w", a.Kind, a.Victim, err), w.faults.Add(f))
	}
	f.Mended = time.Now()
	w.count(a.Kind, func(t *Tally) { t.Mended++; t.Lasted += f.Mended.Sub(f.Real) })
	return w.faults.Add(f)
}

// catchUpLimit is how long NATS gets to catch up. Where that is not enough the run
// goes on, and is judged like every other.
const catchUpLimit = 60 * time.Second

// healthy waits until every NATS node says that all its streams are current.
func (w *World) healthy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < natsNodes; {
		if w.current(ctx, i) {
			i++
			continue
		}
		i = 0
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// current asks one node.
func (w *World) current(ctx context.Context, node int) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr(healthPort+node)+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (w *World) count(kind string, f func(*Tally)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tally[kind]
	if t == nil {
		t = &Tally{Kind: kind}
		w.tally[kind] = t
	}
	f(t)
}

// Tallies are what was broken so far, by kind.
func (w *World) Tallies() []Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Tally
	for _, t := range w.tally {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Tally) int { return strings.Compare(a.Kind, b.Kind) })
	return out
}

// mendLimit bounds each step of mending.
const mendLimit = 20 * time.Second

// damage breaks what the action says, notes in f what only the deed shows, and
// returns how to mend it.
func (w *World) damage(ctx context.Context, a Action, f *record.Fault) (mend func() error, err error) {
	switch p := w.procs[a.Victim]; {
	case a.Kind == KindKill:
		p.kill()
		if w.o.Previous != "" && p.path == w.o.Previous {
			p.path = w.o.Crossfade // Upgraded on the way.
		}
		return p.restart, nil
	case a.Kind == KindStop:
		p.signal(syscall.SIGSTOP)
		return func() error { p.signal(syscall.SIGCONT); return nil }, nil
	case a.Kind == KindClock:
		return w.skew(a)
	case a.Kind == KindFull:
		return w.fill(ctx, f)
	case strings.HasPrefix(a.Kind, "acs-"):
		return w.acs(ctx, a)
	}
	r := w.relays[a.Victim]
	if r == nil {
		return nil, errors.New("there is no such line")
	}
	r.Set(map[string]relay.Mode{KindCut: relay.Cut, KindStall: relay.Stall, KindOne: relay.OneWay, KindSlow: relay.Slow}[a.Kind])
	return func() error { r.Set(relay.Through); return nil }, nil
}

func (w *World) skew(a Action) (func() error, error) {
	c, err := clock.Follow(w.clockFile(a.Victim))
	if err != nil {
		return nil, err
	}
	return func() error { return c.SetSkew(0) }, c.SetSkew(a.Skew)
}

// acs adds a fault to those of ACS.
func (w *World) acs(ctx context.Context, a Action) (func() error, error) {
	if a.Kind == KindRenum {
		_, err := w.emulator.ask(ctx, order{Op: "renumber"})
		return func() error { return nil }, err
	}
	r := ruleOf(a)
	w.mu.Lock()
	w.rules = append(w.rules, r)
	w.mu.Unlock()
	return func() error {
		w.mu.Lock()
		if i := slices.Index(w.rules, r); i >= 0 {
			w.rules = slices.Delete(w.rules, i, i+1)
		}
		w.mu.Unlock()
		mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendLimit)
		defer cancel()
		return w.tellACS(mctx)
	}, w.tellACS(ctx)
}

// ruleOf is what the emulator is told for an action on ACS other than [KindRenum].
func ruleOf(a Action) rule {
	r := rule{Kind: strings.TrimPrefix(a.Kind, "acs-"), HostShare: a.Share, Probability: 0.5}
	switch r.Kind {
	case "429":
		r.RetryAfter = time.Second
	case "503":
		r.RetryAfter = time.Second
		r.Probability = 0.2
	case "504-applied", "reset-applied":
		r.Path = "mgmt"
	case "stale-read":
		r.Method, r.Probability, r.Delay = "GET", 0.3, staleFor
	case "slow":
		r.Delay = 300 * time.Millisecond
	case "stall": // No answer, until the caller goes away.
		r.Kind, r.Delay, r.Probability = "slow", time.Hour, 0.15
	}
	return r
}

// FailHosts makes ACS refuse every write to the hosts, for the whole of the run.
func (w *World) FailHosts(ctx context.Context, hosts []string) error {
	w.mu.Lock()
	for _, h := range hosts {
		for _, method := range []string{"POST", "DELETE"} {
			w.rules = append(w.rules, rule{Kind: "500", Host: h, Method: method, Path: "ServiceIdentityKeys"})
		}
	}
	w.mu.Unlock()
	return w.tellACS(ctx)
}

// MuddleHosts makes ACS slow to add certificates to the hosts, and say 504 of many that
// it has added, for the whole of the run: whatever is done to a rotation there finds
// effects in the making.
func (w *World) MuddleHosts(ctx context.Context, hosts []string) error {
	w.mu.Lock()
	for _, h := range hosts {
		w.rules = append(w.rules,
			rule{Kind: "504-applied", Host: h, Method: "POST", Path: "ServiceIdentityKeys", Probability: 0.6},
			rule{Kind: "slow", Host: h, Method: "POST", Path: "ServiceIdentityKeys", Delay: 900 * time.Millisecond})
	}
	w.mu.Unlock()
	return w.tellACS(ctx)
}

// staleFor is how long after a write ACS may answer from before it. Nobody has
// documented such a time (none may be needed: D22 of the ACS notes); Crossfade looks
// twice, three seconds apart, and this is a little less.
const staleFor = 2500 * time.Millisecond

// weather is what goes wrong at ACS all the time: effects whose answer is lost,
// removals that are not done, and answers of a moment ago. It comes after the faults of the schedule.
func weather() []rule {
	return []rule{
		{Kind: "504-applied", Method: "POST", Path: "ServiceIdentityKeys", Probability: 0.15},
		{Kind: "reset-applied", Path: "ServiceIdentityKeys", Method: "POST", Probability: 0.1},
		{Kind: "reset-applied", Path: "ServiceIdentityKeys", Method: "DELETE", Probability: 0.15},
		{Kind: "reset-before", Path: "ServiceIdentityKeys", Method: "DELETE", Probability: 0.15},
		{Kind: "stale-read", Method: "GET", Path: "ServiceIdentit", Probability: 0.03, Delay: staleFor},
	}
}

func (w *World) tellACS(ctx context.Context) error {
	w.mu.Lock()
	rules := append(slices.Clone(w.rules), weather()...)
	w.mu.Unlock()
	_, err := w.emulator.ask(ctx, order{Op: "faults", Faults: rules, Seed: w.o.Seed})
	return err
}

// filler is the stream that uses up the brokers' disk quota.
const filler = "FILLER"

// fill uses up the disk quota of all nodes, and gives it back. What ended the
// filling stands in f: it may also be that a node was broken meanwhile.
func (w *World) fill(ctx context.Context, f *record.Fault) (func() error, error) {
	var urls []string
	for i := range natsNodes {
		urls = append(urls, "nats://"+w.addr(natsPort+i))
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.Timeout(2*time.Second), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	mend := func() error {
		defer nc.Close()
		mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendLimit)
		defer cancel()
		var err error
		for mctx.Err() == nil { // The stream's leader may be the node that is being killed.
			one, cancel := context.WithTimeout(mctx, 3*time.Second)
			err = js.DeleteStream(one, filler)
			cancel()
			if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil
			}
		}
		return fmt.Errorf("giving back the disk quota: %w", err)
	}
	f.Detail = "filled without an end"
	if err := w.filling(ctx, js); err != nil {
		f.Detail = "filled until: " + err.Error()
	}
	return mend, nil
}

// filling writes until the quota is used up.
func (w *World) filling(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: filler, Subjects: []string{"filler"}, Replicas: 3}); err != nil {
		return err
	}
	piece := make([]byte, 900<<10)
	for range 2 * natsLimit / len(piece) {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(one, "filler", piece)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
