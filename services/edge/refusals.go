package edge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// Of those who are refused before it is known who they are, or whether they may, each is
// told; more than refusalBurst at once, or refusalsPerSecond in the long run, are counted
// and told together: the log is for ever, and strangers do not decide how long it is.
// Everybody whose name was proven has that room for themselves, and all others have it
// together, so that no noise hides what somebody tries.
const (
	refusalsPerSecond = 5
	refusalBurst      = 200
)

// maxRefused bounds of how many proven callers it is remembered how often they were
// refused. One that is forgotten begins anew, and what was counted of it is told.
const maxRefused = 10_000

// refusals says which refusals are told each by itself, and counts the others.
type refusals struct {
	mu        sync.Mutex // guards all below
	strangers *rate.Limiter
	known     *lru.Cache[string, *rate.Limiter]
	untold    map[string]int // by caller, "" for strangers: counted only, since the last that was told
}

func newRefusals() *refusals {
	known, err := lru.New[string, *rate.Limiter](maxRefused)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &refusals{strangers: rate.NewLimiter(refusalsPerSecond, refusalBurst), known: known, untold: map[string]int{}}
}

// proven returns the name of a caller that was proven, "" for all others.
func proven(ctx context.Context) string {
	if c := callerOf(ctx); c != nil && c.subject.Name != "" {
		return c.name
	}
	return ""
}

// take reports whether a refusal is to be told by itself, and how many of the same caller
// were counted before it.
func (r *refusals) take(who string) (told bool, more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.strangers
	if who != "" {
		var there bool
		if limit, there = r.known.Get(who); !there {
			limit = rate.NewLimiter(refusalsPerSecond, refusalBurst)
			r.known.Add(who, limit)
		}
	}
	if !limit.Allow() {
		if _, there := r.untold[who]; !there && len(r.untold) >= maxRefused {
			who = ""
		}
		r.untold[who]++
		return false, 0
	}
	more = r.untold[who]
	delete(r.untold, who)
	return true, more
}

// rest takes out what was counted and not told.
func (r *refusals) rest() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.untold
	r.untold = map[string]int{}
	return out
}

// counted is the record of refusals that are told together.
func counted(who string, n int) audit.Record {
	return audit.Record{
		Act: "calls.refused", Who: who, Outcome: audit.Refused, Detail: map[string]string{"more": fmt.Sprint(n)},
		Why: "so many more were refused and are not told each by itself",
	}
}

// flushTimeout bounds the telling of what was counted, and of what came of a call.
const flushTimeout = 5 * time.Second

// flush tells what was counted only. If nobody can be told it is counted on.
func (t *teller) flush(ctx context.Context) {
	rest := t.refusals.rest()
	if len(rest) == 0 || t.to == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(rest)), 100) {
		var records []audit.Record
		for _, who := range names {
			records = append(records, counted(who, rest[who]))
		}
		if err := t.to.Tell(ctx, records...); err != nil {
			t.warn(ctx, err)
			t.refusals.putBack(names, rest)
		}
	}
}

// putBack counts what could not be told.
func (r *refusals) putBack(names []string, counts map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, who := range names {
		r.untold[who] += counts[who]
	}
}

// run tells what was counted now and then, until ctx ends.
func (t *teller) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.flush(ctx)
		}
	}
}
