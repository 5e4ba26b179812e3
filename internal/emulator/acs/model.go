package acs

import (
	"strings"
)

const (
	schemaName    = "Microsoft.Cloud.AccessControl.Management"
	containerName = "ManagementService"
)

// edm is the type of a property.
type edm uint8

const (
	edmNull edm = iota
	edmString
	edmInt64
	edmInt32
	edmBool
	edmBinary
	edmDateTime
)

func (e edm) String() string {
	return [...]string{"Null", "Edm.String", "Edm.Int64", "Edm.Int32", "Edm.Boolean", "Edm.Binary", "Edm.DateTime"}[e]
}

type property struct {
	name     string
	kind     edm
	nullable bool
}

// navigation leads from an entity to its parent or its children. The foreign
// key is a property of the child, whichever end one stands on.
type navigation struct {
	name   string
	target *entityType
	many   bool
	fk     int
	back   string
}

type entityType struct {
	index    int
	name     string
	set      string
	props    []property
	byName   map[string]int
	navs     []navigation
	reserved int
	version  int
	page     int
}

func (t *entityType) full() string { return schemaName + "." + t.name }

// at returns the index of a property that is known to exist.
func (t *entityType) at(name string) int {
	i, ok := t.byName[name]
	if !ok {
		panic("acs: no property " + t.name + "." + name)
	}
	return i
}

func (t *entityType) nav(name string) *navigation {
	for i := range t.navs {
		if t.navs[i].name == name {
			return &t.navs[i]
		}
	}
	return nil
}

// model is the whole of $metadata as a table, from which everything else
// works: parsing, writing, filters and navigation.
type model struct {
	types  []*entityType
	bySet  map[string]*entityType
	byName map[string]*entityType
}

// entityTable lists the types in the order of the service's own document:
// name, set, properties. S is the kind where none is given; "!" is not null.
func entityTable() [][3]string {
	const common = "DisplayName,Usage,Type,Value:B,Password:B"
	return [][3]string{
		{"Delegation", "Delegations", "Id:L!,ServiceIdentityId:L!,RelyingPartyId:L!,IdentityProvider,NameIdentifier,Permissions,AuthorizationCode,SystemReserved:b!,Version:B"},
		{"IdentityProvider", "IdentityProviders", "Id:L!,IssuerId:L!,DisplayName,Description,WebSSOProtocolType,Realm,LoginLinkName,LoginParameters,SystemReserved:b!,Version:B"},
		{"IdentityProviderAddress", "IdentityProviderAddresses", "Id:L!,IdentityProviderId:L!,EndpointType,Address,SystemReserved:b!,Version:B"},
		{"IdentityProviderClaimType", "IdentityProviderClaimTypes", "Id:L!,ClaimTypeId:L!,IdentityProviderId:L!,SystemReserved:b!,Version:B"},
		{"ClaimType", "ClaimTypes", "Id:L!,Uri,SystemReserved:b!,Version:B"},
		{"IdentityProviderKey", "IdentityProviderKeys", "Id:L!,IdentityProviderId:L!," + common + ",StartDate:D!,EndDate:D!,SystemReserved:b!,Version:B"},
		{"Issuer", "Issuers", "Id:L!,Name,SystemReserved:b!,Version:B"},
		{"RelyingParty", "RelyingParties", "Id:L!,Name,DisplayName,Description,TokenType,TokenLifetime:I!,AsymmetricTokenEncryptionRequired:b!,SystemReserved:b!,Version:B"},
		{"RelyingPartyAddress", "RelyingPartyAddresses", "Id:L!,RelyingPartyId:L!,EndpointType,Address,SystemReserved:b!,Version:B"},
		{"RelyingPartyIdentityProvider", "RelyingPartyIdentityProviders", "Id:L!,IdentityProviderId:L!,RelyingPartyId:L!,SystemReserved:b!,Version:B"},
		{"RelyingPartyKey", "RelyingPartyKeys", "Id:L!,RelyingPartyId:L!," + common + ",IsPrimary:b!,StartDate:D!,EndDate:D!,SystemReserved:b!,Version:B"},
		{"RelyingPartyRuleGroup", "RelyingPartyRuleGroups", "Id:L!,RelyingPartyId:L!,RuleGroupId:L!,SystemReserved:b!,Version:B"},
		{"RuleGroup", "RuleGroups", "Id:L!,Name,SystemReserved:b!,Version:B"},
		{"Rule", "Rules", "Id:L!,RuleGroupId:L!,IssuerId:L!,Description,InputClaimType,InputClaimValue,OutputClaimType,OutputClaimValue,SystemReserved:b!,Version:B"},
		{"ConditionalRule", "ConditionalRules", "Id:L!,RuleGroupId:L!,IssuerId:L!,Description,InputClaimType,InputClaimValue,ConditionIssuerId:L!,ConditionClaimType,ConditionClaimValue,OutputClaimType,OutputClaimValue,SystemReserved:b!,Version:B"},
		{"ServiceIdentity", "ServiceIdentities", "Id:L!,Name,Description,RedirectAddress,SystemReserved:b!,Version:B"},
		{"ServiceIdentityKey", "ServiceIdentityKeys", "Id:L!,ServiceIdentityId:L!,Usage,Type,Value:B,SystemReserved:b!,StartDate:D!,EndDate:D!,DisplayName,Version:B"},
		{"ServiceKey", "ServiceKeys", "Id:L!,Usage,Type,Value:B,Password:B,IsPrimary:b!,StartDate:D!,EndDate:D!,DisplayName,SystemReserved:b!,Version:B"},
	}
}

// associationTable lists a parent's navigations to children; a child's
// navigation back bears the name of the parent's type, and its foreign key
// that name with Id.
func associationTable() [][3]string {
	return [][3]string{
		{"IdentityProvider", "IdentityProviderAddresses", "IdentityProviderAddress"},
		{"IdentityProvider", "IdentityProviderClaimTypes", "IdentityProviderClaimType"},
		{"IdentityProvider", "IdentityProviderKeys", "IdentityProviderKey"},
		{"IdentityProvider", "RelyingPartyIdentityProviders", "RelyingPartyIdentityProvider"},
		{"Issuer", "IdentityProviders", "IdentityProvider"},
		{"Issuer", "Rules", "Rule"},
		{"Issuer", "ConditionalRules", "ConditionalRule"},
		{"ClaimType", "IdentityProviderClaimTypes", "IdentityProviderClaimType"},
		{"RelyingParty", "Delegations", "Delegation"},
		{"RelyingParty", "RelyingPartyAddresses", "RelyingPartyAddress"},
		{"RelyingParty", "RelyingPartyIdentityProviders", "RelyingPartyIdentityProvider"},
		{"RelyingParty", "RelyingPartyKeys", "RelyingPartyKey"},
		{"RelyingParty", "RelyingPartyRuleGroups", "RelyingPartyRuleGroup"},
		{"ServiceIdentity", "Delegations", "Delegation"},
		{"ServiceIdentity", "ServiceIdentityKeys", "ServiceIdentityKey"},
		{"RuleGroup", "ConditionalRules", "ConditionalRule"},
		{"RuleGroup", "RelyingPartyRuleGroups", "RelyingPartyRuleGroup"},
		{"RuleGroup", "Rules", "Rule"},
	}
}

const typeCount = 18

func newModel() *model {
	m := &model{bySet: make(map[string]*entityType), byName: make(map[string]*entityType)}
	for i, e := range entityTable() {
		t := &entityType{index: i, name: e[0], set: e[1], byName: make(map[string]int), page: pageSize}
		for _, spec := range strings.Split(e[2], ",") {
			name, kind, _ := strings.Cut(spec, ":")
			t.byName[name] = len(t.props)
			t.props = append(t.props, property{name: name, kind: kindOf(kind), nullable: !strings.HasSuffix(kind, "!")})
		}
		t.reserved, t.version = t.at("SystemReserved"), t.at("Version")
		if t.name == "Rule" {
			t.page = rulePageSize
		}
		m.types = append(m.types, t)
		m.bySet[t.set], m.byName[t.name] = t, t
	}
	for _, a := range associationTable() {
		parent, child := m.byName[a[0]], m.byName[a[2]]
		fk := child.at(parent.name + "Id")
		parent.navs = append(parent.navs, navigation{name: a[1], target: child, many: true, fk: fk, back: parent.name})
		child.navs = append(child.navs, navigation{name: parent.name, target: parent, fk: fk, back: a[1]})
	}
	return m
}

func kindOf(s string) edm {
	switch strings.TrimSuffix(s, "!") {
	case "L":
		return edmInt64
	case "I":
		return edmInt32
	case "b":
		return edmBool
	case "B":
		return edmBinary
	case "D":
		return edmDateTime
	}
	return edmString
}
