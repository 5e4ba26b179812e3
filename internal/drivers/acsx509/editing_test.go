package acsx509_test

import (
	"context"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
)

// editing is a fake whose identity someone else edits right before each delete.
type editing struct {
	*acsx509.Fake
	edits int
}

// DeleteKey implements acsx509.Client.
func (e *editing) DeleteKey(ctx context.Context, at acsx509.At, k acsx509.Key) error {
	if e.edits > 0 {
		e.edits--
		e.Touch(host, identity)
	}
	return e.Fake.DeleteKey(ctx, at, k)
}
