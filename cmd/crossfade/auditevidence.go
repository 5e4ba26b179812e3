package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
)

//go:embed evidence.html.tmpl
var evidencePage string

func (a *app) auditEvidenceCommand() *cobra.Command {
	var f auditFlags
	var tenant, rotation, out string
	c := &cobra.Command{
		Use:   "evidence --tenant TENANT --out DIR",
		Short: "Make what one tenant may keep as proof of what was done to it",
		Long: `Evidence writes evidence.json, the records about one tenant with the proof that each
is in the signed log, and evidence.html, which says the same to people. No other tenant
is named in it. Whoever has the key verifies it without this service:
crossfade audit verify --evidence evidence.json --key KEY.`,
		Example: "  crossfade audit evidence --config crossfade.yaml --tenant contoso --rotation rotations/0198… --out contoso",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.auditEvidence(c.Context(), f, tenant, rotation, out)
		},
	}
	f.add(c)
	c.Flags().StringVar(&tenant, "tenant", "", "the `TENANT`")
	c.Flags().StringVar(&rotation, "rotation", "", "only of this `ROTATION` (default all)")
	c.Flags().StringVar(&out, "out", "", "new `DIR` of the two files")
	_ = c.MarkFlagRequired("tenant") // The flags exist: they were made above.
	_ = c.MarkFlagRequired("out")
	return c
}

func (a *app) auditEvidence(ctx context.Context, f auditFlags, tenant, rotation, out string) (err error) {
	tenant = strings.TrimPrefix(tenant, "tenants/")
	if rotation != "" && !strings.HasPrefix(rotation, "rotations/") {
		rotation = "rotations/" + rotation
	}
	v, err := f.verifier(ctx)
	if err != nil {
		return err
	}
	src, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	e, err := audit.Gather(ctx, src, v, tenant, rotation)
	if errors.Is(err, audit.ErrTampered) {
		return &exitError{code: exitFailures, err: err}
	}
	if err != nil {
		return err
	}
	records, err := e.Check(v)
	if err != nil {
		return err
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		return usage("--out: %w", err)
	}
	b, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the evidence: %w", err)
	}
	if err := os.WriteFile(filepath.Join(out, "evidence.json"), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the evidence: %w", err)
	}
	page, err := template.New("evidence").Funcs(template.FuncMap{"next": func(n int64) int64 { return n + 1 }}).Parse(evidencePage)
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	var text strings.Builder
	if err := page.Execute(&text, map[string]any{"Evidence": e, "Records": records}); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(out, "evidence.html"), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if a.json {
		a.object("audit_evidence", map[string]any{"dir": out, "tenant": tenant, "records": len(records)})
	} else {
		fmt.Fprintf(a.out, "evidence: %d records about %s in %s\n", len(records), tenant, out)
	}
	return nil
}

// verifyEvidence verifies a file of evidence by the key alone.
func (a *app) verifyEvidence(path, key string) error {
	if key == "" {
		return usage("--key: is needed with --evidence")
	}
	if b, err := os.ReadFile(key); err == nil {
		key = string(b)
	}
	v, err := audit.ParseVerifier(key)
	if err != nil {
		return usage("--key: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return usage("--evidence: %w", err)
	}
	e, err := audit.ParseEvidence(b)
	if err != nil {
		return usage("--evidence: %w", err)
	}
	records, err := e.Check(v)
	if err != nil {
		return &exitError{code: exitFailures, err: fmt.Errorf("audit verify: the evidence is not true: %w", err)}
	}
	if a.json {
		a.object("audit_evidence", map[string]any{"ok": true, "tenant": e.Tenant, "records": len(records)})
		return nil
	}
	fmt.Fprintf(a.out, "audit verify OK: %d records about %s are in the log that was signed\n", len(records), e.Tenant)
	for i, r := range records {
		a.showRecord(uint64(e.Records[i].Number)+1, r) //nolint:gosec // Not negative.
	}
	return nil
}
