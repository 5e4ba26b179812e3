package dataverse_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestOrganisation_SaysWhatAStatusMeans(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		code    string
		outcome rollover.Outcome
		reason  rollover.Reason
		text    string
	}{
		{"not a member", 403, "0x80072560", rollover.HandedOver, rollover.NoAccess, "application user of client " + clientID + " is missing"},
		{"not a member, decimal", 403, "-2147015328", rollover.HandedOver, rollover.NoAccess, "is missing"},
		{"no privilege", 403, "0x80040220", rollover.HandedOver, rollover.NoAccess, "0x80040220"},
		{"no privilege, no code", 403, "", rollover.HandedOver, rollover.NoAccess, "needs a role"},
		{"request timeout", 408, "", rollover.Open, "", ""},
		{"server error", 500, "", rollover.Open, "", ""},
		{"bad gateway", 502, "", rollover.Open, "", ""},
		{"unavailable", 503, "", rollover.Open, "", ""},
		{"gateway timeout", 504, "", rollover.Open, "", ""},
		{"not allowed", 405, "", rollover.Failed, rollover.InventoryUnreadable, ""},
		{"gone", 410, "", rollover.Failed, rollover.InventoryUnreadable, ""},
		{"precondition", 412, "0x80060882", rollover.Failed, rollover.InventoryUnreadable, "0x80060882"},
		{"not found on every path", 404, "", rollover.Failed, rollover.InventoryUnreadable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.organisation(orgHost).before = func(rw http.ResponseWriter, r *http.Request) bool {
				refuse(rw, tt.status, tt.code, "you sent "+r.Header.Get("Authorization"))
				return true
			}
			_, err := w.client().Organisation(t.Context(), login())
			w.wantMark(err, tt.outcome, tt.reason)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Organisation: %v, want a text with %q", err, tt.text)
			}
		})
	}
}

func TestOrganisation_KeepsThePause(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"37", 37 * time.Second},
		{"300", 5 * time.Minute},
		{"0", time.Second},
		{"-5", time.Minute},
		{"nonsense", time.Minute},
		{"NaN", time.Minute},
		{"", time.Minute},
		{"99999999999999", time.Hour},
		{"00:02:30", 150 * time.Second},
		{"2m30s", 150 * time.Second},
		{"Thu, 20 Oct 2016 12:03:00 GMT", 3 * time.Minute},
		{"Thu, 20 Oct 2006 12:03:00 GMT", time.Second},
	} {
		t.Run(tt.header, func(t *testing.T) {
			w := newWorld(t)
			o := w.organisation(orgHost)
			o.before = func(rw http.ResponseWriter, _ *http.Request) bool {
				if tt.header != "" {
					rw.Header().Set("Retry-After", tt.header)
				}
				refuse(rw, http.StatusTooManyRequests, "-2147015902", "Number of requests exceeded the limit of 6000")
				return true
			}
			c := w.client()
			_, err := c.Organisation(t.Context(), login())
			if _, _, after := marked(err); after != tt.want || errors.Is(err, dataverse.ErrPaused) {
				t.Errorf("Organisation: %v after %s, want after %s", err, after, tt.want)
			}
			if !strings.Contains(err.Error(), "0x80072322") {
				t.Errorf("Organisation: %v, want the code 0x80072322 in it", err)
			}
			o.before = nil
			w.pass(tt.want - time.Millisecond)
			asked := w.asked(orgHost)
			if _, err = c.Organisation(t.Context(), login()); !errors.Is(err, dataverse.ErrPaused) {
				t.Errorf("Organisation within the pause: %v, want %v", err, dataverse.ErrPaused)
			}
			if _, _, after := marked(err); after != time.Millisecond {
				t.Errorf("what is left of the pause = %s, want 1ms", after)
			}
			if got := w.asked(orgHost); got != asked {
				t.Errorf("asked %d times within the pause", got-asked)
			}
			w.pass(time.Millisecond)
			if _, err = c.Organisation(t.Context(), login()); err != nil {
				t.Errorf("Organisation after the pause: %v", err)
			}
		})
	}
}

// A pause that a fast clock noted does not last for as long as the clock was wrong.
func TestOrganisation_PauseByAFastClock(t *testing.T) {
	w := newWorld(t)
	o := w.organisation(orgHost)
	o.before = func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Retry-After", "30")
		refuse(rw, http.StatusTooManyRequests, "-2147015902", "Number of requests exceeded the limit of 6000")
		return true
	}
	c := w.client()
	w.pass(5 * time.Minute)
	if _, err := c.Organisation(t.Context(), login()); err == nil {
		t.Fatal("Organisation was answered, want it refused")
	}
	o.before = nil
	w.pass(-5 * time.Minute)
	if _, err := c.Organisation(t.Context(), login()); err != nil {
		t.Errorf("Organisation by the right clock: %v, want it asked", err)
	}
}

func TestOrganisation_PauseIsOfOneOrganisation(t *testing.T) {
	w := newWorld(t)
	w.organisation("fabrikam.crm4.dynamics.com")
	w.organisation(orgHost).before = func(rw http.ResponseWriter, _ *http.Request) bool {
		refuse(rw, http.StatusTooManyRequests, "", "")
		return true
	}
	c := w.client()
	if _, err := c.Organisation(t.Context(), login()); err == nil {
		t.Fatal("Organisation: no error")
	}
	l := login()
	l.Organization = "https://fabrikam.crm4.dynamics.com"
	if _, err := c.Organisation(t.Context(), l); err != nil {
		t.Errorf("Organisation of another: %v", err)
	}
}

func TestOrganisation_EndsInTime(t *testing.T) {
	w := newWorld(t)
	w.organisation(orgHost).before = func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	c := w.client(func(c *dataverse.Config) { c.CallTimeout = 300 * time.Millisecond })
	_, err := c.Organisation(t.Context(), login())
	w.wantMark(err, rollover.Open, rollover.NoReason)
}
