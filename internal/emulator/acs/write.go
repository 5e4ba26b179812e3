package acs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"mime"
	"net/http"
	"strings"
)

// refs are the entities that earlier operations of a changeset made, as paths
// by Content-ID.
type refs map[string]string

// change does one write within a transaction.
func (x *exchange) change(tx *txn, o op, known refs) (*answer, *refusal) {
	if _, r := versions(o.header); r != nil {
		return nil, r
	}
	if o.method == http.MethodPatch && !x.s.cfg.Switches.Lenient {
		return nil, refuse(http.StatusNotImplemented, "The method 'PATCH' is not supported")
	}
	segs, r := splitPath(o.path)
	if r != nil {
		return nil, r
	}
	if segs, r = known.resolve(segs); r != nil {
		return nil, r
	}
	if len(segs) == 0 {
		return nil, notAllowed("GET")
	}
	if strings.HasPrefix(segs[0], "$") {
		return nil, badRequest("The request URI is not valid. The segment '%s' is not known here", segs[0])
	}
	p, r := x.s.locate(tx.st, segs)
	if r != nil {
		return nil, r
	}
	if q, _, r := splitQuery(o.query); r != nil {
		return nil, r
	} else if r := x.noOptions(q); r != nil {
		return nil, r
	}
	if p.tail == tailLinks {
		return x.changeLink(tx, p, o, known)
	}
	switch {
	case p.tail == tailCount:
		return nil, notAllowed("GET")
	case p.tail != tailNone:
		return nil, refuse(http.StatusNotImplemented, "Changing a single property is not supported")
	case p.many && o.method == http.MethodPost:
		return x.create(tx, p, o, known)
	case p.many:
		return nil, notAllowed("GET, POST")
	case o.method == http.MethodPost:
		return nil, notAllowed("GET, PUT, MERGE, DELETE")
	case p.row == nil:
		return nil, notFound(p.path)
	case o.method == http.MethodDelete:
		return x.remove(tx, p, o)
	}
	return x.update(tx, p, o, known)
}

// noOptions refuses query options on a write.
func (x *exchange) noOptions(sent []sentOption) *refusal {
	for _, o := range sent {
		if strings.HasPrefix(o.name, "$") && !(x.s.cfg.Switches.Lenient && o.name == "$format") {
			return badRequest("The query option '%s' is not allowed on this request", o.name)
		}
	}
	return nil
}

// resolve puts the entity in the place of a first segment "$<Content-ID>".
func (known refs) resolve(segs []string) ([]string, *refusal) {
	if len(segs) == 0 || !strings.HasPrefix(segs[0], "$") {
		return segs, nil
	}
	path, ok := known[segs[0][1:]]
	if !ok {
		return segs, nil
	}
	return append(strings.Split(path, "/"), segs[1:]...), nil
}

func (x *exchange) create(tx *txn, p *place, o op, known refs) (*answer, *refusal) {
	body, r := x.readPayload(o, p.t)
	if r != nil {
		return nil, r
	}
	made, r := x.insert(tx, body, p.parent, p.nav, known)
	if r != nil {
		return nil, r
	}
	kind, r := x.format(o.header, mimeAtom)
	if r != nil {
		return nil, r
	}
	a := x.entity(tx.st, p.t, made, &query{}, kind)
	a.status = http.StatusCreated
	a.header.Set("Location", x.serviceRoot()+entityPath(p.t, made.id))
	a.header.Set("DataServiceVersion", "1.0;")
	return a, nil
}

// insert makes an entity of a payload, and those that stand within it. The
// parent comes from the URL where that has one, else from a link, else from
// the property.
func (x *exchange) insert(tx *txn, body *payload, parent *row, up *navigation, known refs) (*row, *refusal) {
	t := body.t
	r := blank(t)
	for i, v := range body.props {
		if i != 0 && i != t.version && i != t.reserved {
			if bad := put(t, r, i, v); bad != nil {
				return nil, bad
			}
		}
	}
	if bad := x.bind(tx, body, r, known); bad != nil {
		return nil, bad
	}
	if parent != nil && up != nil && up.many {
		r.vals[up.fk] = parent.id
	}
	for i := range t.navs {
		nav := &t.navs[i]
		if nav.many || len(body.inline[nav.name]) == 0 {
			continue
		}
		made, bad := x.insert(tx, body.inline[nav.name][0], nil, nil, known)
		if bad != nil {
			return nil, bad
		}
		r.vals[nav.fk] = made.id
	}
	if bad := x.check(tx, t, r, nil); bad != nil {
		return nil, bad
	}
	x.corrupt(t, r)
	r.id = tx.ns.takeID()
	r.vals[0] = r.id
	r.vals[t.version] = tx.ns.takeVersion()
	tx.st.put(t, r)
	tx.note(OpCreate, t, r, http.StatusCreated)
	for i := range t.navs {
		nav := &t.navs[i]
		if !nav.many {
			continue
		}
		for _, kid := range body.inline[nav.name] {
			if _, bad := x.insert(tx, kid, r, nav, known); bad != nil {
				return nil, bad
			}
		}
	}
	return r, nil
}

// put sets a property, which may be null only where the type says so.
func put(t *entityType, r *row, i int, v any) *refusal {
	if v == nil && !t.props[i].nullable {
		return badRequest("The property '%s' of type '%s' cannot be null", t.props[i].name, t.full())
	}
	r.vals[i] = v
	return nil
}

// bind sets the foreign keys that a payload gives as links.
func (x *exchange) bind(tx *txn, body *payload, r *row, known refs) *refusal {
	for name, hrefs := range body.links {
		nav := body.t.nav(name)
		if nav.many {
			// The .NET client writes the feed's own address back on an update.
			continue
		}
		target, bad := x.byURI(tx, hrefs[len(hrefs)-1], nav.target, known)
		if bad != nil {
			return bad
		}
		if target != nil {
			r.vals[nav.fk] = target.id
		}
	}
	return nil
}

// byURI finds the entity of a URI. It is nil where the URI is a navigation,
// which is what the service's own entries have in their links.
func (x *exchange) byURI(tx *txn, uri string, t *entityType, known refs) (*row, *refusal) {
	path, _, r := x.pathBelow(uri)
	if r != nil {
		return nil, r
	}
	segs, r := splitPath(path)
	if r != nil {
		return nil, r
	}
	if len(segs) == 0 {
		return nil, badRequest("The URI '%s' is not an entity", uri)
	}
	if segs, r = known.resolve(segs); r != nil {
		return nil, r
	}
	p, r := x.s.locate(tx.st, segs)
	if r != nil {
		return nil, r
	}
	if p.many || p.tail != tailNone || p.t != t {
		return nil, badRequest("The URI '%s' is not an entity of type '%s'", uri, t.full())
	}
	return p.row, nil
}

// update does MERGE and PUT.
func (x *exchange) update(tx *txn, p *place, o op, known refs) (*answer, *refusal) {
	if r := x.mayChange(p, o); r != nil {
		return nil, r
	}
	body, r := x.readPayload(o, p.t)
	if r != nil {
		return nil, r
	}
	t := p.t
	n := p.row.clone()
	if o.method == http.MethodPut {
		n = blank(t)
		n.id, n.vals[0], n.vals[t.reserved] = p.row.id, p.row.id, p.row.vals[t.reserved]
	}
	for i, v := range body.props {
		if i != 0 && i != t.version && i != t.reserved {
			if r := put(t, n, i, v); r != nil {
				return nil, r
			}
		}
	}
	for i := range t.navs {
		// A replacement that does not say to whom it belongs stays where it is.
		if nav := &t.navs[i]; !nav.many && n.num(nav.fk) == 0 {
			n.vals[nav.fk] = p.row.vals[nav.fk]
		}
	}
	if r := x.bind(tx, body, n, known); r != nil {
		return nil, r
	}
	if r := x.check(tx, t, n, p.row); r != nil {
		return nil, r
	}
	x.corrupt(t, n)
	n.vals[t.version] = tx.ns.takeVersion()
	tx.st.put(t, n)
	tx.note(OpUpdate, t, n, http.StatusNoContent)
	a := newAnswer(http.StatusNoContent, "", nil)
	a.header.Set("ETag", etagOf(n, t))
	a.header.Set("DataServiceVersion", "1.0;")
	return a, nil
}

func (x *exchange) remove(tx *txn, p *place, o op) (*answer, *refusal) {
	if r := x.mayChange(p, o); r != nil {
		return nil, r
	}
	x.cascade(tx, p.t, p.row)
	a := newAnswer(http.StatusNoContent, "", nil)
	a.header.Set("DataServiceVersion", "1.0;")
	return a, nil
}

// cascade deletes an entity and all below it.
func (x *exchange) cascade(tx *txn, t *entityType, r *row) {
	tx.note(OpDelete, t, r, http.StatusNoContent)
	for i := range t.navs {
		if nav := &t.navs[i]; nav.many {
			for _, kid := range tx.st.children(nav, r.id) {
				x.cascade(tx, nav.target, kid)
			}
		}
	}
	tx.st.remove(t, r.id)
}

// mayChange checks the concurrency token and whether the entity is reserved.
func (x *exchange) mayChange(p *place, o op) *refusal {
	if o.header.Get("If-None-Match") != "" {
		return badRequest("If-None-Match HTTP header cannot be specified for update and delete operations")
	}
	tag := strings.TrimSpace(strings.Join(o.header.Values("If-Match"), ","))
	switch {
	case tag == "" && !x.s.cfg.Switches.NoIfMatch:
		return badRequest("Since entity type '%s' has one or more etag properties, If-Match HTTP header must be specified for DELETE/PUT operations on this type", p.t.full())
	case tag == "" || tag == "*":
	case strings.Contains(tag, ","):
		return badRequest("Only one ETag value may be given in the If-Match HTTP header")
	case tag != etagOf(p.row, p.t):
		return refuse(http.StatusPreconditionFailed, "The etag value in the request header does not match with the current etag value of the object")
	}
	if p.row.yes(p.t.reserved) {
		return x.reserved()
	}
	return nil
}

func (x *exchange) reserved() *refusal {
	status := http.StatusBadRequest
	if x.s.cfg.Switches.ReservedWith403 {
		status = http.StatusForbidden
	}
	return refuse(status, "ACS: a system-reserved entity cannot be edited or deleted")
}

// corrupt is the fault that stores something else than what was sent.
func (x *exchange) corrupt(t *entityType, r *row) {
	i, ok := t.byName["Value"]
	if !ok || x.faultKind() != FaultCorruptWrite {
		return
	}
	if b := bytes.Clone(r.bytes(i)); len(b) > 0 {
		b[len(b)/2] ^= 1
		r.vals[i] = b
	}
}

// changeLink does POST and PUT on $links: it moves a child under a parent.
func (x *exchange) changeLink(tx *txn, p *place, o op, known refs) (*answer, *refusal) {
	many := p.nav.many
	switch {
	case many && o.method == http.MethodPost && p.linkKey == nil:
	case !many && (o.method == http.MethodPut || o.method == "MERGE"):
	case o.method == http.MethodDelete:
		return nil, badRequest("The relationship '%s' cannot be removed: an entity must belong to one", p.nav.name)
	case many:
		return nil, notAllowed("GET, POST, DELETE")
	default:
		return nil, notAllowed("GET, PUT, DELETE")
	}
	uri, r := x.readURI(o)
	if r != nil {
		return nil, r
	}
	target, r := x.byURI(tx, uri, p.nav.target, known)
	if r != nil {
		return nil, r
	}
	if target == nil {
		return nil, notFound(p.nav.name)
	}
	child, childType, parent := p.parent, p.parentType, target
	if many {
		child, childType, parent = target, p.nav.target, p.parent
	}
	if child.yes(childType.reserved) {
		return nil, x.reserved()
	}
	n := child.clone()
	n.vals[p.nav.fk] = parent.id
	n.vals[childType.version] = tx.ns.takeVersion()
	tx.st.put(childType, n)
	tx.note(OpUpdate, childType, n, http.StatusNoContent)
	a := newAnswer(http.StatusNoContent, "", nil)
	a.header.Set("DataServiceVersion", "1.0;")
	return a, nil
}

// readURI reads the body of a $links request.
func (x *exchange) readURI(o op) (string, *refusal) {
	kind, _, err := mime.ParseMediaType(o.header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	switch kind {
	case mimeXML, "text/xml":
		var doc struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		}
		if xml.Unmarshal(o.body, &doc) != nil || doc.XMLName.Local != "uri" {
			return "", malformed()
		}
		return strings.TrimSpace(doc.Text), nil
	case mimeJSON:
		var doc struct {
			URI string `json:"uri"`
		}
		if json.Unmarshal(o.body, &doc) != nil || doc.URI == "" {
			return "", badRequest("Error processing request stream. The JSON is not well formed")
		}
		return doc.URI, nil
	}
	return "", refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested")
}
