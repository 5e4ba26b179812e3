package webhooks_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

func TestSender_SignsWithBothKeysAndFollowsNothing(t *testing.T) {
	r := newReceiver(t)
	h := webhooks.Hook{Name: "portal", URL: "https://example.com/in", Secret: "env:OTHER", AlsoSecret: "env:KEY"}
	s := r.sender()
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err != nil {
		t.Errorf("Send = %v", err)
	}
	r.answers(func(int) int { return http.StatusTemporaryRedirect })
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("Send to one that leads elsewhere = %v, want an error with its status", err)
	}
	r.keys["env:OTHER"] = "hunter2"
	if err := s.Send(t.Context(), h, "msg_1", []byte(`{}`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Send with a key that is none = %v, want an error without it", err)
	}
	plain, err := outbound.New(outbound.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.keys["env:OTHER"] = r.keys["env:KEY"]
	_, port, _ := net.SplitHostPort(r.srv.Listener.Addr().String())
	inside := webhooks.Hook{Name: "inside", URL: fmt.Sprintf("https://127.0.0.1:%s/in", port), Secret: "env:KEY"}
	if err := (&webhooks.Sender{HTTP: plain, Secrets: r, Now: time.Now}).Send(t.Context(), inside, "msg_1", []byte(`{}`)); err == nil || strings.Contains(err.Error(), "127.0.0.1:"+port+"/in") {
		t.Errorf("Send into our own network = %v, want a refusal without the address", err)
	}
}

// The example of the Standard Webhooks specification.
func TestSign_IsStandard(t *testing.T) {
	key, err := webhooks.Key(secrets.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	if err != nil {
		t.Fatal(err)
	}
	got := webhooks.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestParse_SaysAllThatIsWrong(t *testing.T) {
	good := "url: https://example.com/in\nsecret: env:CROSSFADE_SECRET_HOOK\nevents: [rotation.ended]\nlabels: {env: prod}\n"
	if hooks, err := webhooks.Parse(map[string][]byte{"portal": []byte(good)}); err != nil || len(hooks) != 1 || hooks[0].Name != "portal" || hooks[0].Labels["env"] != "prod" {
		t.Errorf("Parse = %+v, %v", hooks, err)
	}
	for name, text := range map[string]string{
		"a plain address":      "url: http://example.com\nsecret: env:CROSSFADE_SECRET_HOOK\n",
		"a name in it":         "url: https://me:hunter2@example.com\nsecret: env:CROSSFADE_SECRET_HOOK\n",
		"the secret itself":    "url: https://example.com\nsecret: whsec_hunter2\n",
		"no secret":            "url: https://example.com\n",
		"the same secret":      "url: https://example.com\nsecret: env:A\nalso_secret: env:A\n",
		"an unknown field":     good + "retry: 3\n",
		"an event that is not": "url: https://example.com\nsecret: env:A\nevents: [rotation.exploded]\n",
	} {
		_, err := webhooks.Parse(map[string][]byte{"portal": []byte(text)})
		if err == nil || !strings.Contains(err.Error(), "webhooks.portal") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse of %s = %v, want an error that names the webhook and no secret", name, err)
		}
	}
	if _, err := webhooks.Parse(map[string][]byte{"Portal": []byte(good)}); err == nil {
		t.Error("Parse of an upper-case name = nil, want an error")
	}
	many := map[string][]byte{}
	for i := range webhooks.MaxHooks + 1 {
		many[fmt.Sprint("h", i)] = []byte(good)
	}
	if _, err := webhooks.Parse(many); err == nil {
		t.Errorf("Parse of %d webhooks = nil, want an error", len(many))
	}
}
