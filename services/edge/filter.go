package edge

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of a filter: what a person writes, with room.
const (
	maxFilterBytes = 1000
	maxFilterNodes = 40 // comparisons, ANDs, ORs and NOTs
)

// FilterFields are the fields over which a list may be filtered.
type FilterFields struct {
	Strings []string
	Bools   []string
	Maps    []string // of strings to strings, as labels are
	Enums   map[string]protoreflect.EnumType
}

// Filter is a filter that was read and checked. The nil Filter matches all.
type Filter struct {
	root   *expr.Expr
	fields FilterFields
}

// ParseFilter reads an AIP-160 filter over the fields. The empty text gives the
// nil Filter. The error is a [Problem].
func ParseFilter(text string, fields FilterFields) (*Filter, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxFilterBytes {
		return nil, badFilter(fmt.Sprintf("is longer than %d bytes", maxFilterBytes))
	}
	decls, err := fields.declarations()
	if err != nil {
		return nil, fmt.Errorf("declaring filter fields: %w", err)
	}
	f, err := filtering.ParseFilterString(text, decls)
	if err != nil {
		return nil, badFilter(shorten(err) + "; the fields are " + fields.names())
	}
	root := f.CheckedExpr.GetExpr()
	if why := unsupported(root); why != "" {
		return nil, badFilter(why)
	}
	return &Filter{root, fields}, nil
}

// unsupported says what a filter has that the type check lets through and
// [Filter.Match] does not know, or "".
func unsupported(root *expr.Expr) (why string) {
	nodes := 0
	filtering.Walk(func(e, _ *expr.Expr) bool {
		if c := e.GetConstExpr(); c != nil {
			switch c.GetConstantKind().(type) {
			case *expr.Constant_BoolValue, *expr.Constant_StringValue:
			default:
				why = "compares with a number; put texts into quotes"
			}
		}
		if c := e.GetCallExpr(); c != nil {
			nodes++
			if fn := c.GetFunction(); fn == filtering.FunctionTimestamp || fn == filtering.FunctionDuration {
				why = "has a function; no field is a " + fn
			}
		}
		if nodes > maxFilterNodes {
			why = fmt.Sprintf("has more than %d comparisons and operators", maxFilterNodes)
		}
		return why == ""
	}, root)
	return why
}

func badFilter(why string) error {
	return InvalidFor(pb.ErrorReason_ERROR_REASON_FILTER_INVALID, Violated("filter", "FORMAT", why))
}

// shorten returns the innermost message of the parser's error, which is ten
// lines long as it comes.
func shorten(err error) string {
	text := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if m, ok := e.(interface{ Message() string }); ok {
			text = m.Message()
		} else {
			text = e.Error()
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

func (f FilterFields) declarations() (*filtering.Declarations, error) {
	opts := []filtering.DeclarationOption{
		filtering.DeclareStandardFunctions(),
		filtering.DeclareIdent("true", filtering.TypeBool), filtering.DeclareIdent("false", filtering.TypeBool),
	}
	for _, n := range f.Strings {
		opts = append(opts, filtering.DeclareIdent(n, filtering.TypeString))
	}
	for _, n := range f.Bools {
		opts = append(opts, filtering.DeclareIdent(n, filtering.TypeBool))
	}
	for _, n := range f.Maps {
		opts = append(opts, filtering.DeclareIdent(n, filtering.TypeMap(filtering.TypeString, filtering.TypeString)))
	}
	for n, t := range f.Enums {
		opts = append(opts, filtering.DeclareEnumIdent(n, t))
	}
	return filtering.NewDeclarations(opts...)
}

func (f FilterFields) names() string {
	all := append(append(append([]string{}, f.Strings...), f.Bools...), f.Maps...)
	for n := range f.Enums {
		all = append(all, n)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (f FilterFields) has(name string) bool {
	_, enum := f.Enums[name]
	return enum || slices.Contains(f.Strings, name) || slices.Contains(f.Bools, name) || slices.Contains(f.Maps, name)
}

// Match reports whether the thing whose fields value returns is wanted. value
// returns a string, a bool or a map[string]string; of an enum the name of the
// value as it stands in the contract.
func (f *Filter) Match(value func(field string) any) bool {
	if f == nil {
		return true
	}
	got, _ := f.eval(f.root, value).(bool)
	return got
}

// eval returns the value of e. The checker has seen to it that types fit.
func (f *Filter) eval(e *expr.Expr, value func(string) any) any {
	switch {
	case e.GetConstExpr() != nil:
		c := e.GetConstExpr()
		if _, ok := c.GetConstantKind().(*expr.Constant_BoolValue); ok {
			return c.GetBoolValue()
		}
		return c.GetStringValue()
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
		m, _ := f.eval(s.GetOperand(), value).(map[string]string)
		return m[s.GetField()]
	case e.GetCallExpr() != nil:
		return f.call(e.GetCallExpr(), value)
	default:
		return nil
	}
}

func (f *Filter) call(c *expr.Expr_Call, value func(string) any) any {
	arg := func(i int) any { return f.eval(c.GetArgs()[i], value) }
	truth := func(i int) bool { b, _ := arg(i).(bool); return b }
	switch c.GetFunction() {
	case filtering.FunctionAnd:
		return truth(0) && truth(1)
	case filtering.FunctionOr:
		return truth(0) || truth(1)
	case filtering.FunctionNot:
		return !truth(0)
	case filtering.FunctionEquals:
		return arg(0) == arg(1)
	case filtering.FunctionNotEquals:
		return arg(0) != arg(1)
	case filtering.FunctionHas:
		return has(arg(0), arg(1))
	}
	a, _ := arg(0).(string)
	b, _ := arg(1).(string)
	switch c.GetFunction() {
	case filtering.FunctionLessThan:
		return a < b
	case filtering.FunctionLessEquals:
		return a <= b
	case filtering.FunctionGreaterThan:
		return a > b
	case filtering.FunctionGreaterEquals:
		return a >= b
	default:
		return false
	}
}

// has is the operator ":": a part of a text in any case, or a key of a map.
func has(in, what any) bool {
	key, _ := what.(string)
	switch in := in.(type) {
	case map[string]string:
		_, ok := in[key]
		return ok
	case string:
		return strings.Contains(strings.ToLower(in), strings.ToLower(key))
	default:
		return false
	}
}
