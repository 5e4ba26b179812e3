package rollover_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// list is a block list that answers as it is told.
type list struct {
	why   string
	err   error
	asked []rollover.Credential
}

func (l *list) Blocked(_ context.Context, c rollover.Credential) (string, bool, error) {
	l.asked = append(l.asked, c)
	return l.why, l.why != "", l.err
}
