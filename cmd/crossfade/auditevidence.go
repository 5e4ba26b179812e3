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
	var ask audit.Ask
	var out, sinceFile string
	c := &cobra.Command{
		Use:   "evidence --tenant TENANT --out DIR",
		Short: "Make what one tenant may keep as proof of what was done to it",
		Long: `Evidence writes evidence.json, the records about one tenant with the proof that each
is in the signed log, and evidence.html, which says the same to people. Of the rotations
that the tenant was part of it has what was asked and decided of the whole, such as who
approved it, without reasons and other texts: no other tenant is named. Whoever has the
key verifies it without this service: crossfade audit verify --evidence evidence.json
--key KEY. It proves that what is in it is in the log, and not that nothing was left out.

With --since, a checkpoint that somebody kept, it also has the proof that the log
continues that one, for crossfade audit verify --checkpoint.`,
		Example: "  crossfade audit evidence --config crossfade.yaml --tenant contoso --rotation rotations/0198… --out contoso",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if ask.Since, err = noteIn("--since", sinceFile); err != nil {
				return err
			}
			return a.auditEvidence(c.Context(), f, ask, out)
		},
	}
	f.add(c)
	c.Flags().StringVar(&ask.Tenant, "tenant", "", "the `TENANT`")
	c.Flags().StringVar(&ask.Rotation, "rotation", "", "only of this `ROTATION` (default all)")
	c.Flags().StringVar(&sinceFile, "since", "", "prove that the log continues the checkpoint in this `FILE`")
	c.Flags().StringVar(&out, "out", "", "new `DIR` of the two files")
	_ = c.MarkFlagRequired("tenant") // The flags exist: they were made above.
	_ = c.MarkFlagRequired("out")
	return c
}

func (a *app) auditEvidence(ctx context.Context, f auditFlags, ask audit.Ask, out string) (err error) {
	ask.Tenant = strings.TrimPrefix(ask.Tenant, "tenants/")
	if ask.Rotation != "" && !strings.HasPrefix(ask.Rotation, "rotations/") {
		ask.Rotation = "rotations/" + ask.Rotation
	}
	keys, err := f.verifiers(ctx)
	if err != nil {
		return err
	}
	src, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	e, err := audit.Gather(ctx, src, keys, ask)
	if errors.Is(err, audit.ErrTampered) {
		return &exitError{code: exitFailures, err: err}
	}
	if err != nil {
		return err
	}
	records, err := e.Check(keys, ask.Since)
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
		a.object("audit_evidence", map[string]any{"dir": out, "tenant": ask.Tenant, "records": len(records)})
	} else {
		fmt.Fprintf(a.out, "evidence: %d records about %s in %s\n", len(records), ask.Tenant, out)
	}
	return nil
}

// verifyEvidence verifies a file of evidence by the keys alone, and against a checkpoint
// where one is given.
func (a *app) verifyEvidence(path, knownFile string, f auditFlags) error {
	switch {
	case len(f.keys) == 0:
		return usage("--key: is needed with --evidence")
	case f.from != "":
		return usage("--from: --evidence is verified without the log")
	}
	keys, err := f.given()
	if err != nil {
		return err
	}
	known, err := noteIn("--checkpoint", knownFile)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return usage("--evidence: %w", err)
	}
	e, err := audit.ParseEvidence(b)
	if err != nil {
		return usage("--evidence: %w", err)
	}
	records, err := e.Check(keys, known)
	if errors.Is(err, audit.ErrNoProof) {
		return usage("--checkpoint: %w", err)
	}
	if err != nil {
		return &exitError{code: exitFailures, err: fmt.Errorf("audit verify: the evidence is not true: %w", err)}
	}
	if a.json {
		a.object("audit_evidence", map[string]any{"ok": true, "tenant": e.Tenant, "records": len(records)})
		return nil
	}
	continues := ""
	if known != "" {
		continues = ", which continues the checkpoint"
	}
	fmt.Fprintf(a.out, "audit verify OK: %d records about %s are in the log that was signed%s\n", len(records), e.Tenant, continues)
	for i, r := range records {
		a.showRecord(uint64(e.Records[i].Number)+1, r) //nolint:gosec // Not negative.
	}
	return nil
}
