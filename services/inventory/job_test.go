package inventory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/inventory"
)

const jobID = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"

// sending is an import under way.
type sending struct {
	t *testing.T
	s interface {
		Send(*pb.ImportInventoryRequest) error
		CloseAndRecv() (*pb.ImportInventoryResponse, error)
	}
	row int64
}

func send(ctx context.Context, t *testing.T, c pb.InventoryServiceClient, h *pb.ImportHeader) *sending {
	t.Helper()
	s, err := c.ImportInventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&pb.ImportInventoryRequest{Part: &pb.ImportInventoryRequest_Header{Header: h}}); err != nil {
		t.Fatal(err)
	}
	return &sending{t: t, s: s}
}

// rows sends a chunk. Where the server has ended the call, its answer tells.
func (s *sending) rows(of ...*pb.Tenant) {
	s.t.Helper()
	err := s.s.Send(&pb.ImportInventoryRequest{Part: &pb.ImportInventoryRequest_Chunk{Chunk: &pb.ImportChunk{FirstRow: s.row, Tenants: of}}})
	if err != nil && !errors.Is(err, io.EOF) {
		s.t.Fatal(err)
	}
	s.row += int64(len(of))
}

func (s *sending) done() (*pb.ImportInventoryResponse, error) { return s.s.CloseAndRecv() }

func bad(id string) *pb.Tenant {
	n := tenant(id)
	n.Organization = "http://x"
	return n
}

func TestImportInventory_KeepsWhatBecameOfEachRow(t *testing.T) {
	c, _ := open(t)
	imported(t, c, "there", "changed")
	other := tenant("changed")
	other.Disabled = true
	s := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID, ExpectedRows: 6})
	s.rows(tenant("there"), other, tenant("new"))
	s.rows(bad("wrong"), tenant("new"), tenant("last"))
	got, err := s.done()
	if err != nil {
		t.Fatal(err)
	}
	j := got.GetJob()
	if j.GetName() != "inventoryJobs/"+jobID || j.GetState() != pb.InventoryJob_STATE_PARTIALLY_SUCCEEDED || j.GetRowCount() != 6 || j.GetCreatedCount() != 2 ||
		j.GetUpdatedCount() != 1 || j.GetUnchangedCount() != 1 || j.GetFailedCount() != 2 || j.GetEndTime() == nil {
		t.Errorf("the job is %v", j)
	}
	if es := got.GetErrors(); len(es) < 2 || es[0].GetRow() != 3 || es[len(es)-1].GetRow() != 4 || es[len(es)-1].GetTenant() != "tenants/new" {
		t.Errorf("told of %v, want rows 3 and 4", es)
	}
	list, err := c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: j.GetName(), OrderBy: "row desc", PageSize: 1})
	if err != nil || len(list.GetErrors()) != 1 || list.GetErrors()[0].GetRow() != 4 || list.GetNextPageToken() == "" {
		t.Errorf("ListInventoryJobErrors = %v, %v, want the last row and another page", list, err)
	}
	list, err = c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: j.GetName(), Filter: "tenant = \"tenants/wrong\""})
	if err != nil || len(list.GetErrors()) == 0 || list.GetErrors()[0].GetRow() != 3 {
		t.Errorf("ListInventoryJobErrors of a tenant = %v, %v", list, err)
	}
	jobs, err := c.ListInventoryJobs(t.Context(), &pb.ListInventoryJobsRequest{Filter: "state = STATE_PARTIALLY_SUCCEEDED"})
	if err != nil || len(jobs.GetJobs()) != 1 {
		t.Errorf("ListInventoryJobs = %v, %v", jobs, err)
	}
	// Sent again it is answered as it ended, and takes nothing in.
	again := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID, ExpectedRows: 6})
	again.rows(tenant("not-taken"))
	if repeat, err := again.done(); err != nil || repeat.GetJob().GetRowCount() != 6 || !proto.Equal(repeat, got) {
		t.Errorf("the repeat = %v, %v, want the first answer %v", repeat, err, got)
	}
	_, err = c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/not-taken"})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	_, err = send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID, ValidateOnly: true}).done()
	refused(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
}

func TestImportInventory_ValidateOnlyStoresNothing(t *testing.T) {
	c, _ := open(t)
	s := send(t.Context(), t, c, &pb.ImportHeader{ValidateOnly: true})
	s.rows(tenant("new"))
	got, err := s.done()
	if err != nil || got.GetJob().GetState() != pb.InventoryJob_STATE_SUCCEEDED || got.GetJob().GetCreatedCount() != 1 {
		t.Errorf("ImportInventory = %v, %v", got, err)
	}
	list, err := c.ListTenants(t.Context(), &pb.ListTenantsRequest{})
	if err != nil || len(list.GetTenants()) != 0 {
		t.Errorf("stored are %v, %v", list, err)
	}
}

func TestImportInventory_RefusesWhatIsOutOfOrder(t *testing.T) {
	c, _ := open(t)
	s := send(t.Context(), t, c, &pb.ImportHeader{})
	s.rows(tenant("a"))
	s.row = 7
	s.rows(tenant("b"))
	_, err := s.done()
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	jobs, err := c.ListInventoryJobs(t.Context(), &pb.ListInventoryJobsRequest{})
	if err != nil || len(jobs.GetJobs()) != 1 || jobs.GetJobs()[0].GetState() != pb.InventoryJob_STATE_FAILED || jobs.GetJobs()[0].GetRowCount() != 1 {
		t.Errorf("ListInventoryJobs = %v, %v, want one that failed after a row", jobs, err)
	}
	short := send(t.Context(), t, c, &pb.ImportHeader{ExpectedRows: 2})
	short.rows(tenant("a"))
	if got, err := short.done(); err != nil || got.GetJob().GetState() != pb.InventoryJob_STATE_FAILED || got.GetJob().GetDetail() == "" {
		t.Errorf("with too few rows = %v, %v, want that it failed", got, err)
	}
	headless, err := c.ImportInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	none := &sending{t: t, s: headless}
	none.rows(tenant("a"))
	_, err = none.done()
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}

// A stream that is cut off leaves what came, and the repeat finishes.
func TestImportInventory_GoesOnAfterACut(t *testing.T) {
	taken := make(chan struct{}, 10)
	c, v, jobs := openWith(t, func(*inventory.Config) {})
	jobs.After = func(call, _ string) error {
		if call == "Update" {
			taken <- struct{}{}
		}
		return nil
	}
	ctx, cut := context.WithCancel(t.Context())
	s := send(ctx, t, c, &pb.ImportHeader{RequestId: jobID, ExpectedRows: 2})
	s.rows(tenant("a"))
	<-taken // The chunk is stored and noted.
	cut()
	if _, err := s.done(); status.Code(err) != codes.Canceled {
		t.Errorf("the cut call = %v", err)
	}
	<-taken // That it was cut off is noted.
	got, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: "inventoryJobs/" + jobID})
	if err != nil || got.GetJob().GetState() != pb.InventoryJob_STATE_FAILED || got.GetJob().GetRowCount() != 1 {
		t.Errorf("after the cut the job is %v, %v", got, err)
	}
	if _, err := v.Tenant(t.Context(), "a"); err != nil {
		t.Errorf("what came before the cut: %v", err)
	}
	again := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID, ExpectedRows: 2})
	again.rows(tenant("a"), tenant("b"))
	end, err := again.done()
	if j := end.GetJob(); err != nil || j.GetState() != pb.InventoryJob_STATE_SUCCEEDED || j.GetUnchangedCount() != 1 || j.GetCreatedCount() != 1 {
		t.Errorf("the repeat = %v, %v", j, err)
	}
}

// A cancelled job takes nothing more in.
func TestCancelInventoryJob_EndsIt(t *testing.T) {
	c, _, jobs := openWith(t, func(*inventory.Config) {})
	taken := make(chan struct{}, 10)
	jobs.After = func(call, _ string) error {
		if call == "Update" {
			taken <- struct{}{}
		}
		return nil
	}
	s := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	s.rows(tenant("a"))
	<-taken
	name := "inventoryJobs/" + jobID
	for range 2 { // Twice is once.
		got, err := c.CancelInventoryJob(t.Context(), &pb.CancelInventoryJobRequest{Name: name})
		if err != nil || got.GetJob().GetState() != pb.InventoryJob_STATE_CANCELLED {
			t.Fatalf("CancelInventoryJob = %v, %v", got, err)
		}
	}
	s.rows(tenant("late"))
	end, err := s.done()
	if err != nil || end.GetJob().GetState() != pb.InventoryJob_STATE_CANCELLED || end.GetJob().GetRowCount() != 1 {
		t.Errorf("the import ended as %v, %v", end.GetJob(), err)
	}
	_, err = c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/late"})
	refused(t, err, codes.NotFound, "NOT_FOUND")
	over := send(t.Context(), t, c, &pb.ImportHeader{})
	over.rows(tenant("b"))
	done, err := over.done()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CancelInventoryJob(t.Context(), &pb.CancelInventoryJobRequest{Name: done.GetJob().GetName()})
	refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
}

// A job whose process died is told as cut off.
func TestGetInventoryJob_ThatNobodyHasAnyMore(t *testing.T) {
	c, _, jobs := openWith(t, func(*inventory.Config) {})
	b, err := json.Marshal(map[string]any{
		"v": 1, "id": jobID, "state": "STATE_RUNNING", "rows": 40, "at": time.Now().Add(-time.Hour), "changed_at": time.Now().Add(-10 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.Create(t.Context(), jobID, b); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: "inventoryJobs/" + jobID})
	if err != nil || got.GetJob().GetState() != pb.InventoryJob_STATE_FAILED || got.GetJob().GetDetail() == "" {
		t.Errorf("GetInventoryJob = %v, %v", got, err)
	}
}

// More errors than are kept are counted.
func TestImportInventory_ManyErrorsAreCounted(t *testing.T) {
	c, _ := open(t)
	s := send(t.Context(), t, c, &pb.ImportHeader{RequestId: jobID})
	for chunk := range 12 {
		var rows []*pb.Tenant
		for i := range 1000 {
			rows = append(rows, bad(fmt.Sprintf("t%d-%d", chunk, i)))
		}
		s.rows(rows...)
	}
	got, err := s.done()
	if err != nil || got.GetJob().GetFailedCount() != 12_000 || len(got.GetErrors()) != 100 {
		t.Fatalf("ImportInventory = %v with %d errors, %v", got.GetJob(), len(got.GetErrors()), err)
	}
	n := 0
	for token := ""; ; {
		list, err := c.ListInventoryJobErrors(t.Context(), &pb.ListInventoryJobErrorsRequest{Parent: "inventoryJobs/" + jobID, PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		n += len(list.GetErrors())
		if token = list.GetNextPageToken(); token == "" {
			break
		}
	}
	if n != 1000 {
		t.Errorf("%d errors are kept, want 1,000", n)
	}
}

// A store that fails in the middle fails the call, and the job says so.
func TestImportInventory_AStoreThatFails(t *testing.T) {
	c, _, jobs := openWith(t, func(*inventory.Config) {})
	jobs.Before = func(call, _ string) error {
		if call == "Update" {
			return rollover.ErrUnavailable
		}
		return nil
	}
	s := send(t.Context(), t, c, &pb.ImportHeader{})
	s.rows(tenant("a"))
	_, err := s.done()
	refused(t, err, codes.Unavailable, "STORAGE_UNAVAILABLE")
}
