package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// A log that lacks a record gives no evidence, rather than less.
func TestGather_RefusesALogThatLacksARecord(t *testing.T) {
	sg, v := key(t)
	for name, change := range map[string]func(*shelf){
		"one was taken out":   func(s *shelf) { s.records[4] = nil },
		"one was dropped":     func(s *shelf) { s.records = slices.Delete(s.records, 4, 5) },
		"the first is gone":   func(s *shelf) { s.records[0] = nil },
		"its end was cut off": func(s *shelf) { s.records = s.records[:7] },
		"it was emptied":      func(s *shelf) { s.records = nil },
		"its texts are gone":  func(s *shelf) { s.records[5] = shown(s.records[5]) },
	} {
		s := signed(t, sg, v, 9, 9)
		change(s)
		if e, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1"}); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: Gather = %+v, %v, want ErrTampered", name, e, err)
		}
	}
}

// whole is a log of two rotations: t1 has a task in the first, and nobody of it in the
// second.
func whole(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{}
	log := audit.NewLog(s, time.Now, nil)
	for _, r := range []audit.Record{
		{Who: "corp:portal", Act: "RotationService/CreateRotation", Object: "rotations/r1", Outcome: audit.Done, Why: "fabrikam asked", Private: map[string]string{"request_id": "for-fabrikam"}},
		{Who: "cert:ann", Act: "RotationService/ApproveRotation", Object: "rotations/r1", Outcome: audit.Done, Why: "fabrikam may", Detail: map[string]string{"for": "START"}},
		{Who: "cert:bob", Act: "RotationService/ApproveRotation", Object: "rotations/r2", Outcome: audit.Done},
		audit.Record{Who: "service", Act: "tasks", Object: "rotations/r1", Outcome: "decided"}.About("fabrikam"),
		audit.Record{Who: "service", Act: "tasks", Object: "rotations/r1", Outcome: "decided"}.About("fabrikam", "t1"),
		audit.Record{Who: "service", Act: "tasks", Object: "rotations/r1", Outcome: "decided"}.About("fabrikam", "t2"),
		audit.Record{Who: "service", Act: "task", Object: "rotations/r1/tasks/000001", Outcome: audit.Done}.About("t1"),
		audit.Record{Who: "service", Act: "task", Object: "rotations/r1/tasks/000002", Outcome: audit.Done}.About("fabrikam"),
		audit.Record{Who: "service", Act: "task", Object: "rotations/r2/tasks/000001", Outcome: audit.Done}.About("fabrikam"),
		audit.Record{Who: "cert:ann", Act: "InventoryService/UpdateTenant", Object: "tenants/t1", Outcome: audit.Done}.About("t1"),
		{Who: "corp:fabrikam", Act: "RotationService/CancelRotation", Object: "rotations/r1", Outcome: audit.Asked, Request: "q1"},
		{Who: "corp:fabrikam", Act: "RotationService/CancelRotation", Object: "rotations/r1", Outcome: audit.Refused, Request: "q1"},
		{Who: "cert:ann", Act: "RotationService/PauseRotation", Object: "rotations/r1", Outcome: audit.Asked, Request: "q2"},
		{Who: "cert:ann", Act: "RotationService/RetryRotationTasks", Object: "rotations/r1/tasks/000002", Outcome: audit.Done},
	} {
		if err := log.Tell(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A tenant sees who approved what was done to it, without the words that may name others.
func TestEvidence_HasWhatWasDecidedOfTheWholeRotation(t *testing.T) {
	sg, v := key(t)
	s := whole(t)
	keep(t, s, sg, v)
	if sum := verify(t, s, v, ""); !sum.OK() {
		t.Fatalf("Verify = %q", sum.Findings)
	}
	for rotation, want := range map[string][]int64{"": {0, 1, 4, 6, 9, 12}, "rotations/r1": {0, 1, 4, 6, 12}, "rotations/r2": nil} {
		e, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1", Rotation: rotation})
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Check(v, "")
		if err != nil {
			t.Fatal(err)
		}
		var numbers []int64
		for _, p := range e.Records {
			numbers = append(numbers, p.Number)
		}
		if !slices.Equal(numbers, want) {
			t.Errorf("of %q the evidence has the records %v, want %v", rotation, numbers, want)
		}
		b, err := json.Marshal(e)
		if err != nil || bytes.Contains(b, []byte("fabrikam")) {
			t.Errorf("of %q the evidence names another: %s, %v", rotation, b, err)
		}
		if len(want) > 1 && (got[1].Who != "cert:ann" || got[1].Detail["for"] != "START" || got[1].Why != "" || got[1].Sealed == "") {
			t.Errorf("the approval is shown as %+v", got[1])
		}
		if rotation != "" {
			continue
		}
		// What is said to be of one rotation has to be.
		e.Rotation = "rotations/r1"
		if _, err := e.Check(v, ""); err == nil || !strings.Contains(err.Error(), "record 10 is not about t1 in rotations/r1") {
			t.Errorf("Check of evidence that says it is of one rotation = %v", err)
		}
		e.Rotation, e.Records = "", e.Records[:2]
		if _, err := e.Check(v, ""); err == nil {
			t.Error("what was decided of a rotation that the tenant is not shown to be part of is evidence")
		}
	}
	// In the log itself the words are as they were.
	r, err := audit.Decode(s.records[0])
	if err != nil || r.Why != "fabrikam asked" || r.Private["request_id"] != "for-fabrikam" {
		t.Errorf("Decode = %+v, %v", r, err)
	}
}

// Evidence is held against a checkpoint that somebody kept.
func TestEvidence_ContinuesACheckpointThatWasKept(t *testing.T) {
	sg, v := key(t)
	s := signed(t, sg, v, 7, 7)
	kept := verify(t, s, v, "").Latest
	tell(t, s, 6)
	keep(t, s, sg, v)
	latest := verify(t, s, v, "").Latest
	tell(t, s, 1)
	keep(t, s, sg, v)

	e, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1", Since: kept})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = audit.ParseEvidence(b); err != nil {
		t.Fatal(err)
	}
	for known, want := range map[string]string{
		"": "", kept: "", verify(t, s, v, "").Latest: "", latest: audit.ErrNoProof.Error(), "x": "signature is not right",
	} {
		_, err := e.Check(v, known)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Check against %q = %v, want %q", known, err, want)
		}
	}
	// A checkpoint of the same size, by the same key, of another log.
	other := signed(t, sg, v, 7, 7)
	fork := verify(t, other, v, "").Latest
	if _, err := e.Check(v, fork); err == nil || !strings.Contains(err.Error(), "is of another log") {
		t.Errorf("Check against the checkpoint of another log = %v", err)
	}
	if _, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: "t1", Since: fork}); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("Gather since a checkpoint of another log = %v, want ErrTampered", err)
	}
	if _, err := audit.Gather(t.Context(), other, v, audit.Ask{Tenant: "t1", Since: latest}); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("Gather of a log that is shorter than its checkpoint = %v, want ErrTampered", err)
	}
	e.Since.Path[0][0] ^= 1
	if _, err := e.Check(v, kept); err == nil {
		t.Error("a proof that was changed is believed")
	}
	e, err = audit.Gather(t.Context(), other, v, audit.Ask{Tenant: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(v, kept); err == nil || !strings.Contains(err.Error(), "is of another log") {
		t.Errorf("Check of evidence as large as the checkpoint, of another log = %v", err)
	}
	if _, err := e.Check(v, latest); err == nil || !strings.Contains(err.Error(), "is of 13 records, and the evidence is of the first 7") {
		t.Errorf("Check of evidence that is older than the checkpoint = %v", err)
	}
}

// One key and two logs: who shows each side another one is found by a checkpoint of either.
func TestVerify_ASplitViewIsFound(t *testing.T) {
	sg, v := key(t)
	one, two := signed(t, sg, v, 5, 5), signed(t, sg, v, 8, 4)
	for name, known := range map[string]string{"shorter": verify(t, one, v, "").Latest, "as long": verify(t, signed(t, sg, v, 8, 8), v, "").Latest} {
		sum := verify(t, two, v, known)
		if len(sum.Findings) != 1 || !strings.Contains(sum.Findings[0], "is of another log") {
			t.Errorf("a checkpoint of a log that is %s: Verify finds %q", name, sum.Findings)
		}
	}
}

// A record that is about more tenants than it has room for becomes several.
func TestAboutAll_NobodyIsLeftOut(t *testing.T) {
	sg, v := key(t)
	s := &shelf{}
	var names []string
	for i := range 150 {
		names = append(names, "tenant-"+num(i))
	}
	long := strings.Repeat("<é>", 300)
	r := audit.Record{Who: long, Act: "tasks", Object: "rotations/r1", Outcome: "decided", Detail: map[string]string{"a": long, "b": long, "c": long}}
	if err := audit.NewLog(s, time.Now, nil).Tell(t.Context(), r.AboutAll(names)...); err != nil {
		t.Fatal(err)
	}
	keep(t, s, sg, v)
	if len(s.records) != 3 || len(r.AboutAll(names[:64])) != 1 || len(r.AboutAll(nil)) != 1 {
		t.Errorf("%d records about 150 tenants, want 3", len(s.records))
	}
	for _, name := range names {
		e, err := audit.Gather(t.Context(), s, v, audit.Ask{Tenant: name})
		if err != nil || len(e.Records) != 1 {
			t.Fatalf("%s finds %d records, %v, want 1", name, len(e.Records), err)
		}
	}
}
