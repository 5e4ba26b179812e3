package targetset_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	sets "github.com/crossfade-project/crossfade/internal/targetset"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/targetset"
)

// rotations are those that a mirror shows.
type rotations []mirror.View

func (rotations) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (r rotations) Rotations() []mirror.View { return r }

type house struct {
	pb.TargetSetServiceClient
	store        *sets.Store
	heads, rows  *tenantstest.Bucket
	inventory    *tenants.Inventory
	tenantBucket *tenantstest.Bucket
}

// open serves an inventory of n tenants, t0 and so on, until the test ends.
func open(t *testing.T, n int, running ...mirror.View) *house {
	t.Helper()
	h := &house{heads: tenantstest.NewBucket(), rows: tenantstest.NewBucket(), tenantBucket: tenantstest.NewBucket()}
	h.store, h.inventory = sets.NewStore(h.heads, h.rows), tenants.New(h.tenantBucket, tenantstest.NewBucket())
	for i := range n {
		_, _, err := h.inventory.Put(t.Context(), tenants.Tenant{
			ID: fmt.Sprintf("t%d", i), Organization: "https://contoso.crm.dynamics.com", EntraTenant: "contoso.example.com",
			Login: tenants.Login{ClientID: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Secret: "env:SECRET"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := edge.NewServer(edge.Config{Log: slog.New(slog.DiscardHandler), Health: func(context.Context) error { return nil }})
	targetset.New(targetset.Config{
		Store: h.store, Tenants: h.inventory, Mirror: rotations(running), Requests: tenantstest.NewBucket(), Now: rollovertest.Epoch.UTC,
	}).Register(s)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h.TargetSetServiceClient = pb.NewTargetSetServiceClient(conn)
	return h
}

func (h *house) create(t *testing.T, name string, rows int32, request string) *pb.TargetSet {
	t.Helper()
	got, err := h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{
		TargetSet: &pb.TargetSet{Name: "targetSets/" + name, ExpectedRows: rows}, RequestId: request,
	})
	if err != nil {
		t.Fatalf("CreateTargetSet(%s) = %v", name, err)
	}
	return got.GetTargetSet()
}

// wants checks an error's code and the reason of its ErrorInfo.
func wants(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	got := ""
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			got = info.GetReason()
		}
	}
	if status.Code(err) != code || got != reason {
		t.Errorf("error = %v with reason %q, want %s, %s", err, got, code, reason)
	}
}

const (
	request1 = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	request2 = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a38"
)

// targets returns n rows over the tenants t0 to t9 and their endpoints.
func targets(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("tenants/t%d/endpoints/aaaaaaaa-0000-0000-0000-%012d", i%10, i)
	}
	return out
}

func TestTargetSet_IsReadyWithItsLastRowAndNeverChanges(t *testing.T) {
	h := open(t, 10)
	all := targets(2500)
	if s := h.create(t, "november", 2500, request1); s.GetState() != pb.TargetSet_STATE_FILLING || s.GetDigest() != "" {
		t.Errorf("new set = %v", s)
	}
	add := func(first int) *pb.TargetSet {
		t.Helper()
		got, err := h.AddTargets(t.Context(), &pb.AddTargetsRequest{
			Name: "targetSets/november", FirstRow: int32(first), Targets: all[first:min(first+1000, len(all))],
		})
		if err != nil || got.GetErrorCount() != 0 {
			t.Fatalf("AddTargets at %d = %v, %v", first, got, err)
		}
		return got.GetTargetSet()
	}
	add(2000) // In any order, and twice.
	add(2000)
	if s := add(0); s.GetState() != pb.TargetSet_STATE_FILLING || s.GetRowCount() != 1500 {
		t.Errorf("after two chunks = %v, want 1500 rows", s)
	}
	s := add(1000)
	if s.GetState() != pb.TargetSet_STATE_READY || s.GetRowCount() != 2500 || s.GetTenantCount() != 10 || len(s.GetDigest()) != 64 {
		t.Errorf("after all chunks = %v", s)
	}
	_, err := h.AddTargets(t.Context(), &pb.AddTargetsRequest{Name: "targetSets/november", FirstRow: 0, Targets: targets(2000)[1000:]})
	wants(t, err, codes.AlreadyExists, "ALREADY_EXISTS")
	if again := add(0); again.GetDigest() != s.GetDigest() {
		t.Errorf("digest = %s after a repeat, want %s", again.GetDigest(), s.GetDigest())
	}
	rows, err := h.store.Rows(t.Context(), "november", s.GetDigest())
	if err != nil {
		t.Fatal(err)
	}
	if got, named := rows.Of("t3"); len(got) != 250 || !named || len(rows.Tenants()) != 10 {
		t.Errorf("t3 has %d endpoints of %d tenants, want 250 of 10", len(got), len(rows.Tenants()))
	}
}

func TestCreateTargetSet_IsIdempotentByRequestID(t *testing.T) {
	h := open(t, 1)
	first := h.create(t, "november", 5, request1)
	if again := h.create(t, "november", 5, request1); again.GetCreateTime().AsTime() != first.GetCreateTime().AsTime() {
		t.Errorf("the same request made %v after %v", again, first)
	}
	_, err := h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{TargetSet: &pb.TargetSet{Name: "targetSets/november", ExpectedRows: 5}, RequestId: request2})
	wants(t, err, codes.AlreadyExists, "ALREADY_EXISTS")
	_, err = h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{TargetSet: &pb.TargetSet{Name: "targetSets/other", ExpectedRows: 5}, RequestId: request1})
	wants(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	_, err = h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{TargetSet: &pb.TargetSet{Name: "targetSets/Bad Name", ExpectedRows: 100_001}})
	wants(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}

// What was made once and deleted is not made again by a late repeat.
func TestCreateTargetSet_ARepeatAfterItsDeletionMakesNothing(t *testing.T) {
	h := open(t, 1)
	h.create(t, "november", 5, request1)
	if _, err := h.DeleteTargetSet(t.Context(), &pb.DeleteTargetSetRequest{Name: "targetSets/november"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.CreateTargetSet(t.Context(), &pb.CreateTargetSetRequest{TargetSet: &pb.TargetSet{Name: "targetSets/november", ExpectedRows: 5}, RequestId: request1})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	list, err := h.ListTargetSets(t.Context(), &pb.ListTargetSetsRequest{})
	if err != nil || len(list.GetTargetSets()) != 0 {
		t.Errorf("there are %v, %v, want none", list, err)
	}
}

func TestAddTargets_WrongRowsAreNamedAndNothingIsStored(t *testing.T) {
	h := open(t, 1)
	h.create(t, "mixed", 150, "")
	rows := slices.Repeat([]string{"tenants/t0"}, 150)
	rows[1], rows[2], rows[3] = "tenants/nobody", "tenants/t0/endpoints/none", strings.Repeat("x", 5000)
	got, err := h.AddTargets(t.Context(), &pb.AddTargetsRequest{Name: "targetSets/mixed", Targets: rows})
	if err != nil || got.GetErrorCount() != 3 || len(got.GetErrors()) != 3 || got.GetTargetSet().GetRowCount() != 0 {
		t.Fatalf("AddTargets = %v, %v, want 3 rows named and none stored", got, err)
	}
	for i, e := range got.GetErrors() {
		if e.GetRow() != int32(i+1) || e.GetDescription() == "" || len(e.GetTarget()) > 700 {
			t.Errorf("error %d = %v", i, e)
		}
	}
	for i := range rows {
		rows[i] = fmt.Sprintf("tenants/nobody%d", i)
	}
	got, err = h.AddTargets(t.Context(), &pb.AddTargetsRequest{Name: "targetSets/mixed", Targets: rows})
	if err != nil || got.GetErrorCount() != 150 || len(got.GetErrors()) != 100 {
		t.Errorf("AddTargets = %d errors, %d told, %v, want 150 and 100", got.GetErrorCount(), len(got.GetErrors()), err)
	}
	if all, _ := h.rows.All(t.Context()); len(all) != 0 {
		t.Errorf("%d chunks are stored, want none", len(all))
	}
	for name, req := range map[string]*pb.AddTargetsRequest{
		"in between": {Name: "targetSets/mixed", FirstRow: 5, Targets: rows}, "too far": {Name: "targetSets/mixed", FirstRow: 1000, Targets: []string{"tenants/t0"}},
		"too few": {Name: "targetSets/mixed", Targets: []string{"tenants/t0"}}, "none": {Name: "targetSets/mixed"},
	} {
		_, err := h.AddTargets(t.Context(), req)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: AddTargets = %v, want INVALID_ARGUMENT", name, err)
		}
	}
	_, err = h.AddTargets(t.Context(), &pb.AddTargetsRequest{Name: "targetSets/nothing", Targets: []string{"tenants/t0"}})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestUploadTargets_OneHundredThousandRows(t *testing.T) {
	h := open(t, 10)
	h.create(t, "fleet", 100_000, request1)
	all := targets(100_000)
	listed := 0
	h.tenantBucket.Before = func(call, _ string) error {
		if call == "All" {
			listed++
		}
		return nil
	}
	begun := time.Now()
	up, err := h.UploadTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; from < len(all); from += 1000 {
		req := &pb.UploadTargetsRequest{FirstRow: int32(from), Targets: all[from : from+1000]}
		if from == 0 {
			req.Name = "targetSets/fleet"
		}
		if err := up.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	got, err := up.CloseAndRecv()
	if err != nil || got.GetErrorCount() != 0 || got.GetTargetSet().GetState() != pb.TargetSet_STATE_READY || got.GetTargetSet().GetRowCount() != 100_000 {
		t.Fatalf("UploadTargets = %v, %v", got, err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("100,000 rows took %s, want a few seconds", took)
	}
	if listed > 1 {
		t.Errorf("the inventory was listed %d times, want once at most", listed)
	}
}

func TestUploadTargets_EndsAtTheFirstWrongChunk(t *testing.T) {
	h := open(t, 10)
	h.create(t, "cut", 3000, "")
	up, err := h.UploadTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := targets(3000)
	all[1500] = "tenants/nobody"
	for from := range 3 {
		if err := up.Send(&pb.UploadTargetsRequest{Name: "targetSets/cut", FirstRow: int32(1000 * from), Targets: all[1000*from : 1000*from+1000]}); err != nil {
			break // The server has answered by now.
		}
	}
	got, err := up.CloseAndRecv()
	if err != nil || got.GetErrorCount() != 1 || got.GetErrors()[0].GetRow() != 1500 || got.GetTargetSet().GetRowCount() != 1000 {
		t.Errorf("UploadTargets = %v, %v, want row 1500 named and the first chunk kept", got, err)
	}
	up, err = h.UploadTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = up.Send(&pb.UploadTargetsRequest{Targets: all[:1000]}) // The answer says what was wrong.
	_, err = up.CloseAndRecv()
	wants(t, err, codes.InvalidArgument, "INVALID_FIELDS")
}

func TestDeleteTargetSet_NotWhileItIsPlannedFor(t *testing.T) {
	planning := mirror.View{Rotation: rollover.Rotation{ID: request1, State: rollover.StatePlanning, Spec: rollover.Spec{TargetSet: "used"}}}
	planned := mirror.View{Rotation: rollover.Rotation{ID: request2, State: rollover.StateRunning, Spec: rollover.Spec{TargetSet: "done"}}}
	h := open(t, 1, planning, planned)
	for _, name := range []string{"used", "done", "idle"} {
		h.create(t, name, 1, "")
		if _, err := h.AddTargets(t.Context(), &pb.AddTargetsRequest{Name: "targetSets/" + name, Targets: []string{"tenants/t0"}}); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string, missing bool) error {
		_, err := h.DeleteTargetSet(t.Context(), &pb.DeleteTargetSetRequest{Name: "targetSets/" + name, AllowMissing: missing})
		return err
	}
	wants(t, remove("used", true), codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	for _, name := range []string{"done", "idle"} {
		if err := remove(name, false); err != nil {
			t.Errorf("DeleteTargetSet(%s) = %v", name, err)
		}
	}
	wants(t, remove("idle", false), codes.NotFound, "NOT_FOUND")
	if err := remove("idle", true); err != nil {
		t.Errorf("DeleteTargetSet of one that may be missing = %v", err)
	}
	got, err := h.ListTargetSets(t.Context(), &pb.ListTargetSetsRequest{})
	if err != nil || len(got.GetTargetSets()) != 1 || got.GetTargetSets()[0].GetName() != "targetSets/used" {
		t.Errorf("ListTargetSets = %v, %v", got, err)
	}
	if all, _ := h.rows.All(t.Context()); len(all) != 1 {
		t.Errorf("%d chunks are stored, want that of the one set", len(all))
	}
}

func TestListTargetSets_Pages(t *testing.T) {
	h := open(t, 1)
	want := []string{"targetSets/a", "targetSets/b", "targetSets/c"}
	for _, n := range want {
		h.create(t, strings.TrimPrefix(n, "targetSets/"), 1, "")
	}
	var got []string
	req := &pb.ListTargetSetsRequest{PageSize: 2}
	for {
		page, err := h.ListTargetSets(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.GetTargetSets() {
			got = append(got, s.GetName())
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages = %q, want %q", got, want)
	}
}
