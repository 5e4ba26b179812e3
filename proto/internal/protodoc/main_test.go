package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// files is a small contract.
func files(t *testing.T) []*protogen.File {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a/v1/a.proto"), Package: proto.String("a.v1"), Syntax: proto.String("proto3"),
		Options: &descriptorpb.FileOptions{GoPackage: proto.String("example.com/a")},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Ask"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("name"), Number: proto.Int32(3), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
		}}}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("DeskService"), Method: []*descriptorpb.MethodDescriptorProto{{
			Name: proto.String("Clear"), InputType: proto.String(".a.v1.Ask"), OutputType: proto.String(".a.v1.Ask"), ServerStreaming: proto.Bool(true),
		}}}},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			{Path: []int32{4, 0, 2, 0}, Span: []int32{1, 1, 1}, LeadingComments: proto.String(" a|b <c>\n second line\n")},
		}},
	}
	p, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{FileToGenerate: []string{"a/v1/a.proto"}, ProtoFile: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Files
}

func TestWrite_TellsScopesTypesAndComments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scopes.go")
	table := `package edge
func scopes() map[string]map[string]rights.Scope {
	const read = rights.Read
	return map[string]map[string]rights.Scope{"DeskService": {"Clear": rights.Rotate, "List": read}}
}`
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	scopes, err := readScopes(path)
	if err != nil || scopes["DeskService/Clear"] != "rotate" || scopes["DeskService/List"] != "read" {
		t.Fatalf("readScopes = %v, %v", scopes, err)
	}
	var out strings.Builder
	if err := write(&out, files(t), scopes); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### DeskService.Clear\n\n[Ask](#ask) → stream of [Ask](#ask); scope `rotate`\n", "| `name` = 3 | list of string | a\\|b &lt;c&gt; second line |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page has no %q:\n%s", want, out.String())
		}
	}
}

func TestWrite_AMethodWithoutAScopeIsAnError(t *testing.T) {
	if err := write(&strings.Builder{}, files(t), map[string]string{"Other/Clear": "read"}); err == nil || !strings.Contains(err.Error(), "a.v1.DeskService.Clear") {
		t.Errorf("write = %v, want an error that names the method", err)
	}
	if _, err := readScopes("main.go"); err == nil {
		t.Error("readScopes of a file without a table = nil, want an error")
	}
}
