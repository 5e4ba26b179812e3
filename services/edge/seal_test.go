package edge_test

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// listing runs a server that lists display names, in their order by default.
func listing(t *testing.T, key *edge.PageKey, names ...string) pb.RotationServiceClient {
	t.Helper()
	h := serve(t, func(c *edge.Config) { c.Pages = key })
	h.room.list = func(req *pb.ListRotationsRequest) (*pb.ListRotationsResponse, error) {
		value := func(name, _ string) any { return name }
		o, err := edge.ParseOrder(req.GetOrderBy(), "display_name", func(name string) string { return name }, value, "display_name", "a", "b", "c")
		if err != nil {
			return nil, err
		}
		page, token, err := edge.List(req, edge.Listing[string, *pb.Rotation]{
			Order: o, Value: value, Show: func(name string) *pb.Rotation { return &pb.Rotation{DisplayName: name} },
			Default: 1, Most: 10, Args: []string{"ListRotations"},
		}, edge.Each(names))
		return &pb.ListRotationsResponse{Rotations: page, NextPageToken: token}, err
	}
	return h.client
}

// A token says nothing to who holds it, holds at every server of the store, and is
// refused where it was changed or is of another build.
func TestPageKey_SealsTokens(t *testing.T) {
	bucket := tenantstest.NewBucket()
	names := []string{"of-others-1", "of-others-2", "of-others-3"}
	here, there := listing(t, edge.NewPageKey(bucket), names...), listing(t, edge.NewPageKey(bucket), names...)
	page, err := here.ListRotations(t.Context(), &pb.ListRotationsRequest{})
	token := page.GetNextPageToken()
	if err != nil || token == "" {
		t.Fatalf("the first page = %v, %v", page, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || strings.Contains(string(raw), "of-others") {
		t.Errorf("the token %q tells where the next page begins, or is no token: %v", token, err)
	}
	next, err := there.ListRotations(t.Context(), &pb.ListRotationsRequest{PageToken: token})
	if err != nil || next.GetRotations()[0].GetDisplayName() != "of-others-2" {
		t.Errorf("the second page, of another server = %v, %v", next, err)
	}
	raw[len(raw)-1] ^= 1
	old := base64.RawURLEncoding.EncodeToString([]byte(edge.PageToken(`["x","x"]`, "ListRotations", "", "")))
	for name, bad := range map[string]string{
		"changed": base64.RawURLEncoding.EncodeToString(raw), "of a build that sealed none": old, "rubbish": "!!", "short": "AAAA", "long": strings.Repeat("A", 20_000),
		"not sealed": edge.PageToken(`["x","x"]`, "ListRotations", "", ""),
	} {
		_, err := here.ListRotations(t.Context(), &pb.ListRotationsRequest{PageToken: bad})
		if checkInfo(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID"); err == nil {
			t.Errorf("a token that is %s was taken", name)
		}
	}
	_, err = listing(t, edge.NewPageKey(tenantstest.NewBucket()), names...).ListRotations(t.Context(), &pb.ListRotationsRequest{PageToken: token})
	checkInfo(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
}

// However odd the texts that a list is ordered by, no token is given out that is refused.
func TestPageKey_TakesWhatItGaveOut(t *testing.T) {
	for name, odd := range map[string]string{
		"markup": strings.Repeat("<&>", 60), "quotes": strings.Repeat(`"\`, 80), "control characters": strings.Repeat("\x01", 200), "separators": strings.Repeat("\u2028", 100),
	} {
		c := listing(t, nil, odd+"1", odd+"2")
		req := &pb.ListRotationsRequest{OrderBy: "display_name, a desc, b, c"}
		page, err := c.ListRotations(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		req.PageToken = page.GetNextPageToken()
		if page, err = c.ListRotations(t.Context(), req); err != nil || page.GetRotations()[0].GetDisplayName() != odd+"2" {
			t.Errorf("%s: the second page = %v, %v", name, page, err)
		}
	}
}

// Servers that need the key at once agree on one; without the store there is none, and
// that is no mistake of the caller's.
func TestPageKey_IsMadeOnce(t *testing.T) {
	bucket := tenantstest.NewBucket()
	var wg sync.WaitGroup
	clients := make([]pb.RotationServiceClient, 4)
	tokens := make([]string, len(clients))
	for i := range clients {
		clients[i] = listing(t, edge.NewPageKey(bucket), "a", "b")
	}
	for i, c := range clients {
		wg.Go(func() {
			page, err := c.ListRotations(t.Context(), &pb.ListRotationsRequest{})
			if err != nil {
				t.Error(err)
			}
			tokens[i] = page.GetNextPageToken()
		})
	}
	wg.Wait()
	for _, token := range tokens {
		for _, c := range clients {
			if _, err := c.ListRotations(t.Context(), &pb.ListRotationsRequest{PageToken: token}); err != nil {
				t.Errorf("a token of one server at another = %v", err)
			}
		}
	}
	away := tenantstest.NewBucket()
	away.Before = func(string, string) error { return rollover.ErrUnavailable }
	c := listing(t, edge.NewPageKey(away), "a", "b")
	if _, err := c.ListRotations(t.Context(), &pb.ListRotationsRequest{PageToken: tokens[0]}); status.Code(err) != codes.Unavailable {
		t.Errorf("without the store = %v, want UNAVAILABLE", err)
	}
	away.Before = func(string, string) error { return nil }
	if page, err := c.ListRotations(t.Context(), &pb.ListRotationsRequest{}); err != nil || page.GetNextPageToken() == "" {
		t.Errorf("with the store back = %v, %v", page, err)
	}
}
