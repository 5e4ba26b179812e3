package rollover

import "context"

// Store keeps rotations, their plans and their tasks. It is the only state.
//
// Every method may fail although it did what was asked; the caller reads again
// and finds out. What was stored stays stored after kill -9 of any process.
type Store interface {
	// CreateRotation stores a new rotation in state PLANNING together with the
	// ids of the tenants that it is for, or neither. The same id again returns
	// [ErrExists].
	CreateRotation(ctx context.Context, r Rotation, tenants []string) (Rotation, error)
	// Rotation reads the latest stored version, or returns [ErrNotFound].
	Rotation(ctx context.Context, id string) (Rotation, error)
	// SaveRotation writes r if r.Rev is still the stored one, and returns it
	// with its new Rev; else [ErrConflict].
	SaveRotation(ctx context.Context, r Rotation) (Rotation, error)

	// SelectedTenants returns the tenant ids given to CreateRotation, in order.
	SelectedTenants(ctx context.Context, rotation string) ([]string, error)
	// SaveFinding stores what planning found for the tenant at position ord of
	// SelectedTenants. The first finding stays: another one later is dropped
	// without an error, so that a planner that runs twice changes nothing.
	SaveFinding(ctx context.Context, rotation string, ord int, f Finding) error
	// Findings returns all findings stored so far by tenant position.
	Findings(ctx context.Context, rotation string) (map[int]Finding, error)

	// FreezePlan stores the plan and the rotation that names its digest in one
	// atomic write, under the rule of SaveRotation.
	FreezePlan(ctx context.Context, r Rotation, plan []Item) (Rotation, error)
	// Plan returns the items from position from up to, not including, to; less
	// where the plan ends earlier.
	Plan(ctx context.Context, rotation string, from, to int) ([]Item, error)

	// Task reads one task with the orders that hold now. A task that was never
	// saved is as its plan item says, with Rev 0.
	Task(ctx context.Context, id TaskID) (Task, error)
	// SaveTask writes k.Progress if k.Rev is still the stored one, and returns k
	// with its new Rev; else [ErrConflict].
	SaveTask(ctx context.Context, k Task) (Task, error)
}
