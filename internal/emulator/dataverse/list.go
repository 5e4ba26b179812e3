package dataverse

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/crossfade-project/crossfade/internal/emulator/fault"
)

// cookie is what $skiptoken holds. Clients must take it as opaque.
type cookie struct {
	Page int `json:"page"` // 1-based number of the page it leads to
	Size int `json:"size"` // rows a page
	Skip int `json:"skip"` // rows before it
}

// list answers GET serviceendpoints.
func (s *Server) list(c *call) {
	if !s.mayRead(c) {
		return
	}
	q, err := parseQuery(c.r.URL.RawQuery, c.path)
	if err != nil {
		fail(c.w, http.StatusBadRequest, "0x80060888", err.Error())
		return
	}
	size, preferred, err := s.pageSize(c.r.Header.Values("Prefer"))
	if err == nil && q.top > 0 && preferred {
		err = fmt.Errorf("the query option $top cannot go with the preference odata.maxpagesize")
	}
	at := cookie{Page: 1, Size: size}
	if err == nil && q.skipToken != "" {
		at, err = readCookie(q.skipToken, size)
	}
	if err != nil {
		fail(c.w, http.StatusBadRequest, "0x80060888", err.Error())
		return
	}
	rows := c.matching(q)
	body := map[string]any{"@odata.context": c.root() + "$metadata#serviceendpoints" + contextOf(q)}
	if q.count {
		body["@odata.count"] = len(rows)
	}
	if q.top > 0 && len(rows) > q.top {
		rows = rows[:q.top]
	}
	start := min(at.Skip, len(rows))
	end := min(start+at.Size, len(rows))
	value := make([]map[string]any, 0, end-start)
	for _, e := range rows[start:end] {
		value = append(value, e.render(c.path, q.selected))
	}
	body["value"] = value
	if end < len(rows) {
		body["@odata.nextLink"] = c.nextLink(cookie{Page: at.Page + 1, Size: at.Size, Skip: end})
	}
	if preferred {
		c.w.Header().Set("Preference-Applied", fmt.Sprintf("odata.maxpagesize=%d", size))
	}
	s.count(func(n *Counters) { n.Lists++ })
	give(c.w, http.StatusOK, body)
}

// matching returns the rows that pass the filter, ordered.
func (c *call) matching(q query) []*Endpoint {
	cols := known(c.path)
	rows := make([]*Endpoint, 0, len(c.org.rows))
	for i := range c.org.rows {
		e := &c.org.rows[i]
		if q.filter == nil || q.filter(func(name string) any { return cols[name].value(e) }) {
			rows = append(rows, e)
		}
	}
	slices.SortStableFunc(rows, func(a, b *Endpoint) int {
		for _, o := range q.order {
			n := compare(cols[o.name].value(a), cols[o.name].value(b))
			if o.descending {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	return rows
}

// contextOf is the selected columns as @odata.context shows them.
func contextOf(q query) string {
	if len(q.selected) == 0 {
		return ""
	}
	return "(" + strings.Join(q.selected, ",") + ")"
}

// nextLink is absolute and repeats the query with another $skiptoken. A Hostile
// rule makes it name another host.
func (c *call) nextLink(to cookie) string {
	raw, _ := json.Marshal(to) // Three integers always marshal.
	host := c.r.Host
	if c.rule.Kind == fault.Hostile {
		host = c.rule.Target
	}
	var kept []string
	for _, part := range strings.Split(c.r.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, _ := url.QueryUnescape(name); part != "" && plain != "$skiptoken" {
			kept = append(kept, part)
		}
	}
	kept = append(kept, "$skiptoken="+url.QueryEscape(base64.RawURLEncoding.EncodeToString(raw)))
	return "https://" + host + c.r.URL.Path + "?" + strings.Join(kept, "&")
}

// readCookie reads a $skiptoken and insists on the page size that it was made
// with: Dataverse wants the same Prefer header on every page.
func readCookie(token string, size int) (cookie, error) {
	var at cookie
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(raw, &at)
	}
	switch {
	case err != nil || at.Page < 2 || at.Size < 1 || at.Skip < 1:
		return at, fmt.Errorf("malformed $skiptoken")
	case at.Size != size:
		return at, fmt.Errorf("the preference odata.maxpagesize must be the same on every page")
	}
	return at, nil
}

// pageSize reads the preference odata.maxpagesize, bounded by what the server
// gives at most.
func (s *Server) pageSize(prefer []string) (size int, preferred bool, err error) {
	for _, header := range prefer {
		for _, p := range strings.Split(header, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(name, "odata.maxpagesize") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(value, `"`))
			if err != nil || n < 1 {
				return 0, false, fmt.Errorf("invalid preference odata.maxpagesize")
			}
			return min(n, s.maxPage), true, nil
		}
	}
	return s.maxPage, false, nil
}
