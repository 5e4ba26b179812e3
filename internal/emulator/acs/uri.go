package acs

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// tail is what follows the entity or feed in a path.
type tail uint8

const (
	tailNone tail = iota
	tailCount
	tailLinks
	tailProperty
	tailValue
)

// place is what a path stands for in a state.
type place struct {
	t    *entityType
	many bool
	rows []*row // of a feed
	row  *row   // of an entity; nil where a single navigation leads nowhere
	path string // canonical, relative to the service root

	// The last navigation, for creating below an entity and for $links.
	parent     *row
	parentType *entityType
	nav        *navigation

	tail    tail
	prop    int
	linkKey *int64
}

// splitPath cuts a path below the service root into unescaped segments.
func splitPath(path string) ([]string, *refusal) {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	const most = 12
	if len(parts) > most {
		return nil, badRequest("The request URI has too many segments")
	}
	for i, p := range parts {
		u, err := url.PathUnescape(p)
		if err != nil || u == "" {
			return nil, badRequest("The request URI is not well formed")
		}
		parts[i] = u
	}
	return parts, nil
}

// cutKey splits "Set(77L)" into its name and what is in the parentheses; has
// says whether there are any.
func cutKey(seg string) (name, key string, has bool, r *refusal) {
	i := strings.IndexByte(seg, '(')
	if i < 0 {
		return seg, "", false, nil
	}
	if !strings.HasSuffix(seg, ")") {
		return "", "", false, syntaxError(len(seg))
	}
	return seg[:i], strings.TrimSpace(seg[i+1 : len(seg)-1]), true, nil
}

func notFound(segment string) *refusal {
	return refuse(http.StatusNotFound, "Resource not found for the segment '%s'", segment)
}

// locate finds what the segments stand for.
func (s *Server) locate(st *state, segs []string) (*place, *refusal) {
	name, key, _, r := cutKey(segs[0])
	if r != nil {
		return nil, r
	}
	t := s.model.bySet[name]
	if t == nil {
		return nil, notFound(name)
	}
	p := &place{t: t, many: true, rows: st.sets[t.index], path: t.set}
	if key != "" {
		if r := s.pickOne(p, key); r != nil {
			return nil, r
		}
	}
	for i := 1; i < len(segs); i++ {
		if p.tail != tailNone && !(p.tail == tailProperty && segs[i] == "$value") {
			return nil, badRequest("The request URI is not valid. The segment '%s' cannot follow", segs[i])
		}
		if r := s.follow(st, p, segs, &i); r != nil {
			return nil, r
		}
	}
	return p, nil
}

// pickOne narrows a feed to the entity of a key.
func (s *Server) pickOne(p *place, key string) *refusal {
	id, ok := parseKey(key, s.cfg.Switches.Lenient)
	if !ok {
		return badRequest("Syntax error: the key literal '%s' is not of type Edm.Int64", key)
	}
	p.many = false
	p.row = nil
	for _, r := range p.rows {
		if r.id == id {
			p.row = r
			break
		}
	}
	p.rows = nil
	if p.row == nil {
		return notFound(p.t.set)
	}
	p.path = entityPath(p.t, id)
	return nil
}

func entityPath(t *entityType, id int64) string {
	return t.set + "(" + strconv.FormatInt(id, 10) + "L)"
}

// follow takes the segment at i, and with $links the one after it.
func (s *Server) follow(st *state, p *place, segs []string, i *int) *refusal {
	seg := segs[*i]
	switch {
	case seg == "$count" && p.many:
		p.tail = tailCount
		return nil
	case seg == "$value" && p.tail == tailProperty:
		p.tail = tailValue
		return nil
	case seg == "$links" && !p.many && p.row != nil && *i+1 < len(segs):
		*i++
		return s.links(st, p, segs[*i])
	case strings.HasPrefix(seg, "$"):
		return badRequest("The request URI is not valid. The segment '%s' is not allowed here", seg)
	case p.many:
		return badRequest("The request URI is not valid. The segment '%s' cannot follow a collection", seg)
	case p.row == nil:
		return notFound(seg)
	}
	if prop, ok := p.t.byName[seg]; ok {
		p.tail, p.prop = tailProperty, prop
		return nil
	}
	return s.navigate(st, p, seg)
}

func (s *Server) navigate(st *state, p *place, seg string) *refusal {
	name, key, has, r := cutKey(seg)
	if r != nil {
		return r
	}
	nav := p.t.nav(name)
	if nav == nil {
		return notFound(name)
	}
	p.parent, p.parentType, p.nav = p.row, p.t, nav
	p.path += "/" + name
	p.t = nav.target
	if !nav.many {
		if has && key != "" {
			return syntaxError(len(seg))
		}
		p.row = st.parent(nav, p.parent)
		return nil
	}
	p.many, p.rows, p.row = true, st.children(nav, p.parent.id), nil
	if key != "" {
		return s.pickOne(p, key)
	}
	return nil
}

// links takes the navigation after $links, with the key of one link perhaps.
func (s *Server) links(st *state, p *place, seg string) *refusal {
	name, key, _, r := cutKey(seg)
	if r != nil {
		return r
	}
	if r := s.navigate(st, p, name); r != nil {
		return r
	}
	p.tail = tailLinks
	if key != "" {
		id, ok := parseKey(key, s.cfg.Switches.Lenient)
		if !ok || !p.nav.many {
			return badRequest("Syntax error: the key literal '%s' is not of type Edm.Int64", key)
		}
		p.linkKey = &id
	}
	return nil
}

// pathBelow takes a URI in any of the three forms that clients write, absolute,
// from the root of the host, or from the service root, and returns the path
// below the service root and the query.
func (x *exchange) pathBelow(uri string) (path, query string, r *refusal) {
	bad := badRequest("The URI '%s' is not within this service", uri)
	uri, query, _ = strings.Cut(uri, "?")
	if scheme, rest, ok := strings.Cut(uri, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return "", "", bad
		}
		host, p, _ := strings.Cut(rest, "/")
		if hostName(host) != x.ns.host {
			return "", "", bad
		}
		uri = "/" + p
	}
	if !strings.HasPrefix(uri, "/") {
		return uri, query, nil
	}
	if len(uri) < len(managementPath) || !strings.EqualFold(uri[:len(managementPath)], managementPath) {
		return "", "", bad
	}
	rest := uri[len(managementPath):]
	if rest != "" && rest[0] != '/' {
		return "", "", bad
	}
	return rest, query, nil
}
