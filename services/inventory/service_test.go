package inventory_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/crm"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/inventory"
)

// open runs a server with an empty inventory until the test ends.
func open(t *testing.T) (pb.InventoryServiceClient, *tenants.Inventory) {
	t.Helper()
	c, v, _ := openWith(t, func(*inventory.Config) {})
	return c, v
}

// openWith is open with another configuration; it returns the jobs as well.
func openWith(t *testing.T, adjust func(*inventory.Config)) (pb.InventoryServiceClient, *tenants.Inventory, *tenantstest.Bucket) {
	t.Helper()
	v, jobs := tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket()), tenantstest.NewBucket()
	conf := inventory.Config{
		Inventory: v, Jobs: jobs, JobErrors: tenantstest.NewBucket(), InUse: func(context.Context, string) (string, error) { return "", nil }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	adjust(&conf)
	s := edge.NewServer(edge.Config{Log: slog.New(slog.DiscardHandler), Health: func(context.Context) error { return nil }})
	inventory.New(conf).Register(s)
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
	return pb.NewInventoryServiceClient(conn), v, jobs
}

func tenant(id string) *pb.Tenant {
	return &pb.Tenant{
		Name: "tenants/" + id, DisplayName: "The " + id, Organization: "https://" + id + ".crm9.dynamics.com",
		EntraTenant: id + ".example.com", Labels: map[string]string{"wave": "1"},
		Login: &pb.Login{ClientId: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Secret: "env:SECRET"},
		Namespaces: []*pb.Namespace{{
			Host: id + "-sb.accesscontrol.windows.net", Account: "SBManagementClient", Secret: "file:keys/" + id,
		}},
	}
}

func TestImportTenants_TwiceChangesNothing(t *testing.T) {
	c, _ := open(t)
	req := &pb.ImportTenantsRequest{Tenants: []*pb.Tenant{tenant("contoso"), tenant("adatum")}, ValidateOnly: true}
	for i, want := range []*pb.ImportTenantsResponse{{CreatedCount: 2}, {CreatedCount: 2}, {UnchangedCount: 2}} {
		got, err := c.ImportTenants(t.Context(), req)
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("ImportTenants %d = %v, %v, want %v", i, got, err, want)
		}
		req.ValidateOnly = false
	}
	req.Tenants[0].Disabled, req.ValidateOnly = true, true
	for range 2 {
		got, err := c.ImportTenants(t.Context(), req)
		if want := (&pb.ImportTenantsResponse{UpdatedCount: 1, UnchangedCount: 1}); err != nil || !proto.Equal(got, want) {
			t.Errorf("ImportTenants(changed) = %v, %v, want %v", got, err, want)
		}
		req.ValidateOnly = false
	}
	got, err := c.GetTenant(t.Context(), &pb.GetTenantRequest{Name: "tenants/contoso"})
	if err == nil && got.GetTenant().GetEtag() == "" {
		t.Error("the tenant has no etag")
	}
	got.GetTenant().Etag = ""
	if err != nil || !proto.Equal(got.GetTenant(), req.GetTenants()[0]) {
		t.Errorf("GetTenant = %v, %v\nwant what was imported, %v", got.GetTenant(), err, req.GetTenants()[0])
	}
}

func TestImportTenants_WrongRowsAreReportedAndRepeatNoSecret(t *testing.T) {
	c, _ := open(t)
	const secret = "hunter2+/Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6"
	bad, twice, nameless := tenant("bad"), tenant("good"), tenant("x")
	bad.Namespaces[0].Secret, bad.Organization, bad.Login.Secret = secret, "http://evil.example.com/"+secret, secret
	nameless.Name = secret
	got, err := c.ImportTenants(t.Context(), &pb.ImportTenantsRequest{Tenants: []*pb.Tenant{tenant("good"), bad, twice, nameless}})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetCreatedCount() != 1 || got.GetFailedCount() != 3 {
		t.Errorf("ImportTenants = %v, want one created and three failed", got)
	}
	var fields []string
	for _, e := range got.GetErrors() {
		fields = append(fields, fmt.Sprintf("%d %s", e.GetRow(), e.GetField()))
	}
	for _, want := range []string{"1 organization", "1 login.secret", "1 namespaces[0].secret", "2 name", "3 name"} {
		if !slices.Contains(fields, want) {
			t.Errorf("errors are about %q, want %q among them", fields, want)
		}
	}
	if strings.Contains(got.String(), "hunter2") {
		t.Errorf("the answer repeats what was sent: %v", got)
	}
}

func TestListTenants_FiltersAndPages(t *testing.T) {
	c, _ := open(t)
	req := &pb.ImportTenantsRequest{}
	for i := range 7 {
		k := tenant(fmt.Sprintf("t%d", i))
		k.Disabled = i == 3
		req.Tenants = append(req.Tenants, k)
	}
	big := tenant("big") // Alone more than half of a page.
	for i := range 7000 {
		big.Namespaces = append(big.Namespaces, &pb.Namespace{
			Host: fmt.Sprintf("n%d-sb.accesscontrol.windows.net", i), Account: strings.Repeat("a", 100), Secret: "env:X",
		})
	}
	req.Tenants = append(req.Tenants, big)
	if got, err := c.ImportTenants(t.Context(), req); err != nil || got.GetCreatedCount() != 8 {
		t.Fatalf("ImportTenants = %v, %v, want 8 created", got, err)
	}
	var ids []string
	list := &pb.ListTenantsRequest{PageSize: 3, Filter: `NOT disabled AND labels.wave = "1"`}
	for pages := 0; ; pages++ {
		got, err := c.ListTenants(t.Context(), list)
		if err != nil || got.GetTotalSize() != 7 || len(got.GetTenants()) > 3 || pages > 9 {
			t.Fatalf("ListTenants = %d of %d, %v, want at most 3 of 7", len(got.GetTenants()), got.GetTotalSize(), err)
		}
		if proto.Size(got) > 2<<20 {
			t.Errorf("a page has %d bytes, want at most 2 MiB", proto.Size(got))
		}
		for _, k := range got.GetTenants() {
			ids = append(ids, strings.TrimPrefix(k.GetName(), "tenants/"))
		}
		if list.PageToken = got.GetNextPageToken(); list.PageToken == "" {
			break
		}
	}
	if want := "big t0 t1 t2 t4 t5 t6"; strings.Join(ids, " ") != want {
		t.Errorf("pages = %q, want %q", ids, want)
	}
	// By the fields of selections too.
	place, _ := crm.PlaceOf(strings.TrimPrefix(tenant("t1").GetOrganization(), "https://"))
	for filter, want := range map[string]int32{fmt.Sprintf(`region = %q`, place.Region): 8, `region = "nowhere"`: 0} {
		if got, err := c.ListTenants(t.Context(), &pb.ListTenantsRequest{Filter: filter}); err != nil || got.GetTotalSize() != want {
			t.Errorf("ListTenants(%s) = %d, %v, want %d", filter, got.GetTotalSize(), err, want)
		}
	}
}

func TestListEndpoints_OfOneAndOfAll(t *testing.T) {
	c, v := open(t)
	if _, err := c.ImportTenants(t.Context(), &pb.ImportTenantsRequest{Tenants: []*pb.Tenant{tenant("a"), tenant("b"), tenant("c")}}); err != nil {
		t.Fatal(err)
	}
	for id, n := range map[string]int{"a": 3, "c": 2} { // Nobody has looked at b.
		var es []tenants.Seen
		for i := range n {
			es = append(es, tenants.Seen{Endpoint: rollover.Endpoint{Tenant: id, ID: fmt.Sprintf("e%d", n-i), AuthType: "acs", Federated: true}})
		}
		if err := v.SaveEndpoints(t.Context(), id, es); err != nil {
			t.Fatal(err)
		}
	}
	list := func(parent string, size int32) (names []string) {
		t.Helper()
		req := &pb.ListEndpointsRequest{Parent: parent, PageSize: size}
		for {
			got, err := c.ListEndpoints(t.Context(), req)
			if err != nil {
				t.Fatalf("ListEndpoints(%s) = %v", parent, err)
			}
			for _, e := range got.GetEndpoints() {
				names = append(names, e.GetName())
			}
			if req.PageToken = got.GetNextPageToken(); req.PageToken == "" {
				return names
			}
		}
	}
	for size := range int32(6) {
		if got, want := strings.Join(list("tenants/-", size), " "),
			"tenants/a/endpoints/e1 tenants/a/endpoints/e2 tenants/a/endpoints/e3 tenants/c/endpoints/e1 tenants/c/endpoints/e2"; got != want {
			t.Errorf("all endpoints by %d = %q, want %q", size, got, want)
		}
	}
	if got := list("tenants/b", 0); len(got) != 0 {
		t.Errorf("endpoints of one never planned = %q, want none", got)
	}
	_, err := c.ListEndpoints(t.Context(), &pb.ListEndpointsRequest{Parent: "tenants/nobody"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("ListEndpoints(nobody) = %v, want NOT_FOUND", err)
	}
}

func TestListEndpoints_FilterFindsCarriers(t *testing.T) {
	c, v := open(t)
	if _, err := c.ImportTenants(t.Context(), &pb.ImportTenantsRequest{Tenants: []*pb.Tenant{tenant("a"), tenant("b"), tenant("c")}}); err != nil {
		t.Fatal(err)
	}
	old := tenants.Carried{SHA256: strings.Repeat("a", 64), SHA1: strings.Repeat("A", 40), KeyHash: strings.Repeat("b", 64), NotAfter: time.Date(2016, 11, 3, 0, 0, 0, 0, time.UTC)}
	for id, carries := range map[string][]tenants.Carried{"a": {old}, "b": {}, "c": nil} {
		es := []tenants.Seen{{
			Endpoint: rollover.Endpoint{Tenant: id, ID: "e", AuthType: "acs"}, Version: "8.1.0.1",
			Targets: []tenants.SeenTarget{{Host: id + "-sb.accesscontrol.windows.net", Identity: "crm.dynamics.com", Observed: carries != nil, Carries: carries}},
		}}
		if err := v.SaveEndpoints(t.Context(), id, es); err != nil {
			t.Fatal(err)
		}
	}
	for filter, want := range map[string]string{
		`thumbprint:"` + old.SHA1 + `"`:         "a",
		`key_hash:"` + old.KeyHash + `"`:        "a",
		`expires < "2016-11-05T00:00:00Z"`:      "a",
		`NOT thumbprint:"` + old.SHA1 + `"`:     "b", // Of c nothing is known.
		`NOT observed`:                          "c",
		`version >= "8.1" AND tenant != "b"`:    "a c",
		`host:"c-sb.accesscontrol.windows.net"`: "c",
	} {
		var got []string
		req := &pb.ListEndpointsRequest{Parent: "tenants/-", Filter: filter, PageSize: 1}
		for {
			page, err := c.ListEndpoints(t.Context(), req)
			if err != nil {
				t.Fatalf("ListEndpoints(%s) = %v", filter, err)
			}
			for _, e := range page.GetEndpoints() {
				got = append(got, strings.Split(e.GetName(), "/")[1])
				if on := e.GetTargets(); len(on) != 1 || on[0].GetObserved() && len(on[0].GetCertificates()) > 0 && on[0].GetCertificates()[0].GetSha1Thumbprint() != old.SHA1 {
					t.Errorf("%s: endpoint is told as %v", filter, e)
				}
			}
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("ListEndpoints(%s) = %q, want %q", filter, got, want)
		}
	}
	if _, err := c.ListEndpoints(t.Context(), &pb.ListEndpointsRequest{Parent: "tenants/-", Filter: `has_new`}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("ListEndpoints by what only a rotation knows = %v, want INVALID_ARGUMENT", err)
	}
}
