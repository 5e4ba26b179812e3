package dataverse

import (
	"fmt"
	"strconv"
	"strings"
)

// predicate decides on a row whose columns it can ask for.
type predicate = func(value func(name string) any) bool

// filterParser reads the part of the $filter language that lists of endpoints
// need: comparisons of a column with a literal, joined by and, or, not and
// parentheses.
type filterParser struct {
	tokens []string
	cols   map[string]column
	depth  int
}

// maxDepth bounds nested parentheses.
const maxDepth = 32

// parseFilter compiles text.
func parseFilter(text string, cols map[string]column) (predicate, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	p := &filterParser{tokens: tokens, cols: cols}
	match, err := p.or()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("syntax error in $filter at '%s'", p.tokens[0])
	}
	return match, err
}

// tokenize splits at blanks and parentheses, not inside of 'quoted text'.
func tokenize(text string) ([]string, error) {
	var out []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		n := 1
		switch text[0] {
		case '(', ')':
		case '\'':
			for {
				i := strings.IndexByte(text[n:], '\'')
				if i < 0 {
					return nil, fmt.Errorf("unterminated text in $filter")
				}
				n += i + 1
				if n >= len(text) || text[n] != '\'' {
					break
				}
				n++ // two quotes are one inside of the text
			}
		default:
			if n = strings.IndexAny(text, " ()"); n < 0 {
				n = len(text)
			}
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out, nil
}

// next takes the next token; empty at the end.
func (p *filterParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

// take takes the next token if it is want.
func (p *filterParser) take(want string) bool {
	if len(p.tokens) == 0 || p.tokens[0] != want {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *filterParser) or() (predicate, error) {
	left, err := p.and()
	for err == nil && p.take("or") {
		var right predicate
		if right, err = p.and(); err == nil {
			l := left
			left = func(v func(string) any) bool { return l(v) || right(v) }
		}
	}
	return left, err
}

func (p *filterParser) and() (predicate, error) {
	left, err := p.term()
	for err == nil && p.take("and") {
		var right predicate
		if right, err = p.term(); err == nil {
			l := left
			left = func(v func(string) any) bool { return l(v) && right(v) }
		}
	}
	return left, err
}

func (p *filterParser) term() (predicate, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("the $filter is nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.take("not") {
		inner, err := p.term()
		return func(v func(string) any) bool { return !inner(v) }, err
	}
	if p.take("(") {
		inner, err := p.or()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("missing ) in $filter")
		}
		return inner, err
	}
	return p.comparison()
}

func (p *filterParser) comparison() (predicate, error) {
	name, op, text := p.next(), p.next(), p.next()
	if _, ok := p.cols[name]; !ok {
		return nil, noProperty(name)
	}
	want, err := literal(text)
	if err != nil {
		return nil, err
	}
	test, ok := map[string]func(n int) bool{
		"eq": func(n int) bool { return n == 0 }, "ne": func(n int) bool { return n != 0 },
		"gt": func(n int) bool { return n > 0 }, "ge": func(n int) bool { return n >= 0 },
		"lt": func(n int) bool { return n < 0 }, "le": func(n int) bool { return n <= 0 },
	}[op]
	if !ok {
		return nil, fmt.Errorf("syntax error in $filter: unknown operator '%s'", op)
	}
	return func(v func(string) any) bool { return test(compare(v(name), want)) }, nil
}

// literal reads null, true, false, a number, a quoted text, a date or a GUID.
func literal(text string) (any, error) {
	switch text {
	case "":
		return nil, fmt.Errorf("syntax error in $filter: a value is missing")
	case "null":
		return nil, nil
	case "true", "false":
		return text == "true", nil
	}
	if text[0] == '\'' {
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), nil
	}
	if n, err := strconv.Atoi(text); err == nil {
		return n, nil
	}
	return text, nil
}
