package rotation_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/identity"
	"github.com/crossfade-project/crossfade/internal/rights"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants"
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
// operator, "contoso" is one for that tenant alone, "east" for those of that region.
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
	g := &guarded{house: open(t, func(made *rotation.Config) {
		for _, f := range adjust {
			f(made)
		}
		c = *made
	})}
	g.grant(t, `
grants:
  - {subjects: ["corp:all"], role: operator}
  - {subjects: ["corp:contoso"], role: operator, tenants: 'id = "contoso"'}
  - {subjects: ["corp:east"], role: operator, tenants: 'labels.region = "east"'}
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

// The size of another's plan is not told, nor that there is one.
func TestSight_ATaskOfAnothersRotationIsNotThere(t *testing.T) {
	g := openGuarded(t)
	id, _ := edge.ParseRotation(g.mixed(t))
	for _, ord := range []int{0, 3, 4, 499_999} {
		_, err := g.rotations.GetRotationTask(by(t, "nobody"), &pb.GetRotationTaskRequest{Name: edge.TaskName(id, ord)})
		if got := status.Convert(err).Message(); got != "there is no "+edge.RotationName(id) {
			t.Errorf("task %d of another's rotation: %v, want that there is no such rotation", ord, err)
		}
	}
}

// When something happens to others' targets is no more told by the order of a list than
// by what the list shows.
func TestSight_AnOutlineIsNotOrderedByWhatItHides(t *testing.T) {
	g := openGuarded(t)
	first, second := g.mixed(t), g.mixed(t)
	order := func() (names []string) {
		t.Helper()
		list, err := g.rotations.ListRotations(by(t, "contoso"), &pb.ListRotationsRequest{OrderBy: "update_time"})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.GetRotations() {
			names = append(names, r.GetName())
		}
		return names
	}
	before := order()
	for i, name := range []string{first, second, first} {
		g.clock.set(rollovertest.Epoch.Add(time.Duration(i+1) * time.Hour))
		g.write(t, name, func(r *rollover.Rotation) { r.UpdatedAt = g.clock.Now() })
		if _, err := g.rotations.GetRotation(by(t, "all"), &pb.GetRotationRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		if got := order(); !slices.Equal(got, before) || len(got) != 2 {
			t.Errorf("after %s was changed the order is %v, want %v still", name, got, before)
		}
	}
}

// A caller whose own request has won at another server is shown what it made only while
// it is wholly theirs.
func TestSight_TheAnswerOfALostRaceNeedsTheRightToo(t *testing.T) {
	g := openGuarded(t)
	contoso := tenant("contoso")
	contoso.Labels = map[string]string{"region": "east"}
	book := g.inventory.(*tenants.Inventory)
	if _, _, err := book.Put(t.Context(), contoso); err != nil {
		t.Fatal(err)
	}
	req := g.request()
	req.RequestId = requestID
	g.store.inCreate = func() { // Another server creates it, and the tenant is moved away.
		g.store.inCreate = nil
		if _, err := g.rotations.CreateRotation(by(t, "east"), req); err != nil {
			t.Errorf("the faster one = %v", err)
		}
		contoso.Labels["region"] = "west"
		if _, _, err := book.Put(t.Context(), contoso); err != nil {
			t.Error(err)
		}
	}
	got, err := g.rotations.CreateRotation(by(t, "east"), req)
	if status.Code(err) != codes.NotFound {
		t.Errorf("the slower one = %v, %v, want NotFound", got, err)
	}
}

// blind is an inventory that cannot be read while down is set.
type blind struct {
	rotation.Tenants
	down atomic.Bool
}

func (b *blind) List(ctx context.Context) ([]tenants.Tenant, error) {
	if b.down.Load() {
		return nil, rollover.ErrUnavailable
	}
	return b.Tenants.List(ctx)
}

// Where it cannot be found out whose tenants a rotation is for, nobody is let through who
// may not touch them all: StackSets skips its gate in silence where the function, or the
// permission to call it, is missing.
func TestSight_WhatCannotBeReadLetsNobodyThrough(t *testing.T) {
	book := &blind{}
	g := openGuarded(t, func(c *rotation.Config) {
		if book.Tenants == nil {
			book.Tenants = c.Tenants
		}
		c.Tenants = book
	})
	req := g.request()
	req.Rotation.Spec.Target = &pb.TargetSelector{Selection: &pb.TargetSelector_Tenants{Tenants: &pb.TenantNames{Names: []string{"tenants/contoso"}}}}
	resp, err := g.rotations.CreateRotation(by(t, "contoso"), req)
	if err != nil {
		t.Fatal(err)
	}
	r := g.plan(t, resp.GetRotation().GetName(), 2)
	start := func(who string) error {
		_, err := g.rotations.StartRotation(by(t, who), &pb.StartRotationRequest{Name: r.GetName(), PlanDigest: r.GetPlanDigest()})
		return err
	}
	stands := func(why string) {
		t.Helper()
		if got := g.get(t, r.GetName()).GetState(); got != pb.Rotation_STATE_PLANNED {
			t.Errorf("%s: the rotation is %s, want it planned still", why, got)
		}
	}
	book.down.Store(true)
	refused(t, start("contoso"), codes.Unavailable, "STORAGE_UNAVAILABLE")
	stands("without the inventory")
	book.down.Store(false)
	g.store.noSelection.Store(true)
	refused(t, start("contoso"), codes.Unavailable, "STORAGE_UNAVAILABLE")
	stands("without the selection")
	g.store.noSelection.Store(false)
	if err := start("contoso"); err != nil {
		t.Errorf("with both there StartRotation = %v", err)
	}
}

// The pages of the desk lead a limited caller from one letter of theirs to the next, in
// any order, and no token says what lies between.
func TestSight_PagesOfTheDeskTellNothingOfOthers(t *testing.T) {
	g := openGuarded(t)
	ids := []string{g.mixed(t), g.mixed(t), g.mixed(t)}
	for _, order := range []string{"", "tenant", "host desc", "since, tenant"} {
		req := &pb.ListDeadLettersRequest{PageSize: 1, OrderBy: order}
		var found []string
		for {
			page, err := g.desk.ListDeadLetters(by(t, "contoso"), req)
			if err != nil || tellsOthers(page) {
				t.Fatalf("in the order %q: %v, %v", order, page, err)
			}
			for _, l := range page.GetDeadLetters() {
				found = append(found, l.GetTask().GetName())
			}
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
			raw, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range append([]string{"rotations/adatum/fabrikam"}, ids...) {
				for _, part := range strings.Split(name, "/") {
					if strings.Contains(string(raw), part) {
						t.Errorf("in the order %q a token tells %s", order, part)
					}
				}
			}
		}
		slices.Sort(found)
		if n := len(slices.Compact(found)); n != 2*len(ids) {
			t.Errorf("in the order %q contoso finds %d letters, want two of each rotation: %v", order, n, found)
		}
		if list, err := g.desk.ListDeadLetters(by(t, "nobody"), &pb.ListDeadLettersRequest{OrderBy: order}); err != nil || len(list.GetDeadLetters()) != 0 || list.GetNextPageToken() != "" {
			t.Errorf("in the order %q who sees no tenant finds %v, %v", order, list, err)
		}
	}
}
