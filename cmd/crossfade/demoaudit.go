package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// audited verifies the audit log of the service that has stopped, in its store and in an
// exported copy, and that it tells what happened. With --alter-audit one record of the
// copy is altered first.
func (s *secureDemo) audited(ctx context.Context) (err error) {
	f := auditFlags{storeFlags: storeFlags{config: s.path("crossfade.yaml")}}
	_, keys, err := f.signer(ctx)
	if err != nil {
		return err
	}
	vkey := keys[len(keys)-1]
	if err := os.WriteFile(s.path("audit.pub"), []byte(vkey+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the key that verifies: %w", err)
	}
	f.keys = keys
	quiet := &app{out: discard{}, errOut: s.errOut}
	if err := quiet.auditExport(ctx, f, s.path("audit")); err != nil {
		return err
	}
	if err := s.tells(ctx, exported(s.path("audit"))); err != nil {
		return err
	}
	if err := s.shows(ctx, quiet, f); err != nil {
		return err
	}
	out := &app{out: s.out, errOut: s.errOut, json: s.json}
	if !s.f.alter {
		return out.auditVerify(ctx, f, s.path("audit/"+exportedLatest))
	}
	if err := s.alter(); err != nil {
		return err
	}
	return out.auditVerify(ctx, auditFlags{from: s.path("audit"), keys: keys}, s.path("audit/"+exportedLatest))
}

// tells returns an error unless the log tells of the refusals, the approval, the start and
// the attempts of tasks.
func (s *secureDemo) tells(ctx context.Context, src audit.Source) error {
	refused, found := 0, map[string]int{}
	err := src.AuditRecords(ctx, func(_ uint64, b []byte) error {
		r, err := audit.Decode(b)
		if err != nil {
			return err
		}
		if r.Outcome == audit.Refused && r.Act != "task" {
			refused++
		}
		found[r.Act+" "+r.Who+" "+r.Outcome]++
		return nil
	})
	if err != nil {
		return err
	}
	if refused < s.told {
		return &exitError{code: exitFailures, err: fmt.Errorf("the audit log tells of %d refusals, and there were %d", refused, s.told)}
	}
	want := []string{"InventoryService/ImportInventory cert:" + demoAdmin + " done"}
	if !s.f.skip {
		want = append(want, "RotationService/ApproveRotation cert:"+demoApprover+" done", "RotationService/StartRotation corp:"+demoPortal+" done",
			"task service done", "rotation service decided")
	}
	for _, w := range want {
		if found[w] == 0 {
			return &exitError{code: exitFailures, err: fmt.Errorf("the audit log does not tell of %q", w)}
		}
	}
	return nil
}

// shows makes the evidence for one tenant, and returns an error unless it says who approved
// what was done to it, and names no other.
func (s *secureDemo) shows(ctx context.Context, quiet *app, f auditFlags) error {
	if s.f.skip {
		return nil
	}
	names := map[string]bool{}
	err := exported(s.path("audit")).AuditRecords(ctx, func(_ uint64, b []byte) error {
		r, err := audit.Decode(b)
		if r.Act == "task" && r.Tenant != "" {
			names[r.Tenant] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	tenant := s.first
	if !names[tenant] { // Nothing was to be done there.
		for name := range names {
			tenant = max(tenant, name)
		}
	}
	if err := quiet.auditEvidence(ctx, f, audit.Ask{Tenant: tenant}, s.path("evidence")); err != nil {
		return err
	}
	b, err := os.ReadFile(s.path("evidence/evidence.json"))
	if err != nil {
		return fmt.Errorf("reading the evidence: %w", err)
	}
	e, err := audit.ParseEvidence(b)
	if err != nil {
		return err
	}
	keys, err := f.given()
	if err != nil {
		return err
	}
	records, err := e.Check(keys, "")
	if err != nil {
		return err
	}
	approved := false
	for _, r := range records {
		approved = approved || r.Act == "RotationService/ApproveRotation" && r.Who == "cert:"+demoApprover && r.Outcome == audit.Done
	}
	if !approved {
		return &exitError{code: exitFailures, err: fmt.Errorf("the evidence for %s does not say who approved", tenant)}
	}
	for other := range names {
		if other != tenant && bytes.Contains(b, []byte(other)) {
			return &exitError{code: exitFailures, err: fmt.Errorf("the evidence for %s names %s", tenant, other)}
		}
	}
	return nil
}

// alter makes the second person of the approval somebody else, in the copy.
func (s *secureDemo) alter() error {
	path := filepath.Join(s.path("audit"), exportedRecords)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("altering the audit log: %w", err)
	}
	lines := bytes.Split(b, []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte("ApproveRotation")) && bytes.Contains(line, []byte(`"outcome":"done"`)) && bytes.Contains(line, []byte("cert:"+demoApprover)) {
			lines[i] = bytes.Replace(line, []byte("cert:"+demoApprover), []byte("cert:"+demoAdmin), 1)
			s.say("\nrecord %d of the exported audit log now says that %s approved", i+1, demoAdmin)
			if err := os.WriteFile(path, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
				return fmt.Errorf("altering the audit log: %w", err)
			}
			return nil
		}
	}
	return errors.New("altering the audit log: there is no approval in it")
}
