package bridge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/bridge"
	"github.com/crossfade-project/crossfade/services/edge"
)

const (
	page  = "https://portal.example"
	name  = "rotations/01a20592-57fa-739b-ba13-d91f1556de67"
	get   = "/crossfade.v1.RotationService/GetRotation"
	watch = "/crossfade.v1.RotationService/WatchRotation"
)

// room is a service of which tests say what it does.
type room struct {
	pb.UnimplementedRotationServiceServer
	get   func(context.Context, *pb.GetRotationRequest) (*pb.GetRotationResponse, error)
	watch func(*pb.WatchRotationRequest, grpc.ServerStreamingServer[pb.WatchRotationResponse]) error
}

func (r *room) GetRotation(ctx context.Context, req *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
	return r.get(ctx, req)
}

func (r *room) WatchRotation(req *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
	return r.watch(req, s)
}

// house is a gRPC server with a bridge before it.
type house struct {
	t    *testing.T
	room *room
	url  string
	stop func()
}

func serve(t *testing.T, adjust func(*bridge.Config)) *house {
	t.Helper()
	h := &house{t: t, room: &room{
		get: func(context.Context, *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
			return &pb.GetRotationResponse{}, nil
		},
	}}
	log := slog.New(slog.DiscardHandler)
	s := edge.NewServer(edge.Config{Log: log, Health: func(context.Context) error { return nil }})
	pb.RegisterRotationServiceServer(s, h.room)
	c := bridge.Config{Dial: s.Dial, Log: log, Origins: []string{page}}
	if adjust != nil {
		adjust(&c)
	}
	b, err := bridge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	native, web := listen(t), listen(t)
	h.url = "http://" + web.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Serve(ctx, native) }()
	go func() { done <- b.Serve(ctx, web) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			for range 2 {
				if err := <-done; err != nil {
					t.Errorf("Serve = %v, want nil after a stop", err)
				}
			}
		})
	}
	t.Cleanup(h.stop)
	return h
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// reply is an answer, which is closed at the end of the test.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

// do sends a request with headers, given as name and value in turn.
func (h *house) do(method, path, body string, headers ...string) reply {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	h.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = resp.Body.Close() })
	return reply{resp.StatusCode, resp.Header, resp.Body}
}

// problem is an error as a Connect client reads it.
type problem struct {
	Code, Message string
	Details       []struct {
		Type, Value string
		Debug       json.RawMessage
	}
}

func (h *house) problem(r reply) problem {
	h.t.Helper()
	var p problem
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		h.t.Fatalf("the body of a %d is no JSON: %v", r.StatusCode, err)
	}
	return p
}

// field returns the fields that an error names.
func (p problem) fields(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, d := range p.Details {
		b, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			t.Fatal(err)
		}
		var bad errdetails.BadRequest
		if d.Type == "google.rpc.BadRequest" {
			if err := proto.Unmarshal(b, &bad); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range bad.GetFieldViolations() {
			out = append(out, v.GetField())
		}
	}
	return out
}

func TestUnary_IsWhatAConnectClientExpects(t *testing.T) {
	h := serve(t, nil)
	var got metadata.MD
	var from net.Addr
	var left time.Duration
	h.room.get = func(ctx context.Context, req *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
		got, _ = metadata.FromIncomingContext(ctx)
		if p, ok := peer.FromContext(ctx); ok {
			from = p.Addr
		}
		end, _ := ctx.Deadline()
		left = time.Until(end)
		return &pb.GetRotationResponse{Rotation: &pb.Rotation{Name: req.GetName(), Counts: &pb.TaskCounts{Total: 7}}}, nil
	}
	r := h.do("POST", get, `{"name":"`+name+`"}`, "Connect-Protocol-Version", "1", "Connect-Timeout-Ms", "5000", "X-Request-Id", "mine-1",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Crossfade-Caller", "ann", "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4", "Authorization", "Bearer x")
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, type %q, %v", r.StatusCode, r.Header.Get("Content-Type"), err)
	}
	var answer struct {
		Rotation struct {
			Name   string
			Counts struct{ Total string }
		}
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Rotation.Name != name || answer.Rotation.Counts.Total != "7" {
		t.Errorf("the answer is %s (%v)", b, err)
	}
	for key, want := range map[string]string{
		"authorization": "Bearer x", "x-request-id": "mine-1", "crossfade-caller": "ann", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		if v := got.Get(key); len(v) != 1 || v[0] != want {
			t.Errorf("the call has %s %q, want %q", key, v, want)
		}
	}
	if len(got.Get("cookie"))+len(got.Get("x-forwarded-for")) > 0 {
		t.Errorf("the call took along %v", got)
	}
	if from == nil || !strings.HasPrefix(from.String(), "127.0.0.1:") {
		t.Errorf("the call comes from %v, want the browser's address", from)
	}
	if left <= 0 || left > 5*time.Second {
		t.Errorf("the call has %s left, want at most the 5 s that were asked for", left)
	}
	if r.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("the answer's id is %q", r.Header.Get("X-Request-Id"))
	}
}

func TestUnary_ErrorsHaveConnectsCodesAndDetails(t *testing.T) {
	h := serve(t, nil)
	for _, c := range []struct {
		err  error
		http int
		code string
	}{
		{rollover.ErrNotFound, 404, "not_found"}, {rollover.ErrConflict, 409, "aborted"}, {rollover.ErrUnavailable, 503, "unavailable"},
		{rollover.ErrStalePlan, 400, "failed_precondition"}, {rollover.ErrSecondPerson, 403, "permission_denied"}, {rollover.ErrFull, 429, "resource_exhausted"},
		{rollover.ErrExists, 409, "already_exists"}, {fmt.Errorf("our mistake with s3cret"), 500, "internal"},
	} {
		h.room.get = func(context.Context, *pb.GetRotationRequest) (*pb.GetRotationResponse, error) { return nil, c.err }
		r := h.do("POST", get, `{"name":"`+name+`"}`)
		p := h.problem(r)
		if r.StatusCode != c.http || p.Code != c.code {
			t.Errorf("%v: status %d, code %q, want %d, %q", c.err, r.StatusCode, p.Code, c.http, c.code)
		}
		if len(p.Details) == 0 || p.Details[0].Type != "google.rpc.ErrorInfo" || !bytes.Contains(p.Details[0].Debug, []byte(`"domain"`)) {
			t.Errorf("%v: details %v, want an ErrorInfo first", c.err, p.Details)
		}
		if strings.Contains(p.Message, "s3cret") {
			t.Errorf("a mistake of ours is told: %q", p.Message)
		}
		if c.code == "unavailable" && r.Header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After is %q, want 2", r.Header.Get("Retry-After"))
		}
	}
}

func TestUnary_BadRequestsNameTheField(t *testing.T) {
	h := serve(t, nil)
	const create = "/crossfade.v1.RotationService/CreateRotation"
	for _, c := range []struct{ what, path, body, field string }{
		{"an unknown field", get, `{"name":"` + name + `","colour":"red"}`, "colour"},
		{"an unknown field within others", create, `{"rotation":{"spec":{"kindd":"x"}}}`, "rotation.spec.kindd"},
		{"a wrong type", create, `{"rotation":{"spec":{"kind":7}}}`, "rotation.spec.kind"},
		{"a key that was sent by mistake", "/crossfade.v1.CertificateService/UploadCertificate", `{"content":"-----BEGIN PRIVATE KEY----- MIIEv"}`, "content"},
		{"all fields, for which JSON has no word", "/crossfade.v1.InventoryService/UpdateTenant", `{"updateMask":"*"}`, "update_mask"},
		{"no JSON", get, `{"name":`, "request"},
		{"a list", get, `[]`, "request"},
		{"a name that is there twice", get, `{"name":"a","name":"b"}`, "request"},
		{"a wrong value, as gRPC refuses it", get, `{"name":"nonsense"}`, "name"},
	} {
		r := h.do("POST", c.path, c.body)
		p := h.problem(r)
		if got := p.fields(t); r.StatusCode != 400 || p.Code != "invalid_argument" || len(got) != 1 || strings.TrimPrefix(got[0], ".") != c.field {
			t.Errorf("%s: status %d, %s, fields %q, want 400, invalid_argument, %q", c.what, r.StatusCode, p.Code, got, c.field)
		}
		if all := fmt.Sprint(p); strings.Contains(all, "PRIVATE") || strings.Contains(all, "MIIEv") {
			t.Errorf("%s: what was sent is told again: %s", c.what, all)
		}
	}
}

func TestServeHTTP_RefusesWhatIsNotOffered(t *testing.T) {
	h := serve(t, nil)
	large := `{"name":"` + strings.Repeat("x", 4<<20) + `"}`
	for _, c := range []struct {
		what, method, path, body string
		headers                  []string
		http                     int
		code                     string
	}{
		{"a call by GET", "GET", get, "", nil, 405, "unimplemented"},
		{"another verb", "DELETE", get, "", nil, 405, "unimplemented"},
		{"an unknown method", "POST", "/crossfade.v1.RotationService/Nothing", "{}", nil, 404, "unimplemented"},
		{"reflection", "POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "{}", nil, 404, "unimplemented"},
		{"a client stream", "POST", "/crossfade.v1.TargetSetService/UploadTargets", "{}", nil, 501, "unimplemented"},
		{"protobuf", "POST", get, "", []string{"Content-Type", "application/proto"}, 415, "invalid_argument"},
		{"a form, which pages may send anywhere", "POST", get, "{}", []string{"Content-Type", "text/plain"}, 415, "invalid_argument"},
		{"a Connect stream", "POST", watch, "{}", []string{"Content-Type", "application/connect+json"}, 415, "invalid_argument"},
		{"compression", "POST", get, "{}", []string{"Content-Encoding", "gzip"}, 501, "unimplemented"},
		{"another protocol", "POST", get, "{}", []string{"Connect-Protocol-Version", "2"}, 400, "invalid_argument"},
		{"no time-out", "POST", get, "{}", []string{"Connect-Timeout-Ms", "soon"}, 400, "invalid_argument"},
		{"a time-out of 11 digits", "POST", get, "{}", []string{"Connect-Timeout-Ms", "12345678901"}, 400, "invalid_argument"},
		{"a large request", "POST", get, large, nil, 413, "resource_exhausted"},
		{"a stream as a picture", "POST", watch, "{}", []string{"Accept", "image/png"}, 406, "invalid_argument"},
	} {
		r := h.do(c.method, c.path, c.body, c.headers...)
		if p := h.problem(r); r.StatusCode != c.http || p.Code != c.code {
			t.Errorf("%s: status %d, %q %q, want %d, %q", c.what, r.StatusCode, p.Code, p.Message, c.http, c.code)
		}
	}
	if p := h.problem(h.do("POST", get, large)); len(p.Details) == 0 || !bytes.Contains(p.Details[0].Debug, []byte("MESSAGE_TOO_LARGE")) {
		t.Errorf("a large request: details %v, want MESSAGE_TOO_LARGE", p.Details)
	}
	if r := h.do("POST", "/grpc.health.v1.Health/Check", ""); r.StatusCode != 200 {
		t.Errorf("asking for health gives %d", r.StatusCode)
	}
}

func TestUnary_TheTimeOutIsKept(t *testing.T) {
	h := serve(t, nil)
	h.room.get = func(ctx context.Context, _ *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := h.do("POST", get, `{"name":"`+name+`"}`, "Connect-Timeout-Ms", "20")
	if p := h.problem(r); r.StatusCode != 504 || p.Code != "deadline_exceeded" {
		t.Errorf("status %d, %q, want 504, deadline_exceeded", r.StatusCode, p.Code)
	}
}

func TestServe_OnlyPagesThatAreListedMayCall(t *testing.T) {
	h := serve(t, nil)
	called := false
	h.room.get = func(context.Context, *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
		called = true
		return &pb.GetRotationResponse{}, nil
	}
	for _, c := range []struct {
		what    string
		headers []string
		ok      bool
	}{
		{"no browser", nil, true},
		{"the portal", []string{"Origin", page}, true},
		{"another page", []string{"Origin", "https://evil.example"}, false},
		{"one that begins so", []string{"Origin", page + ".evil.example"}, false},
		{"the portal without TLS", []string{"Origin", "http://portal.example"}, false},
		{"a page without an origin", []string{"Origin", "null"}, false},
		{"a page that does not say which", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"a page whose DNS name leads here", []string{"Sec-Fetch-Site", "same-origin"}, false},
		{"its user", []string{"Sec-Fetch-Site", "none"}, true},
	} {
		called = false
		r := h.do("POST", get, `{"name":"`+name+`"}`, c.headers...)
		if (r.StatusCode == 200) != c.ok || called != c.ok || (!c.ok && r.StatusCode != 403) {
			t.Errorf("%s: status %d, called: %v", c.what, r.StatusCode, called)
		}
		want := ""
		if c.what == "the portal" {
			want = page
		}
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: may be read by %q, want %q", c.what, got, want)
		}
	}
	r := h.do("OPTIONS", get, "", "Origin", page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") != page || r.Header.Get("Access-Control-Allow-Methods") != "POST" ||
		!strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "authorization") || r.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("the preflight of the portal is answered by %d %v", r.StatusCode, r.Header)
	}
	r = h.do("OPTIONS", get, "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	if r.StatusCode != 403 || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the preflight of another page is answered by %d %v", r.StatusCode, r.Header)
	}
}

func TestNew_RefusesWhatIsNoOrigin(t *testing.T) {
	for _, o := range []string{"*", "portal.example", "https://portal.example/", "HTTPS://portal.example", "null", "ftp://a.example"} {
		if _, err := bridge.New(bridge.Config{Origins: []string{o}}); err == nil {
			t.Errorf("New with the origin %q = nil, want an error", o)
		}
	}
}

// What the door saw of a connection is what the call has, and nothing that a request
// says.
func TestDial_TheCallHasTheStateOfItsConnection(t *testing.T) {
	h := serve(t, nil)
	var state *tls.ConnectionState
	h.room.get = func(ctx context.Context, _ *pb.GetRotationRequest) (*pb.GetRotationResponse, error) {
		state = edge.TLSState(ctx)
		return &pb.GetRotationResponse{}, nil
	}
	if r := h.do("POST", get, `{"name":"`+name+`"}`, "X-Client-Cert", "x"); r.StatusCode != 200 || state != nil {
		t.Errorf("status %d, state %v, want none without TLS", r.StatusCode, state)
	}
}
