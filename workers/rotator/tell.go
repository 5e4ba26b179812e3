package rotator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

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
	tried map[rollover.TaskID][]string // since the task was saved last; of those in hand only
}

// maxTried bounds the tasks of which it is remembered what was tried: a task that was
// given up by this process before it was saved is told by who has it next.
const maxTried = 8192

// Tried notes one step.
func (t *Teller) Tried(k rollover.Task, s rollover.Step, _ time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried == nil {
		t.tried = map[rollover.TaskID][]string{}
	}
	if len(t.tried) >= maxTried && t.tried[k.ID] == nil {
		return
	}
	what := string(s) + " ok"
	if err != nil {
		what = string(s) + " failed"
	}
	t.tried[k.ID] = append(t.tried[k.ID], what)
}

// SaveTask tells what was tried and what came of it, and saves it. What cannot be told
// is not saved.
func (t *Teller) SaveTask(ctx context.Context, k rollover.Task) (rollover.Task, error) {
	t.mu.Lock()
	steps := t.tried[k.ID]
	delete(t.tried, k.ID)
	t.mu.Unlock()
	if err := t.To.Tell(ctx, recordOf(k, steps)); err != nil {
		return k, fmt.Errorf("task %s: %w", k.ID, err)
	}
	return t.Tasks.SaveTask(ctx, k)
}

// recordOf says of a task what was tried and how it stands.
func recordOf(k rollover.Task, steps []string) audit.Record {
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
	return r.About(tenantsOf(k.Item)...)
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

// tenantsOf returns the tenants that a target is of, each once.
func tenantsOf(it rollover.Item) []string {
	out := []string{it.Tenant}
	for _, e := range it.Endpoints {
		known := e.Tenant == ""
		for _, t := range out {
			known = known || t == e.Tenant
		}
		if !known {
			out = append(out, e.Tenant)
		}
	}
	return out
}
