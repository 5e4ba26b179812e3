package daemon

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// binder puts a YAML file into a struct, by the names in its yaml tags. The
// library would do it too, but stops at the first problem.
type binder struct {
	problems []Problem
	told     map[string]bool // fields with a problem, which are not checked further
	lines    map[string]int  // where each field stands
	broken   bool            // the file is no YAML; nothing was read
}

func (r *binder) fail(line int, field, format string, args ...any) {
	if r.told == nil {
		r.told = map[string]bool{}
	}
	r.told[field] = true
	r.problems = append(r.problems, Problem{Line: line, Field: field, Text: fmt.Sprintf(format, args...)})
}

// read puts the file b into c. An empty file leaves c as it is.
func (r *binder) read(b []byte, c *Config) {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		r.broken = true
		line := 0
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			line = at.GetToken().Position.Line
		}
		// The parser's own text quotes the file.
		r.fail(line, "", "is not YAML: look at indentation and quotes, and whether a name is there twice")
		return
	}
	if len(file.Docs) > 1 {
		r.broken = true
		r.fail(0, "", "there are several YAML documents; write one")
		return
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return
	}
	r.structure(file.Docs[0].Body, "", reflect.ValueOf(c).Elem())
}

// pairs returns the entries of a mapping.
func (r *binder) pairs(n ast.Node, at string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
		return nil
	}
	r.fail(lineOf(n), at, "want names with values below it")
	return nil
}

// structure reads a mapping into a struct.
func (r *binder) structure(n ast.Node, at string, into reflect.Value) {
	fields := map[string]reflect.Value{}
	for i := range into.NumField() {
		fields[into.Type().Field(i).Tag.Get("yaml")] = into.Field(i)
	}
	for _, p := range r.pairs(n, at) {
		name := p.Key.GetToken().Value
		path := strings.TrimPrefix(at+"."+name, ".")
		r.lines[path] = lineOf(p.Key)
		field, ok := fields[name]
		if !ok {
			r.fail(lineOf(p.Key), path, "unknown field; there are %s", strings.Join(names(fields), ", "))
			continue
		}
		if field.Kind() == reflect.Struct {
			r.structure(p.Value, path, field)
			continue
		}
		r.leaf(p.Value, path, field.Addr().Interface())
	}
}

// leaf reads one value. A field without one keeps its default.
func (r *binder) leaf(n ast.Node, path string, into any) {
	switch into := into.(type) {
	case *map[string]string:
		*into = map[string]string{}
		for _, p := range r.pairs(n, path) {
			key, value := p.Key.GetToken().Value, ""
			r.lines[path+"."+key] = lineOf(p.Key)
			r.leaf(p.Value, path+"."+key, &value)
			(*into)[key] = value
		}
		return
	case *map[string][]byte:
		*into = map[string][]byte{}
		for _, p := range r.pairs(n, path) {
			(*into)[p.Key.GetToken().Value] = []byte(p.Value.String())
		}
		return
	}
	text, ok := scalar(n)
	if !ok {
		r.fail(lineOf(n), path, "want one value, without anchors, aliases and tags")
		return
	}
	if _, null := n.(*ast.NullNode); null {
		return
	}
	if want := set(into, text); want != "" {
		r.fail(lineOf(n), path, "want %s", want)
	}
}

// set reads text into one of the types that fields have. It returns what was
// wanted where text is something else.
func set(into any, text string) (want string) {
	var err error
	switch into := into.(type) {
	case *string:
		*into = text
	case *bool:
		*into = text == "true"
		if !*into && text != "false" {
			return "true or false"
		}
	case *int:
		if *into, err = strconv.Atoi(text); err != nil {
			return "a whole number"
		}
	case *float64:
		if *into, err = strconv.ParseFloat(text, 64); err != nil {
			return "a number"
		}
	case *time.Duration:
		if *into, err = time.ParseDuration(text); err != nil {
			return "a time with its unit, such as 30s or 5m"
		}
	case *Bytes:
		if err = into.UnmarshalText([]byte(text)); err != nil {
			return strings.TrimPrefix(err.Error(), "want ")
		}
	default:
		panic(fmt.Sprintf("a field of type %T", into)) // A test binds every field.
	}
	return ""
}

// scalar returns the text of a plain value.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func names(fields map[string]reflect.Value) []string {
	out := make([]string, 0, len(fields))
	for name := range fields {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
