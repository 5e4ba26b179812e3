package bridge_test

import (
	"bufio"
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
	"net/url"
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

// do sends a request with headers, given as name and value in turn.
func (h *house) do(method, path, body string, headers ...string) *http.Response {
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
	return resp
}

// problem is an error as a Connect client reads it.
type problem struct {
	Code, Message string
	Details       []struct {
		Type, Value string
		Debug       json.RawMessage
	}
}

func (h *house) problem(r *http.Response) problem {
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

// lines returns the next lines of a body, up to and with the first empty one.
func lines(t *testing.T, b *bufio.Reader) string {
	t.Helper()
	var out strings.Builder
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", out.String(), err)
		}
		out.WriteString(line)
		if line == "\n" {
			return out.String()
		}
	}
}

func TestStream_EventsHaveIdsAndAnEnd(t *testing.T) {
	h := serve(t, nil)
	next := make(chan string)
	h.room.watch = func(req *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		for c := range next {
			if err := s.Send(&pb.WatchRotationResponse{Cursor: c + "<" + req.GetCursor()}); err != nil {
				return err
			}
		}
		return nil
	}
	query := "?name=" + url.QueryEscape(name) + "&cursor=old&include_tasks=true"
	r := h.do("GET", watch+query, "", "Accept", "text/event-stream", "Last-Event-ID", "newer")
	b := bufio.NewReader(r.Body)
	if got := lines(t, b); got != "retry: 1000\n\n" || r.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("the stream begins with %q, type %q", got, r.Header.Get("Content-Type"))
	}
	for _, c := range []string{"a", "b"} {
		next <- c // The one before was flushed, or its reading below would never end.
		got := lines(t, b)
		if !strings.HasPrefix(got, "id: "+c+"<newer\ndata: {") || !strings.Contains(got, `"cursor":"`+c) && !strings.Contains(got, `"cursor": "`+c) {
			t.Errorf("the event is %q, want its cursor as id and the cursor of Last-Event-ID in the request", got)
		}
	}
	close(next)
	if got := lines(t, b); got != "event: end\ndata: {}\n\n" {
		t.Errorf("the stream ends with %q", got)
	}
	if rest, err := io.ReadAll(b); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestStream_TheWholeRequestMayBeAQuery(t *testing.T) {
	h := serve(t, nil)
	var got *pb.WatchRotationRequest
	h.room.watch = func(req *pb.WatchRotationRequest, _ grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		got = req
		return nil
	}
	r := h.do("GET", watch+"?message="+url.QueryEscape(`{"name":"`+name+`","includeTasks":true,"cursor":"c"}`), "")
	if _, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || got.GetName() != name || !got.GetIncludeTasks() || got.GetCursor() != "c" {
		t.Errorf("status %d, request %v, %v", r.StatusCode, got, err)
	}
	for query, want := range map[string]string{
		"?nam=x": "nam", "?name=x&name=y": "name", "?include_tasks=perhaps": "include_tasks", "?message={}&name=x": "message", "?access_token=t": "access_token",
	} {
		r := h.do("GET", watch+query, "")
		if fields := h.problem(r).fields(t); r.StatusCode != 400 || len(fields) != 1 || fields[0] != want {
			t.Errorf("%s: status %d, fields %q, want 400 and %q", query, r.StatusCode, fields, want)
		}
	}
}

func TestStream_LinesEndWithTheError(t *testing.T) {
	h := serve(t, nil)
	h.room.watch = func(_ *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		if err := s.Send(&pb.WatchRotationResponse{Cursor: "a"}); err != nil {
			return err
		}
		return rollover.ErrUnavailable
	}
	r := h.do("POST", watch, `{"name":"`+name+`"}`, "Accept", "application/x-ndjson")
	b, err := io.ReadAll(r.Body)
	got := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/x-ndjson" || len(got) != 2 {
		t.Fatalf("status %d, lines %q, %v", r.StatusCode, got, err)
	}
	var last struct{ Error problem }
	if err := json.Unmarshal([]byte(got[1]), &last); err != nil || last.Error.Code != "unavailable" || len(last.Error.Details) == 0 {
		t.Errorf("the last line is %s", got[1])
	}
}

func TestStream_RefusalsBeforeItBegins(t *testing.T) {
	h := serve(t, nil)
	for _, c := range []struct {
		err    error
		accept string
		http   int
	}{
		{rollover.ErrNotFound, "text/event-stream", 404}, {rollover.ErrNotFound, "application/x-ndjson", 404},
		{rollover.ErrUnavailable, "application/x-ndjson", 503},
		{rollover.ErrUnavailable, "text/event-stream", 200}, // An EventSource comes back after this alone.
	} {
		h.room.watch = func(*pb.WatchRotationRequest, grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
			return c.err
		}
		r := h.do("POST", watch, `{"name":"`+name+`"}`, "Accept", c.accept)
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != c.http {
			t.Errorf("%v as %s: status %d, %v, want %d", c.err, c.accept, r.StatusCode, err, c.http)
		}
		if c.http == 200 && (!strings.Contains(string(b), "event: error\ndata: {\"code\":\"unavailable\"") || !strings.HasPrefix(string(b), "retry: ")) {
			t.Errorf("%v as %s: %q", c.err, c.accept, b)
		}
	}
}

// A stream outlives the time that its request had to come in, and is kept alive by
// comments.
func TestStream_IsKeptAlive(t *testing.T) {
	h := serve(t, func(c *bridge.Config) {
		c.BodyTimeout, c.AliveEvery, c.OpenAfter = 50*time.Millisecond, 30*time.Millisecond, time.Millisecond
	})
	h.room.watch = func(_ *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		<-s.Context().Done()
		return s.Context().Err()
	}
	r := h.do("POST", watch, `{"name":"`+name+`"}`, "Accept", "text/event-stream")
	b := bufio.NewReader(r.Body)
	for i := range 6 {
		want := ": alive\n\n"
		if i == 0 {
			want = "retry: 1000\n\n"
		}
		if got := lines(t, b); got != want {
			t.Fatalf("block %d is %q, want %q", i, got, want)
		}
	}
}

// A stop ends streams at once, with a word on it, so that their readers come back
// elsewhere.
func TestServe_AStopEndsStreams(t *testing.T) {
	h := serve(t, nil)
	h.room.watch = func(_ *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		if err := s.Send(&pb.WatchRotationResponse{Cursor: "a"}); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	}
	r := h.do("POST", watch, `{"name":"`+name+`"}`, "Accept", "text/event-stream")
	b := bufio.NewReader(r.Body)
	_, _ = lines(t, b), lines(t, b)
	begun := time.Now()
	h.stop()
	if took := time.Since(begun); took > 1500*time.Millisecond {
		t.Errorf("the stop took %s", took)
	}
	if got := lines(t, b); !strings.HasPrefix(got, `event: error`+"\n"+`data: {"code":"unavailable"`) || !strings.Contains(got, "DRAINING") {
		t.Errorf("the stream ends with %q", got)
	}
}

// A reader that takes nothing is cut off, and with it the call.
func TestStream_AReaderThatTakesNothingIsCutOff(t *testing.T) {
	h := serve(t, func(c *bridge.Config) { c.WriteTimeout = 100 * time.Millisecond })
	ended := make(chan error, 1)
	large := strings.Repeat("x", 64<<10)
	h.room.watch = func(_ *pb.WatchRotationRequest, s grpc.ServerStreamingServer[pb.WatchRotationResponse]) error {
		for {
			if err := s.Send(&pb.WatchRotationResponse{Cursor: large}); err != nil {
				ended <- err
				return err
			}
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"name":"` + name + `"}`
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", watch, len(body), body)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the call goes on although nobody reads")
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
