package tenants

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// maxLine bounds a line of a JSONL file, in bytes: a tenant with MaxNamespaces.
const maxLine = 8 << 20

func (c *collector) readJSONL(data []byte) {
	for line := 1; len(data) > 0; line++ {
		var text []byte
		text, data, _ = bytes.Cut(data, []byte("\n"))
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		if len(text) > maxLine {
			c.fail(RowError{Row: line, Problem: "the line is too long", Fix: "use fewer namespaces"})
			continue
		}
		n, err := jsonLine(text, line)
		if err != nil {
			c.fail(RowError{Row: line, Problem: "is not one JSON object", Fix: "write one tenant a line, and each key once"})
			continue
		}
		c.tenant(n)
	}
}

var errJSON = errors.New("not JSON as it is used here")

// jsonLine reads one value that fills the line.
func jsonLine(text []byte, line int) (node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	n, err := jsonNode(dec, line, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || n.kind != mapNode {
		return node{}, errJSON
	}
	return n, nil
}

// jsonNode reads the next value. It goes by tokens, since decoding into a struct
// overlooks repeated keys and upper case.
func jsonNode(dec *json.Decoder, line, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errJSON
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	switch v := tok.(type) {
	case string:
		return node{kind: textNode, line: line, text: v}, nil
	case bool:
		text := "false"
		if v {
			text = "true"
		}
		return node{kind: boolNode, line: line, text: text}, nil
	case nil:
		return node{kind: nullNode, line: line}, nil
	case json.Delim:
		return jsonContainer(dec, v, line, depth)
	}
	return node{kind: otherNode, line: line}, nil
}

// jsonContainer reads the rest of a list or map.
func jsonContainer(dec *json.Decoder, open json.Delim, line, depth int) (node, error) {
	out := node{kind: listNode, line: line}
	if open == '{' {
		out.kind = mapNode
	}
	for dec.More() {
		key := ""
		if out.kind == mapNode {
			tok, err := dec.Token()
			if err != nil {
				return node{}, err
			}
			key, _ = tok.(string) // The decoder lets nothing else stand there.
		}
		v, err := jsonNode(dec, line, depth+1)
		if err != nil {
			return node{}, err
		}
		if out.kind == mapNode {
			out.entries = append(out.entries, entry{key: key, line: line, value: v})
			continue
		}
		out.items = append(out.items, v)
	}
	_, err := dec.Token() // The closing bracket.
	return out, err
}
