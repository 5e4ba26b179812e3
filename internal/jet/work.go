package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// ErrBusy says that a slot has a nudge that is not settled yet, or that a lease
// is held by another. It is no failure: come again later.
var ErrBusy = errors.New("in use")

// nudgeRecord is a nudge as stored.
type nudgeRecord struct {
	V int `json:"v"`
	rollover.Nudge
}

// NudgeTask puts a nudge into the slot of an ACS host. While the slot has one
// that is not settled, of whichever rotation, it is [ErrBusy]: the server lets no
// two workers be nudged for one host. After any other error the nudge may be
// there all the same. The nudge is of the trace of ctx, and so is who takes it.
func (b *Broker) NudgeTask(ctx context.Context, host string, n rollover.Nudge) error {
	return b.nudge(ctx, Tasks, host, n)
}

// NudgePlan puts a nudge into the slot of a tenant, under the rule of NudgeTask.
func (b *Broker) NudgePlan(ctx context.Context, tenant string, n rollover.Nudge) error {
	return b.nudge(ctx, Plans, tenant, n)
}

func (b *Broker) nudge(ctx context.Context, q Queue, key string, n rollover.Nudge) error {
	if err := checkKey(key); err != nil {
		return fmt.Errorf("nudging: %w", err)
	}
	data, err := encode(nudgeRecord{V: rollover.RecordVersion, Nudge: n})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*attemptTimeout)
	defer cancel()
	// No second try after silence: it would find the first one's nudge and call
	// it somebody else's. Only a queue that is not there is made, once.
	for made := false; ; made = true {
		m := &nats.Msg{Subject: slot(q, key), Data: data, Header: nats.Header{jetstream.ExpectedStreamHeader: {streamWork}}}
		if trace := spans.Text(ctx); trace != "" {
			m.Header[spans.Header] = []string{trace}
		}
		_, err := b.publish(ctx, m)
		if made || !errors.Is(err, nats.ErrNoResponders) {
			if err != nil {
				return fmt.Errorf("nudging %q: %w", key, explain(judge(err), err))
			}
			return nil
		}
		if err := b.ensureVolatile(ctx); err != nil {
			return fmt.Errorf("nudging %q: %w", key, explain(judge(err), err))
		}
	}
}

// readers is how many messages are read at once where each needs a request.
const readers = 16

// InFlight returns the nudges that are in the queue or with workers, by slot:
// ACS host or tenant.
func (b *Broker) InFlight(ctx context.Context, q Queue) (map[string]rollover.Nudge, error) {
	if !q.valid() {
		return nil, fmt.Errorf("queue %q: %w", q, rollover.ErrNotFound)
	}
	subjects, err := b.occupied(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("reading what is in flight: %w", err)
	}
	out := make(map[string]rollover.Nudge, len(subjects))
	errs := make([]error, readers)
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	var next atomic.Int64
	for w := range readers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < len(subjects) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				key, n, err := b.slotNudge(ctx, subjects[i])
				if err != nil || n == nil {
					errs[w] = err
					continue
				}
				mu.Lock()
				out[key] = *n
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading what is in flight: %w", err)
	}
	return out, nil
}

// occupied returns the subjects of the slots that have a nudge, by what the
// leader of the queue says.
func (b *Broker) occupied(ctx context.Context, q Queue) ([]string, error) {
	var out []string
	cctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	err := again(cctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, streamWork)
		if errors.Is(err, jetstream.ErrStreamNotFound) { // Its server restarted.
			out = nil
			return b.ensureVolatile(ctx)
		}
		if err != nil {
			return fmt.Errorf("looking up stream %s: %w", streamWork, err)
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(workPrefix+"."+string(q)+".>"))
		if err != nil {
			return fmt.Errorf("listing slots: %w", err)
		}
		out = out[:0]
		for subject := range info.State.Subjects {
			out = append(out, subject)
		}
		return nil
	})
	return out, err
}

// slotNudge reads the nudge of a slot; nil if it was settled meanwhile.
func (b *Broker) slotNudge(ctx context.Context, subject string) (string, *rollover.Nudge, error) {
	_, key, err := parseSlot(subject)
	if err != nil {
		return "", nil, err
	}
	m, err := b.last(ctx, streamWork, subject)
	if err != nil || m == nil {
		return "", nil, err
	}
	n, err := decodeNudge(m.Data)
	return key, &n, err
}

func decodeNudge(data []byte) (rollover.Nudge, error) {
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return rollover.Nudge{}, fmt.Errorf("decoding a nudge: %w", err)
	}
	rec, err := decode[nudgeRecord](data)
	return rec.Nudge, err
}
