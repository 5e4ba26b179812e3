package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Nobody reaches another's targets by a tenant of their own that has the other's
// organisation, its secrets or its namespaces, by whichever call it is brought in.
func TestAccess_ATenantOfOnesOwnBorrowsNothing(t *testing.T) {
	e := openEstate(t)
	apac := tenantOf("apac-1", "apac")
	apac.Login.Secret, apac.Login.Certificate = "", "azkv://apac.vault.azure.net/login"
	apac.Namespaces = []*crossfadev1.Namespace{{Host: "apac-1-sb.accesscontrol.windows.net", Account: "SBManagementClient", Secret: "vault://kv/apac/one#key"}}
	shared := tenantOf("emea-2", "emea") // As somebody with rights to all made it.
	shared.Namespaces = []*crossfadev1.Namespace{{Host: "emea-2-sb.accesscontrol.windows.net", Account: "SBManagementClient", Secret: "vault://kv/apac/one#key"}}
	if resp, err := e.inventory().ImportTenants(e.admin, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{apac, shared}}); err != nil || resp.GetUpdatedCount() != 2 {
		t.Fatalf("ImportTenants = %v, %v", resp, err)
	}
	own := func(change func(*crossfadev1.Tenant)) *crossfadev1.Tenant {
		p := tenantOf("emea-9", "emea")
		p.Namespaces = []*crossfadev1.Namespace{{Host: "emea-9-sb.accesscontrol.windows.net", Account: "SBManagementClient", Secret: "file:emea/nine"}}
		change(p)
		return p
	}
	borrowed := map[string]*crossfadev1.Tenant{
		"the organisation":       own(func(p *crossfadev1.Tenant) { p.Organization = apac.GetOrganization() }),
		"its login":              own(func(p *crossfadev1.Tenant) { p.Login = apac.GetLogin() }),
		"its login, in capitals": own(func(p *crossfadev1.Tenant) { p.Login.Secret = "azkv://apac.vault.azure.net/LogIn" }),
		"its login, of a version": own(func(p *crossfadev1.Tenant) {
			p.Login.Secret = "azkv://apac.vault.azure.net/login/" + strings.Repeat("a", 32)
		}),
		"its namespace":                own(func(p *crossfadev1.Tenant) { p.Namespaces[0].Host = apac.GetNamespaces()[0].GetHost() }),
		"its key, to a host of theirs": own(func(p *crossfadev1.Tenant) { p.Namespaces[0].Secret = apac.GetNamespaces()[0].GetSecret() }),
		"all of it": own(func(p *crossfadev1.Tenant) {
			p.Organization, p.Login, p.Namespaces = apac.GetOrganization(), apac.GetLogin(), apac.GetNamespaces()
		}),
		"a shared key, to another host": func() *crossfadev1.Tenant {
			p := proto.CloneOf(shared)
			p.Namespaces[0].Host = "evil-sb.accesscontrol.windows.net"
			return p
		}(),
	}
	maker := e.as(t, "emea-maker") // Whose grant decides the ids of new tenants.
	var words string
	for name, p := range borrowed {
		for how, refused := range e.bringIn(t, maker, p) {
			if refused == "" {
				t.Errorf("%s: %s brings it in", name, how)
			}
			if words == "" {
				words = refused
			}
			if refused != words {
				t.Errorf("%s: %s refuses %q, others %q", name, how, refused, words)
			}
		}
	}
	shared.DisplayName = "renamed" // What it shares it had before.
	for how, refused := range e.bringIn(t, maker, shared) {
		if refused != "" {
			t.Errorf("%s: a tenant of theirs that shares a secret is refused: %s", how, refused)
		}
	}
	for how, refused := range e.bringIn(t, maker, own(func(*crossfadev1.Tenant) {})) {
		if refused != "" {
			t.Errorf("%s: a tenant of their own is refused: %s", how, refused)
		}
	}
	for how, refused := range e.bringIn(t, e.admin, borrowed["all of it"]) {
		if refused != "" {
			t.Errorf("%s: who has rights to all is refused: %s", how, refused)
		}
	}
}

// bringIn brings a tenant in by each call that does, and returns why each refused it, ""
// where it did not.
func (e *estate) bringIn(t *testing.T, ctx context.Context, p *crossfadev1.Tenant) map[string]string { //nolint:revive // The test is the subject.
	t.Helper()
	out := map[string]string{}
	got, err := e.inventory().ImportTenants(ctx, &crossfadev1.ImportTenantsRequest{Tenants: []*crossfadev1.Tenant{p}, ValidateOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range got.GetErrors() {
		out["ImportTenants"] += w.GetField() + " " + w.GetDescription()
	}
	if len(got.GetErrors()) == 0 {
		out["ImportTenants"] = ""
	}
	s, err := e.inventory().ImportInventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*crossfadev1.ImportInventoryRequest{
		{Part: &crossfadev1.ImportInventoryRequest_Header{Header: &crossfadev1.ImportHeader{ValidateOnly: true}}},
		{Part: &crossfadev1.ImportInventoryRequest_Chunk{Chunk: &crossfadev1.ImportChunk{Tenants: []*crossfadev1.Tenant{p}}}},
	} {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	job, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	out["ImportInventory"] = ""
	for _, w := range job.GetErrors() {
		out["ImportInventory"] += w.GetField() + " " + w.GetDescription()
	}
	_, err = e.inventory().UpdateTenant(ctx, &crossfadev1.UpdateTenantRequest{
		Tenant: p, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}, AllowMissing: true, ValidateOnly: true,
	})
	out["UpdateTenant"] = ""
	if status.Code(err) == codes.InvalidArgument {
		out["UpdateTenant"] = strings.TrimPrefix(violation(t, err), "tenant.")
	} else if err != nil {
		t.Fatal(err)
	}
	return out
}

// violation returns the first field that is wrong, and why.
func violation(t *testing.T, err error) string {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 0 {
			return bad.GetFieldViolations()[0].GetField() + " " + bad.GetFieldViolations()[0].GetDescription()
		}
	}
	t.Fatalf("%v says of no field what is wrong", err)
	return ""
}

// A grant may say which references its holder enters, whoever has them.
func TestAccess_AGrantLimitsWhichReferencesAreEntered(t *testing.T) {
	c := openCastle(t)
	write(t, c.rights, []byte(strings.Replace(castleRights, ` OR labels.region = "emea"'}`, ` OR labels.region = "emea"', secrets: ["env:CROSSFADE_SECRET_OF_EMEA"]}`, 1)))
	e := &estate{castle: c, conn: c.conn(t, nil)}
	as := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+e.issuer.token(t, "emea-maker"))
	other := tenantOf("emea-1", "emea")
	other.Login.Secret = "file:apac/login"
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(200 * time.Millisecond); ; { // The file is read again in five seconds.
		got := e.bringIn(t, as, other)
		if got["ImportTenants"] != "" && got["ImportInventory"] != "" && got["UpdateTenant"] != "" {
			tick.Stop()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a reference that the grant does not name: %v", got)
		}
		<-tick.C
	}
	for how, refused := range e.bringIn(t, as, tenantOf("emea-1", "emea")) {
		if refused != "" {
			t.Errorf("%s: a reference that the grant names is refused: %s", how, refused)
		}
	}
}
