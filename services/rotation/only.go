package rotation

import (
	"context"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// rotationsOnly is a store in which there are no discoveries. Their records are led by
// the same conductor, and told as jobs by InventoryService.
type rotationsOnly struct{ Store }

// Rotation implements [Store].
func (s rotationsOnly) Rotation(ctx context.Context, id string) (rollover.Rotation, error) {
	r, err := s.Store.Rotation(ctx, id)
	if err == nil && r.Discovers() {
		return rollover.Rotation{}, fmt.Errorf("rotation %s: %w", id, rollover.ErrNotFound)
	}
	return r, err
}
