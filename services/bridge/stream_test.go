package bridge_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/bridge"
)

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
	case <-ended: //nolint:errcheck // That it ended is what is waited for.
	case <-time.After(20 * time.Second):
		t.Fatal("the call goes on although nobody reads")
	}
}
