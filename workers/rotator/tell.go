package rotator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Tasks is what the engine needs of a store.
type Tasks interface {
	Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error)
	SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error)
}

// Auditor takes audit records.
type Auditor interface {
	Tell(ctx context.Context, records ...audit.Record) error
}

// Teller is the store of an engine that tells the audit log what was tried, before it is
// saved: a crash between the two repeats the step and the telling, and loses neither.
// Its Tried is to be told of every step.
type Teller struct {
	Tasks
	To Auditor

	mu    sync.Mutex
	tried *lru.Cache[rollover.TaskID, []string] // since the task was saved last; of those in hand
}

// maxTried bounds the tasks of which it is remembered what was tried: far more than one
// process has in hand. Of those that it gave up the oldest is forgotten: such a task is
// told by who has it next.
const maxTried = 8192

// Tried notes one step.
func (t *Teller) Tried(k rollover.Task, s rollover.Step, _ time.Duration, err error) {
	what := string(s) + " ok"
	if err != nil {
		what = string(s) + " failed"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	steps, _ := t.steps().Get(k.ID)
	t.steps().Add(k.ID, append(steps[:len(steps):len(steps)], what))
}

// steps returns what was tried. mu is held.
func (t *Teller) steps() *lru.Cache[rollover.TaskID, []string] {
	if t.tried == nil {
		c, err := lru.New[rollover.TaskID, []string](maxTried)
		if err != nil {
			panic(err) // Only for a size below 1.
		}
		t.tried = c
	}
	return t.tried
}

// take returns what was tried of a task, and forgets it.
func (t *Teller) take(id rollover.TaskID) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps, _ := t.steps().Get(id)
	t.steps().Remove(id)
	return steps
}

// putBack remembers again what could not be told, before what was tried since.
func (t *Teller) putBack(id rollover.TaskID, steps []string) {
	if len(steps) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	since, _ := t.steps().Get(id)
	t.steps().Add(id, append(steps[:len(steps):len(steps)], since...))
}

// SaveTask tells what was tried and what came of it, and saves it. What cannot be told
// is not saved.
func (t *Teller) SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error) {
	steps := t.take(k.ID)
	if err := t.To.Tell(ctx, recordsOf(k, steps)...); err != nil {
		t.putBack(k.ID, steps)
		return k, fmt.Errorf("task %s: %w", k.ID, err)
	}
	return t.Tasks.SaveTask(ctx, k)
}

// recordsOf says of a task what was tried and how it stands: in one record, or in several
// where its target is of more tenants than one has room for.
func recordsOf(k rollover.Task, steps []string) []audit.Record {
	r := audit.Record{
		Who: "service", By: "service", Act: "task", Object: fmt.Sprintf("rotations/%s/tasks/%06d", k.ID.Rotation, k.ID.Ord),
		Outcome: outcomeOf(k), Reason: string(k.Reason),
		Detail: map[string]string{"phase": string(k.Phase), "target": k.Item.Target.String()},
	}
	if len(steps) > 0 {
		r.Detail["steps"] = strings.Join(steps, ", ")
	}
	if k.Outcome != rollover.Open {
		r.Detail["outcome"] = string(k.Outcome)
	}
	if k.Tries > 0 {
		r.Detail["tries"] = fmt.Sprint(k.Tries)
	}
	if k.Detail != "" {
		r.Detail["detail"] = k.Detail
	}
	return r.AboutAll(k.Item.Tenants())
}

func outcomeOf(k rollover.Task) string {
	switch k.Outcome {
	case rollover.Failed:
		return audit.Failed
	case rollover.Open:
		if k.Tries > 0 || k.Doubted {
			return audit.Again
		}
	case rollover.Conflict, rollover.HandedOver:
		return audit.Refused
	}
	return audit.Done
}
