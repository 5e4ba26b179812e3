package identity_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crossfade-project/crossfade/internal/identity"
)

// An issuer that takes the call and never answers holds nobody up for long while there
// are keys that will do, and is asked once for all who wait.
func TestToken_WhileTheIssuerHangs(t *testing.T) {
	rs := rsaKey(t, "r1")
	p := newProvider(t, rs)
	c := &clock{at: noon}
	v := verifier(t, p, c.now)
	// Less than what one asking may take, and far more than what a call may wait.
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	token := func(n int) error {
		m := claims(p.URL)
		m["exp"], m["jti"] = noon.Add(5*time.Hour).Unix(), strconv.Itoa(n) // None is remembered from before.
		_, err := v.Token(ctx, sign(t, rs, jwt.SigningMethodRS256, m))
		return err
	}
	if err := token(0); err != nil {
		t.Fatal(err)
	}
	p.set(func() { // Every answer waits for the lock until the end.
		c.add(2 * time.Hour)
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				if err := token(n + 1); err != nil {
					t.Errorf("with keys of two hours, while the issuer hangs, Token = %v", err)
				}
			})
		}
		wg.Wait()
		for n := range 100 { // It is known by now that it hangs: nobody waits again.
			if err := token(n + 100); err != nil {
				t.Fatalf("while the issuer hangs Token = %v", err)
			}
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			v.Close()
		}()
		select {
		case <-closed:
		case <-ctx.Done():
			t.Error("Close waits for an issuer that hangs")
		}
	})
}

func TestNewVerifier_TwoOfOneName(t *testing.T) {
	one := identity.Issuer{Name: "corp", URL: "https://a.example", Audience: "crossfade"}
	two := one
	two.URL = "https://b.example"
	if _, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{one, two}}); err == nil || !strings.Contains(err.Error(), "corp") {
		t.Errorf("NewVerifier of two issuers of one name = %v, want that it is refused", err)
	}
}
