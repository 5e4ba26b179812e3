package gates_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/gates"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

func TestAsk_NothingButAPassIsOne(t *testing.T) {
	t.Setenv("CROSSFADE_SECRET_GATE", "s3cret-token")
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   rollover.GateResult
	}{
		{"pass", 200, `{"result":"pass","reason":"fine"}`, rollover.GatePass},
		{"fail", 200, `{"result":"fail"}`, rollover.GateFail},
		{"inconclusive", 200, `{"result":"inconclusive"}`, rollover.GateInconclusive},
		{"not 200", 503, `{"result":"pass"}`, rollover.GateInconclusive},
		{"created", 201, `{"result":"pass"}`, rollover.GateInconclusive},
		{"a redirect", 302, `{"result":"pass"}`, rollover.GateInconclusive},
		{"no JSON", 200, `pass`, rollover.GateInconclusive},
		{"empty", 200, ``, rollover.GateInconclusive},
		{"no result", 200, `{}`, rollover.GateInconclusive},
		{"another word", 200, `{"result":"PASS"}`, rollover.GateInconclusive},
		{"another type", 200, `{"result":true}`, rollover.GateInconclusive},
		{"two results", 200, `{"result":"fail","result":"pass"}`, rollover.GateInconclusive},
		{"two results in two cases", 200, `{"result":"fail","RESULT":"pass"}`, rollover.GateInconclusive},
		{"two documents", 200, `{"result":"pass"}{"result":"fail"}`, rollover.GateInconclusive},
		{"too long", 200, `{"result":"pass","reason":"` + strings.Repeat("x", 65<<10) + `"}`, rollover.GateInconclusive},
	} {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer s3cret-token" {
				t.Errorf("%s: %s with %d bytes of authorization", c.name, r.Method, len(r.Header.Get("Authorization")))
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		set, err := gates.Open(gates.Config{
			Checks: map[string][]byte{"health": []byte("url: " + srv.URL + "/?key=hidden\ntimeout: 5s\ntoken: env:CROSSFADE_SECRET_GATE\n")},
			HTTP:   srv.Client(), Secrets: secrets.New(secrets.Config{}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, why := set.Ask(t.Context(), "health", rollover.GateQuestion{}); got != c.want {
			t.Errorf("%s: Ask = %q, %q, want %q", c.name, got, why, c.want)
		}
		if got, why := set.Ask(t.Context(), "gone", rollover.GateQuestion{}); got != rollover.GateInconclusive || why == "" {
			t.Errorf("Ask of a check that is not there = %q, %q", got, why)
		}
		srv.Close()
		if got, why := set.Ask(t.Context(), "health", rollover.GateQuestion{}); got != rollover.GateInconclusive || strings.Contains(why, "hidden") {
			t.Errorf("Ask of a server that is gone = %q, %q", got, why)
		}
	}
}

func TestOpen_RefusesWhatItCannotMean(t *testing.T) {
	for name, text := range map[string]string{
		"plain": "url: http://x.example/", "user": "url: https://a:b@x.example/", "none": "timeout: 5s",
		"long": "url: https://x.example/\ntimeout: 61s", "token": "url: https://x.example/\ntoken: abc",
		"unknown": "url: https://x.example/\nretries: 3", "Name": "url: https://x.example/",
	} {
		if _, err := gates.Open(gates.Config{Checks: map[string][]byte{name: []byte(text)}}); err == nil {
			t.Errorf("Open took %q: %s", name, text)
		}
	}
}
