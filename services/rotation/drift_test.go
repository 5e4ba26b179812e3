package rotation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

const (
	checkID  = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	checkID2 = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a38"
)

// succeeded returns a rotation of n tasks that has ended well.
func (h *house) succeeded(t *testing.T, n int) *pb.Rotation {
	t.Helper()
	r := h.create(t)
	h.plan(t, r.GetName(), n)
	for ord := range n {
		h.save(t, r.GetName(), ord, rollover.Retired, rollover.Succeeded)
	}
	h.write(t, r.GetName(), func(r *rollover.Rotation) {
		r.State, r.StartedAt, r.EndedAt = rollover.StateSucceeded, h.clock.Now(), h.clock.Now()
	})
	return h.get(t, r.GetName())
}

func (h *house) checkRotation(t *testing.T, client int, name, request string) *pb.CheckStatus {
	t.Helper()
	resp, err := h.clients[client].CheckRotation(t.Context(), &pb.CheckRotationRequest{Name: name, RequestId: request})
	if err != nil {
		t.Fatalf("CheckRotation(%s) = %v", name, err)
	}
	return resp.GetRotation().GetCheck()
}

// found stores a part of the check that runs, and ends the check, as checker and
// conductor do.
func (h *house) found(t *testing.T, name string, targets ...rollover.Drifted) {
	t.Helper()
	id, _ := edge.ParseRotation(name)
	r, err := h.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for n := range r.CheckParts() {
		_, rev, err := h.store.CheckPart(t.Context(), id, n)
		if err != nil {
			t.Fatal(err)
		}
		p := rollover.CheckPart{Check: r.Check.Number, Looked: min(rollover.CheckChunk, r.Tasks-n*rollover.CheckChunk), At: h.clock.Now()}
		for _, d := range targets {
			if d.Ord/rollover.CheckChunk == n {
				p.Targets = append(p.Targets, d)
			}
		}
		if _, err := h.store.SaveCheckPart(t.Context(), id, n, p, rev); err != nil {
			t.Fatal(err)
		}
	}
	h.write(t, name, func(r *rollover.Rotation) { r.Check.State, r.Check.EndedAt = rollover.CheckDone, h.clock.Now() })
}

func target(ord int, tenant string, kinds ...rollover.DriftKind) rollover.Drifted {
	d := rollover.Drifted{Ord: ord, Tenant: tenant, Target: rollover.Target{Kind: "acs-x509", Host: fmt.Sprintf("ns%d", ord), Identity: "crm"}}
	for _, k := range kinds {
		d.Drifts = append(d.Drifts, rollover.Drift{Kind: k, SHA1: "AB", SHA256: "ab", Detail: "seen", Since: rollovertest.Epoch})
	}
	return d
}

func TestCheckRotation_BeginsOnceForARequest(t *testing.T) {
	h := open(t, nil)
	name := h.succeeded(t, 70).GetName()
	k := h.checkRotation(t, 0, name, checkID)
	if k.GetState() != pb.CheckStatus_STATE_RUNNING || k.GetNumber() != 1 || k.GetTargets() != 70 || k.GetChecked() != 0 {
		t.Errorf("check = %v, want number 1 running over 70", k)
	}
	if k = h.checkRotation(t, 1, name, checkID2); k.GetNumber() != 1 {
		t.Errorf("another request while it runs: %v, want the same check", k)
	}
	h.found(t, name)
	for client := range h.clients {
		if k = h.checkRotation(t, client, name, checkID); k.GetNumber() != 1 || k.GetState() != pb.CheckStatus_STATE_DONE {
			t.Errorf("the first request again: %v, want check 1, done", k)
		}
	}
	if k = h.checkRotation(t, 0, name, ""); k.GetNumber() != 2 || k.GetState() != pb.CheckStatus_STATE_RUNNING || k.GetScheduled() {
		t.Errorf("a new request: %v, want check 2", k)
	}
	_, err := h.client().CheckRotation(t.Context(), &pb.CheckRotationRequest{Name: name, Etag: "r1"})
	refused(t, err, codes.Aborted, "ETAG_MISMATCH")
}

// The answer of the store is lost after the check was begun: the same request
// finds it, at another server.
func TestCheckRotation_ALostAnswerBeginsNoSecondCheck(t *testing.T) {
	h := open(t, nil)
	name := h.succeeded(t, 3).GetName()
	h.store.loseNext(1)
	req := &pb.CheckRotationRequest{Name: name, RequestId: checkID}
	if _, err := h.client().CheckRotation(t.Context(), req); err == nil {
		t.Fatal("CheckRotation = nil, want that the answer was lost")
	}
	h.found(t, name)
	if k := h.checkRotation(t, 1, name, checkID); k.GetNumber() != 1 || k.GetState() != pb.CheckStatus_STATE_DONE {
		t.Errorf("again: %v, want check 1", k)
	}
}

// What was undone after a check is no target of the next one, and the last one is
// not said to have read more targets than there were.
func TestCheckRotation_KeepsItsTargetsWhenTheyAreUndone(t *testing.T) {
	h := open(t, nil)
	name := h.succeeded(t, 3).GetName()
	h.checkRotation(t, 0, name, checkID)
	h.found(t, name)
	for ord := range 2 {
		h.save(t, name, ord, rollover.Planned, rollover.Undone)
	}
	for client := range h.clients {
		if k := h.checkRotation(t, client, name, checkID); k.GetTargets() != 3 || k.GetChecked() != 3 {
			t.Errorf("server %d: %d of %d targets checked, want 3 of 3", client, k.GetChecked(), k.GetTargets())
		}
	}
	if k := h.checkRotation(t, 0, name, checkID2); k.GetTargets() != 1 || k.GetChecked() != 0 {
		t.Errorf("the next check: %d of %d targets checked, want 0 of 1", k.GetChecked(), k.GetTargets())
	}
}

func TestCheckRotation_SaysWhyNot(t *testing.T) {
	h := open(t, nil)
	r := h.create(t)
	_, err := h.client().CheckRotation(t.Context(), &pb.CheckRotationRequest{Name: r.GetName()})
	info := refused(t, err, codes.FailedPrecondition, "STATE_NOT_ALLOWED")
	if info.GetMetadata()["state"] != "STATE_PLANNING" {
		t.Errorf("metadata = %v, want the state", info.GetMetadata())
	}
	_, err = h.client().CheckRotation(t.Context(), &pb.CheckRotationRequest{Name: "rotations/" + checkID})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}

func TestListDrifts_PagesAndFilters(t *testing.T) {
	h := open(t, nil)
	one, two := h.succeeded(t, 130).GetName(), h.succeeded(t, 3).GetName()
	h.checkRotation(t, 0, one, "")
	h.checkRotation(t, 0, two, "")
	h.found(t, one, target(2, "contoso", rollover.DriftNewMissing, rollover.DriftForeignAdded), target(129, "fabrikam", rollover.DriftUnreadable))
	h.found(t, two, target(1, "adatum", rollover.DriftOldBack))
	k := h.get(t, one).GetCheck()
	if k.GetDrifted() != 1 || k.GetUnreadable() != 1 || k.GetChecked() != 130 || len(k.GetCounts()) != 3 {
		t.Errorf("check = %v, want 1 drifted, 1 unreadable, three kinds", k)
	}
	list := func(parent, filter string, size int32) []string {
		t.Helper()
		var got []string
		for token := ""; ; {
			resp, err := h.client().ListDrifts(t.Context(), &pb.ListDriftsRequest{Parent: parent, Filter: filter, PageSize: size, PageToken: token})
			if err != nil {
				t.Fatalf("ListDrifts(%s, %s) = %v", parent, filter, err)
			}
			for _, d := range resp.GetDrifts() {
				got = append(got, fmt.Sprintf("%s %s", d.GetHost(), d.GetKind()))
				if d.GetHint() == "" || d.GetDetail() == "" || d.GetFirstSeenTime() == nil || d.GetLastSeenTime() == nil {
					t.Errorf("%v says too little", d)
				}
			}
			if token = resp.GetNextPageToken(); token == "" {
				return got
			}
		}
	}
	all := []string{"ns1 KIND_OLD_BACK", "ns2 KIND_NEW_MISSING", "ns2 KIND_FOREIGN_ADDED", "ns129 KIND_UNREADABLE"}
	for _, test := range []struct {
		parent, filter string
		want           []string
	}{
		{"rotations/-", "", all},
		{one, "", all[1:]},
		{two, "", all[:1]},
		{"rotations/-", "kind = KIND_FOREIGN_ADDED", all[2:3]},
		{"rotations/-", `tenant = "tenants/contoso"`, all[1:3]},
		{"rotations/-", `host:"129"`, all[3:]},
	} {
		for _, size := range []int32{0, 1, 2} {
			if got := list(test.parent, test.filter, size); !slices.Equal(got, test.want) {
				t.Errorf("%s filtered by %q in pages of %d = %v, want %v", test.parent, test.filter, size, got, test.want)
			}
		}
	}
	_, err := h.client().ListDrifts(t.Context(), &pb.ListDriftsRequest{Parent: one, Filter: "colour = 1"})
	refused(t, err, codes.InvalidArgument, "FILTER_INVALID")
	_, err = h.client().ListDrifts(t.Context(), &pb.ListDriftsRequest{Parent: "rotations/" + checkID})
	refused(t, err, codes.NotFound, "NOT_FOUND")
}

func TestCreateRotation_DriftedOf(t *testing.T) {
	h := open(t, nil)
	name := h.succeeded(t, 5).GetName()
	req := h.request()
	req.GetRotation().GetSpec().GetTarget().Selection = &pb.TargetSelector_DriftedOf{DriftedOf: name}
	refuse := func(when string) {
		t.Helper()
		_, err := h.client().CreateRotation(t.Context(), req)
		if err == nil {
			t.Fatalf("%s: CreateRotation = nil", when)
		}
		refused(t, err, codes.FailedPrecondition, "NOT_CHECKED")
	}
	refuse("never checked")
	h.checkRotation(t, 0, name, "")
	refuse("being checked")
	h.found(t, name, target(0, "contoso", rollover.DriftForeignAdded), target(1, "adatum", rollover.DriftUnreadable))
	refuse("nothing that a rotation mends")
	h.checkRotation(t, 0, name, "")
	h.found(t, name, target(3, "fabrikam", rollover.DriftNewMissing), target(4, "adatum", rollover.DriftUnreadable))
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil {
		t.Fatalf("CreateRotation = %v", err)
	}
	r := resp.GetRotation()
	if r.GetTenantCount() != 2 || r.GetSpec().GetTarget().GetDriftedOf() != name {
		t.Errorf("%d tenants for %v, want fabrikam and the one behind the target, and of what it is the repair", r.GetTenantCount(), r.GetSpec().GetTarget())
	}
	id, _ := edge.ParseRotation(r.GetName())
	if ids, err := h.store.SelectedTenants(t.Context(), id); err != nil || !slices.Equal(ids, []string{"fabrikam", "tenant-3"}) {
		t.Errorf("selected %v, %v, want fabrikam, whose access is used, and tenant-3, whose endpoint stands behind the target", ids, err)
	}
	req.GetRotation().GetSpec().GetTarget().Selection = &pb.TargetSelector_DriftedOf{DriftedOf: "rotations/" + checkID}
	_, err = h.client().CreateRotation(t.Context(), req)
	refused(t, err, codes.NotFound, "NOT_FOUND")
}

// The server's policy becomes the rotation's own when it is created, so that
// whoever leads later knows it from the record.
func TestCreateRotation_TakesOverTheServersDriftPolicy(t *testing.T) {
	h := open(t, func(c *rotation.Config) { c.Drift = rollover.DriftPolicy{Every: 24 * time.Hour, For: 48 * time.Hour} })
	r := h.succeeded(t, 2)
	if d := r.GetSpec().GetDrift(); d.GetEvery().AsDuration() != 24*time.Hour || d.GetFor().AsDuration() != 48*time.Hour {
		t.Errorf("drift = %v, want the server's", d)
	}
	if next := r.GetCheck().GetNextTime().AsTime(); !next.Equal(rollovertest.Epoch.Add(24 * time.Hour)) {
		t.Errorf("next check at %s, want a day after the end", next)
	}
	req := h.request()
	req.GetRotation().GetSpec().Drift = &pb.DriftPolicy{Every: durationpb.New(time.Hour), For: durationpb.New(2 * time.Hour)}
	resp, err := h.client().CreateRotation(t.Context(), req)
	if err != nil || resp.GetRotation().GetSpec().GetDrift().GetEvery().AsDuration() != time.Hour {
		t.Errorf("CreateRotation = %v, %v, want its own policy", resp, err)
	}
}

// A watch of an ended rotation goes on while a check runs, and ends with it.
func TestWatchRotation_TellsTheCheck(t *testing.T) {
	h := open(t, nil)
	name := h.succeeded(t, 3).GetName()
	h.checkRotation(t, 0, name, "")
	w, err := h.client().WatchRotation(t.Context(), &pb.WatchRotationRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Recv()
	if err != nil || m.GetSnapshot().GetRotation().GetCheck().GetState() != pb.CheckStatus_STATE_RUNNING {
		t.Fatalf("Recv = %v, %v, want a snapshot with a check that runs", m, err)
	}
	h.found(t, name, target(1, "contoso", rollover.DriftNewMissing))
	var last *pb.CheckStatus
	for {
		m, err := w.Recv()
		if err != nil {
			break
		}
		if r := m.GetRotation(); r != nil {
			last = r.GetCheck()
		}
	}
	if last.GetState() != pb.CheckStatus_STATE_DONE || last.GetDrifted() != 1 {
		t.Errorf("the watch ended with check %v, want done with 1 drifted", last)
	}
}
