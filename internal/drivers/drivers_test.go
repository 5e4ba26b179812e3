package drivers_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
)

func newKit() kit.Kit {
	return kit.Kit{
		HTTP: http.DefaultClient, Now: time.Now,
		Access: func(context.Context, string, string) (kit.Access, error) { return kit.Access{}, kit.ErrNoAccess },
	}
}

func TestOpen_GivesEveryKind(t *testing.T) {
	s, err := drivers.Open(nil, newKit())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Kinds(), []string{"acs-x509"}) || !slices.Equal(s.Kinds(), drivers.Kinds()) {
		t.Errorf("Kinds = %v, want acs-x509", s.Kinds())
	}
	if d, err := s.Driver("acs-x509"); err != nil || d == nil {
		t.Errorf("Driver = %v, %v", d, err)
	}
	if _, err := s.Driver("carrier-pigeon"); !errors.Is(err, drivers.ErrUnknownKind) || !strings.Contains(err.Error(), "acs-x509") {
		t.Errorf("Driver of an unknown kind = %v, want the known ones named", err)
	}
}

func TestOpen_ReportsAllProblemsTogether(t *testing.T) {
	_, err := drivers.Open(map[string][]byte{
		"carrier-pigeon": []byte("speed: 1"),
		"acs-x509":       []byte("max_pages: 0\nrequest_timeout: 1h\nhost_suffixes: [\"Example.com\"]\nmax_tokens: 0\naccount: \"\"\n"),
	}, newKit())
	for _, want := range []string{"carrier-pigeon", "max_pages", "request_timeout", "Example.com", "max_tokens", "account"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want %s named", err, want)
		}
	}
	if _, err := drivers.Open(map[string][]byte{"acs-x509": []byte("max_page: 3")}, newKit()); err == nil || !strings.Contains(err.Error(), "max_page") {
		t.Errorf("Open with an unknown field = %v, want it named", err)
	}
	if _, err := drivers.Open(nil, kit.Kit{}); err == nil {
		t.Error("Open with an empty kit = nil, want an error")
	}
}
