package mirror

import (
	"context"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// crowdLog is how many batches of a crowd are kept for readers that are a little
// slow. One that is slower is told the latest state of what it missed, apart from
// the others, and joins them again.
const crowdLog = 16

// crowd is all watchers of one rotation that have been told everything. They are
// told the same from then on: each batch is made once for all of them, and what
// its readers make of it, once too. The mirror's mu guards it.
type crowd struct {
	lead    *Watch // takes the batches; it has no reader
	log     []*Shared
	first   int // the number of log[0]
	members map[*Watch]struct{}
}

// Shared is a batch that many watchers are told.
type Shared struct {
	from  uint64 // the newest task state that was told before
	fresh bool   // it is a part of a snapshot

	turn   chan struct{} // holds one value while nobody works on the fields below
	b      Batch
	joined bool // the items of b are there
	made   map[any]any
}

// batch returns the batch with the items of its tasks.
func (s *Shared) batch(ctx context.Context, w *Watch) (Batch, error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return Batch{}, context.Cause(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	if !s.joined {
		b, err := w.withItems(ctx, s.b)
		if err != nil {
			return b, err
		}
		b.Shared = s
		s.b, s.joined = b, true
	}
	return s.b, nil
}

// Made returns what make returned the first time that it was called for this
// batch and key, or calls it. An error is not kept. The result is used by many
// readers at once and must not be written to.
func (s *Shared) Made(ctx context.Context, key any, make func() (any, error)) (any, error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	if v, ok := s.made[key]; ok {
		return v, nil
	}
	v, err := make()
	if err == nil {
		s.made[key] = v
	}
	return v, err
}

// join puts a watch that was told everything into the crowd of its rotation. The
// caller holds mu.
func (w *Watch) join(e *entry) {
	if e.crowd == nil {
		lead := &Watch{m: w.m, id: w.id, wake: make(chan struct{}, 1), dirty: map[int]struct{}{}, told: w.told}
		e.crowd = &crowd{lead: lead, members: map[*Watch]struct{}{}}
		w.m.watches[lead] = struct{}{}
	}
	delete(w.m.watches, w)
	w.crowd, w.number = e.crowd, e.crowd.first+len(e.crowd.log)
	e.crowd.members[w] = struct{}{}
}

// leave takes a watch out of its crowd; the last one takes the crowd along. The
// caller holds mu.
func (w *Watch) leave(e *entry) {
	delete(w.crowd.members, w)
	if len(w.crowd.members) == 0 {
		delete(w.m.watches, w.crowd.lead)
		e.crowd = nil
	}
	w.crowd = nil
}

// takeShared returns the crowd's next batch; nil if there is none yet. A watch
// that has fallen behind what the crowd keeps leaves it. The caller holds mu.
func (w *Watch) takeShared(e *entry) *Shared {
	i := w.number - w.crowd.first
	if i >= 0 && i < len(w.crowd.log) {
		w.number++
		return w.crowd.log[i]
	}
	if i < 0 {
		w.leave(e)
		w.m.watches[w] = struct{}{}
		w.view = true
		w.fresh = w.told.Epoch == "" // In the midst of a snapshot nobody goes on.
		w.markAll(e)
	}
	return nil
}

// own returns of a shared batch what w was not told before it joined; nil if
// that is all of it. The caller holds mu.
func (w *Watch) own(s *Shared) *Batch {
	was := w.told
	w.told = s.b.Pos
	if was.Epoch == "" || !was.Planned || !(s.fresh || was.Tasks > s.from) {
		return nil
	}
	b := s.b
	b.Tasks = nil
	for _, k := range s.b.Tasks {
		if k.Rev > was.Tasks {
			b.Tasks = append(b.Tasks, rollover.Task{ID: k.ID, Progress: k.Progress, Rev: k.Rev})
		}
	}
	b.Pos.Epoch, b.Pos.Planned, b.Pos.Tasks = was.Epoch, true, max(was.Tasks, b.Pos.Tasks)
	w.told = b.Pos
	return &b
}

// tell makes the next batch of a crowd, if there is news. It reports whether
// there is more. The caller holds mu.
func (c *crowd) tell(e *entry) (more bool) {
	s := &Shared{from: c.lead.told.Tasks, fresh: c.lead.fresh, turn: make(chan struct{}, 1), made: map[any]any{}}
	b, ok := c.lead.news(e)
	if !ok {
		return false
	}
	s.b = b
	s.turn <- struct{}{}
	if len(c.log) == crowdLog {
		c.log[0] = nil
		c.log, c.first = c.log[1:], c.first+1
	}
	c.log = append(c.log, s)
	for w := range c.members {
		w.poke()
	}
	return len(c.lead.dirty) > 0
}

// manyWatchers is how many watchers double the pause between two batches, and
// that is the most: each batch is a message for every one of them.
const manyWatchers = 2000

// beat has the crowds told what is new, at most once in each pace, until ctx ends.
func (m *Mirror) beat(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select { // The pause since the last beat.
		case <-ctx.Done():
			return
		case <-t.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-m.stirred:
		}
		readers, more := 0, false
		m.mu.Lock()
		for _, e := range m.rotations {
			if e.crowd != nil {
				more = e.crowd.tell(e) || more
				readers += len(e.crowd.members)
			}
		}
		m.mu.Unlock()
		if more {
			m.stir()
		}
		t.Reset(pace + time.Duration(min(readers, manyWatchers))*pace/manyWatchers)
	}
}

// stir says that a crowd may have news.
func (m *Mirror) stir() {
	select {
	case m.stirred <- struct{}{}:
	default:
	}
}
