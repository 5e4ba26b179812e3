package dataverse

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// query is what the system query options of a call say.
type query struct {
	selected  []string
	filter    func(value func(name string) any) bool
	order     []order
	top       int
	count     bool
	skipToken string
}

type order struct {
	name       string
	descending bool
}

// noProperty is how the Web API answers for a column that a version lacks.
func noProperty(name string) error {
	return fmt.Errorf("could not find a property named '%s' on type 'Microsoft.Dynamics.CRM.serviceendpoint'", name)
}

// parseQuery reads the query options that Dataverse knows and refuses others.
// Which columns there are depends on the version.
func parseQuery(raw string, v version) (query, error) {
	var q query
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fmt.Errorf("malformed query")
	}
	cols := known(v)
	for name, given := range values {
		if len(given) > 1 {
			return q, fmt.Errorf("query option '%s' was specified more than once", name)
		}
		if err := q.option(name, given[0], cols); err != nil {
			return q, err
		}
	}
	return q, nil
}

// option takes in one query option.
func (q *query) option(name, text string, cols map[string]column) (err error) {
	switch name {
	case "$select":
		for _, c := range strings.Split(text, ",") {
			c = strings.TrimSpace(c)
			if _, ok := cols[c]; !ok {
				return noProperty(c)
			}
			q.selected = append(q.selected, c)
		}
	case "$orderby":
		for _, part := range strings.Split(text, ",") {
			fields := strings.Fields(part)
			if len(fields) == 0 || len(fields) > 2 || len(fields) == 2 && fields[1] != "asc" && fields[1] != "desc" {
				return fmt.Errorf("syntax error in $orderby")
			}
			if _, ok := cols[fields[0]]; !ok {
				return noProperty(fields[0])
			}
			q.order = append(q.order, order{fields[0], len(fields) == 2 && fields[1] == "desc"})
		}
	case "$filter":
		q.filter, err = parseFilter(text, cols)
	case "$top":
		q.top, err = strconv.Atoi(text)
		if err != nil || q.top < 1 {
			return fmt.Errorf("invalid value '%s' for $top", text)
		}
	case "$count":
		q.count = text == "true"
	case "$skiptoken":
		q.skipToken = text
	case "$skip":
		return fmt.Errorf("skip clause is not supported in CRM")
	default:
		if strings.HasPrefix(name, "$") {
			return fmt.Errorf("the query parameter '%s' is not supported", name)
		}
	}
	return err
}

// compare orders two values of one column; null comes first.
func compare(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if x, ok := a.(int); ok {
		if y, ok := b.(int); ok {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}
