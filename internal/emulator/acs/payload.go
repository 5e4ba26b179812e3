package acs

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// payload is an entity as a client sent it.
type payload struct {
	t      *entityType
	props  map[int]any // those sent; nil is null
	links  map[string][]string
	inline map[string][]*payload
}

func newPayload(t *entityType) *payload {
	return &payload{t: t, props: make(map[int]any), links: make(map[string][]string), inline: make(map[string][]*payload)}
}

// readPayload reads the entity in the body of an operation.
func (x *exchange) readPayload(o op, t *entityType) (*payload, *refusal) {
	kind, params, err := mime.ParseMediaType(o.header.Get("Content-Type"))
	if err == nil {
		switch kind {
		case mimeAtom, mimeXML:
			return parseEntry(t, o.body)
		case mimeJSON:
			if v, ok := params["odata"]; !x.s.cfg.Switches.NoJSON && (!ok || v == "verbose") {
				return parseJSONEntry(t, o.body)
			}
		}
	}
	return nil, refuse(http.StatusUnsupportedMediaType, "Unsupported media type requested")
}

// atomReader reads an Atom entry token by token. It refuses a DTD, whatever
// nests too deeply and every property that the type does not have.
type atomReader struct {
	d     *xml.Decoder
	depth int
}

func malformed() *refusal {
	return badRequest("Error processing request stream. The XML is not well formed")
}

// parseEntry reads an Atom entry of type t.
func parseEntry(t *entityType, body []byte) (*payload, *refusal) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	a := &atomReader{d: xml.NewDecoder(bytes.NewReader(body))}
	var out *payload
	for {
		tok, err := a.d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, malformed()
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, badRequest("Error processing request stream. A DTD is not allowed")
		case xml.StartElement:
			if out != nil || tok.Name.Space != nsAtom || tok.Name.Local != "entry" {
				return nil, badRequest("Error processing request stream. The request should be a valid top-level entry")
			}
			var r *refusal
			if out, r = a.entry(t); r != nil {
				return nil, r
			}
		}
	}
	if out == nil {
		return nil, badRequest("Error processing request stream. The request content is empty")
	}
	return out, nil
}

// next returns the next start of an element within the current one, or false
// at its end.
func (a *atomReader) next() (xml.StartElement, bool, *refusal) {
	for {
		tok, err := a.d.Token()
		if err != nil {
			return xml.StartElement{}, false, malformed()
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			return tok, true, nil
		case xml.EndElement:
			return xml.StartElement{}, false, nil
		case xml.Directive:
			return xml.StartElement{}, false, badRequest("Error processing request stream. A DTD is not allowed")
		}
	}
}

func (a *atomReader) skip() *refusal {
	if err := a.d.Skip(); err != nil {
		return malformed()
	}
	return nil
}

func attr(e xml.StartElement, space, name string) (string, bool) {
	for _, at := range e.Attr {
		if at.Name.Space == space && at.Name.Local == name {
			return at.Value, true
		}
	}
	return "", false
}

func (a *atomReader) entry(t *entityType) (*payload, *refusal) {
	if a.depth++; a.depth > 8 {
		return nil, badRequest("The entry is nested too deeply")
	}
	defer func() { a.depth-- }()
	p := newPayload(t)
	for {
		e, more, r := a.next()
		if r != nil {
			return nil, r
		}
		if !more {
			return p, nil
		}
		switch {
		case e.Name.Space == nsAtom && e.Name.Local == "category":
			scheme, _ := attr(e, "", "scheme")
			if term, ok := attr(e, "", "term"); ok && (scheme == "" || scheme == nsScheme) && term != t.full() {
				return nil, badRequest("The type '%s' of the entry is not the one expected, '%s'", term, t.full())
			}
			r = a.skip()
		case e.Name.Space == nsAtom && e.Name.Local == "link":
			r = a.link(p, e)
		case e.Name.Space == nsAtom && e.Name.Local == "content":
			r = a.content(p)
		case e.Name.Space == nsMetadata && e.Name.Local == "properties":
			r = a.properties(p)
		default:
			r = a.skip()
		}
		if r != nil {
			return nil, r
		}
	}
}

func (a *atomReader) content(p *payload) *refusal {
	for {
		e, more, r := a.next()
		if r != nil || !more {
			return r
		}
		if e.Name.Space == nsMetadata && e.Name.Local == "properties" {
			r = a.properties(p)
		} else {
			r = a.skip()
		}
		if r != nil {
			return r
		}
	}
}

func (a *atomReader) properties(p *payload) *refusal {
	for {
		e, more, r := a.next()
		if r != nil || !more {
			return r
		}
		if e.Name.Space != nsData {
			if r := a.skip(); r != nil {
				return r
			}
			continue
		}
		i, ok := p.t.byName[e.Name.Local]
		if !ok {
			return unknownProperty(p.t, e.Name.Local)
		}
		if _, twice := p.props[i]; twice {
			return badRequest("The property '%s' stands twice", e.Name.Local)
		}
		text, r := a.text()
		if r != nil {
			return r
		}
		if v, ok := attr(e, nsMetadata, "null"); ok && strings.TrimSpace(v) == "true" {
			p.props[i] = nil
			continue
		}
		v, err := parseText(p.t.props[i].kind, text)
		if err != nil {
			return badValue(p.t.props[i])
		}
		p.props[i] = v
	}
}

func unknownProperty(t *entityType, name string) *refusal {
	return badRequest("Error processing request stream. The property name '%s' specified for type '%s' is not valid", name, t.full())
}

func badValue(p property) *refusal {
	return badRequest("Error processing request stream. Error encountered in converting the value from request payload for property '%s' to type '%s'", p.name, p.kind)
}

// text reads the text up to the end of the element.
func (a *atomReader) text() (string, *refusal) {
	var b strings.Builder
	for {
		tok, err := a.d.Token()
		if err != nil {
			return "", malformed()
		}
		switch tok := tok.(type) {
		case xml.CharData:
			b.Write(tok)
		case xml.EndElement:
			return b.String(), nil
		case xml.StartElement, xml.Directive:
			return "", badRequest("Error processing request stream. A property must have a simple value")
		}
	}
}

func (a *atomReader) link(p *payload, e xml.StartElement) *refusal {
	rel, _ := attr(e, "", "rel")
	name, ok := strings.CutPrefix(rel, nsRelated)
	if !ok {
		return a.skip()
	}
	nav := p.t.nav(name)
	if nav == nil {
		return unknownProperty(p.t, name)
	}
	inlined := false
	for {
		c, more, r := a.next()
		if r != nil {
			return r
		}
		if !more {
			break
		}
		if c.Name.Space == nsMetadata && c.Name.Local == "inline" {
			inlined = true
			r = a.inline(p, nav)
		} else {
			r = a.skip()
		}
		if r != nil {
			return r
		}
	}
	if href, ok := attr(e, "", "href"); ok && !inlined && href != "" {
		p.links[name] = append(p.links[name], href)
	}
	return nil
}

// inline reads the entry, or the feed of entries, that stands within a link.
func (a *atomReader) inline(p *payload, nav *navigation) *refusal {
	if a.depth++; a.depth > 8 {
		return badRequest("The entry is nested too deeply")
	}
	defer func() { a.depth-- }()
	for {
		e, more, r := a.next()
		if r != nil || !more {
			return r
		}
		switch {
		case e.Name.Space == nsAtom && e.Name.Local == "entry":
			var kid *payload
			if kid, r = a.entry(nav.target); r == nil {
				p.inline[nav.name] = append(p.inline[nav.name], kid)
			}
		case e.Name.Space == nsAtom && e.Name.Local == "feed":
			r = a.inline(p, nav)
		default:
			r = a.skip()
		}
		if r != nil {
			return r
		}
	}
}
