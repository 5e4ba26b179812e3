package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/tenants"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of one chunk of an import: what the service takes, and well below what one
// message may have.
const (
	chunkRows  = 1000
	chunkBytes = 2 << 20
)

// importFlags say how tenants are imported.
type importFlags struct {
	check   bool
	request string // a UUID; empty: a new one
}

// importTenants sends tenants in one stream and says what became of them.
func (a *app) importTenants(ctx context.Context, cl *client, ts []tenants.Tenant, f importFlags) error {
	if f.request == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("naming the import: %w", err)
		}
		f.request = id.String()
	}
	if _, err := uuid.Parse(f.request); err != nil {
		return usage("--request-id %q: want a UUID", f.request)
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout*time.Duration(1+len(ts)/100_000))
	defer cancel()
	res, err := sendTenants(ctx, cl, ts, f)
	if err != nil {
		switch status.Code(err) { // Only these say that it may go on.
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			fmt.Fprintf(a.errOut, "the import was cut off; what came is stored. Send it again with --request-id %s\n", f.request)
		}
		return err
	}
	job := res.GetJob()
	if err := a.showProblems(ctx, cl, job, res.GetErrors()); err != nil {
		return err
	}
	if a.json {
		a.object("import", map[string]any{
			"created": job.GetCreatedCount(), "updated": job.GetUpdatedCount(), "unchanged": job.GetUnchangedCount(), "failed": job.GetFailedCount(),
			"check": f.check, "job": job.GetName(),
		})
	} else {
		fmt.Fprintf(a.out, "%s: %d new, %d changed, %d unchanged, %d refused\n%s\n", amount(len(ts), "tenant"),
			job.GetCreatedCount(), job.GetUpdatedCount(), job.GetUnchangedCount(), job.GetFailedCount(), job.GetName())
	}
	switch {
	case job.GetState() == crossfadev1.InventoryJob_STATE_CANCELLED:
		return &exitError{code: exitFailures, err: errors.New("the import was cancelled; what it stored stays")}
	case job.GetState() == crossfadev1.InventoryJob_STATE_FAILED:
		return &exitError{code: exitFailures, err: fmt.Errorf("the import failed: %s", job.GetDetail())}
	case job.GetFailedCount() > 0:
		return &exitError{code: exitFailures, err: fmt.Errorf("%s refused", amount(job.GetFailedCount(), "tenant"))}
	}
	return nil
}

// sendTenants sends tenants in chunks and returns the answer.
func sendTenants(ctx context.Context, cl *client, ts []tenants.Tenant, f importFlags) (*crossfadev1.ImportInventoryResponse, error) {
	s, err := cl.inventory.ImportInventory(ctx)
	if err != nil {
		return nil, err
	}
	err = s.Send(&crossfadev1.ImportInventoryRequest{Part: &crossfadev1.ImportInventoryRequest_Header{Header: &crossfadev1.ImportHeader{
		RequestId: f.request, ValidateOnly: f.check, ExpectedRows: int64(len(ts)),
	}}})
	for from := 0; from < len(ts) && err == nil; {
		chunk := chunkFrom(ts, from)
		from += len(chunk.GetTenants())
		err = s.Send(&crossfadev1.ImportInventoryRequest{Part: &crossfadev1.ImportInventoryRequest_Chunk{Chunk: chunk}})
	}
	if err != nil && !errors.Is(err, io.EOF) { // Where the service has ended the call, its answer says why.
		return nil, err
	}
	return s.CloseAndRecv()
}

// chunkFrom returns the chunk that begins with a row: as many rows as fit, and one at least.
func chunkFrom(ts []tenants.Tenant, from int) *crossfadev1.ImportChunk {
	chunk, bytes := &crossfadev1.ImportChunk{FirstRow: int64(from)}, 0
	for _, t := range ts[from:min(from+chunkRows, len(ts))] {
		m := tenantMessage(t)
		if bytes += proto.Size(m); bytes > chunkBytes && len(chunk.Tenants) > 0 {
			break
		}
		chunk.Tenants = append(chunk.Tenants, m)
	}
	return chunk
}

// showProblems shows what is wrong with the rows of a job. told is the beginning of it;
// where there is more, all that is kept is asked for.
func (a *app) showProblems(ctx context.Context, cl *client, job *crossfadev1.InventoryJob, told []*crossfadev1.ImportError) error {
	const most = 100 // that the answer tells
	if len(told) >= most {
		return a.jobErrors(ctx, cl, &crossfadev1.ListInventoryJobErrorsRequest{Parent: job.GetName()})
	}
	for _, e := range told {
		a.problem(e)
	}
	return nil
}

// problem shows what is wrong with a row of an import, or what a discovery did not read.
func (a *app) problem(e *crossfadev1.ImportError) {
	switch {
	case a.json:
		a.message("problem", e)
	case e.GetReason() != crossfadev1.RotationTask_REASON_UNSPECIFIED:
		where := strings.TrimSpace(strings.TrimPrefix(e.GetTenant(), "tenants/") + " " + e.GetHost())
		fmt.Fprintf(a.out, "  %s: %s: %s\n", where, strings.ToLower(strings.TrimPrefix(e.GetReason().String(), "REASON_")), e.GetDescription())
	default:
		fmt.Fprintf(a.errOut, "tenant %s: %s: %s\n", e.GetTenant(), e.GetField(), e.GetDescription())
	}
}
