package inventory

import (
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/tenants"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// tenantOf reads a tenant. What is wrong with it is said by its Validate; a name
// that is none becomes an empty id, which is wrong.
func tenantOf(p *pb.Tenant) tenants.Tenant {
	id, ok := edge.ParseTenant(p.GetName())
	if !ok {
		id = ""
	}
	t := tenants.Tenant{
		ID: id, DisplayName: p.GetDisplayName(), Organization: p.GetOrganization(), EntraTenant: p.GetEntraTenant(),
		Login: tenants.Login{
			ClientID: p.GetLogin().GetClientId(),
			Secret:   secrets.Ref(p.GetLogin().GetSecret()), Certificate: secrets.Ref(p.GetLogin().GetCertificate()),
		},
		Identity: p.GetIdentity(), Labels: p.GetLabels(), Disabled: p.GetDisabled(),
	}
	for _, n := range p.GetNamespaces() {
		t.Namespaces = append(t.Namespaces, tenants.Namespace{Host: n.GetHost(), Account: n.GetAccount(), Secret: secrets.Ref(n.GetSecret())})
	}
	return t
}

// tenantProto is the way back. References are shown; what they refer to is not
// known here.
func tenantProto(t tenants.Tenant) *pb.Tenant {
	p := &pb.Tenant{
		Name: edge.TenantName(t.ID), DisplayName: t.DisplayName, Labels: t.Labels, Disabled: t.Disabled,
		Organization: t.Organization, EntraTenant: t.EntraTenant, Identity: t.Identity,
		Etag:  t.Etag(),
		Login: &pb.Login{ClientId: t.Login.ClientID, Secret: string(t.Login.Secret), Certificate: string(t.Login.Certificate)},
	}
	for _, n := range t.Namespaces {
		p.Namespaces = append(p.Namespaces, &pb.Namespace{Host: n.Host, Account: n.Account, Secret: string(n.Secret)})
	}
	return p
}
