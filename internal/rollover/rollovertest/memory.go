// Package rollovertest makes the contracts of internal/rollover easy to test
// against: a store and a driver in memory, faults in pairs, and the suites
// TestStore and TestDriver that every implementation runs.
package rollovertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Memory is a [rollover.Store] that lives as long as the process. It stores
// what a real one does, as JSON, so that nothing is shared by pointer and a
// field that does not survive encoding is noticed.
type Memory struct {
	// Certificate gives Task the bytes of the new credential.
	Certificate func(sha string) (rollover.Credential, error)

	mu        sync.Mutex // guards all below
	rev       uint64
	rotations map[string]record
	tenants   map[string][]string
	plans     map[string][][]byte
	findings  map[string]map[int][]byte
	tasks     map[rollover.TaskID]record
	checks    map[string]map[int]record
	followers []func(rollover.Change)
}

type record struct {
	rev  uint64
	json []byte
}

// NewMemory returns an empty store that knows the given new credentials.
func NewMemory(certs ...rollover.Credential) *Memory {
	return &Memory{
		Certificate: func(sha string) (rollover.Credential, error) {
			for _, c := range certs {
				if c.SHA256 == sha {
					return c, nil
				}
			}
			return rollover.Credential{}, fmt.Errorf("certificate %s: %w", sha, rollover.ErrNotFound)
		},
		rotations: map[string]record{}, tenants: map[string][]string{}, plans: map[string][][]byte{},
		findings: map[string]map[int][]byte{}, tasks: map[rollover.TaskID]record{},
		checks: map[string]map[int]record{},
	}
}

// put encodes v under the next revision. The caller holds mu.
func (m *Memory) put(v any) record {
	m.rev++
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("rollovertest: encoding %T: %v", v, err))
	}
	return record{m.rev, b}
}

func decode[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(fmt.Sprintf("rollovertest: decoding %T: %v", v, err))
	}
	return v
}

// CreateRotation implements [rollover.Store].
func (m *Memory) CreateRotation(_ context.Context, r rollover.Rotation, tenants []string) (rollover.Rotation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rotations[r.ID]; ok {
		return r, fmt.Errorf("rotation %s: %w", r.ID, rollover.ErrExists)
	}
	m.tenants[r.ID] = slices.Clone(tenants)
	return m.storeRotation(r), nil
}

// storeRotation writes r and tells the followers. The caller holds mu.
func (m *Memory) storeRotation(r rollover.Rotation) rollover.Rotation {
	rec := m.put(r)
	m.rotations[r.ID] = rec
	r.Rev = rec.rev
	m.tell(rollover.Change{Seq: rec.rev, Time: r.UpdatedAt, Rotation: &r})
	return r
}

// Rotation implements [rollover.Store].
func (m *Memory) Rotation(_ context.Context, id string) (rollover.Rotation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rotation(id)
}

func (m *Memory) rotation(id string) (rollover.Rotation, error) {
	rec, ok := m.rotations[id]
	if !ok {
		return rollover.Rotation{}, fmt.Errorf("rotation %s: %w", id, rollover.ErrNotFound)
	}
	r := decode[rollover.Rotation](rec.json)
	r.Rev = rec.rev
	return r, nil
}

// SaveRotation implements [rollover.Store].
func (m *Memory) SaveRotation(_ context.Context, r rollover.Rotation) (rollover.Rotation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rotations[r.ID].rev != r.Rev {
		return r, fmt.Errorf("rotation %s: %w", r.ID, rollover.ErrConflict)
	}
	return m.storeRotation(r), nil
}

// SelectedTenants implements [rollover.Store].
func (m *Memory) SelectedTenants(_ context.Context, id string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.rotation(id); err != nil {
		return nil, err
	}
	return slices.Clone(m.tenants[id]), nil
}

// SaveFinding implements [rollover.Store].
func (m *Memory) SaveFinding(_ context.Context, id string, ord int, f rollover.Finding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.findings[id] == nil {
		m.findings[id] = map[int][]byte{}
	}
	if _, ok := m.findings[id][ord]; ok {
		return nil
	}
	rec := m.put(f)
	m.findings[id][ord] = rec.json
	m.tell(rollover.Change{Seq: rec.rev, Finding: &rollover.FindingChange{Rotation: id, Tenant: ord}})
	return nil
}

// Findings implements [rollover.Store].
func (m *Memory) Findings(_ context.Context, id string) (map[int]rollover.Finding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[int]rollover.Finding{}
	for ord, b := range m.findings[id] {
		out[ord] = decode[rollover.Finding](b)
	}
	return out, nil
}

// FreezePlan implements [rollover.Store].
func (m *Memory) FreezePlan(_ context.Context, r rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rotations[r.ID].rev != r.Rev {
		return r, fmt.Errorf("rotation %s: %w", r.ID, rollover.ErrConflict)
	}
	stored := make([][]byte, len(plan))
	for i, it := range plan {
		stored[i] = m.put(it).json
	}
	m.plans[r.ID] = stored
	return m.storeRotation(r), nil
}

// Plan implements [rollover.Store].
func (m *Memory) Plan(_ context.Context, id string, from, to int) ([]rollover.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.plans[id]
	if !ok {
		return nil, fmt.Errorf("plan of %s: %w", id, rollover.ErrNotFound)
	}
	from, to = max(0, min(from, len(b))), min(to, len(b))
	items := make([]rollover.Item, 0, max(0, to-from))
	for _, it := range b[from:max(from, to)] {
		items = append(items, decode[rollover.Item](it))
	}
	return items, nil
}

// Task implements [rollover.Store].
func (m *Memory) Task(ctx context.Context, id rollover.TaskID) (rollover.Task, error) {
	items, err := m.Plan(ctx, id.Rotation, id.Ord, id.Ord+1)
	if err != nil {
		return rollover.Task{}, err
	}
	if len(items) == 0 {
		return rollover.Task{}, fmt.Errorf("task %s: %w", id, rollover.ErrNotFound)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.rotation(id.Rotation)
	if err != nil {
		return rollover.Task{}, err
	}
	c, err := m.Certificate(r.Spec.New.SHA256)
	if err != nil {
		return rollover.Task{}, err
	}
	k := rollover.Task{ID: id, Item: items[0], Progress: items[0].Start(), Orders: r.Orders(c)}
	if rec, ok := m.tasks[id]; ok {
		k.Progress, k.Rev = decode[rollover.Progress](rec.json), rec.rev
	}
	return k, nil
}

// SaveTask implements [rollover.Store].
func (m *Memory) SaveTask(_ context.Context, k rollover.Task) (rollover.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[k.ID].rev != k.Rev {
		return k, fmt.Errorf("task %s: %w", k.ID, rollover.ErrConflict)
	}
	rec := m.put(k.Progress)
	m.tasks[k.ID] = rec
	k.Rev = rec.rev
	m.tell(rollover.Change{Seq: rec.rev, Time: k.UpdatedAt, Task: &rollover.TaskChange{ID: k.ID, Progress: k.Progress}})
	return k, nil
}

// SaveTasks saves each task under the rule of SaveTask. It returns them in the
// same order and joins the errors of those that were not saved.
func (m *Memory) SaveTasks(ctx context.Context, ks []rollover.Task) ([]rollover.Task, error) {
	out := make([]rollover.Task, len(ks))
	var errs []error
	for i, k := range ks {
		var err error
		out[i], err = m.SaveTask(ctx, k)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// tell hands c to every follower. The caller holds mu.
func (m *Memory) tell(c rollover.Change) {
	for _, f := range m.followers {
		f(c)
	}
}

// Tail follows the store as a real feed does: all that is stored, CaughtUp, then
// every change, one at a time, until ctx ends. fn must not call the store from
// the same goroutine while it holds a lock that a writer needs.
func (m *Memory) Tail(ctx context.Context, fn func(rollover.Change)) error {
	queue := make(chan rollover.Change, 1<<16)
	m.mu.Lock()
	for id := range m.rotations {
		r, _ := m.rotation(id)
		queue <- rollover.Change{Seq: r.Rev, Time: r.UpdatedAt, Rotation: &r}
		for ord := range m.findings[id] {
			queue <- rollover.Change{Finding: &rollover.FindingChange{Rotation: id, Tenant: ord}}
		}
	}
	for id, rec := range m.tasks {
		p := decode[rollover.Progress](rec.json)
		queue <- rollover.Change{Seq: rec.rev, Time: p.UpdatedAt, Task: &rollover.TaskChange{ID: id, Progress: p}}
	}
	for id, parts := range m.checks {
		for n, rec := range parts {
			queue <- rollover.Change{Seq: rec.rev, Check: &rollover.CheckChange{Rotation: id, Part: n, Result: decode[rollover.CheckPart](rec.json)}}
		}
	}
	queue <- rollover.Change{CaughtUp: true}
	m.followers = append(m.followers, func(c rollover.Change) { queue <- c })
	m.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-queue:
			fn(c)
		}
	}
}

// Newest returns the greatest version that anything has.
func (m *Memory) Newest(context.Context) (rotations, states uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev, m.rev, nil
}
