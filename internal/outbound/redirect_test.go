package outbound_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/crossfade-project/crossfade/internal/outbound"
)

// quiet returns a log for servers that are meant to be failed upon.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestNew_FollowsOneRedirectWithinAHost(t *testing.T) {
	var seen []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Host+r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("Cookie")+r.Referer())
		to := map[string]string{
			"/same": "/end", "/twice": "/same", "/away": "https://b.example.com/end", "/port": "https://example.com:444/end",
			"/plain": "http://example.com/end", "/user": "https://u:p@example.com/end",
		}[r.URL.Path]
		if to != "" {
			status := http.StatusFound
			if r.Method == http.MethodPost {
				status = http.StatusTemporaryRedirect
			}
			http.Redirect(w, r, to, status)
		}
	})
	c := client(t, s, nil)
	for _, k := range []struct {
		name, method, path string
		status             int
		want               []string // what the server saw after the first request
	}{
		{"within the host", http.MethodGet, "/same", 200, []string{"GET example.com/end "}},
		{"of a HEAD", http.MethodHead, "/same", 200, []string{"HEAD example.com/end "}},
		{"twice", http.MethodGet, "/twice", 302, []string{"GET example.com/same "}},
		{"to another host", http.MethodGet, "/away", 302, nil},
		{"to another port", http.MethodGet, "/port", 302, nil},
		{"to plain http", http.MethodGet, "/plain", 302, nil},
		{"with a user in it", http.MethodGet, "/user", 200, []string{"GET example.com/end "}},
		{"of a POST, whose body may hold a secret", http.MethodPost, "/same", 307, nil},
	} {
		t.Run(k.name, func(t *testing.T) {
			seen = nil
			req, err := http.NewRequestWithContext(t.Context(), k.method, "https://"+host+k.path, strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer token")
			req.Header.Set("Cookie", "a=b")
			status, _, err := do(c, req)
			if err != nil || status != k.status {
				t.Errorf("%s %s = %d, %v, want %d", k.method, k.path, status, err, k.status)
			}
			if first := k.method + " " + host + k.path + " Bearer tokena=b"; len(seen) == 0 || seen[0] != first {
				t.Fatalf("the server saw %q, want %q first", seen, first)
			}
			if got := strings.Join(seen[1:], "; "); got != strings.Join(k.want, "; ") {
				t.Errorf("after the redirect the server saw %q, want %q", seen[1:], k.want)
			}
		})
	}
}

func TestLimitBody_TellsTooMuchFromTheEnd(t *testing.T) {
	for _, k := range []struct {
		name, in string
		n        int64
		want     error
	}{
		{"shorter", "abc", 4, nil},
		{"just as long", "abcd", 4, nil},
		{"longer", "abcde", 4, outbound.ErrTooLarge},
		{"nothing allowed, nothing there", "", 0, nil},
		{"nothing allowed", "a", 0, outbound.ErrTooLarge},
		{"a negative bound", "a", -1, outbound.ErrTooLarge},
	} {
		for name, r := range map[string]io.Reader{
			"": strings.NewReader(k.in), "byte by byte": iotest.OneByteReader(strings.NewReader(k.in)), "end with the data": iotest.DataErrReader(strings.NewReader(k.in)),
		} {
			limited := outbound.LimitBody(r, k.n)
			got, err := io.ReadAll(limited)
			want := k.in[:min(len(k.in), int(max(k.n, 0)))]
			if !errors.Is(err, k.want) || (k.want == nil && err != nil) || string(got) != want {
				t.Errorf("%s %s: LimitBody(%q, %d) = %q, %v, want %q, %v", k.name, name, k.in, k.n, got, err, want, k.want)
			}
			if n, err := limited.Read(make([]byte, 8)); k.want != nil && (n != 0 || !errors.Is(err, k.want)) {
				t.Errorf("%s %s: reading on = %d, %v, want the error again", k.name, name, n, err)
			}
		}
	}
}
