package kit

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// pacedHosts bounds how many hosts a Pacer remembers. A host that was forgotten
// begins with a full burst, which is what one that was quiet for so long has.
const pacedHosts = 8192

// Pacer keeps the calls to each host at a rate, whoever makes them in this
// process. It is safe for concurrent use.
type Pacer struct {
	rate  rate.Limit
	burst int
	hosts *lru.Cache[string, *rate.Limiter]
}

// NewPacer returns a Pacer that lets through perSecond calls a second to each
// host, and up to burst at once. A rate of 0 or less means no limit; a burst of
// less than 1 counts as 1.
func NewPacer(perSecond float64, burst int) *Pacer {
	limit := rate.Limit(perSecond)
	if perSecond <= 0 {
		limit = rate.Inf
	}
	hosts, err := lru.New[string, *rate.Limiter](pacedHosts)
	if err != nil {
		panic(err) // Only a size of 0 or less is refused.
	}
	return &Pacer{rate: limit, burst: max(burst, 1), hosts: hosts}
}

// Wait returns nil when the host may be called, or an error when ctx ends first
// or would end before its turn comes.
func (p *Pacer) Wait(ctx context.Context, host string) error {
	if p.rate == rate.Inf {
		return ctx.Err()
	}
	fresh := rate.NewLimiter(p.rate, p.burst)
	l, known, _ := p.hosts.PeekOrAdd(host, fresh)
	if !known {
		l = fresh
	} else {
		p.hosts.Get(host) // Marks it as used, so that a busy host is not forgotten.
	}
	if err := l.Wait(ctx); err != nil {
		return fmt.Errorf("waiting for a turn at %s: %w", host, err)
	}
	return nil
}
