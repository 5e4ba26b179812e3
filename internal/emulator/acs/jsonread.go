package acs

import (
	"bytes"
	"encoding/json"
)

// parseJSONEntry reads an entity in verbose JSON. datajs and others send it
// without the wrapper "d".
func parseJSONEntry(t *entityType, body []byte) (*payload, *refusal) {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return nil, badRequest("Error processing request stream. The JSON is not well formed")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("Error processing request stream. The request should be one entity")
	}
	return jsonPayload(t, m, 0)
}

func jsonPayload(t *entityType, m map[string]any, depth int) (*payload, *refusal) {
	if depth > 8 {
		return nil, badRequest("The entity is nested too deeply")
	}
	p := newPayload(t)
	for name, v := range m {
		if name == "__metadata" {
			if meta, ok := v.(map[string]any); ok {
				if typ, ok := meta["type"].(string); ok && typ != t.full() {
					return nil, badRequest("The type '%s' of the entity is not the one expected, '%s'", typ, t.full())
				}
			}
			continue
		}
		if nav := t.nav(name); nav != nil {
			if r := p.jsonNav(nav, v, depth); r != nil {
				return nil, r
			}
			continue
		}
		i, ok := t.byName[name]
		if !ok {
			return nil, unknownProperty(t, name)
		}
		val, ok := jsonProperty(t.props[i].kind, v)
		if !ok {
			return nil, badValue(t.props[i])
		}
		p.props[i] = val
	}
	return p, nil
}

// jsonNav reads what stands under a navigation: a link, deferred content, an
// entity or several.
func (p *payload) jsonNav(nav *navigation, v any, depth int) *refusal {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		for _, e := range v {
			if r := p.jsonNav(nav, e, depth); r != nil {
				return r
			}
		}
		return nil
	case map[string]any:
		if _, ok := v["__deferred"]; ok {
			return nil
		}
		if list, ok := v["results"].([]any); ok {
			return p.jsonNav(nav, list, depth)
		}
		if meta, ok := v["__metadata"].(map[string]any); ok && len(v) == 1 {
			if uri, ok := meta["uri"].(string); ok {
				p.links[nav.name] = append(p.links[nav.name], uri)
				return nil
			}
		}
		kid, r := jsonPayload(nav.target, v, depth+1)
		if r == nil {
			p.inline[nav.name] = append(p.inline[nav.name], kid)
		}
		return r
	}
	return badRequest("Error processing request stream. The value of '%s' is not valid", nav.name)
}

func jsonProperty(k edm, v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case bool:
		return v, k == edmBool
	case json.Number:
		if k != edmInt64 && k != edmInt32 {
			return nil, false
		}
		n, err := parseText(k, v.String())
		return n, err == nil
	case string:
		if k == edmDateTime {
			t, err := parseJSONDate(v)
			return t, err == nil
		}
		if k == edmBool || k == edmInt32 {
			return nil, false
		}
		x, err := parseText(k, v)
		return x, err == nil
	}
	return nil, false
}
