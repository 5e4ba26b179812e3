package bridge_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/services/bridge"
)

// Who announces a body and stops is answered when its time is over, whatever else is
// wrong with the request.
func TestServe_ABodyThatDoesNotComeIsAnswered(t *testing.T) {
	h := serve(t, func(c *bridge.Config) { c.BodyTimeout = 50 * time.Millisecond })
	for name, c := range map[string]struct {
		first, media string
		want         int
	}{
		"a call":              {"POST " + get, "application/json", http.StatusGatewayTimeout},
		"another media type":  {"POST " + get, "text/plain", http.StatusUnsupportedMediaType},
		"an unknown method":   {"POST /nothing", "application/json", http.StatusNotFound},
		"a GET with a body":   {"GET " + get, "application/json", http.StatusMethodNotAllowed},
		"a stream of answers": {"POST " + watch, "application/json", http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", c.first, conn.RemoteAddr(), c.media); err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("reading the answer: %v", err)
			}
			defer func() { _ = r.Body.Close() }()
			if r.StatusCode != c.want {
				t.Errorf("status = %d, want %d", r.StatusCode, c.want)
			}
		})
	}
}
