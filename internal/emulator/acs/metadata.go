package acs

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const (
	xmlHead    = `<?xml version="1.0" encoding="utf-8" standalone="yes"?>`
	nsData     = "http://schemas.microsoft.com/ado/2007/08/dataservices"
	nsMetadata = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"
	nsScheme   = "http://schemas.microsoft.com/ado/2007/08/dataservices/scheme"
	nsRelated  = "http://schemas.microsoft.com/ado/2007/08/dataservices/related/"
	nsAtom     = "http://www.w3.org/2005/Atom"
	nsApp      = "http://www.w3.org/2007/app"

	mimeAtom = "application/atom+xml"
	mimeXML  = "application/xml"
	mimeJSON = "application/json"
	mimeText = "text/plain"
)

// metadata writes $metadata: the model as an EDMX document.
func (m *model) metadata() []byte {
	var b bytes.Buffer
	b.WriteString(xmlHead + "\n" + `<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx">
  <edmx:DataServices xmlns:m="` + nsMetadata + `" m:DataServiceVersion="1.0">
    <Schema Namespace="` + schemaName + `" xmlns:d="` + nsData + `" xmlns:m="` + nsMetadata + `" xmlns="http://schemas.microsoft.com/ado/2007/05/edm">
`)
	for _, t := range m.types {
		writeType(&b, t)
	}
	for _, a := range associationTable() {
		parent, nav, child := a[0], a[1], a[2]
		fmt.Fprintf(&b, "      <Association Name=\"%s_%s_%s_%s\">\n", parent, nav, child, parent)
		fmt.Fprintf(&b, "        <End Role=\"%s_%s\" Type=\"%s.%s\" Multiplicity=\"*\" />\n", child, parent, schemaName, child)
		fmt.Fprintf(&b, "        <End Role=\"%s_%s\" Type=\"%s.%s\" Multiplicity=\"0..1\" />\n", parent, nav, schemaName, parent)
		b.WriteString("      </Association>\n")
	}
	fmt.Fprintf(&b, "      <EntityContainer Name=\"%s\" m:IsDefaultEntityContainer=\"true\">\n", containerName)
	for _, t := range m.types {
		fmt.Fprintf(&b, "        <EntitySet Name=\"%s\" EntityType=\"%s\" />\n", t.set, t.full())
	}
	for _, a := range associationTable() {
		parent, nav, child := a[0], a[1], a[2]
		fmt.Fprintf(&b, "        <AssociationSet Name=\"%s_%s\" Association=\"%s.%s_%s_%s_%s\">\n", parent, nav, schemaName, parent, nav, child, parent)
		fmt.Fprintf(&b, "          <End Role=\"%s_%s\" EntitySet=\"%s\" />\n", child, parent, m.byName[child].set)
		fmt.Fprintf(&b, "          <End Role=\"%s_%s\" EntitySet=\"%s\" />\n", parent, nav, m.byName[parent].set)
		b.WriteString("        </AssociationSet>\n")
	}
	b.WriteString("      </EntityContainer>\n    </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n")
	return b.Bytes()
}

func writeType(b *bytes.Buffer, t *entityType) {
	fmt.Fprintf(b, "      <EntityType Name=\"%s\">\n        <Key>\n          <PropertyRef Name=\"Id\" />\n        </Key>\n", t.name)
	for i, p := range t.props {
		fixed := ""
		if i == t.version {
			fixed = ` ConcurrencyMode="Fixed"`
		}
		fmt.Fprintf(b, "        <Property Name=\"%s\" Type=\"%s\" Nullable=\"%t\"%s />\n", p.name, p.kind, p.nullable, fixed)
	}
	for _, n := range t.navs {
		parent, parentNav, childName := t.name, n.name, n.target.name
		from, to := parent+"_"+parentNav, childName+"_"+parent
		if !n.many {
			parent, parentNav, childName = n.target.name, n.back, t.name
			from, to = childName+"_"+parent, parent+"_"+parentNav
		}
		fmt.Fprintf(b, "        <NavigationProperty Name=\"%s\" Relationship=\"%s.%s_%s_%s_%s\" FromRole=\"%s\" ToRole=\"%s\" />\n",
			n.name, schemaName, parent, parentNav, childName, parent, from, to)
	}
	b.WriteString("      </EntityType>\n")
}

// serviceDocument lists the entity sets.
func (x *exchange) serviceDocument(asJSON bool) *answer {
	if asJSON {
		sets := make([]string, 0, typeCount)
		for _, t := range x.s.model.types {
			sets = append(sets, t.set)
		}
		body, err := json.Marshal(map[string]any{"d": map[string]any{"EntitySets": sets}})
		if err != nil {
			return x.odataError(refuse(500, msgInternal), true)
		}
		return newAnswer(200, mimeJSON+";charset=utf-8", body)
	}
	var b bytes.Buffer
	b.WriteString(xmlHead + "\n<service xml:base=\"")
	escape(&b, x.serviceRoot())
	b.WriteString("\" xmlns:atom=\"" + nsAtom + "\" xmlns:app=\"" + nsApp + "\" xmlns=\"" + nsApp + "\">\n  <workspace>\n    <atom:title>Default</atom:title>\n")
	for _, t := range x.s.model.types {
		fmt.Fprintf(&b, "    <collection href=\"%s\">\n      <atom:title>%s</atom:title>\n    </collection>\n", t.set, t.set)
	}
	b.WriteString("  </workspace>\n</service>\n")
	return newAnswer(200, mimeXML+";charset=utf-8", b.Bytes())
}
