package acs

import (
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// query is the query options of one request, compiled for its type.
type query struct {
	filter func(*state, *row) bool
	order  []order
	top    int // -1 without
	skip   int
	token  []any // the values of $skiptoken: those of order, then the Id
	count  bool
	expand *branch
	pick   *branch // of $select; nil is everything
	sent   []sentOption
	format string // the Accept that $format stands for, where Lenient takes it
}

type order struct {
	expr expr
	down bool
}

type sentOption struct{ name, raw string }

// feed is a page of results.
type feed struct {
	t     *entityType
	rows  []*row
	path  string // canonical
	next  string // the URL of the next page, or empty
	count int    // of $inlinecount, or -1
}

// splitQuery cuts a raw query at "&" and unescapes it. An option with a dollar
// sign may stand once.
func splitQuery(raw string) ([]sentOption, map[string]string, *refusal) {
	var sent []sentOption
	vals := make(map[string]string)
	for _, part := range strings.Split(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, nil, badRequest("The query string is not well formed")
		}
		n = strings.TrimSpace(n)
		if strings.HasPrefix(n, "$") {
			if _, twice := vals[n]; twice {
				return nil, nil, badRequest("The query option '%s' must be specified at most once", n)
			}
			vals[n] = v
		}
		sent = append(sent, sentOption{n, part})
	}
	return sent, vals, nil
}

// parseQuery compiles the options for a place. Options with a dollar sign that
// OData 2.0 did not know are refused, as are those that make no sense there.
func (s *Server) parseQuery(p *place, raw string) (*query, *refusal) {
	sent, vals, r := splitQuery(raw)
	if r != nil {
		return nil, r
	}
	q := &query{top: -1, sent: sent}
	for name, v := range vals {
		if r := s.option(p, q, name, v, vals); r != nil {
			return nil, r
		}
	}
	if v, ok := vals["$select"]; ok {
		if q.pick, r = compileSelect(p.t, v, q.expand); r != nil {
			return nil, r
		}
	}
	if len(q.order) == 0 && s.cfg.Switches.Shuffled {
		q.order = []order{{expr: expr{kind: edmInt64, eval: func(_ *state, r *row) any { return scatter(r.id) }}}}
	}
	if v, ok := vals["$skiptoken"]; ok {
		if q.token, r = parseToken(v, len(q.order)+1); r != nil {
			return nil, r
		}
	}
	return q, nil
}

// scatter makes an order of Ids that is fixed but not ascending.
func scatter(id int64) int64 {
	x := uint64(id) * 0x9e3779b97f4a7c15
	return int64(x >> 2)
}

func (s *Server) option(p *place, q *query, name, v string, all map[string]string) *refusal {
	feedOnly := func() *refusal {
		if !p.many {
			return badRequest("Query options $filter, $orderby, $inlinecount, $skip, $skiptoken and $top can be applied only on collections")
		}
		return nil
	}
	var r *refusal
	switch name {
	case "$filter":
		if r = feedOnly(); r == nil {
			q.filter, r = compileFilter(p.t, v, s.cfg.Switches.FoldNames)
		}
	case "$orderby":
		if r = feedOnly(); r == nil {
			q.order, r = compileOrder(p.t, v)
		}
	case "$top", "$skip":
		if r = feedOnly(); r != nil {
			return r
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
		if err != nil || n < 0 {
			return badRequest("Incorrect format for %s argument '%s'", name, v)
		}
		if name == "$top" {
			q.top = int(n)
		} else {
			q.skip = int(n)
		}
	case "$skiptoken":
		r = feedOnly()
	case "$inlinecount":
		if r = feedOnly(); r == nil {
			switch {
			case v != "allpages" && v != "none":
				r = badRequest("Unknown $inlinecount option, only 'allpages' and 'none' are supported")
			case v == "allpages" && p.tail == tailCount:
				r = badRequest("$inlinecount cannot be applied to the resource segment $count")
			}
			q.count = v == "allpages"
		}
	case "$expand":
		q.expand, r = compileExpand(p.t, v)
	case "$select":
		// Compiled when $expand is known.
	case "$format":
		if !s.cfg.Switches.Lenient {
			return badRequest("The query parameter '$format' begins with a system-reserved '$' character but is not recognized")
		}
		q.format = formatOf(v)
	default:
		r = badRequest("The query parameter '%s' begins with a system-reserved '$' character but is not recognized", name)
	}
	return r
}

// formatOf is the media type that a $format names, in short or in full.
func formatOf(v string) string {
	switch v {
	case "json", "verbosejson":
		return mimeJSON
	case "atom":
		return mimeAtom
	case "xml":
		return mimeXML
	}
	return v
}

func compileOrder(t *entityType, text string) ([]order, *refusal) {
	toks, r := lex(text)
	if r != nil {
		return nil, r
	}
	p := &parser{t: t, toks: toks}
	var out []order
	for {
		e, r := p.or()
		if r != nil {
			return nil, r
		}
		o := order{expr: e}
		if p.accept(lexName, "desc") {
			o.down = true
		} else {
			p.accept(lexName, "asc")
		}
		out = append(out, o)
		if p.peek().kind == lexEnd {
			return out, nil
		}
		if !p.accept(lexPunct, ",") {
			return nil, syntaxError(p.peek().at)
		}
	}
}

func parseToken(text string, n int) ([]any, *refusal) {
	toks, r := lex(text)
	if r != nil {
		return nil, r
	}
	var vals []any
	for i, l := range toks {
		if l.kind == lexEnd {
			break
		}
		if i%2 == 0 && l.kind == lexLiteral {
			vals = append(vals, l.val)
		} else if i%2 == 0 || l.text != "," {
			return nil, syntaxError(l.at)
		}
	}
	if len(vals) != n {
		return nil, badRequest("The $skiptoken does not fit the query")
	}
	if _, ok := vals[n-1].(int64); !ok {
		return nil, badRequest("The $skiptoken does not fit the query")
	}
	return vals, nil
}

// run gives the page of a feed that a query asks for.
func (x *exchange) run(st *state, p *place, q *query) feed {
	rows := p.rows
	if q.filter != nil {
		kept := make([]*row, 0, 4)
		for _, r := range rows {
			if q.filter(st, r) {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	f := feed{t: p.t, path: p.path, count: -1}
	if q.count {
		f.count = len(rows)
	}
	if len(q.order) > 0 {
		rows = append([]*row(nil), rows...)
		sort.SliceStable(rows, func(i, j int) bool { return q.less(st, q.values(st, rows[i]), q.values(st, rows[j])) })
	}
	if q.token != nil {
		rows = rows[sort.Search(len(rows), func(i int) bool { return q.less(st, q.token, q.values(st, rows[i])) }):]
	}
	rows = rows[min(q.skip, len(rows)):]
	left := -1
	if q.top >= 0 {
		rows = rows[:min(q.top, len(rows))]
		left = q.top - p.t.page
	}
	if len(rows) > p.t.page {
		rows = rows[:p.t.page]
		f.next = x.nextLink(p.path, q, q.values(st, rows[len(rows)-1]), left)
	}
	f.rows = rows
	return f
}

// values are what a row is ordered by: $orderby, then the Id.
func (q *query) values(st *state, r *row) []any {
	out := make([]any, 0, len(q.order)+1)
	for _, o := range q.order {
		out = append(out, o.expr.eval(st, r))
	}
	return append(out, r.id)
}

func (q *query) less(_ *state, a, b []any) bool {
	for i := range a {
		c, _ := compare(a[i], b[i])
		if c == 0 {
			continue
		}
		if i < len(q.order) && q.order[i].down {
			c = -c
		}
		return c < 0
	}
	return false
}

// matched counts what a query finds, for $count: $top and $skip do count.
func (q *query) matched(st *state, rows []*row) int {
	n := 0
	for _, r := range rows {
		if q.filter == nil || q.filter(st, r) {
			n++
		}
	}
	n = max(0, n-q.skip)
	if q.top >= 0 {
		n = min(n, q.top)
	}
	return n
}

func (x *exchange) nextLink(path string, q *query, last []any, left int) string {
	var b strings.Builder
	b.WriteString(x.serviceRoot() + path)
	sep := byte('?')
	add := func(raw string) {
		b.WriteByte(sep)
		b.WriteString(raw)
		sep = '&'
	}
	for _, o := range q.sent {
		switch o.name {
		case "$top":
			add("$top=" + strconv.Itoa(left))
		case "$skip", "$skiptoken":
		default:
			add(o.raw)
		}
	}
	add("$skiptoken=" + x.skipToken(last))
	return b.String()
}

func (x *exchange) skipToken(last []any) string {
	parts := make([]string, len(last))
	for i, v := range last {
		parts[i] = url.QueryEscape(x.s.formatLiteral(v))
	}
	// The Id alone stands bare, as in the service's own links.
	parts[len(parts)-1] = fmt.Sprint(last[len(last)-1])
	return strings.Join(parts, ",")
}

// inner is the feed of an expanded navigation, in pages of its own (D20).
func (x *exchange) inner(st *state, t *entityType, r *row, nav *navigation) feed {
	f := feed{t: nav.target, rows: st.children(nav, r.id), path: entityPath(t, r.id) + "/" + nav.name, count: -1}
	if n := nav.target.page; len(f.rows) > n && !x.s.cfg.Switches.WholeExpands {
		f.rows = f.rows[:n]
		f.next = x.serviceRoot() + f.path + "?$skiptoken=" + strconv.FormatInt(f.rows[n-1].id, 10)
	}
	return f
}
