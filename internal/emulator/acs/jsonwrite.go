package acs

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func trimmed(s string) string { return strings.TrimSpace(s) }

// jsonString writes a string as JSON.
func (w *writer) jsonString(s string) {
	b, err := json.Marshal(s)
	if err != nil { // A string always can be; this keeps the document whole.
		b = []byte(`""`)
	}
	w.b.Write(b)
}

// jsonEntryDocument writes a document of one entity in verbose JSON.
func (w *writer) jsonEntryDocument(t *entityType, r *row, q *query) []byte {
	w.b.WriteString(`{"d":`)
	w.jsonEntry(t, r, q.expand, q.pick)
	w.b.WriteByte('}')
	return w.b.Bytes()
}

// jsonFeedDocument writes a document of one page. A client that knows version
// 1.0 only is given a bare array.
func (w *writer) jsonFeedDocument(f feed, q *query, bare bool) []byte {
	w.b.WriteString(`{"d":`)
	w.jsonFeed(f, q.expand, q.pick, bare)
	w.b.WriteByte('}')
	return w.b.Bytes()
}

func (w *writer) jsonFeed(f feed, expand, pick *branch, bare bool) {
	if !bare {
		w.b.WriteString(`{"results":`)
	}
	w.b.WriteByte('[')
	for i, r := range f.rows {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.jsonEntry(f.t, r, expand, pick)
	}
	w.b.WriteByte(']')
	if bare {
		return
	}
	if f.count >= 0 {
		w.b.WriteString(`,"__count":"` + strconv.Itoa(f.count) + `"`)
	}
	if f.next != "" {
		w.b.WriteString(`,"__next":`)
		w.jsonString(f.next)
	}
	w.b.WriteByte('}')
}

func (w *writer) jsonEntry(t *entityType, r *row, expand, pick *branch) {
	uri := w.x.serviceRoot() + entityPath(t, r.id)
	w.b.WriteString(`{"__metadata":{"uri":`)
	w.jsonString(uri)
	w.b.WriteString(`,"etag":`)
	w.jsonString(etagOf(r, t))
	w.b.WriteString(`,"type":"` + t.full() + `"}`)
	for i := range t.navs {
		w.jsonLink(t, r, &t.navs[i], uri, expand, pick)
	}
	for i, p := range t.props {
		if pick.shows(p.name) {
			w.b.WriteString(`,"` + p.name + `":`)
			w.jsonValue(r.vals[i])
		}
	}
	w.b.WriteByte('}')
}

func (w *writer) jsonLink(t *entityType, r *row, nav *navigation, uri string, expand, pick *branch) {
	sub, shown := pick.leads(nav.name)
	if !shown {
		return
	}
	w.b.WriteString(`,"` + nav.name + `":`)
	var deeper *branch
	if expand != nil {
		deeper = expand.kids[nav.name]
	}
	switch {
	case deeper == nil:
		w.b.WriteString(`{"__deferred":{"uri":`)
		w.jsonString(uri + "/" + nav.name)
		w.b.WriteString("}}")
	case nav.many:
		w.jsonFeed(w.x.inner(w.st, t, r, nav), deeper, sub, false)
	default:
		p := w.st.parent(nav, r)
		if p == nil {
			w.b.WriteString("null")
			return
		}
		w.jsonEntry(nav.target, p, deeper, sub)
	}
}

// jsonValue writes a value: Int64 as text, a date as its milliseconds.
func (w *writer) jsonValue(v any) {
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int32:
		w.b.WriteString(strconv.FormatInt(int64(v), 10))
	case int64:
		w.b.WriteString(`"` + strconv.FormatInt(v, 10) + `"`)
	case []byte:
		w.b.WriteString(`"` + base64.StdEncoding.EncodeToString(v) + `"`)
	case time.Time:
		fmt.Fprintf(&w.b, `"\/Date(%d)\/"`, v.UnixMilli())
	case string:
		w.jsonString(v)
	}
}
