package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// auditFlags say which log is meant, and by which keys it is signed.
type auditFlags struct {
	storeFlags
	from   string   // an exported folder
	keys   []string // what verifies: texts, or files with them, the oldest first
	origin string   // the first line of its checkpoints; "" as configured
}

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Read and verify the log of who did what",
		a.auditVerifyCommand(), a.auditListCommand(), a.auditExportCommand(), a.auditEvidenceCommand(), a.auditKeyCommand())
}

func (f *auditFlags) add(c *cobra.Command) {
	f.storeFlags.add(c)
	c.Flags().StringVar(&f.from, "from", "", "`DIR` of an exported log instead of a store")
	c.Flags().StringArrayVar(&f.keys, "key", nil, "the `KEY` that verifies, or a file with it, as \"crossfade audit key\" shows it;\nrepeat it where it was changed, the oldest first\n(default: of the key that signs here, which proves less)")
	c.Flags().StringVar(&f.origin, "origin", "", "the `NAME` that the log has, where audit.origin gives it one (default as configured)")
}

// open returns the log, and how to close it.
func (f *auditFlags) open(ctx context.Context, a *app) (audit.Source, func() error, error) {
	if f.from != "" {
		if f.config != "" || f.data != "" {
			return nil, nil, usage("--from: is instead of --config and --data")
		}
		return exported(f.from), func() error { return nil }, nil
	}
	b, err := a.openStore(ctx, f.storeFlags)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error { return b.Close(context.WithoutCancel(ctx)) }, nil
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var f auditFlags
	var known, evidence string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Say whether the log is as it was signed, and name what is not",
		Long: `Verify reads the whole log, of a store or of an exported folder, and recomputes
everything: that each record is the one that was signed, that none is missing or
stands elsewhere, and that each checkpoint is signed and continues the one before.
With --checkpoint, which somebody has kept elsewhere, it also finds that the end of the
log was cut off together with its checkpoints. With --evidence it verifies what a tenant
was given; nothing else is needed for that but the key. With --checkpoint too, the
evidence must have the proof that its log continues that one: see audit evidence --since.

It ends with 0 if nothing is wrong and with 1 if something is.`,
		Example: "  crossfade audit verify --config crossfade.yaml --key crossfade-audit+…\n  crossfade audit verify --from exported --key audit.pub --checkpoint kept.txt\n  crossfade audit verify --evidence evidence.json --key audit.pub",
		RunE: func(c *cobra.Command, _ []string) error {
			if evidence != "" {
				return a.verifyEvidence(evidence, known, f)
			}
			return a.auditVerify(c.Context(), f, known)
		},
	}
	f.add(c)
	c.Flags().StringVar(&known, "checkpoint", "", "`FILE` with a signed checkpoint that was kept elsewhere: the log has to continue it")
	c.Flags().StringVar(&evidence, "evidence", "", "verify this `FILE` of evidence instead")
	return c
}

func (a *app) auditVerify(ctx context.Context, f auditFlags, knownFile string) (err error) {
	known, err := noteIn("--checkpoint", knownFile)
	if err != nil {
		return err
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
	s, err := audit.Verify(ctx, src, keys, known)
	if err != nil {
		return err
	}
	return a.showVerified(s)
}

// noteIn reads the signed checkpoint that a flag names, "" where it names none.
func noteIn(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", usage("%s: %w", flag, err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return "", usage("%s: %s is empty: there was no checkpoint yet", flag, path)
	}
	return string(b), nil
}

// showVerified says what was found, and returns an error if it is anything.
func (a *app) showVerified(s *audit.Summary) error {
	if a.json {
		a.object("audit", map[string]any{
			"ok": s.OK(), "records": s.Records, "signed": s.Signed, "checkpoints": s.Checkpoints, "findings": s.Findings, "more": s.More, "checkpoint": s.Latest,
		})
	} else {
		for _, f := range s.Findings {
			fmt.Fprintln(a.out, "audit:", f)
		}
		if s.More > 0 {
			fmt.Fprintf(a.out, "audit: and %d more\n", s.More)
		}
	}
	if !s.OK() {
		return &exitError{code: exitFailures, err: fmt.Errorf("audit verify: the log is not as it was signed: %s wrong", things(len(s.Findings)+s.More))}
	}
	if !a.json {
		fmt.Fprintf(a.out, "audit verify OK: %d records, %d of them signed, %d checkpoints\n", s.Records, s.Signed, s.Checkpoints)
	}
	return nil
}

func (a *app) auditExportCommand() *cobra.Command {
	var f auditFlags
	var out string
	c := &cobra.Command{
		Use:   "export --out DIR",
		Short: "Copy the log into files that can be verified anywhere",
		Long: `Export writes records.jsonl, a record a line exactly as it is stored (JSON, and after a
tab the texts that its hash "sealed" is of, JSON too), checkpoints.jsonl,
and checkpoint.txt, the newest signed checkpoint: keep that where nobody of the service
can change it.`,
		Example: "  crossfade audit export --config crossfade.yaml --out exported",
		RunE:    func(c *cobra.Command, _ []string) error { return a.auditExport(c.Context(), f, out) },
	}
	f.storeFlags.add(c)
	c.Flags().StringVar(&out, "out", "", "new `DIR` of the copy")
	_ = c.MarkFlagRequired("out") // The flag exists: it was made above.
	return c
}

// The files of an exported log.
const (
	exportedRecords     = "records.jsonl"
	exportedCheckpoints = "checkpoints.jsonl"
	exportedLatest      = "checkpoint.txt"
)

func (a *app) auditExport(ctx context.Context, f auditFlags, out string) (err error) {
	src, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := os.Mkdir(out, 0o700); err != nil {
		return usage("--out: %w", err)
	}
	// The checkpoints first: every record that they are of is there then.
	latest := ""
	checkpoints, err := exportLines(filepath.Join(out, exportedCheckpoints), func(line func(uint64, []byte) error) error {
		return src.AuditCheckpoints(ctx, func(seq uint64, b []byte) error {
			latest = audit.NoteOf(b)
			return line(seq, b)
		})
	})
	if err != nil {
		return err
	}
	records, err := exportLines(filepath.Join(out, exportedRecords), func(line func(uint64, []byte) error) error {
		return src.AuditRecords(ctx, line)
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, exportedLatest), []byte(latest), 0o600); err != nil {
		return fmt.Errorf("writing the copy: %w", err)
	}
	if a.json {
		a.object("audit_export", map[string]any{"dir": out, "records": records, "checkpoints": checkpoints})
	} else {
		fmt.Fprintf(a.out, "exported: %d records and %d checkpoints to %s\n", records, checkpoints, out)
	}
	return nil
}

// exportLines writes a file of lines; what is missing in the middle is an empty one, so
// that the others keep their numbers.
func exportLines(path string, read func(func(uint64, []byte) error) error) (n int, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("writing the copy: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	next := uint64(1)
	err = read(func(seq uint64, b []byte) error {
		for ; next < seq; next++ {
			if err := w.WriteByte('\n'); err != nil {
				return err
			}
		}
		next = seq + 1
		n++
		_, err := w.Write(append(b[:len(b):len(b)], '\n'))
		return err
	})
	if err != nil {
		return n, err
	}
	if err := w.Flush(); err != nil {
		return n, fmt.Errorf("writing the copy: %w", err)
	}
	return n, f.Sync()
}

// exported is a log in files.
type exported string

// AuditRecords implements [audit.Source].
func (e exported) AuditRecords(_ context.Context, f func(seq uint64, data []byte) error) error {
	return eachLine(filepath.Join(string(e), exportedRecords), f)
}

// AuditCheckpoints implements [audit.Source].
func (e exported) AuditCheckpoints(_ context.Context, f func(seq uint64, data []byte) error) error {
	return eachLine(filepath.Join(string(e), exportedCheckpoints), f)
}

// maxExportedLine bounds a line of an exported log: a checkpoint has up to 8,192 hashes.
const maxExportedLine = 4 << 20

func eachLine(path string, f func(seq uint64, data []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return usage("--from: %w", err)
	}
	defer func() { _ = file.Close() }() // Opened for reading only.
	r := bufio.NewReaderSize(file, 1<<16)
	for n := uint64(1); ; n++ {
		line, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("reading %s: %w", path, err)
		case len(line) > maxExportedLine:
			return fmt.Errorf("%s: line %d is longer than %d bytes", path, n, maxExportedLine)
		}
		if line = []byte(strings.TrimSuffix(string(line), "\n")); len(line) == 0 {
			continue // It is missing.
		}
		if err := f(n, line); err != nil {
			return err
		}
	}
}

func (a *app) auditListCommand() *cobra.Command {
	var f auditFlags
	var object, who, act, tenant string
	c := &cobra.Command{
		Use:     "list",
		Short:   "Show records, oldest first",
		Example: "  crossfade audit list --rotation rotations/0198…\n  crossfade audit list --who cert:jane --act RotationService/StartRotation --json",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			src, done, err := f.open(c.Context(), a)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			return src.AuditRecords(c.Context(), func(seq uint64, b []byte) error {
				r, err := audit.Decode(b)
				if err != nil {
					fmt.Fprintf(a.errOut, "crossfade: record %d: %v\n", seq, err)
					return nil
				}
				if object != "" && r.Object != object && !strings.HasPrefix(r.Object, object+"/") || who != "" && r.Who != who ||
					act != "" && r.Act != act || tenant != "" && !r.Concerns(tenant) {
					return nil
				}
				a.showRecord(seq, r)
				return nil
			})
		},
	}
	f.storeFlags.add(c)
	c.Flags().StringVar(&f.from, "from", "", "`DIR` of an exported log instead of a store")
	c.Flags().StringVar(&object, "rotation", "", "only of this `ROTATION` (rotations/…), or of another resource")
	c.Flags().StringVar(&who, "who", "", "only by this `CALLER`")
	c.Flags().StringVar(&act, "act", "", "only of this `ACT`")
	c.Flags().StringVar(&tenant, "tenant", "", "only about this `TENANT`")
	return c
}

// showRecord prints a record.
func (a *app) showRecord(seq uint64, r audit.Record) {
	if a.json {
		a.object("audit_record", map[string]any{"number": seq, "record": r})
		return
	}
	line := fmt.Sprintf("%6d  %s  %-8s %s  %s", seq, r.At.UTC().Format(time.RFC3339), r.Outcome, r.Act, r.Who)
	for _, s := range []string{r.Object, r.Reason, r.Why, r.Detail["steps"], r.Detail["state"], r.Detail["phase"], r.Detail["ords"]} {
		if s != "" {
			line += "  " + s
		}
	}
	fmt.Fprintln(a.out, line)
}

// things says how many there are, with the verb.
func things(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return fmt.Sprintf("%d things are", n)
}
