package webhooks_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

// What follows is what docs/webhooks.md shows; a test holds the two together.

// verify returns nil if a message was signed with secret in the last five minutes.
func verify(secret string, h http.Header, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return errors.New("the secret is not base64")
	}
	seconds, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("too old, or from the future")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", h.Get("webhook-id"), seconds, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, got := range strings.Fields(h.Get("webhook-signature")) {
		if hmac.Equal([]byte(got), []byte(want)) {
			return nil
		}
	}
	return errors.New("no signature fits")
}

func TestDocs_WhatTheyVerifyWithIsRight(t *testing.T) {
	here, err := os.ReadFile("docs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(page), "```go\n")
	shown, _, ok := strings.Cut(shown, "```")
	if !ok || !strings.Contains(string(here), "\n"+shown) {
		t.Errorf("docs/webhooks.md shows other code than this file:\n%s", shown)
	}
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	key, err := webhooks.Key(secrets.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	now, body := time.Now(), []byte(`{}`)
	h := func(id string, at time.Time, signature string) http.Header {
		return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {fmt.Sprint(at.Unix())}, "Webhook-Signature": {signature}}
	}
	signed := webhooks.Sign(key, "msg_1", now, body)
	if err := verify(secret, h("msg_1", now, "v1,other "+signed), body, now); err != nil {
		t.Errorf("verify = %v", err)
	}
	for name, err := range map[string]error{
		"another id":   verify(secret, h("msg_2", now, signed), body, now),
		"another body": verify(secret, h("msg_1", now, signed), []byte(`{"a":1}`), now),
		"another time": verify(secret, h("msg_1", now.Add(time.Minute), signed), body, now),
		"a replay":     verify(secret, h("msg_1", now, signed), body, now.Add(6*time.Minute)),
		"another key":  verify("whsec_"+strings.Repeat("A", 32), h("msg_1", now, signed), body, now),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, kind := range webhooks.Types() {
		if !strings.Contains(string(page), "| `"+kind+"` |") {
			t.Errorf("docs/webhooks.md has no line for %s", kind)
		}
	}
}
