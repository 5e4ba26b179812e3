// Package filter reads AIP-160 filters and evaluates them. It has one home because
// both doors need it: lists and selections of the API, and planning, which decides
// on an endpoint when it knows what it is like.
package filter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The bounds of a filter: what a person writes, with room.
const (
	MaxBytes = 1000
	MaxNodes = 20 // comparisons, ANDs, ORs and NOTs
)

// Fields are the fields that a filter may name.
type Fields struct {
	Strings []string
	Bools   []string
	Maps    []string // of strings to strings, as labels are
	Enums   map[string]protoreflect.EnumType
	// None are those of Enums whose zero value says that there is none, as of a task
	// without a reason. Of all others nothing has it, and asking for it is refused.
	None  []string
	Ints  []string
	Times []string // compared with RFC 3339 text or timestamp("…")
	// Versions are texts such as "9.2.24011.165", compared number by number.
	Versions []string
	// Lists are lists of texts, asked with ':' for one of them. The function makes
	// one spelling of what is asked for, or says what is wrong with it; nil takes
	// texts as they are.
	Lists map[string]func(string) (string, error)
}

// Error says what is wrong with a filter, in a sentence without its subject.
type Error struct{ Why string }

// Error returns what is wrong.
func (e *Error) Error() string { return "the filter " + e.Why }

// Filter is a filter that was read and checked. The nil Filter matches all.
type Filter struct {
	root   *expr.Expr
	fields Fields
}

// Parse reads a filter over the fields. The empty text gives the nil Filter. What is
// wrong with the text is an [*Error].
func Parse(text string, fields Fields) (*Filter, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxBytes {
		return nil, &Error{fmt.Sprintf("is longer than %d bytes", MaxBytes)}
	}
	decls, err := fields.declarations()
	if err != nil {
		return nil, fmt.Errorf("declaring filter fields: %w", err)
	}
	f, err := filtering.ParseFilterString(text, decls)
	if err != nil {
		return nil, &Error{shorten(err) + "; the fields are " + fields.names()}
	}
	root := f.CheckedExpr.GetExpr()
	if why := fields.unsupported(root); why != "" {
		return nil, &Error{why}
	}
	return &Filter{root, fields}, nil
}

// unsupported says what a filter has that the type check lets through and the
// evaluation does not know, or "".
func (f Fields) unsupported(root *expr.Expr) (why string) {
	nodes := 0
	filtering.Walk(func(e, _ *expr.Expr) bool {
		if why != "" { // To say false spares the children alone, not what stands beside.
			return false
		}
		if c := e.GetConstExpr(); c != nil {
			switch c.GetConstantKind().(type) {
			case *expr.Constant_BoolValue, *expr.Constant_StringValue:
			case *expr.Constant_Int64Value:
				if len(f.Ints) == 0 {
					why = "compares with a number; put texts into quotes"
				}
			default:
				why = "compares with a number that is not whole; put texts into quotes"
			}
		}
		if field := f.unset(e.GetIdentExpr().GetName()); field != "" {
			why = "asks " + field + " for " + e.GetIdentExpr().GetName() + ", which it never is"
		}
		if c := e.GetCallExpr(); c != nil {
			nodes++
			why = f.unsupportedCall(c)
		}
		if nodes > MaxNodes {
			why = fmt.Sprintf("has more than %d comparisons and operators", MaxNodes)
		}
		return why == ""
	}, root)
	return why
}

// unset returns the field whose zero value is named so although it never has it, or "".
func (f Fields) unset(value string) string {
	for _, field := range slices.Sorted(maps.Keys(f.Enums)) {
		zero := f.Enums[field].Descriptor().Values().ByNumber(0)
		if zero != nil && string(zero.Name()) == value && !slices.Contains(f.None, field) {
			return field
		}
	}
	return ""
}

// unsupportedCall is unsupported for one operator or function with its arguments.
func (f Fields) unsupportedCall(c *expr.Expr_Call) string {
	args := c.GetArgs()
	switch fn := c.GetFunction(); fn {
	case filtering.FunctionDuration:
		return "has a function; no field is a " + fn
	case filtering.FunctionTimestamp:
		if len(f.Times) == 0 {
			return "has a function; no field is a " + fn
		}
		if text, ok := literal(args[0]); !ok {
			return "has a timestamp of something that is not a text"
		} else if _, err := instant(text); err != nil {
			return err.Error()
		}
		return ""
	}
	if len(args) != 2 {
		return ""
	}
	for i := range args {
		name, text, other := args[i].GetIdentExpr().GetName(), "", false
		if text, other = literal(args[1-i]); name == "" {
			continue
		}
		if c.GetFunction() == filtering.FunctionHas && slices.Contains(f.Times, name) {
			return "asks an instant with ':'; compare it, as in " + name + ` < "2016-11-04T01:00:00Z"`
		}
		if _, list := f.Lists[name]; list && !other {
			return "asks the list " + name + " for something that is not a text in quotes"
		}
		if other {
			if why := f.wrongLiteral(c.GetFunction(), name, text); why != "" {
				return why
			}
		}
	}
	return ""
}

// wrongLiteral says what is wrong with a text that a field is compared with, or "".
func (f Fields) wrongLiteral(function, name, text string) string {
	normal, list := f.Lists[name]
	switch {
	case slices.Contains(f.Times, name):
		if _, err := instant(text); err != nil {
			return err.Error()
		}
	case slices.Contains(f.Versions, name) && function == filtering.FunctionHas:
		return "asks a version with ':'; compare it, as in " + name + ` >= "8.1"`
	case slices.Contains(f.Versions, name):
		if _, ok := version(text); !ok {
			return fmt.Sprintf("compares %s with %q, which is no version such as 9.2", name, text)
		}
	case list && normal != nil:
		if _, err := normal(text); err != nil {
			return fmt.Sprintf("asks %s for something that is %s", name, err)
		}
	}
	return ""
}

// literal returns the text that e is, if it is one.
func literal(e *expr.Expr) (string, bool) {
	s, ok := e.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue)
	if !ok {
		return "", false
	}
	return s.StringValue, true
}

// within is how the type check says that a mistake is inside of an operator.
const within = "check call expr: "

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
	text = strings.Join(strings.Fields(strings.Map(printable, strings.ToValidUTF8(text, "?"))), " ")
	// Each operator around the mistake puts this before it, so that of a filter of some
	// length nothing else would be left within the bound.
	for strings.HasPrefix(text, within) {
		text = text[len(within):]
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// printable replaces what a terminal would act upon: the parser repeats the filter.
func printable(r rune) rune {
	if unicode.IsControl(r) && !unicode.IsSpace(r) || unicode.Is(unicode.Bidi_Control, r) {
		return '?'
	}
	return r
}

func (f Fields) declarations() (*filtering.Declarations, error) {
	opts := []filtering.DeclarationOption{
		filtering.DeclareStandardFunctions(),
		filtering.DeclareIdent("true", filtering.TypeBool), filtering.DeclareIdent("false", filtering.TypeBool),
	}
	for _, sort := range []struct {
		names []string
		as    *expr.Type
	}{
		{f.Strings, filtering.TypeString},
		{f.Versions, filtering.TypeString},
		{f.Bools, filtering.TypeBool},
		{f.Maps, filtering.TypeMap(filtering.TypeString, filtering.TypeString)},
		{f.Ints, filtering.TypeInt},
		{f.Times, filtering.TypeTimestamp},
	} {
		for _, n := range sort.names {
			opts = append(opts, filtering.DeclareIdent(n, sort.as))
		}
	}
	for n := range f.Lists {
		opts = append(opts, filtering.DeclareIdent(n, filtering.TypeList(filtering.TypeString)))
	}
	for n, t := range f.Enums {
		opts = append(opts, filtering.DeclareEnumIdent(n, t))
	}
	return filtering.NewDeclarations(opts...)
}

func (f Fields) names() string {
	all := slices.Concat(f.Strings, f.Bools, f.Maps, f.Ints, f.Times, f.Versions)
	for n := range f.Enums {
		all = append(all, n)
	}
	for n := range f.Lists {
		all = append(all, n)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (f Fields) has(name string) bool {
	_, enum := f.Enums[name]
	_, list := f.Lists[name]
	return enum || list || slices.Contains(slices.Concat(f.Strings, f.Bools, f.Maps, f.Ints, f.Times, f.Versions), name)
}
