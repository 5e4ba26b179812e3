package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/outbound"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// What a target set may have, as the contract says.
const (
	maxTargets  = 100_000
	targetChunk = 1000
)

func (a *app) targetsCommand() *cobra.Command {
	var file, format, display, requestID string
	create := &cobra.Command{
		Use: "create NAME --file FILE", Short: "Send a list of tenants and endpoints",
		Long: `Create reads a list and keeps it in the service under a name, for "rotate --targets
NAME". A row names a tenant ("contoso") or one of its endpoints
("contoso/4f1c…"). The file has a row a line ("txt"), or columns "tenant" and,
optionally, "endpoint" ("csv"), or is one JSON array of such texts ("json"). If any row
is wrong nothing can be rotated with it. Cut off half-way, the same command with the
same --request-id goes on.`,
		Example: "  crossfade targets create november --file list.csv\n  crossfade rotate --certificate new.cer --targets november --plan-only",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			rows, err := readTargets(file, format)
			if err != nil {
				return err
			}
			if requestID == "" {
				requestID = uuid.NewString()
			}
			return a.with(func(cl *client) error {
				return a.createTargets(c.Context(), cl, &crossfadev1.CreateTargetSetRequest{
					RequestId: requestID,
					TargetSet: &crossfadev1.TargetSet{Name: targetSetName(args[0]), DisplayName: display, ExpectedRows: int32(len(rows))}, //nolint:gosec // Bounded by readTargets.
				}, rows)
			})
		},
	}
	create.Flags().StringVar(&file, "file", "", "the list: a `FILE`")
	create.Flags().StringVar(&format, "format", "", "`FORMAT` of the file: txt, csv or json (default by its name, else txt)")
	create.Flags().StringVar(&display, "display-name", "", "why it exists, for people")
	create.Flags().StringVar(&requestID, "request-id", "", "`UUID` of this request; the same one again goes on where it was cut off (default a new one)")
	_ = create.MarkFlagRequired("file") // The flag exists: it was made above.
	var l listing
	list := &cobra.Command{
		Use: "list", Short: "List the target sets",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listTargets(c.Context(), cl, l) })
		},
	}
	l.flags(list, "display_name, creator, state and create_time", "name, display_name and create_time")
	show := &cobra.Command{
		Use: "show NAME", Short: "Show one target set", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				ctx, cancel := bounded(c.Context())
				defer cancel()
				res, err := cl.targetSets.GetTargetSet(ctx, &crossfadev1.GetTargetSetRequest{Name: targetSetName(args[0])})
				if err != nil {
					return err
				}
				a.showTargets(res.GetTargetSet())
				return nil
			})
		},
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Remove a target set", Args: cobra.ExactArgs(1),
		Long: `Delete removes a target set. Rotations that were planned for it keep their plan; while
one is being planned it is refused.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error {
				ctx, cancel := bounded(c.Context())
				defer cancel()
				_, err := cl.targetSets.DeleteTargetSet(ctx, &crossfadev1.DeleteTargetSetRequest{Name: targetSetName(args[0])})
				return err
			})
		},
	}
	return group("targets", "Keep explicit lists of tenants and endpoints", create, list, show, remove)
}

func targetSetName(arg string) string { return "targetSets/" + strings.TrimPrefix(arg, "targetSets/") }

// readTargets reads a list of rows as resource names, or says what is wrong with it.
func readTargets(path, format string) ([]string, error) {
	if format == "" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	}
	f, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, usage("reading targets: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	in := outbound.LimitBody(f, maxTargetsFile)
	var rows []string
	switch format {
	case "csv":
		rows, err = csvTargets(in)
	case "json":
		err = json.NewDecoder(in).Decode(&rows)
	default:
		rows, err = lineTargets(in)
	}
	switch {
	case errors.Is(err, outbound.ErrTooLarge):
		return nil, usage("%s: larger than 64 MiB; split the list", path)
	case err != nil:
		return nil, usage("%s: %w", path, err)
	case len(rows) == 0:
		return nil, usage("%s: no rows", path)
	case len(rows) > maxTargets:
		return nil, usage("%s: more than %d rows; split the list", path, maxTargets)
	}
	for i, r := range rows {
		rows[i] = targetName(r)
	}
	return rows, nil
}

// targetName makes a resource name of what a person writes: tenant,
// tenant/endpoint, or the name itself.
func targetName(row string) string {
	row = strings.TrimSpace(row)
	if strings.HasPrefix(row, "tenants/") {
		return row
	}
	tenant, endpoint, of := strings.Cut(row, "/")
	if !of {
		return "tenants/" + tenant
	}
	return "tenants/" + tenant + "/endpoints/" + strings.ToLower(endpoint)
}

// lineTargets reads a row a line. Empty lines and those that begin with # are none.
func lineTargets(r io.Reader) ([]string, error) {
	var rows []string
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(rows) <= maxTargets {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			rows = append(rows, line)
		}
	}
	return rows, lines.Err()
}

// csvTargets reads the columns "tenant" and "endpoint".
func csvTargets(r io.Reader) ([]string, error) {
	in := csv.NewReader(r)
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the first line: %w", err)
	}
	tenant, endpoint := -1, -1
	for i, name := range head {
		switch strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")) {
		case "tenant":
			tenant = i
		case "endpoint":
			endpoint = i
		}
	}
	if tenant < 0 {
		return nil, errors.New(`the first line names no column "tenant"`)
	}
	var rows []string
	for len(rows) <= maxTargets {
		line, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		row := strings.TrimSpace(line[tenant])
		if endpoint >= 0 && strings.TrimSpace(line[endpoint]) != "" {
			row += "/" + strings.TrimSpace(line[endpoint])
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// createTargets makes the set and sends its rows in one stream.
func (a *app) createTargets(ctx context.Context, cl *client, req *crossfadev1.CreateTargetSetRequest, rows []string) error {
	cctx, cancel := bounded(ctx)
	defer cancel()
	if _, err := cl.targetSets.CreateTargetSet(cctx, req); err != nil {
		return err
	}
	name := req.GetTargetSet().GetName()
	uctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	up, err := cl.targetSets.UploadTargets(uctx)
	if err != nil {
		return err
	}
	for from := 0; from < len(rows); from += targetChunk {
		err := up.Send(&crossfadev1.UploadTargetsRequest{
			Name: name, FirstRow: int32(from), Targets: rows[from:min(from+targetChunk, len(rows))], //nolint:gosec // At most 100,000.
		})
		if errors.Is(err, io.EOF) {
			break // The service ended the upload; its answer says why.
		}
		if err != nil {
			return err
		}
	}
	res, err := up.CloseAndRecv()
	if err != nil {
		return err
	}
	for _, e := range res.GetErrors() {
		if a.json {
			a.message("problem", e)
		} else {
			fmt.Fprintf(a.errOut, "row %d, %s: %s\n", e.GetRow()+1, e.GetTarget(), e.GetDescription())
		}
	}
	if n := res.GetErrorCount(); n > 0 {
		return &exitError{code: exitFailures, err: fmt.Errorf("%d rows were refused; %s is not complete: delete it, mend the list and create it again", n, name)}
	}
	a.showTargets(res.GetTargetSet())
	return nil
}

func (a *app) listTargets(ctx context.Context, cl *client, l listing) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.targetSets.ListTargetSets(pctx, &crossfadev1.ListTargetSetsRequest{PageSize: 500, PageToken: token, Filter: l.filter, OrderBy: l.order})
		cancel()
		if err != nil {
			return err
		}
		for _, s := range res.GetTargetSets() {
			a.showTargets(s)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func (a *app) showTargets(s *crossfadev1.TargetSet) {
	if a.json {
		a.message("target_set", s)
		return
	}
	what := amount(s.GetRowCount(), "row") + ", " + amount(s.GetTenantCount(), "tenant")
	if s.GetState() != crossfadev1.TargetSet_STATE_READY {
		what = fmt.Sprintf("not complete: %d of %d rows", s.GetRowCount(), s.GetExpectedRows())
	}
	fmt.Fprintf(a.out, "%-24s %s, by %s at %s  %s\n", strings.TrimPrefix(s.GetName(), "targetSets/"), what, s.GetCreator(), instant(s.GetCreateTime()), s.GetDisplayName())
}
