package edge_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// FuzzPosition reads any page token: it is refused as a problem with that field, or
// gives a position that a token of ours brings back, for these arguments alone.
func FuzzPosition(f *testing.F) {
	f.Add(edge.PageToken("p", "m", "a"), "m", "a")
	f.Add(edge.PageToken("rotations/../..", "m", "b"), "m", "a")
	for _, s := range []string{`{"p":"x","a":""}`, `{"P":"x"}`, "null", "[]", strings.Repeat("[", 150), `{"p":"` + "\x00" + `"}`, `{"p":1e999}`} {
		f.Add(s, "", "")
	}
	f.Add("====", "", "")
	f.Add(strings.Repeat("A", 150), "", "")
	f.Fuzz(func(t *testing.T, token, one, two string) {
		at, err := edge.Position(token, one, two)
		if err != nil {
			p := edge.ProblemOf(err)
			if p.Code != codes.InvalidArgument || p.Reason != pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID || at != "" || len(p.Message) > 400 {
				t.Errorf("Position(%q) = %q, %v, want a problem with page_token", token, at, err)
			}
			return
		}
		if token == "" || len(token) > 2048 { // One of ours that is so long has its texts cut.
			return
		}
		if len(at) > 8192 || at == "" {
			t.Errorf("Position(%q) = %q, want a short position", token, at)
		}
		again, err := edge.Position(edge.PageToken(at, one, two), one, two)
		if err != nil || again != at {
			t.Errorf("the token of %q brings back %q, %v", at, again, err)
		}
		if _, err := edge.Position(token, one, two+"x"); err == nil {
			t.Errorf("token %q is taken for other arguments", token)
		}
	})
}

// FuzzNames reads any text as a name of each sort: what is taken is the only spelling,
// and no part of it can lead out of its place.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", "rotations/0190F3A2-7C1E-7B44-9D0A-2F5C8E6B1A37", "rotations/{0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37}",
		"tenants/contoso", "tenants/../x", "tenants/-", "tenants/a\x00b", "certificates/" + strings.Repeat("a", 64), "blocks/sha256." + strings.Repeat("a", 64),
		"targetSets/x", "tenants/contoso/endpoints/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", "rotations/0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37/tasks/000000", "//", "",
		"rotations/urn:uuid:0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", "tenants/ko\u0301", "tenants/" + strings.Repeat("a", 150),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		check := func(ok bool, back string) {
			t.Helper()
			if ok && (back != name || strings.ContainsAny(name, "\x00\n\r \\") || strings.Contains(name, "..") || len(name) > 512) {
				t.Errorf("%q is taken as a name; written it is %q", name, back)
			}
		}
		id, ok := edge.ParseRotation(name)
		check(ok, edge.RotationName(id))
		id, ok = edge.ParseTenant(name)
		check(ok, edge.TenantName(id))
		id, ok = edge.ParseCertificate(name)
		check(ok, edge.CertificateName(id))
		id, ok = edge.ParseTargetSet(name)
		check(ok, edge.TargetSetName(id))
		block, ok := edge.ParseBlock(name)
		check(ok, edge.BlockName(block))
		of, id, ok := edge.ParseEndpoint(name)
		check(ok, edge.EndpointName(of, id))
		r, ord, ok := edge.ParseTask(name)
		check(ok, edge.TaskName(r, ord))
	})
}

// FuzzValidate reads any bytes as each request of the contract: what is wrong is told
// with its field, in words that are short, the same each time, and a request is left as
// it was.
func FuzzValidate(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.CreateRotationRequest{RequestId: "x", Rotation: &pb.Rotation{DisplayName: strings.Repeat("x", 100), Labels: map[string]string{"A": "b"}, Spec: &pb.RotationSpec{
			Identity: strings.Repeat("i", 200), Replaces: []string{"zz", ""}, Target: &pb.TargetSelector{Selection: &pb.TargetSelector_Filter{Filter: "((("}},
		}}},
		&pb.BlockCertificateRequest{Subject: &pb.BlockCertificateRequest_Sha1{Sha1: "zz"}, Reason: "a\x00b"},
		&pb.AddTargetsRequest{Name: "targetSets/x", FirstRow: -1, Targets: []string{"a", strings.Repeat("x", 150)}},
		&pb.UndoRotationRequest{Name: "rotations/x"}, &pb.ListRotationsRequest{PageSize: -1, PageToken: "x"},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x0a\x00\x12\x02\xff\xff"))
	all := requests(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		for _, typ := range all {
			m := typ.ProtoReflect().New().Interface()
			if proto.Unmarshal(data, m) != nil {
				continue
			}
			before := proto.Clone(m)
			wrong := edge.Validate(m)
			if !proto.Equal(before, m) {
				t.Fatalf("Validate changed a %s", typ.ProtoReflect().Descriptor().Name())
			}
			again := edge.Validate(m)
			if len(wrong) != len(again) {
				t.Errorf("Validate of a %s finds %d, then %d", typ.ProtoReflect().Descriptor().Name(), len(wrong), len(again))
			}
			size := 0
			for i, v := range wrong {
				size += proto.Size(v)
				if v.GetField() == "" || v.GetReason() == "" || v.GetDescription() == "" || len(v.GetDescription()) > 1000 {
					t.Errorf("Validate of a %s says %v, want field, reason and a short description", typ.ProtoReflect().Descriptor().Name(), v)
				}
				if i < len(again) && !proto.Equal(v, again[i]) {
					t.Errorf("Validate of a %s says %v, then %v", typ.ProtoReflect().Descriptor().Name(), v, again[i])
				}
			}
			if size > 64<<10+10*len(data) {
				t.Errorf("Validate of a %s of %d bytes says %d bytes", typ.ProtoReflect().Descriptor().Name(), len(data), size)
			}
		}
	})
}
