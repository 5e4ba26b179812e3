package rollover_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func gatedRotation(gates ...rollover.Gate) (rollover.Rotation, rollover.Counts) {
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
		ReplacesSubject: true, Strategy: rollover.Strategy{Start: rollover.FullStart, Gates: gates},
	}}
	c := rollover.Counts{Workable: 3, OpenTasks: 3, Phases: map[rollover.Phase]int{rollover.Planned: 2, rollover.Activated: 1}}
	return r, c
}

func TestGate_NothingButAPassOpensAWave(t *testing.T) {
	now := rollovertest.Epoch
	for _, result := range []rollover.GateResult{rollover.GatePass, rollover.GateFail, rollover.GateInconclusive, "", "PASS", "ok"} {
		r, c := gatedRotation(rollover.Gate{Kind: rollover.ManualGate})
		r, ok := r.NextWave(c, now)
		if !ok || r.Gate.Wave != 1 || r.WaveNumber != 0 {
			t.Fatalf("NextWave = %+v, %v, want the gate of wave 1", r.Gate, ok)
		}
		if _, ok := r.NextWave(c, now); ok {
			t.Fatal("the wave was opened before its gate was answered")
		}
		r, err := r.Decide(rollover.GateAnswer{Wave: 1, Result: result, By: rollover.ByCaller}, now)
		if err != nil {
			t.Fatalf("Decide(%q) = %v", result, err)
		}
		next, opened := r.NextWave(c, now)
		if want := result == rollover.GatePass; opened != want || (r.State == rollover.StatePaused) == want {
			t.Errorf("after %q: %s, wave opened %v: %+v", result, r.State, opened, next.Gate)
		}
		if r.State != rollover.StatePaused {
			continue
		}
		resumed, err := r.Resume(false, c, now)
		switch {
		case result == rollover.GateFail && err == nil:
			t.Error("a failed gate let the rotation go on")
		case result != rollover.GateFail && (err != nil || resumed.Gate.Result != rollover.GateWaits):
			t.Errorf("after %q: Resume = %+v, %v, want the gate waited for anew", result, resumed.Gate, err)
		}
		resumed, err = r.AcceptGate("ann", now).Resume(false, c, now)
		if err != nil || resumed.Gate.By != rollover.ByAccepted {
			t.Errorf("after %q: accepted = %+v, %v", result, resumed.Gate, err)
		}
		if next, ok := resumed.NextWave(c, now); !ok || next.WaveNumber != 2 {
			t.Errorf("after %q was accepted the next wave is not opened", result)
		}
	}
}

func TestGate_OnlyItsOwnAnswerCounts(t *testing.T) {
	now := rollovertest.Epoch
	manual, check := rollover.Gate{Kind: rollover.ManualGate}, rollover.Gate{Kind: rollover.CheckGate, Check: "x"}
	r, c := gatedRotation(check, manual)
	if _, err := r.Decide(rollover.GateAnswer{Wave: 1, Result: rollover.GatePass, By: rollover.ByCaller}, now); err == nil {
		t.Error("a gate that was not reached was answered")
	}
	r, _ = r.NextWave(c, now)
	pass := rollover.GateAnswer{Wave: 1, Result: rollover.GatePass, By: rollover.ByCaller}
	if _, err := r.Decide(pass, now); err == nil {
		t.Error("a caller answered for a check")
	}
	if got := r.AcceptGate("ann", now); got.Gate != r.Gate {
		t.Error("a gate that is waited for was accepted")
	}
	r, err := r.Decide(rollover.GateAnswer{Wave: 1, Result: rollover.GatePass, By: rollover.ByCheck}, now)
	if err != nil || r.Gate.Index != 1 || r.Gate.Result != rollover.GateWaits {
		t.Fatalf("Decide = %+v, %v, want the second gate", r.Gate, err)
	}
	if _, ok := r.NextWave(c, now); ok {
		t.Error("one of two gates opened the wave")
	}
	for _, a := range []rollover.GateAnswer{
		{Wave: 2, Result: rollover.GatePass, By: rollover.ByCaller}, {Wave: 1, Result: rollover.GatePass, By: rollover.ByCheck},
	} {
		if _, err := r.Decide(a, now); err == nil {
			t.Errorf("Decide(%+v) was taken", a)
		}
	}
	if r, err = r.Decide(pass, now); err != nil || r.Gate.Result != rollover.GatePass {
		t.Fatalf("Decide = %+v, %v", r.Gate, err)
	}
	if _, err := r.Decide(pass, now); err == nil {
		t.Error("a gate was answered twice")
	}
}

// After the last wave the gate holds the overlap, and with it the removal.
func TestGate_GuardsTheRemoval(t *testing.T) {
	now := rollovertest.Epoch
	r, c := gatedRotation(rollover.Gate{Kind: rollover.ManualGate})
	r.WaveNumber = 2
	c.Phases = map[rollover.Phase]int{rollover.Activated: 3}
	if r.GatesOpen(c) {
		t.Fatal("the gates are open before they were reached")
	}
	r, ok := r.NextWave(c, now)
	if !ok || r.Gate.Wave != 2 || r.GatesOpen(c) {
		t.Fatalf("NextWave = %+v, %v, want a closed gate after the last wave", r.Gate, ok)
	}
	if r, _ = r.Decide(rollover.GateAnswer{Wave: 2, Result: rollover.GatePass, By: rollover.ByCaller}, now); !r.GatesOpen(c) {
		t.Error("the gate passed and is not open")
	}
}

// A tenant with 5,000 targets keeps none of 50 small ones waiting.
func TestAssemble_TenantsTakeTurns(t *testing.T) {
	tenant := func(name string, n int) rollover.Finding {
		f := rollover.Finding{Tenant: name}
		for i := range n {
			f.Items = append(f.Items, rollover.Item{Tenant: name, Target: rollover.Target{Kind: "k", Host: fmt.Sprintf("%s-%d", name, i), Identity: "i"}})
		}
		return f
	}
	findings := []rollover.Finding{tenant("big", 5000)}
	for i := range 50 {
		findings = append(findings, tenant(fmt.Sprintf("t%02d", i), 20))
	}
	done, least := map[string]int{}, 0
	for n, it := range rollover.Assemble(findings) {
		done[it.Tenant]++
		sum, squares := 0.0, 0.0
		least = done["t00"]
		for i := range 50 {
			d := done[fmt.Sprintf("t%02d", i)]
			least = min(least, d)
			sum, squares = sum+float64(d), squares+float64(d*d)
		}
		// One of 50 may be a task ahead; beside two of each that is no less than 0.95.
		if least >= 2 && sum*sum/(50*squares) < 0.95 {
			t.Fatalf("after %d tasks Jain's index of the 50 is %.3f", n+1, sum*sum/(50*squares))
		}
		if n == 51*20-1 && least != 20 {
			t.Errorf("after 20 rounds a small tenant has done %d of 20", least)
		}
	}
}

func TestAssemble_TheOrderDecidesFirst(t *testing.T) {
	var findings []rollover.Finding
	for name, order := range map[string][]string{"a": {"", "crm4"}, "b": {"bronze", "crm9"}, "c": {"gold", "crm4"}, "d": {"silver", "crm"}, "e": {"gold", "crm"}} {
		findings = append(findings, rollover.Finding{Tenant: name, Order: order, Items: []rollover.Item{
			{Tenant: name, Target: rollover.Target{Kind: "k", Host: name + "1"}}, {Tenant: name, Target: rollover.Target{Kind: "k", Host: name + "2"}},
		}})
	}
	got := ""
	for _, it := range rollover.Assemble(findings, rollover.OrderKey{By: rollover.ByLabel, Label: "tier", Values: []string{"gold", "silver"}}, rollover.OrderKey{By: rollover.ByRegion}) {
		got += it.Target.Host + " "
	}
	if want := "e1 e2 c1 c2 d1 d2 b1 b2 a1 a2 "; got != want {
		t.Errorf("plan = %s, want %s", got, want)
	}
}

// A tenant whose tolerance is exceeded is held, the others go on, and only when
// they are done the rotation is paused.
func TestTenants_OneIsHeldAndTheOthersGoOn(t *testing.T) {
	plan := rollovertest.Plan(4)
	for i, name := range []string{"bad", "good", "bad", "good"} {
		plan[i].Tenant = name
	}
	b := rollover.NewBoard(plan)
	r := rollover.Rotation{State: rollover.StateRunning, Phase: rollover.PhaseStage, Spec: rollover.Spec{
		MaxTries: 1, TenantTolerance: rollover.Tolerance{Mode: rollover.Strict},
	}}
	b.Apply(0, rollover.Progress{Phase: rollover.Planned, Outcome: rollover.Failed}, 1)
	if got := b.Releasable(r, 10, time.Time{}); fmt.Sprint(got) != "[1]" {
		t.Errorf("Releasable = %v, want the other tenant's first", got)
	}
	if _, ok := r.HoldTenants(b.CountsOf(r), time.Time{}); ok {
		t.Error("paused although another tenant has work")
	}
	b.Apply(1, rollover.Progress{Phase: rollover.Activated}, 2)
	b.Apply(3, rollover.Progress{Phase: rollover.Activated}, 3)
	held, ok := r.HoldTenants(b.CountsOf(r), time.Time{})
	if !ok || held.Detail != "failure tolerance of tenants exceeded, and nothing else is left to do: bad (1 of 2 failed, 0 tolerated); 1 tasks are held" {
		t.Fatalf("HoldTenants = %q, %v", held.Detail, ok)
	}
	if _, err := held.Resume(false, b.CountsOf(held), time.Time{}); err == nil {
		t.Error("it goes on without accepting")
	}
	next, err := held.Resume(true, b.CountsOf(held), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Releasable(next, 10, time.Time{}); fmt.Sprint(got) != "[2]" {
		t.Errorf("Releasable = %v, want the held task", got)
	}
}
