package rotation_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/crossfade-project/crossfade/internal/identity"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// believing takes every token for the name of its subject, and what stands behind commas
// for its groups. A name with a colon says who proved it.
type believing struct{}

func (believing) Token(_ context.Context, raw string) (identity.Subject, error) {
	parts := strings.Split(raw, ",")
	if !strings.Contains(parts[0], ":") {
		parts[0] = "corp:" + parts[0]
	}
	return identity.Subject{Name: parts[0], Groups: parts[1:], By: identity.ByToken, Expires: time.Now().Add(time.Hour)}, nil
}

// guarded is a house with a server beside the others that asks who calls: "all" is an
// operator, "contoso" is one for that tenant alone.
type guarded struct {
	*house
	rotations pb.RotationServiceClient
	desk      pb.DeskServiceClient
	inventory rotation.Tenants
	table     atomic.Pointer[rights.Table]
}

// grant makes other rights those of now.
func (g *guarded) grant(t *testing.T, text string) {
	t.Helper()
	table, err := rights.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	g.table.Store(table)
}

func openGuarded(t *testing.T, adjust ...func(*rotation.Config)) *guarded {
	t.Helper()
	var c rotation.Config
	g := &guarded{house: open(t, func(made *rotation.Config) { c = *made })}
	for _, f := range adjust {
		f(&c)
	}
	g.grant(t, `
grants:
  - {subjects: ["corp:all"], role: operator}
  - {subjects: ["corp:contoso"], role: operator, tenants: 'id = "contoso"'}
  - {subjects: ["corp:nobody"], role: operator, tenants: 'id = "none"'}
`)
	c.Rights, g.inventory = g.table.Load, c.Tenants
	s := edge.NewServer(edge.Config{
		Log: slog.New(slog.DiscardHandler), Health: func(context.Context) error { return nil }, StopTimeout: 2 * time.Second,
		Identity: &edge.Identity{Tokens: believing{}, Rights: g.table.Load, Now: time.Now, AgainEvery: 20 * time.Millisecond},
	})
	rotation.New(c).Register(s)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	g.rotations, g.desk = pb.NewRotationServiceClient(conn), pb.NewDeskServiceClient(conn)
	return g
}

func by(t *testing.T, who string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+who)
}

// mixed makes a rotation whose plan has a target of each tenant, and one that contoso and
// fabrikam share, and whose tasks all need a person.
func (g *guarded) mixed(t *testing.T) string {
	t.Helper()
	resp, err := g.rotations.CreateRotation(by(t, "all"), g.request())
	if err != nil {
		t.Fatal(err)
	}
	name := resp.GetRotation().GetName()
	id, _ := edge.ParseRotation(name)
	r, err := g.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	items := rollovertest.Plan(4)
	for i, owner := range []string{"adatum", "contoso", "fabrikam", "fabrikam"} {
		items[i].Tenant, items[i].Outcome, items[i].Reason = owner, rollover.HandedOver, rollover.NoAccess
		items[i].Endpoints = []rollover.EndpointRef{{Tenant: owner, ID: "0a", Name: owner + "'s orders"}}
	}
	items[3].Endpoints = append(items[3].Endpoints, rollover.EndpointRef{Tenant: "contoso", ID: "0b", Name: "contoso's other"})
	if r, err = r.Freeze(items, g.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.store.FreezePlan(t.Context(), r, items); err != nil {
		t.Fatal(err)
	}
	// This very server, not one of the others, knows the plan.
	if _, err := g.rotations.GetRotation(by(t, "all"), &pb.GetRotationRequest{Name: name}); err != nil {
		t.Fatal(err)
	}
	return name
}

// tellsOthers reports whether a message has the name of a tenant that contoso must not
// learn of, or what people wrote about the whole.
func tellsOthers(m interface{ String() string }) bool {
	s := m.String()
	return strings.Contains(s, "adatum") || strings.Contains(s, "fabrikam") || strings.Contains(s, "November") || strings.Contains(s, "corp:all")
}

func TestSight_TasksOfOthersAreNotThere(t *testing.T) {
	g := openGuarded(t)
	name := g.mixed(t)
	for who, want := range map[string]int{"all": 4, "contoso": 2} {
		list, err := g.rotations.ListRotationTasks(by(t, who), &pb.ListRotationTasksRequest{Parent: name})
		if err != nil || len(list.GetTasks()) != want || int(list.GetTotalSize()) != want {
			t.Errorf("%s lists %d tasks of %d, %v, want %d", who, len(list.GetTasks()), list.GetTotalSize(), err, want)
		}
		if who == "contoso" && tellsOthers(list) {
			t.Errorf("contoso is told of others: %v", list)
		}
	}
	page, err := g.rotations.ListRotationTasks(by(t, "contoso"), &pb.ListRotationTasksRequest{Parent: name, PageSize: 1})
	if err != nil || len(page.GetTasks()) != 1 || page.GetNextPageToken() == "" {
		t.Fatalf("a page of one = %v, %v", page, err)
	}
	page, err = g.rotations.ListRotationTasks(by(t, "contoso"), &pb.ListRotationTasksRequest{Parent: name, PageSize: 1, PageToken: page.GetNextPageToken()})
	if err != nil || len(page.GetTasks()) != 1 || page.GetNextPageToken() != "" {
		t.Errorf("the second page of one = %v, %v", page, err)
	}
	for ord, want := range []bool{false, true, false, true} {
		got, err := g.rotations.GetRotationTask(by(t, "contoso"), &pb.GetRotationTaskRequest{Name: edge.TaskName(strings.TrimPrefix(name, "rotations/"), ord)})
		if (err == nil) != want || want && tellsOthers(got) {
			t.Errorf("task %d = %v, %v, want it %t", ord, got, err, want)
		}
	}
	// A filter must not tell what is not shown either.
	list, err := g.rotations.ListRotationTasks(by(t, "contoso"), &pb.ListRotationTasksRequest{Parent: name, Filter: `tenant = "tenants/fabrikam"`})
	if err != nil || list.GetTotalSize() != 0 {
		t.Errorf("a filter by another tenant finds %v, %v", list, err)
	}
}

func TestSight_TheDeskShowsTheirsOnly(t *testing.T) {
	g := openGuarded(t)
	g.mixed(t)
	for who, want := range map[string]int{"all": 4, "contoso": 2, "nobody": 0} {
		list, err := g.desk.ListDeadLetters(by(t, who), &pb.ListDeadLettersRequest{})
		if err != nil || len(list.GetDeadLetters()) != want || who == "contoso" && tellsOthers(list) {
			t.Errorf("the desk of %s has %v, %v, want %d", who, list, err, want)
		}
		sum, err := g.desk.SummarizeDeadLetters(by(t, who), &pb.SummarizeDeadLettersRequest{})
		got := int64(0)
		for _, g := range sum.GetGroups() {
			got += g.GetCount()
		}
		if err != nil || got != int64(want) {
			t.Errorf("the sum of %s is %d, %v, want %d", who, got, err, want)
		}
	}
}

// Two watch the same rotation: what is made once for many must not reach who may not see
// it.
func TestSight_AWatchTellsTheirsOnly(t *testing.T) {
	g := openGuarded(t)
	name := g.mixed(t)
	watch := func(who string) (tasks []string, told []string) {
		s, err := g.rotations.WatchRotation(by(t, who), &pb.WatchRotationRequest{Name: name, IncludeTasks: true})
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, err := s.Recv()
			if err != nil {
				t.Fatalf("the watch of %s ended: %v", who, err)
			}
			told = append(told, m.String())
			for _, k := range m.GetTasks().GetTasks() {
				tasks = append(tasks, k.GetName())
			}
			if m.GetTasks() != nil {
				return tasks, told
			}
		}
	}
	all, _ := watch("all")
	theirs, told := watch("contoso")
	again, _ := watch("all")
	if len(all) != 4 || len(again) != 4 || len(theirs) != 2 {
		t.Errorf("watches tell %d, %d and %d tasks, want 4, 2 and 4", len(all), len(theirs), len(again))
	}
	if slices.ContainsFunc(told, func(s string) bool {
		return strings.Contains(s, "adatum") || strings.Contains(s, "fabrikam") || strings.Contains(s, "November")
	}) {
		t.Errorf("contoso is told of others: %v", told)
	}
}
