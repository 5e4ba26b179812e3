package acs

import (
	"bytes"
	"strconv"
	"time"
)

// writer writes entities of one state for one exchange.
type writer struct {
	x  *exchange
	st *state
	b  bytes.Buffer
}

const atomSpaces = ` xmlns:d="` + nsData + `" xmlns:m="` + nsMetadata + `" xmlns="` + nsAtom + `"`

func (w *writer) esc(s string) { escape(&w.b, s) }

func (w *writer) stamp() string { return w.x.now.UTC().Format(time.RFC3339) }

// entryDocument writes a document of one entity.
func (w *writer) entryDocument(t *entityType, r *row, q *query) []byte {
	w.b.WriteString(xmlHead + "\n")
	w.entry(t, r, q.expand, q.pick, true)
	return w.b.Bytes()
}

// feedDocument writes a document of one page.
func (w *writer) feedDocument(f feed, q *query) []byte {
	w.b.WriteString(xmlHead + "\n")
	w.feed(f, q.expand, q.pick, true)
	return w.b.Bytes()
}

func (w *writer) base(outer bool) {
	if outer {
		w.b.WriteString(` xml:base="`)
		w.esc(w.x.serviceRoot())
		w.b.WriteString(`"` + atomSpaces)
	}
}

func (w *writer) feed(f feed, expand, pick *branch, outer bool) {
	title := f.t.set
	if i := lastSlash(f.path); i >= 0 {
		title = f.path[i+1:]
	}
	w.b.WriteString("<feed")
	w.base(outer)
	w.b.WriteString(">\n")
	if f.count >= 0 {
		w.b.WriteString("<m:count>" + strconv.Itoa(f.count) + "</m:count>\n")
	}
	w.b.WriteString(`<title type="text">` + title + "</title>\n<id>")
	w.esc(w.x.serviceRoot() + f.path)
	w.b.WriteString("</id>\n<updated>" + w.stamp() + "</updated>\n")
	if len(f.rows) == 0 {
		w.b.WriteString("<author><name /></author>\n") // Atom wants an author where no entry has one.
	}
	w.b.WriteString(`<link rel="self" title="` + title + `" href="` + f.path + "\" />\n")
	for _, r := range f.rows {
		w.entry(f.t, r, expand, pick, false)
	}
	if f.next != "" {
		w.b.WriteString(`<link rel="next" href="`)
		w.esc(f.next)
		w.b.WriteString("\" />\n")
	}
	w.b.WriteString("</feed>\n")
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

func (w *writer) entry(t *entityType, r *row, expand, pick *branch, outer bool) {
	path := entityPath(t, r.id)
	w.b.WriteString("<entry")
	w.base(outer)
	w.b.WriteString(` m:etag="`)
	w.esc(etagOf(r, t))
	w.b.WriteString("\">\n<id>")
	w.esc(w.x.serviceRoot() + path)
	w.b.WriteString("</id>\n<title type=\"text\"></title>\n<updated>" + w.stamp() + "</updated>\n<author><name /></author>\n")
	w.b.WriteString(`<link rel="edit" title="` + t.name + `" href="` + path + "\" />\n")
	for i := range t.navs {
		w.link(t, r, &t.navs[i], path, expand, pick)
	}
	w.b.WriteString(`<category term="` + t.full() + `" scheme="` + nsScheme + "\" />\n<content type=\"application/xml\"><m:properties>\n")
	for i, p := range t.props {
		if pick.shows(p.name) {
			w.property(p, r.vals[i], "")
		}
	}
	w.b.WriteString("</m:properties></content>\n</entry>\n")
}

// link writes a navigation, with what it leads to where that is expanded.
func (w *writer) link(t *entityType, r *row, nav *navigation, path string, expand, pick *branch) {
	sub, shown := pick.leads(nav.name)
	var deeper *branch
	if expand != nil {
		deeper = expand.kids[nav.name]
	}
	if !shown {
		return
	}
	kind := "entry"
	if nav.many {
		kind = "feed"
	}
	w.b.WriteString(`<link rel="` + nsRelated + nav.name + `" type="application/atom+xml;type=` + kind + `" title="` + nav.name +
		`" href="` + path + "/" + nav.name + `"`)
	if deeper == nil {
		w.b.WriteString(" />\n")
		return
	}
	w.b.WriteString(">\n<m:inline>\n")
	if nav.many {
		w.feed(w.x.inner(w.st, t, r, nav), deeper, sub, false)
	} else if p := w.st.parent(nav, r); p != nil {
		w.entry(nav.target, p, deeper, sub, false)
	}
	w.b.WriteString("</m:inline>\n</link>\n")
}

// property writes one property; spaces are namespace declarations where it is
// a document of its own.
func (w *writer) property(p property, v any, spaces string) {
	w.b.WriteString("<d:" + p.name + spaces)
	if p.kind != edmString {
		w.b.WriteString(` m:type="` + p.kind.String() + `"`)
	}
	if v == nil {
		w.b.WriteString(" m:null=\"true\" />\n")
		return
	}
	text := w.x.s.formatText(v)
	if s, ok := v.(string); ok && s != trimmed(s) {
		w.b.WriteString(` xml:space="preserve"`)
	}
	w.b.WriteByte('>')
	w.esc(text)
	w.b.WriteString("</d:" + p.name + ">\n")
}
