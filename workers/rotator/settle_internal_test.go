package rotator

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// rows has a line for every sentinel of internal/rollover.
func rows() map[string]struct {
	err  error
	want verdict
} {
	type row = struct {
		err  error
		want verdict
	}
	return map[string]row{
		"":                {nil, done},
		"ErrNotFound":     {rollover.ErrNotFound, drop},
		"ErrGone":         {rollover.ErrGone, drop},
		"ErrExists":       {rollover.ErrExists, done},
		"ErrConflict":     {rollover.ErrConflict, again},
		"ErrTooEarly":     {rollover.ErrTooEarly, done},
		"ErrUnseen":       {rollover.ErrUnseen, done},
		"ErrNoEvidence":   {rollover.ErrNoEvidence, done},
		"ErrDeadline":     {rollover.ErrDeadline, done},
		"ErrState":        {rollover.ErrState, done},
		"ErrStalePlan":    {rollover.ErrStalePlan, done},
		"ErrSecondPerson": {rollover.ErrSecondPerson, done},
		"ErrUnavailable":  {rollover.ErrUnavailable, again},
		"ErrFull":         {rollover.ErrFull, again},
		"a stop":          {context.Canceled, again},
		"a deadline":      {context.DeadlineExceeded, again},
		"anything else":   {errors.New("a bug"), again},
	}
}

func TestSettle(t *testing.T) {
	for name, r := range rows() {
		err := r.err
		if err != nil {
			err = fmt.Errorf("advancing: %w", err)
		}
		if got := settle(err, 1); got != r.want {
			t.Errorf("settle(%s) = %d, want %d", name, got, r.want)
		}
	}
}

func TestSettle_GivesTheSlotBackInTheEnd(t *testing.T) {
	for name, r := range rows() {
		if got := settle(r.err, patience); got == again {
			t.Errorf("settle(%s) after %d deliveries = again, want the slot freed", name, patience)
		}
	}
}

// A new sentinel needs a line in the table above.
func TestSettle_EverySentinelHasALine(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../internal/rollover/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := rows()
	found := 0
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if strings.HasPrefix(name.Name, "Err") {
					found++
					if _, ok := known[name.Name]; !ok {
						t.Errorf("%s has no line", name.Name)
					}
				}
			}
		}
		return true
	})
	if found < 9 {
		t.Errorf("found %d sentinels in errors.go, want all of them", found)
	}
}
