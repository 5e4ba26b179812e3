package filter

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// Verdict says whether a thing matches a filter. Unknown means that it depends on
// what is not known of the thing.
type Verdict int

// The verdicts.
const (
	No Verdict = iota
	Yes
	Unknown
)

// Missing is the value of a field that is not known. A comparison with it is
// neither true nor false, and neither is what depends on it.
type Missing struct{}

// Part is a list of which not all is known. What is in it is in the list; what is
// not may be all the same.
type Part []string

// Match reports whether the thing whose fields value returns is wanted. value
// returns a string, a bool, a map[string]string, an int, a time.Time, a []string or
// a [Part], as the field was declared, of an enum the name of the value as it stands
// in the contract, or [Missing]. What cannot be decided does not match.
func (f *Filter) Match(value func(field string) any) bool { return f.Judge(value) == Yes }

// Judge is [Filter.Match] for who must know what cannot be decided.
func (f *Filter) Judge(value func(field string) any) Verdict {
	if f == nil {
		return Yes
	}
	return truth(f.eval(f.root, value))
}

// truth is what a value says as a condition.
func truth(v any) Verdict {
	switch v := v.(type) {
	case bool:
		return verdict(v)
	case Missing:
		return Unknown
	default:
		return No
	}
}

func verdict(b bool) Verdict {
	if b {
		return Yes
	}
	return No
}

// of is the way back.
func of(v Verdict) any {
	if v == Unknown {
		return Missing{}
	}
	return v == Yes
}

// eval returns the value of e. The checker has seen to it that types fit.
func (f *Filter) eval(e *expr.Expr, value func(string) any) any {
	switch {
	case e.GetConstExpr() != nil:
		switch c := e.GetConstExpr().GetConstantKind().(type) {
		case *expr.Constant_BoolValue:
			return c.BoolValue
		case *expr.Constant_Int64Value:
			return c.Int64Value
		default:
			return e.GetConstExpr().GetStringValue()
		}
	case e.GetIdentExpr() != nil:
		switch name := e.GetIdentExpr().GetName(); {
		case f.fields.has(name):
			return value(name)
		case name == "true" || name == "false":
			return name == "true"
		default: // The name of an enum's value.
			return name
		}
	case e.GetSelectExpr() != nil:
		s := e.GetSelectExpr()
		in := f.eval(s.GetOperand(), value)
		if m, ok := in.(map[string]string); ok {
			return m[s.GetField()]
		}
		return Missing{}
	case e.GetCallExpr() != nil:
		return f.call(e.GetCallExpr(), value)
	default:
		return Missing{}
	}
}

// call returns the value of an operator or a function.
func (f *Filter) call(c *expr.Expr_Call, value func(string) any) any {
	arg := func(i int) any { return f.eval(c.GetArgs()[i], value) }
	switch c.GetFunction() {
	case filtering.FunctionAnd:
		a, b := truth(arg(0)), truth(arg(1))
		switch {
		case a == No || b == No:
			return false
		case a == Unknown || b == Unknown:
			return Missing{}
		}
		return true
	case filtering.FunctionOr:
		a, b := truth(arg(0)), truth(arg(1))
		switch {
		case a == Yes || b == Yes:
			return true
		case a == Unknown || b == Unknown:
			return Missing{}
		}
		return false
	case filtering.FunctionNot:
		if v := truth(arg(0)); v != Unknown {
			return v == No
		}
		return Missing{}
	case filtering.FunctionTimestamp:
		text, _ := arg(0).(string)
		t, err := instant(text)
		if err != nil {
			return Missing{}
		}
		return t
	case filtering.FunctionHas:
		return of(f.asks(c.GetArgs()[0], arg(0), arg(1)))
	default:
		return of(f.compares(c, arg(0), arg(1)))
	}
}

// asks is the operator ":": a part of a text in any case, a key of a map, or one of
// a list.
func (f *Filter) asks(field *expr.Expr, in, what any) Verdict {
	key, _ := what.(string)
	if normal := f.fields.Lists[field.GetIdentExpr().GetName()]; normal != nil {
		n, err := normal(key)
		if err != nil {
			return Unknown // Parse refuses such a filter.
		}
		key = n
	}
	switch in := in.(type) {
	case map[string]string:
		_, ok := in[key]
		return verdict(ok)
	case []string:
		return verdict(slices.Contains(in, key))
	case Part:
		if slices.Contains(in, key) {
			return Yes
		}
		return Unknown
	case string:
		return verdict(strings.Contains(strings.ToLower(in), strings.ToLower(key)))
	default:
		return Unknown
	}
}

// compares is =, !=, <, <=, > and >=.
func (f *Filter) compares(c *expr.Expr_Call, a, b any) Verdict {
	order, ok := 0, false
	if f.versions(c) {
		order, ok = compareVersions(a, b)
	} else {
		order, ok = compare(a, b)
	}
	if !ok {
		return Unknown
	}
	switch c.GetFunction() {
	case filtering.FunctionEquals:
		return verdict(order == 0)
	case filtering.FunctionNotEquals:
		return verdict(order != 0)
	case filtering.FunctionLessThan:
		return verdict(order < 0)
	case filtering.FunctionLessEquals:
		return verdict(order <= 0)
	case filtering.FunctionGreaterThan:
		return verdict(order > 0)
	case filtering.FunctionGreaterEquals:
		return verdict(order >= 0)
	default:
		return Unknown
	}
}

// versions reports whether a comparison is one of versions.
func (f *Filter) versions(c *expr.Expr_Call) bool {
	return slices.ContainsFunc(c.GetArgs(), func(e *expr.Expr) bool {
		return slices.Contains(f.fields.Versions, e.GetIdentExpr().GetName())
	})
}

// compare orders two values of one type, or an instant and a text. It reports false
// where one of them is not known.
func compare(a, b any) (order int, ok bool) {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return cmp.Compare(a, b), true
		}
	case bool:
		if b, ok := b.(bool); ok {
			if a == b {
				return 0, true
			}
			return 1, true
		}
	case int64:
		return compareInts(a, b)
	case int:
		return compareInts(int64(a), b)
	case time.Time:
		switch b := b.(type) {
		case time.Time:
			return a.Compare(b), true
		case string:
			t, err := instant(b)
			return a.Compare(t), err == nil
		}
	}
	return 0, false
}

func compareInts(a int64, b any) (order int, ok bool) {
	switch b := b.(type) {
	case int64:
		return cmp.Compare(a, b), true
	case int:
		return cmp.Compare(a, int64(b)), true
	default:
		return 0, false
	}
}

// compareVersions orders two versions number by number; a number that one of them
// lacks is 0.
func compareVersions(a, b any) (order int, ok bool) {
	left, _ := a.(string)
	right, _ := b.(string)
	x, ok1 := version(left)
	y, ok2 := version(right)
	if !ok1 || !ok2 {
		return 0, false
	}
	for i := range max(len(x), len(y)) {
		if order := cmp.Compare(at(x, i), at(y, i)); order != 0 {
			return order, true
		}
	}
	return 0, true
}

func at(ns []uint64, i int) uint64 {
	if i < len(ns) {
		return ns[i]
	}
	return 0
}

// version reads text such as "9.2.24011.00165".
func version(s string) ([]uint64, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 8 {
		return nil, false
	}
	out := make([]uint64, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// instant reads RFC 3339 text.
func instant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("has %q in place of an instant such as 2016-11-04T01:00:00Z", s)
	}
	return t, nil
}
