package edge_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

const (
	id  = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func TestParse_TakesOnlyTheOneSpelling(t *testing.T) {
	is := map[string]func(string) bool{
		"rotation":    func(s string) bool { _, ok := edge.ParseRotation(s); return ok },
		"task":        func(s string) bool { _, _, ok := edge.ParseTask(s); return ok },
		"tenant":      func(s string) bool { _, ok := edge.ParseTenant(s); return ok },
		"certificate": func(s string) bool { _, ok := edge.ParseCertificate(s); return ok },
	}
	for name, want := range map[string]string{
		"rotations/" + id:                              "rotation",
		"rotations/" + strings.ToUpper(id):             "",
		"rotations/{" + id + "}":                       "",
		"rotations/" + strings.ReplaceAll(id, "-", ""): "",
		"rotations/" + id + "/":                        "",
		"rotations/":                                   "",
		"rotations/" + id + "/tasks/000123":            "task",
		"rotations/" + id + "/tasks/1000000":           "task",
		"rotations/" + id + "/tasks/123":               "",
		"rotations/" + id + "/tasks/0001234":           "",
		"rotations/" + id + "/tasks/-00123":            "",
		"rotations/" + id + "/tasks/+00123":            "",
		"rotations/" + id + "/tasks/":                  "",
		"tenants/contoso":                              "tenant",
		"tenants/-":                                    "",
		"tenants/Contoso":                              "",
		"tenants/a/endpoints/b":                        "",
		"tenants/..":                                   "",
		"certificates/" + sha:                          "certificate",
		"certificates/" + strings.ToUpper(sha):         "",
		"certificates/" + sha[1:]:                      "",
		"":                                             "",
	} {
		for kind, parse := range is {
			if got := parse(name); got != (kind == want) {
				t.Errorf("%q is a %s: %v, want %v", name, kind, got, kind == want)
			}
		}
	}
}

func FuzzParseTask(f *testing.F) {
	f.Add("rotations/" + id + "/tasks/000123")
	f.Fuzz(func(t *testing.T, name string) {
		if r, ord, ok := edge.ParseTask(name); ok && edge.TaskName(r, ord) != name {
			t.Errorf("TaskName(ParseTask(%q)) = %q", name, edge.TaskName(r, ord))
		}
	})
}

func TestPosition_IsBoundToItsArguments(t *testing.T) {
	token := edge.PageToken("here", "ListThings", "a = 1")
	if got, err := edge.Position(token, "ListThings", "a = 1"); err != nil || got != "here" {
		t.Errorf("Position(own token) = %q, %v, want here", got, err)
	}
	if got, err := edge.Position("", "ListThings"); err != nil || got != "" {
		t.Errorf("Position(no token) = %q, %v, want the beginning", got, err)
	}
	for name, c := range map[string][]string{
		"another filter": {token, "ListThings", "a = 2"},
		"another method": {token, "ListOthers", "a = 1"},
		"rubbish":        {"!!", "ListThings", "a = 1"},
		"too long":       {`{"p":"` + strings.Repeat("A", 9000) + `"}`, "ListThings", "a = 1"},
	} {
		_, err := edge.Position(c[0], c[1:]...)
		if p := edge.ProblemOf(err); err == nil || p.Code != codes.InvalidArgument || p.Reason != pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID {
			t.Errorf("%s: Position = %v, want a problem with the token", name, err)
		}
	}
}
