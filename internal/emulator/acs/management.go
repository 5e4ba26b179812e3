package acs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// op is one operation on the management service: a request of its own, or one
// within a batch.
type op struct {
	method string
	path   string // below the service root, as sent
	query  string
	header http.Header
	body   []byte
}

// management answers a request to the management service.
func (x *exchange) management(body []byte) *answer {
	o := op{method: verb(x.r), path: strings.Trim(x.r.URL.EscapedPath()[len(managementPath):], "/"),
		query: x.r.URL.RawQuery, header: x.r.Header, body: body}
	if _, r := versions(o.header); r != nil {
		return x.refusal(r)
	}
	switch o.path {
	case "", "$metadata":
		return x.public(o)
	}
	if r := x.authorized(); r != nil {
		x.lost(r.status)
		return x.refusal(r)
	}
	if o.path == "$batch" {
		return x.batch(o)
	}
	return x.one(o)
}

// one answers an operation that stands for itself.
func (x *exchange) one(o op) *answer {
	if opOf(o.method) == OpRead {
		return x.read(o)
	}
	tx := x.s.begin(x.ns, x.now)
	a, r := x.change(tx, o, nil)
	if r != nil {
		tx.rollback()
		x.notDone(o, r.status)
		return x.odataError(r, wantsJSON(o.header))
	}
	x.s.count.writes.Add(1)
	tx.commit(x.seen, x.faultKind())
	return a
}

// notDone enters a write in the journal that was refused.
func (x *exchange) notDone(o op, status int) {
	x.s.count.writes.Add(1)
	set, _, _ := strings.Cut(o.path, "(")
	if i := lastSlash(o.path); i >= 0 {
		set = o.path[i+1:]
	}
	x.s.journal.add(Entry{At: x.now, Host: x.ns.host, Op: opOf(o.method), Entity: set, Status: x.seen(status), Fault: x.faultKind()})
}

// public answers what may be read without a token.
func (x *exchange) public(o op) *answer {
	if opOf(o.method) != OpRead {
		return x.refusal(notAllowed("GET"))
	}
	x.s.count.reads.Add(1)
	if o.path == "$metadata" {
		if _, ok := negotiate(strings.Join(o.header.Values("Accept"), ","), mimeXML); !ok {
			return x.refusal(refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested"))
		}
		a := newAnswer(http.StatusOK, mimeXML+";charset=utf-8", x.s.metadata)
		a.header.Set("DataServiceVersion", "1.0;")
		return a
	}
	kind, r := x.format(o.header, mimeXML)
	if r != nil {
		return x.refusal(r)
	}
	a := x.serviceDocument(kind == mimeJSON)
	a.header.Set("DataServiceVersion", "1.0;")
	return a
}

func notAllowed(allow string) *refusal {
	r := refuse(http.StatusMethodNotAllowed, "The request method is not allowed on this resource")
	r.allow = allow
	return r
}

// view is the state that reads are answered from.
func (x *exchange) view() *state {
	if x.faultKind() == FaultStaleRead {
		if at := x.ns.changed.Load(); x.fault.Delay == 0 || at != nil && x.now.Sub(*at) < x.fault.Delay {
			return x.ns.before.Load()
		}
	}
	return x.ns.stateAt(x.now, x.s.cfg.Switches.ReadDelay)
}

// read answers a GET, or refuses what is no known method.
func (x *exchange) read(o op) *answer {
	x.s.count.reads.Add(1)
	a, r := x.tryRead(o)
	if r != nil {
		return x.odataError(r, wantsJSON(o.header))
	}
	return a
}

func (x *exchange) tryRead(o op) (*answer, *refusal) {
	if o.method != http.MethodGet && o.method != http.MethodHead {
		return nil, refuse(http.StatusNotImplemented, "The method '%s' is not supported", printable(o.method))
	}
	highest, r := versions(o.header)
	if r != nil {
		return nil, r
	}
	segs, r := splitPath(o.path)
	if r != nil {
		return nil, r
	}
	if len(segs) == 0 {
		return x.public(o), nil
	}
	st := x.view()
	p, r := x.s.locate(st, segs)
	if r != nil {
		return nil, r
	}
	q, r := x.s.parseQuery(p, o.query)
	if r != nil {
		return nil, r
	}
	if q.format != "" {
		o.header = o.header.Clone()
		o.header.Set("Accept", q.format)
	}
	a, v, r := x.render(st, p, q, o, highest)
	if r != nil {
		return nil, r
	}
	if v > highest {
		return nil, badRequest("The MaxDataServiceVersion of the request is too low for the response. The lowest supported version is '2.0'")
	}
	a.header.Set("DataServiceVersion", strconv.Itoa(v/10)+".0;")
	return a, nil
}

func printable(s string) string {
	if len(s) > 16 {
		s = s[:16]
	}
	return s
}

// render writes what was found, and says which version of the protocol that
// needs.
func (x *exchange) render(st *state, p *place, q *query, o op, highest int) (*answer, int, *refusal) {
	switch {
	case p.tail == tailCount:
		if _, ok := negotiate(strings.Join(o.header.Values("Accept"), ","), mimeText, mimeAtom, mimeXML, mimeJSON); !ok {
			return nil, 0, refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested")
		}
		return newAnswer(http.StatusOK, mimeText+";charset=utf-8", []byte(strconv.Itoa(q.matched(st, p.rows)))), 20, nil
	case p.tail == tailLinks:
		a, r := x.readLinks(st, p, q, o)
		return a, 10, r
	case p.many:
		return x.renderFeed(st, p, q, o, highest)
	case p.row == nil:
		return nil, 0, notFound(p.path)
	case p.tail == tailProperty:
		a, r := x.renderProperty(st, p, o)
		return a, 10, r
	case p.tail == tailValue:
		a, r := x.renderValue(p)
		return a, 10, r
	}
	kind, r := x.format(o.header, mimeAtom)
	if r != nil {
		return nil, 0, r
	}
	a := x.entity(st, p.t, p.row, q, kind)
	if m := o.header.Get("If-None-Match"); m != "" && (m == "*" || m == a.header.Get("ETag")) {
		a.status, a.body = http.StatusNotModified, nil
	}
	v := 10
	if q.pick != nil {
		v = 20
	}
	return a, v, nil
}

// entity writes one entity with its ETag.
func (x *exchange) entity(st *state, t *entityType, r *row, q *query, kind string) *answer {
	w := &writer{x: x, st: st}
	var a *answer
	if kind == mimeJSON {
		a = newAnswer(http.StatusOK, mimeJSON+";charset=utf-8", w.jsonEntryDocument(t, r, q))
	} else {
		a = newAnswer(http.StatusOK, mimeAtom+";type=entry;charset=utf-8", w.entryDocument(t, r, q))
	}
	a.header.Set("ETag", etagOf(r, t))
	return a
}

func (x *exchange) renderFeed(st *state, p *place, q *query, o op, highest int) (*answer, int, *refusal) {
	kind, r := x.format(o.header, mimeAtom)
	if r != nil {
		return nil, 0, r
	}
	f := x.run(st, p, q)
	v := 10
	if f.next != "" || q.count || q.pick != nil {
		v = 20
	}
	w := &writer{x: x, st: st}
	if kind == mimeJSON {
		if highest >= 20 {
			v = 20
		}
		return newAnswer(http.StatusOK, mimeJSON+";charset=utf-8", w.jsonFeedDocument(f, q, highest < 20)), v, nil
	}
	body := w.feedDocument(f, q)
	if v == 10 && bytes.Contains(body, []byte(`<link rel="next"`)) {
		v = 20 // An expanded feed goes on elsewhere.
	}
	return newAnswer(http.StatusOK, mimeAtom+";charset=utf-8", body), v, nil
}

func (x *exchange) renderProperty(st *state, p *place, o op) (*answer, *refusal) {
	kind, r := x.format(o.header, mimeXML)
	if r != nil {
		return nil, r
	}
	w := &writer{x: x, st: st}
	prop := p.t.props[p.prop]
	if kind == mimeJSON {
		w.b.WriteString(`{"d":{"` + prop.name + `":`)
		w.jsonValue(p.row.vals[p.prop])
		w.b.WriteString("}}")
		return newAnswer(http.StatusOK, mimeJSON+";charset=utf-8", w.b.Bytes()), nil
	}
	w.b.WriteString(xmlHead + "\n")
	w.property(prop, p.row.vals[p.prop], ` xmlns:d="`+nsData+`" xmlns:m="`+nsMetadata+`"`)
	return newAnswer(http.StatusOK, mimeXML+";charset=utf-8", w.b.Bytes()), nil
}

func (x *exchange) renderValue(p *place) (*answer, *refusal) {
	switch v := p.row.vals[p.prop].(type) {
	case nil:
		return nil, notFound("$value")
	case []byte:
		return newAnswer(http.StatusOK, "application/octet-stream", v), nil
	case time.Time:
		return newAnswer(http.StatusOK, mimeText+";charset=utf-8", []byte(x.s.formatDateTime(v))), nil
	default:
		return newAnswer(http.StatusOK, mimeText+";charset=utf-8", []byte(x.s.formatText(v))), nil
	}
}

// readLinks lists the URIs that a navigation leads to.
func (x *exchange) readLinks(st *state, p *place, q *query, o op) (*answer, *refusal) {
	kind, r := x.format(o.header, mimeXML)
	if r != nil {
		return nil, r
	}
	if !p.many && p.row == nil {
		return nil, notFound(p.nav.name)
	}
	rows := []*row{p.row}
	next := ""
	if p.many {
		f := x.run(st, p, q)
		rows, next = f.rows, f.next
		if p.linkKey != nil {
			rows, next = nil, ""
			for _, r := range p.rows {
				if r.id == *p.linkKey {
					rows = append(rows, r)
				}
			}
			if rows == nil {
				return nil, notFound(p.nav.name)
			}
		}
		if next != "" {
			// The path of the feed stands in the link; that of the links is meant.
			next = strings.Replace(next, "/"+p.nav.name+"?", "/$links/"+p.nav.name+"?", 1)
		}
	}
	uris := make([]string, 0, len(rows))
	for _, r := range rows {
		uris = append(uris, x.serviceRoot()+entityPath(p.t, r.id))
	}
	single := !p.many || p.linkKey != nil
	if kind == mimeJSON {
		return jsonLinks(uris, next, single), nil
	}
	return xmlLinks(uris, next, single), nil
}

func xmlLinks(uris []string, next string, single bool) *answer {
	var b bytes.Buffer
	b.WriteString(xmlHead + "\n")
	if single {
		b.WriteString(`<uri xmlns="` + nsData + `">`)
		escape(&b, uris[0])
		b.WriteString("</uri>")
		return newAnswer(http.StatusOK, mimeXML+";charset=utf-8", b.Bytes())
	}
	b.WriteString(`<links xmlns="` + nsData + `">`)
	for _, u := range uris {
		b.WriteString("<uri>")
		escape(&b, u)
		b.WriteString("</uri>")
	}
	if next != "" {
		b.WriteString("<next>")
		escape(&b, next)
		b.WriteString("</next>")
	}
	b.WriteString("</links>")
	return newAnswer(http.StatusOK, mimeXML+";charset=utf-8", b.Bytes())
}

func jsonLinks(uris []string, next string, single bool) *answer {
	type link struct {
		URI string `json:"uri"`
	}
	links := make([]link, 0, len(uris))
	for _, u := range uris {
		links = append(links, link{u})
	}
	var d any
	if single {
		d = links[0]
	} else {
		all := map[string]any{"results": links}
		if next != "" {
			all["__next"] = next
		}
		d = all
	}
	body, err := json.Marshal(map[string]any{"d": d})
	if err != nil {
		body = nil
	}
	return newAnswer(http.StatusOK, mimeJSON+";charset=utf-8", body)
}
