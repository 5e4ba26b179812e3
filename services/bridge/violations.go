package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/crossfade-project/crossfade/services/edge"
)

// violations says what is wrong with a request that could not be read, field by field
// and without a word of what stands in it.
func violations(body []byte, d protoreflect.MessageDescriptor) []*edge.Violation {
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		why := "is no JSON"
		var at *json.SyntaxError
		if errors.As(err, &at) {
			why = fmt.Sprintf("is no JSON from byte %d on", at.Offset)
		}
		return []*edge.Violation{edge.Violated("request", "FORMAT", why)}
	}
	f := finder{}
	f.object(whole, d, "")
	if len(f.found) == 0 { // A name that is there twice, or text that is no UTF-8.
		f.found = append(f.found, edge.Violated("request", "FORMAT", fmt.Sprintf("is not the JSON of %s: a name is there twice, or text is not UTF-8", d.FullName())))
	}
	return f.found
}

// finder collects what is wrong, up to [maxViolations].
type finder struct{ found []*edge.Violation }

func (f *finder) add(path, reason, why string) {
	if len(f.found) < maxViolations {
		f.found = append(f.found, edge.Violated(strings.TrimPrefix(path, "."), reason, why))
	}
}

// object looks at the fields of a message.
func (f *finder) object(b json.RawMessage, d protoreflect.MessageDescriptor, at string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		f.add(at+"."+atTop(at), "FORMAT", "want an object")
		return
	}
	seen := map[protoreflect.FieldNumber]bool{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fd := field(d, name)
		if fd == nil {
			f.add(at+"."+name, "UNKNOWN", fmt.Sprintf("there is no such field in %s", d.Name()))
			continue
		}
		path := at + "." + string(fd.Name())
		if seen[fd.Number()] {
			f.add(path, "CONFLICT", "is there more than once")
		}
		seen[fd.Number()] = true
		f.value(fields[name], fd, path)
	}
}

func atTop(at string) string {
	if at == "" {
		return "request"
	}
	return ""
}

// value looks at the value of one field.
func (f *finder) value(b json.RawMessage, fd protoreflect.FieldDescriptor, path string) {
	if bytes.Equal(b, []byte("null")) {
		return
	}
	single := map[string]json.RawMessage{fd.JSONName(): b}
	one, err := json.Marshal(single)
	if err == nil {
		err = protojson.Unmarshal(one, dynamicpb.NewMessage(fd.ContainingMessage()))
	}
	if err == nil {
		return
	}
	switch {
	case fd.IsList() && ours(fd):
		var list []json.RawMessage
		if json.Unmarshal(b, &list) != nil {
			f.add(path, "FORMAT", "want a list")
			return
		}
		for i, v := range list {
			f.object(v, fd.Message(), fmt.Sprintf("%s[%d]", path, i))
		}
	case !fd.IsMap() && ours(fd):
		f.object(b, fd.Message(), path)
	default:
		f.add(path, "FORMAT", "want "+shape(fd))
	}
}

// ours reports whether the field holds messages of the contract, which are objects in
// JSON; those of Google's own are text.
func ours(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && !fd.IsMap() && !strings.HasPrefix(string(fd.Message().FullName()), "google.protobuf.")
}

// shape says how a field is written in JSON.
func shape(fd protoreflect.FieldDescriptor) string {
	one := map[protoreflect.Kind]string{
		protoreflect.BoolKind: "true or false", protoreflect.StringKind: "text", protoreflect.BytesKind: "base64",
	}[fd.Kind()]
	switch {
	case fd.IsMap():
		return "an object with plain values"
	case fd.Kind() == protoreflect.EnumKind:
		vs := fd.Enum().Values()
		names := make([]string, vs.Len())
		for i := range vs.Len() {
			names[i] = string(vs.Get(i).Name())
		}
		one = "one of " + strings.Join(names, ", ")
	case fd.Message() != nil && fd.Message().Name() == "Timestamp":
		one = "a time such as 2016-11-04T01:00:00Z"
	case fd.Message() != nil && fd.Message().Name() == "Duration":
		one = `seconds such as "90s"`
	case fd.Message() != nil && fd.Message().Name() == "FieldMask":
		one = `fields as JSON names them, with commas between them, such as "labels,displayName"; not *`
	case one == "":
		one = "a number"
	}
	if fd.IsList() {
		return "a list, each " + one
	}
	return one
}
