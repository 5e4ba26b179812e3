package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The pace of delivery.
const (
	firstPause = 5 * time.Second
	longest    = time.Hour
	// GiveUp is how long it is tried to deliver an event.
	GiveUp = 24 * time.Hour
	// slots is how many events one webhook is told at once, each of another rotation.
	slots = 4
	// tooOld is the age from which on a rotation of which nothing is noted is not
	// told from its beginning: its events would have been given up.
	tooOld = 2 * GiveUp
)

// Bucket keeps what was told. A value may vanish some weeks after it was written.
type Bucket interface {
	// Each hands fn every value with its version, as they stand at the call; one that is
	// changed meanwhile may come twice, the newer one later.
	Each(ctx context.Context, fn func(key string, value []byte, revision uint64) error) error
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// Result is what came of a try to deliver.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "failed"   // it is tried again
	GivenUp   Result = "given_up" // it is not
)

// Config is what a Courier is made of. All fields but those that say so are required.
type Config struct {
	Hooks     []Hook
	Rotations func() []mirror.View // of the live copy
	Ready     <-chan struct{}      // closed when the live copy has caught up
	Bucket    Bucket
	Sender    *Sender
	// Elect runs lead while this process is the one that tells, until ctx ends.
	Elect func(ctx context.Context, lead func(context.Context)) error
	Now   func() time.Time // of the machine
	Log   *slog.Logger
	// Approvals is when how many others must approve a start, which they are told of.
	// The zero policy: nobody but in incidents.
	Approvals rollover.ApprovalPolicy
	// Clouds returns the clouds of a rotation's tenants, for rules that ask for them.
	// Required if [rollover.ApprovalPolicy.AsksClouds].
	Clouds func(ctx context.Context, rotation string) ([]string, error)
	// Tick is how often it is looked for what is to be told. Default 1 s.
	Tick time.Duration
	// Count is told what came of each try, and Waiting how many events wait, once a
	// tick. Nil: nobody is told.
	Count   func(hook string, r Result)
	Waiting func(n int)
}

// Courier tells webhooks while it is elected.
type Courier struct{ c Config }

// New returns a courier.
func New(c Config) *Courier {
	if c.Tick == 0 {
		c.Tick = time.Second
	}
	if c.Count == nil {
		c.Count = func(string, Result) {}
	}
	if c.Waiting == nil {
		c.Waiting = func(int) {}
	}
	return &Courier{c}
}

// Run tells webhooks whenever this process is elected, until ctx ends.
func (c *Courier) Run(ctx context.Context) error {
	if len(c.c.Hooks) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.c.Ready:
	}
	return c.c.Elect(ctx, c.lead)
}

// recordVersion is written into every record.
const recordVersion = 1

// record is how far one rotation has been told to one webhook. An event is stored
// before it is sent for the first time, and goes out as it was stored until it has
// arrived: a repeat is the same to the byte, whoever makes it.
type record struct {
	V       int      `json:"v"`
	Told    told     `json:"told"`
	Pending *pending `json:"pending,omitempty"`

	rev uint64
}

// pending is an event that is being delivered.
type pending struct {
	ID    string          `json:"id"`
	Kind  string          `json:"kind"`
	Body  json.RawMessage `json:"body"`
	After told            `json:"after"` // what is told when it has arrived
	Since time.Time       `json:"since"` // when it was tried first
	Tries int             `json:"tries,omitempty"`
	Next  time.Time       `json:"next,omitzero"` // when it is tried again
}

// begin is when a webhook was first known.
type begin struct {
	V     int       `json:"v"`
	Since time.Time `json:"since"`
}

// reign is what one who leads remembers. It is used by one goroutine, but for
// back, on which deliveries say what came of them.
type reign struct {
	Config
	since   map[string]time.Time // when each webhook was first known
	records map[string]*record   // by key; of the rotations that there are
	listed  bool                 // what was noted before we led has been read
	absent  map[string]bool      // keys of which nothing was noted then, until they are asked for
	needs   map[string]need      // by rotation: what the rules want for its start
	flying  map[string]bool      // keys of what is being delivered
	out     map[string]int       // how many of these, by webhook
	back    chan landed
	wg      sync.WaitGroup
}

// landed is what came of a delivery.
type landed struct {
	key  string
	hook string
	err  error
}

func newReign(c Config) *reign {
	return &reign{
		Config: c, since: map[string]time.Time{}, records: map[string]*record{}, needs: map[string]need{}, flying: map[string]bool{}, out: map[string]int{},
		back: make(chan landed, MaxHooks*slots),
	}
}

// lead tells until ctx ends.
func (c *Courier) lead(ctx context.Context) {
	r := newReign(c.c)
	defer c.c.Waiting(0)
	defer r.settle(ctx)
	tick := time.NewTicker(c.c.Tick)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return
		case l := <-r.back:
			r.land(ctx, l)
			for len(r.back) > 0 { // Those that came together are looked at together.
				r.land(ctx, <-r.back)
			}
		case <-tick.C:
		}
	}
}

// lastNotes bounds how long a process that ends notes what has arrived.
const lastNotes = 2 * time.Second

// settle waits for what is being delivered, which ends with ctx, and notes what has
// arrived, so that whoever leads next does not tell it again.
func (r *reign) settle(ctx context.Context) {
	r.wg.Wait()
	nctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastNotes)
	defer cancel()
	for len(r.back) > 0 && nctx.Err() == nil {
		if l := <-r.back; l.err == nil {
			r.land(nctx, l)
		}
	}
}

// look goes through all rotations and webhooks, and begins what is due.
func (r *reign) look(ctx context.Context) {
	views := r.Rotations()
	r.forget(views)
	if err := r.list(ctx, views); err != nil {
		r.complain(ctx, "", err)
		return
	}
	waiting := 0
	seen := r.see(ctx, views)
	for _, h := range r.Hooks {
		since, err := r.known(ctx, h)
		if err != nil {
			r.complain(ctx, h.Name, err)
			continue
		}
		for _, v := range seen {
			if !h.about(v.Rotation.Labels) {
				continue
			}
			wait, err := r.one(ctx, h, v, since)
			if err != nil {
				r.complain(ctx, h.Name, err)
				break
			}
			if wait {
				waiting++
			}
		}
	}
	r.Waiting(waiting)
}

// complain says why nothing is told; the next tick tries again.
func (r *reign) complain(ctx context.Context, hook string, err error) {
	if ctx.Err() == nil {
		r.Log.WarnContext(ctx, "webhook: what was told cannot be read or noted; trying on", "webhook", hook, "err", err)
	}
}

// known returns since when a webhook is known, and notes it the first time.
func (r *reign) known(ctx context.Context, h Hook) (time.Time, error) {
	if at, ok := r.since[h.Name]; ok {
		return at, nil
	}
	key := "hook/" + h.Name
	b, _, err := r.Bucket.Get(ctx, key)
	if errors.Is(err, rollover.ErrNotFound) {
		now := r.Now().UTC()
		if b, err = json.Marshal(begin{V: recordVersion, Since: now}); err != nil {
			return now, fmt.Errorf("encoding a record: %w", err)
		}
		_, err = r.Bucket.Create(ctx, key, b)
	}
	if err != nil {
		return time.Time{}, err
	}
	var at begin
	if err := json.Unmarshal(b, &at); err != nil || at.V != recordVersion {
		return time.Time{}, fmt.Errorf("record %s is not of this program", key)
	}
	r.since[h.Name] = at.Since
	return at.Since, nil
}

// one looks at one rotation for one webhook. It reports whether an event waits.
func (r *reign) one(ctx context.Context, h Hook, v sight, since time.Time) (bool, error) {
	key := keyOf(h.Name, v.Rotation.ID)
	if r.flying[key] {
		return true, nil
	}
	rec, err := r.recall(ctx, key, v, since)
	if err != nil {
		return false, err
	}
	for rec.Pending == nil {
		s, after, ok := rec.Told.next(v)
		if !ok {
			return false, nil
		}
		next := record{V: recordVersion, Told: after, rev: rec.rev}
		if h.wants(s.kind) {
			body, err := s.body(v.View)
			if err != nil {
				return false, err
			}
			next.Told = rec.Told
			next.Pending = &pending{ID: newID(), Kind: s.kind, Body: body, After: after, Since: r.Now().UTC()}
		}
		if rec, err = r.save(ctx, key, next); err != nil {
			return false, err
		}
	}
	if r.out[h.Name] >= slots || r.Now().Before(rec.Pending.Next) {
		return true, nil
	}
	r.flying[key] = true
	r.out[h.Name]++
	p := *rec.Pending
	r.wg.Go(func() {
		r.back <- landed{key: key, hook: h.Name, err: r.Sender.Send(ctx, h, p.ID, p.Body)}
	})
	return true, nil
}

// save notes rec. Who lost the race to another that tells reads anew.
func (r *reign) save(ctx context.Context, key string, rec record) (*record, error) {
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	if rec.rev == 0 {
		rec.rev, err = r.Bucket.Create(ctx, key, b)
	} else {
		rec.rev, err = r.Bucket.Update(ctx, key, b, rec.rev)
	}
	if err != nil {
		delete(r.records, key)
		return nil, err
	}
	r.records[key] = &rec
	return &rec, nil
}

// land notes what came of a delivery.
func (r *reign) land(ctx context.Context, l landed) {
	delete(r.flying, l.key)
	r.out[l.hook]--
	rec := r.records[l.key]
	if rec == nil || rec.Pending == nil || (l.err != nil && ctx.Err() != nil) {
		return // Whoever leads next sends it again, under the same id.
	}
	now, p := r.Now().UTC(), *rec.Pending
	next := record{V: recordVersion, Told: p.After, rev: rec.rev}
	var refused *refusedError
	switch {
	case l.err == nil:
		r.Count(l.hook, Delivered)
	case errors.As(l.err, &refused), now.Sub(p.Since) > GiveUp:
		r.Count(l.hook, GivenUp)
		r.Log.ErrorContext(ctx, "webhook: an event is given up", "webhook", l.hook, "event", p.Kind, "id", p.ID, "tries", p.Tries+1, "err", l.err)
	default:
		r.Count(l.hook, Failed)
		p.Tries++
		p.Next = now.Add(pauseAfter(p.Tries, mathrand.Float64())) //nolint:gosec // Jitter is no secret.
		next.Told, next.Pending = rec.Told, &p
		r.Log.WarnContext(ctx, "webhook: an event did not arrive; trying on", "webhook", l.hook, "event", p.Kind, "id", p.ID, "tries", p.Tries, "next", p.Next, "err", l.err)
	}
	sctx := ctx
	if l.err == nil { // What has arrived is noted also if we are told to stop meanwhile.
		var cancel context.CancelFunc
		sctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastNotes)
		defer cancel()
	}
	if _, err := r.save(sctx, l.key, next); err != nil && ctx.Err() == nil {
		r.Log.WarnContext(ctx, "webhook: what was told could not be noted; it is told again", "webhook", l.hook, "id", p.ID, "err", err)
	}
}
