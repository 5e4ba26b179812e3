package tenants

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxDepth bounds how deep a file may be nested; tenants need four levels.
const maxDepth = 16

func (c *collector) readYAML(data []byte) {
	file, err := parseYAML(data)
	if err != nil {
		c.fail(yamlError(err))
		return
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		c.fail(RowError{Problem: "the file is not one YAML document", Fix: "write one document with the key tenants"})
		return
	}
	root, err := yamlNode(file.Docs[0].Body, 0)
	if err != nil {
		c.fail(yamlError(err))
		return
	}
	if root.kind != mapNode || len(root.entries) != 1 || root.entries[0].key != "tenants" {
		c.fail(RowError{Row: root.line, Problem: "the file has another top level than the one key tenants", Fix: "write tenants: and a list below it"})
		return
	}
	list := root.entries[0].value
	if list.kind == nullNode {
		return
	}
	if list.kind != listNode {
		c.fail(RowError{Row: list.line, Field: "tenants", Problem: "is not a list", Fix: "begin each tenant with a hyphen"})
		return
	}
	for _, n := range list.items {
		c.tenant(n)
	}
}

// parseYAML is the parser with a panic of it turned into an error: the file is a
// stranger's.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, errYAML
		}
	}()
	return parser.ParseBytes(data, 0)
}

var errYAML = errors.New("the file is not YAML")

// lineError is an error of our own with its line.
type lineError struct {
	line         int
	problem, fix string
}

func (e *lineError) Error() string { return e.problem }

// yamlError tells a parser's error. Only its line is told: its text quotes the
// file, and what is quoted may be a secret.
func yamlError(err error) RowError {
	var own *lineError
	if errors.As(err, &own) {
		return RowError{Row: own.line, Problem: own.problem, Fix: own.fix}
	}
	e := RowError{Problem: "is not YAML", Fix: "check indentation, quotes, and that no key is there twice"}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		e.Row = at.GetToken().Position.Line
	}
	return e
}

// yamlNode turns the parser's tree into ours.
func yamlNode(n ast.Node, depth int) (node, error) {
	line := 0
	if t := n.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	if depth > maxDepth {
		return node{}, &lineError{line, "is nested too deep", "write it as the manual shows"}
	}
	switch n := n.(type) {
	case *ast.StringNode:
		return node{kind: textNode, line: line, text: n.Value}, nil
	case *ast.LiteralNode:
		return node{kind: textNode, line: line, text: strings.TrimRight(n.Value.Value, "\n")}, nil
	case *ast.BoolNode:
		return node{kind: boolNode, line: line, text: fmt.Sprint(n.Value)}, nil
	case *ast.NullNode:
		return node{kind: nullNode, line: line}, nil
	case *ast.SequenceNode:
		out := node{kind: listNode, line: line, items: make([]node, 0, len(n.Values))}
		for _, v := range n.Values {
			item, err := yamlNode(v, depth+1)
			if err != nil {
				return node{}, err
			}
			out.items = append(out.items, item)
		}
		return out, nil
	case *ast.MappingNode:
		return yamlMap(line, n.Values, depth)
	case *ast.MappingValueNode:
		return yamlMap(line, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return node{}, &lineError{line, "there is an anchor, an alias or a tag", "write every tenant out in full"}
	}
	return node{kind: otherNode, line: line}, nil
}

func yamlMap(line int, values []*ast.MappingValueNode, depth int) (node, error) {
	out := node{kind: mapNode, line: line, entries: make([]entry, 0, len(values))}
	for i, v := range values {
		key, err := yamlNode(v.Key, depth+1)
		if err != nil {
			return node{}, err
		}
		if key.kind != textNode {
			return node{}, &lineError{key.line, "there is a key that is not a name", "put it in quotes"}
		}
		value, err := yamlNode(v.Value, depth+1)
		if err != nil {
			return node{}, err
		}
		if i == 0 {
			out.line = key.line // The parser's is that of the first colon.
		}
		out.entries = append(out.entries, entry{key: key.text, line: key.line, value: value})
	}
	return out, nil
}
