package kit_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestCheck_NamesAllThatIsMissing(t *testing.T) {
	_, err := kit.Kit{}.Check()
	for _, want := range []string{"HTTP", "clock", "access"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check of an empty kit = %v, want %s named", err, want)
		}
	}
}

func TestCheck_SetsWhatDoesNothing(t *testing.T) {
	k, err := kit.Kit{
		HTTP: http.DefaultClient, Now: time.Now,
		Access: func(context.Context, string, string) (kit.Access, error) { return kit.Access{}, kit.ErrNoAccess },
	}.Check()
	if err != nil {
		t.Fatal(err)
	}
	k.Observe("h", "op", 200, 0)
	k.Log.Info("said to nobody")
	if err := k.Pace(t.Context(), "h"); err != nil {
		t.Errorf("Pace = %v, want no pace", err)
	}
	if tried, err := k.Try(t.Context(), rollover.Target{}, rollover.Credential{}); tried || err != nil {
		t.Errorf("Try = %v, %v, want not tried", tried, err)
	}
}

func TestDecode_IsStrictAndKeepsDefaults(t *testing.T) {
	type config struct {
		Wait time.Duration `yaml:"wait"`
		Most int           `yaml:"most"`
	}
	c := config{Wait: time.Second, Most: 3}
	if err := kit.Decode(nil, &c); err != nil || c.Most != 3 {
		t.Errorf("Decode of nothing = %+v, %v, want the defaults", c, err)
	}
	if err := kit.Decode([]byte("wait: 5s\n"), &c); err != nil || c.Wait != 5*time.Second || c.Most != 3 {
		t.Errorf("Decode = %+v, %v, want 5s beside the default", c, err)
	}
	if err := kit.Decode([]byte(`{"wait": "7s"}`), &c); err != nil || c.Wait != 7*time.Second {
		t.Errorf("Decode of JSON = %+v, %v, want 7s", c, err)
	}
	if err := kit.Decode([]byte("wiat: 5s\n"), &c); err == nil || !strings.Contains(err.Error(), "wiat") {
		t.Errorf("Decode of an unknown field = %v, want it named", err)
	}
}

func TestPacer_HoldsEachHostToItsRate(t *testing.T) {
	p := kit.NewPacer(0.001, 2) // A third call would wait for a thousand seconds.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 2 {
		for _, host := range []string{"a", "b"} {
			if err := p.Wait(ctx, host); err != nil {
				t.Errorf("call %d of %s = %v, want it let through", i, host, err)
			}
		}
	}
	if err := p.Wait(ctx, "a"); err == nil {
		t.Error("a third call of a at once = nil, want an error: its turn comes after the deadline")
	}
	if err := p.Wait(ctx, "c"); err != nil {
		t.Errorf("a call of c = %v, want it let through", err)
	}
}

func TestPacer_WithoutARateOnlyHeedsTheContext(t *testing.T) {
	p := kit.NewPacer(0, 0)
	for range 1000 {
		if err := p.Wait(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait after the end of its context = %v, want %v", err, context.Canceled)
	}
}
