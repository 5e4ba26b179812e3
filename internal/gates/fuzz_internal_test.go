package gates

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// FuzzAnswer reads whatever a check answers: it is a pass only where the answer is one
// JSON object that says so in that very word, and what it says is short and can be
// stored.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"result":"pass","reason":"fine"}`, `{"result":"fail"}`, `{"RESULT":"pass"}`, `{"result":"pass","result":"fail"}`, `{"result":"fail","RESULT":"pass"}`, `{"result":"pass"}x`, `["pass"]`, `"pass"`,
		`{"result":"pass\u0000"}`, `{"result":"pass","reason":"` + strings.Repeat("\u202e", 150) + `"}`, "\xef\xbb\xbf{\"result\":\"pass\"}", `{"result":"pass","reason":"\ud800"}`, strings.Repeat(`{"a":`, 150), "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, why, err := readAnswer(body)
		if err != nil {
			if got != "" || why != "" || len(err.Error()) > 200 {
				t.Errorf("readAnswer(%q) = %q, %q, %v", body, got, why, err)
			}
			return
		}
		if (got != rollover.GatePass && got != rollover.GateFail && got != rollover.GateInconclusive) || (got == rollover.GatePass && !strings.Contains(string(body), "pass") && !strings.Contains(string(body), `\u`)) {
			t.Errorf("readAnswer(%q) = %q", body, got)
		}
		if n := strings.Count(strings.ToLower(string(body)), `"result"`); n > 1 && !strings.Contains(why, `"result"`) && got == rollover.GatePass && !strings.ContainsAny(string(body), `\`+"[") &&
			strings.Count(string(body), "{") == 1 && strings.Count(strings.ToLower(string(body)), `"result":`) > 1 {
			t.Errorf("readAnswer(%q) = %q, though it has several results", body, got)
		}
		if !utf8.ValidString(why) || len(why) > 3*len(body) {
			t.Errorf("readAnswer(%q) gives a reason of %d bytes", body, len(why))
		}
	})
}

// FuzzCheck reads any YAML as a check: what is taken is asked by https only, without a
// password in its address, in bounded time.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"url: https://h/\ntimeout: 5s\ntoken: env:CROSSFADE_SECRET_X\n", "url: https://u:p@h/", "url: http://h/", "url: https:///x", "timeout: -5s\nurl: https://h/", "url: &a https://h/\ntoken: *a\n",
		"a: &a [*a]", "url: https://h/\ntoken: hunter2", "url: https://h/\nurl: https://g/", "url: [x]", "\x00", strings.Repeat("[", 150), "url: https://[::1%25eth0]/",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := read(text)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("read(%q) = %v, want a short error", text, err)
			}
			return
		}
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Hostname() == "" || c.Timeout < time.Second || c.Timeout > MaxTimeout || (c.Token != "" && !c.Token.Valid()) {
			t.Errorf("read(%q) = %+v", text, c)
		}
	})
}
