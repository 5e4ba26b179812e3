package acs

import (
	"strings"
	"time"
)

// expr is a compiled expression over an entity.
type expr struct {
	kind edm
	eval func(st *state, r *row) any
	fold bool // a Name, which FoldNames compares without regard to case
}

// parser compiles $filter and $orderby over one type. It refuses at once what
// could never be right, such as comparing a string with a number.
type parser struct {
	t     *entityType
	toks  []lexeme
	pos   int
	depth int
	fold  bool
}

const maxDepth = 64

// compileFilter compiles a $filter over t.
func compileFilter(t *entityType, text string, fold bool) (func(*state, *row) bool, *refusal) {
	toks, r := lex(text)
	if r != nil {
		return nil, r
	}
	p := &parser{t: t, toks: toks, fold: fold}
	e, r := p.or()
	if r != nil {
		return nil, r
	}
	if p.peek().kind != lexEnd {
		return nil, syntaxError(p.peek().at)
	}
	if e.kind != edmBool && e.kind != edmNull {
		return nil, badRequest("The $filter expression must evaluate to a single boolean value")
	}
	return func(st *state, r *row) bool { b, _ := e.eval(st, r).(bool); return b }, nil
}

func (p *parser) peek() lexeme { return p.toks[p.pos] }

func (p *parser) next() lexeme {
	l := p.toks[p.pos]
	if l.kind != lexEnd {
		p.pos++
	}
	return l
}

func (p *parser) accept(kind lexKind, text string) bool {
	if l := p.peek(); l.kind == kind && l.text == text {
		p.pos++
		return true
	}
	return false
}

func (p *parser) or() (expr, *refusal) {
	return p.logical("or", p.and, func(a, b any) any {
		x, okX := a.(bool)
		y, okY := b.(bool)
		return okX && x || okY && y
	})
}

func (p *parser) and() (expr, *refusal) {
	return p.logical("and", p.comparison, func(a, b any) any {
		x, _ := a.(bool)
		y, _ := b.(bool)
		return x && y
	})
}

func (p *parser) logical(word string, operand func() (expr, *refusal), join func(a, b any) any) (expr, *refusal) {
	left, r := operand()
	if r != nil {
		return expr{}, r
	}
	for p.peek().kind == lexName && p.peek().text == word {
		at := p.next().at
		right, r := operand()
		if r != nil {
			return expr{}, r
		}
		if !boolean(left) || !boolean(right) {
			return expr{}, badRequest("Operator '%s' at position %d needs boolean operands", word, at)
		}
		a, b := left.eval, right.eval
		left = expr{kind: edmBool, eval: func(st *state, r *row) any { return join(a(st, r), b(st, r)) }}
	}
	return left, nil
}

func boolean(e expr) bool { return e.kind == edmBool || e.kind == edmNull }

func (p *parser) comparison() (expr, *refusal) {
	left, r := p.unary()
	if r != nil {
		return expr{}, r
	}
	for p.peek().kind == lexName {
		op := p.peek().text
		switch op {
		case "eq", "ne", "gt", "ge", "lt", "le":
		default:
			return left, nil
		}
		at := p.next().at
		right, r := p.unary()
		if r != nil {
			return expr{}, r
		}
		if !comparable2(left.kind, right.kind, op) {
			return expr{}, badRequest("Operator '%s' incompatible with operand types '%s' and '%s' at position %d", op, left.kind, right.kind, at)
		}
		left = relation(op, left, right, p.fold && (left.fold || right.fold))
	}
	return left, nil
}

func comparable2(a, b edm, op string) bool {
	if a == edmInt32 {
		a = edmInt64
	}
	if b == edmInt32 {
		b = edmInt64
	}
	if a == edmNull || b == edmNull {
		return true
	}
	if a != b {
		return false
	}
	return op == "eq" || op == "ne" || (a != edmBool && a != edmBinary)
}

func relation(op string, left, right expr, fold bool) expr {
	return expr{kind: edmBool, eval: func(st *state, r *row) any {
		a, b := left.eval(st, r), right.eval(st, r)
		if fold {
			a, b = lowered(a), lowered(b)
		}
		c, ok := compare(a, b)
		switch op {
		case "eq":
			return ok && c == 0
		case "ne":
			return !ok || c != 0
		}
		if !ok || a == nil || b == nil {
			return false
		}
		switch op {
		case "gt":
			return c > 0
		case "ge":
			return c >= 0
		case "lt":
			return c < 0
		}
		return c <= 0
	}}
}

func lowered(v any) any {
	if s, ok := v.(string); ok {
		return strings.ToLower(s)
	}
	return v
}

func (p *parser) unary() (expr, *refusal) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return expr{}, badRequest("The expression is nested too deeply")
	}
	if p.peek().kind == lexName && p.peek().text == "not" {
		at := p.next().at
		e, r := p.unary()
		if r != nil {
			return expr{}, r
		}
		if !boolean(e) {
			return expr{}, badRequest("Operator 'not' at position %d needs a boolean operand", at)
		}
		return expr{kind: edmBool, eval: func(st *state, r *row) any { b, _ := e.eval(st, r).(bool); return !b }}, nil
	}
	return p.primary()
}

func (p *parser) primary() (expr, *refusal) {
	l := p.next()
	switch {
	case l.kind == lexLiteral:
		v := l.val
		return expr{kind: l.edm, eval: func(*state, *row) any { return v }}, nil
	case l.kind == lexPunct && l.text == "(":
		e, r := p.or()
		if r != nil {
			return expr{}, r
		}
		if !p.accept(lexPunct, ")") {
			return expr{}, syntaxError(p.peek().at)
		}
		return e, nil
	case l.kind == lexName && p.peek().kind == lexPunct && p.peek().text == "(":
		return p.call(l)
	case l.kind == lexName:
		return p.member(l)
	}
	return expr{}, syntaxError(l.at)
}

// member compiles a property, or a path of navigations that ends in one.
func (p *parser) member(l lexeme) (expr, *refusal) {
	t := p.t
	var navs []*navigation
	for {
		if i, ok := t.byName[l.text]; ok {
			return expr{kind: t.props[i].kind, fold: l.text == "Name", eval: func(st *state, r *row) any {
				for _, n := range navs {
					if r = st.parent(n, r); r == nil {
						return nil
					}
				}
				return r.vals[i]
			}}, nil
		}
		n := t.nav(l.text)
		if n == nil {
			return expr{}, badRequest("No property '%s' exists in type '%s' at position %d", l.text, t.full(), l.at)
		}
		if n.many || !p.accept(lexPunct, "/") {
			return expr{}, badRequest("The property '%s' cannot be used in a query expression", l.text)
		}
		navs = append(navs, n)
		t = n.target
		if l = p.next(); l.kind != lexName {
			return expr{}, syntaxError(l.at)
		}
	}
}

// call compiles a function.
func (p *parser) call(l lexeme) (expr, *refusal) {
	p.next()
	var args []expr
	for !p.accept(lexPunct, ")") {
		if len(args) > 0 && !p.accept(lexPunct, ",") {
			return expr{}, syntaxError(p.peek().at)
		}
		e, r := p.or()
		if r != nil {
			return expr{}, r
		}
		args = append(args, e)
	}
	f, ok := functions()[l.text]
	if !ok {
		return expr{}, badRequest("Unknown function '%s' at position %d", l.text, l.at)
	}
	if len(args) < f.least || len(args) > len(f.args) {
		return expr{}, badRequest("No applicable function found for '%s' at position %d", l.text, l.at)
	}
	for i, a := range args {
		if k := a.kind; k != f.args[i] && k != edmNull && !(k == edmInt32 && f.args[i] == edmInt64) {
			return expr{}, badRequest("No applicable function found for '%s' at position %d", l.text, l.at)
		}
	}
	return expr{kind: f.result, eval: func(st *state, r *row) any {
		vals := make([]any, len(args))
		for i, a := range args {
			if vals[i] = a.eval(st, r); vals[i] == nil {
				return nil
			}
		}
		return f.do(vals)
	}}, nil
}

// function is one of the functions of OData 2.0. A null argument gives null.
type function struct {
	args   []edm
	least  int
	result edm
	do     func(v []any) any
}

func functions() map[string]function {
	s, n, d := edmString, edmInt64, edmDateTime
	text := func(v any) string { t, _ := v.(string); return t }
	part := func(f func(time.Time) int) function {
		return function{[]edm{d}, 1, n, func(v []any) any { t, _ := v[0].(time.Time); return int64(f(t)) }}
	}
	one := func(f func(string) string) function {
		return function{[]edm{s}, 1, s, func(v []any) any { return f(text(v[0])) }}
	}
	return map[string]function{
		"startswith":  {[]edm{s, s}, 2, edmBool, func(v []any) any { return strings.HasPrefix(text(v[0]), text(v[1])) }},
		"endswith":    {[]edm{s, s}, 2, edmBool, func(v []any) any { return strings.HasSuffix(text(v[0]), text(v[1])) }},
		"substringof": {[]edm{s, s}, 2, edmBool, func(v []any) any { return strings.Contains(text(v[1]), text(v[0])) }},
		"indexof":     {[]edm{s, s}, 2, n, func(v []any) any { return int64(strings.Index(text(v[0]), text(v[1]))) }},
		"length":      {[]edm{s}, 1, n, func(v []any) any { return int64(len(text(v[0]))) }},
		"concat":      {[]edm{s, s}, 2, s, func(v []any) any { return text(v[0]) + text(v[1]) }},
		"replace":     {[]edm{s, s, s}, 3, s, func(v []any) any { return strings.ReplaceAll(text(v[0]), text(v[1]), text(v[2])) }},
		"substring":   {[]edm{s, n, n}, 2, s, substring},
		"tolower":     one(strings.ToLower),
		"toupper":     one(strings.ToUpper),
		"trim":        one(strings.TrimSpace),
		"year":        part(time.Time.Year),
		"month":       part(func(t time.Time) int { return int(t.Month()) }),
		"day":         part(time.Time.Day),
		"hour":        part(time.Time.Hour),
		"minute":      part(time.Time.Minute),
		"second":      part(time.Time.Second),
	}
}

func substring(v []any) any {
	s, _ := v[0].(string)
	from := toInt(v[1])
	from = min(max(from, 0), int64(len(s)))
	s = s[from:]
	if len(v) == 3 {
		s = s[:min(max(toInt(v[2]), 0), int64(len(s)))]
	}
	return s
}

func toInt(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}
