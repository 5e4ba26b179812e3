package edge_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// sentinels returns the names of the room's errors, read from its source, so that
// a new one is noticed.
func sentinels(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../internal/rollover/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				names = append(names, n.Name)
			}
		}
	}
	if len(names) < 9 {
		t.Fatalf("errors.go has the sentinels %q, want at least nine: does this test still read the right file?", names)
	}
	return names
}

func TestProblemOf_EverySentinelHasALine(t *testing.T) {
	want := map[string]struct {
		err    error
		code   codes.Code
		reason pb.ErrorReason
	}{
		"ErrNotFound":     {rollover.ErrNotFound, codes.NotFound, pb.ErrorReason_ERROR_REASON_NOT_FOUND},
		"ErrGone":         {rollover.ErrGone, codes.NotFound, pb.ErrorReason_ERROR_REASON_NOT_FOUND},
		"ErrExists":       {rollover.ErrExists, codes.AlreadyExists, pb.ErrorReason_ERROR_REASON_ALREADY_EXISTS},
		"ErrConflict":     {rollover.ErrConflict, codes.Aborted, pb.ErrorReason_ERROR_REASON_CONFLICT},
		"ErrTooEarly":     {rollover.ErrTooEarly, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_TOO_EARLY},
		"ErrUnseen":       {rollover.ErrUnseen, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_NO_EVIDENCE},
		"ErrNoEvidence":   {rollover.ErrNoEvidence, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_NO_EVIDENCE},
		"ErrState":        {rollover.ErrState, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_STATE_NOT_ALLOWED},
		"ErrStalePlan":    {rollover.ErrStalePlan, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_PLAN_CHANGED},
		"ErrDeadline":     {rollover.ErrDeadline, codes.FailedPrecondition, pb.ErrorReason_ERROR_REASON_DEADLINE_IMPOSSIBLE},
		"ErrSecondPerson": {rollover.ErrSecondPerson, codes.PermissionDenied, pb.ErrorReason_ERROR_REASON_SECOND_PERSON_NEEDED},
		"ErrUnavailable":  {rollover.ErrUnavailable, codes.Unavailable, pb.ErrorReason_ERROR_REASON_STORAGE_UNAVAILABLE},
		"ErrFull":         {rollover.ErrFull, codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_STORAGE_FULL},
	}
	for _, name := range sentinels(t) {
		w, ok := want[name]
		if !ok {
			t.Errorf("rollover.%s has no line here, and none in status.go?", name)
			continue
		}
		p := edge.ProblemOf(fmt.Errorf("doing this: %w", w.err))
		if p.Code != w.code || p.Reason != w.reason {
			t.Errorf("ProblemOf(%s) = %s %s, want %s %s", name, p.Code, p.Reason, w.code, w.reason)
		}
	}
}

// Every condition that does not hold says of what: the resource, where the error does not
// know better.
func TestAbout_UnmetConditionsNameTheirSubject(t *testing.T) {
	const name = "rotations/" + id
	for err, want := range map[error]string{
		rollover.ErrTooEarly: name, rollover.ErrNoEvidence: name, rollover.ErrStalePlan: name, rollover.ErrDeadline: name,
		&rollover.StateError{Verb: "start", State: rollover.StateFailed, Why: "create a new rotation"}: "failed",
	} {
		p := edge.ProblemOf(edge.About(name, fmt.Errorf("starting: %w", err)))
		f, ok := p.Details[0].(*errdetails.PreconditionFailure)
		if !ok || len(f.GetViolations()) != 1 || f.GetViolations()[0].GetSubject() != want {
			t.Errorf("About(%v) has %v, want one violation of %s", err, p.Details, want)
		}
	}
}

func TestProblemOf_OthersAreOurMistakesAndUntold(t *testing.T) {
	p := edge.ProblemOf(errors.New("dialing nats://user:pass@10.0.0.1 went wrong"))
	if p.Code != codes.Internal || p.Message != "something went wrong in the server" {
		t.Errorf("ProblemOf(an unknown error) = %s %q, want INTERNAL without the text", p.Code, p.Message)
	}
	for err, want := range map[error]codes.Code{
		context.Canceled: codes.Canceled, context.DeadlineExceeded: codes.DeadlineExceeded,
	} {
		if got := edge.ProblemOf(fmt.Errorf("reading: %w", err)).Code; got != want {
			t.Errorf("ProblemOf(%v) = %s, want %s", err, got, want)
		}
	}
}

func TestProblemOf_UnavailableTellsNothingOfTheBroker(t *testing.T) {
	p := edge.ProblemOf(fmt.Errorf("publishing to nats://10.0.0.1: %w", rollover.ErrUnavailable))
	if p.Message != "the storage cannot be reached now; ask again" || p.Retry <= 0 {
		t.Errorf("ProblemOf(ErrUnavailable) = %q after %s, want a fixed text and a delay", p.Message, p.Retry)
	}
}

// Whoever is told that there may be no more must learn of what: the way out is not an
// operator's, as of a full disk.
func TestProblemOf_ABoundIsNamed(t *testing.T) {
	err := fmt.Errorf("storing: %w", &rollover.FullError{Of: "target_sets", Why: "there are 1000 target sets"})
	p := edge.ProblemOf(err)
	if p.Reason != pb.ErrorReason_ERROR_REASON_STORAGE_FULL || p.Message != "there are 1000 target sets" {
		t.Errorf("ProblemOf(%v) = %v, %q, want STORAGE_FULL and the bound", err, p.Reason, p.Message)
	}
	q, ok := p.Details[0].(*errdetails.QuotaFailure)
	if !ok || q.GetViolations()[0].GetSubject() != "target_sets" {
		t.Errorf("its details are %v, want a QuotaFailure of target_sets", p.Details)
	}
}

func TestParseOrder_SaysWhatIsAllowed(t *testing.T) {
	none := func(string, string) any { return "" }
	_, err := edge.ParseOrder("a, b, c, d, e", "a", func(s string) string { return s }, none, "a", "b", "c", "d", "e")
	want := "order_by: want fields among a, b, c, d, e, each once and with desc behind it or not, and commas between them; at most 4"
	if p := edge.ProblemOf(err); p.Message != want {
		t.Errorf("ParseOrder of five fields = %q, want %q", p.Message, want)
	}
}
