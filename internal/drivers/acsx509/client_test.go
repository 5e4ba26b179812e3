package acsx509_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

func TestObserve_SpeaksAsRecordedClientsDo(t *testing.T) {
	s := newScript(t, nil)
	o, err := open(t, s).Observe(t.Context(), newCertificates(t).work())
	if err != nil || len(o.Standing) != 1 || o.Standing[0].Mark == "" {
		t.Fatalf("Observe = %d credentials, %v, want the one certificate", len(o.Standing), err)
	}
	if got, want := s.paths(), "OAuth2-13 ServiceIdentities"; got != want {
		t.Errorf("Observe asked for %q, want %q", got, want)
	}
	const query = "$filter=Name%20eq%20%27crm9.dynamics.com%27&$expand=ServiceIdentityKeys"
	if s.last.URL.RawQuery != query || s.last.Host != host {
		t.Errorf("Observe asked %s for %q, want %q", s.last.Host, s.last.URL.RawQuery, query)
	}
	h := s.last.Header
	if !strings.HasPrefix(h.Get("Authorization"), "Bearer http%3a%2f%2fschemas") || h.Get("Accept") != "application/atom+xml" ||
		h.Get("DataServiceVersion") != "2.0" || h.Get("MaxDataServiceVersion") != "2.0" {
		t.Errorf("headers are %v", h)
	}
}

func TestObserve_QuotesTheIdentityName(t *testing.T) {
	s := newScript(t, nil)
	w := newCertificates(t).work()
	w.Target.Identity = "o'neil & sons/#1"
	_, err := open(t, s).Observe(t.Context(), w)
	wantEnd(t, "Observe", err, rollover.HandedOver, rollover.IdentityMissing)
	if !strings.Contains(err.Error(), `but there is "crm9.dynamics.com"`) {
		t.Errorf("Observe = %v, want the near miss named", err)
	}
}

func TestToken_IsSharedAndRenewedBeforeItsEnd(t *testing.T) {
	s := newScript(t, nil)
	// The recorded token ends at 1478228400 = 2016-11-04T03:00Z, 28799 s after it was got.
	now := time.Unix(1478228400-28799, 0)
	var mu sync.Mutex
	d := open(t, s, func(k *kit.Kit) {
		k.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	w := newCertificates(t).work()
	look := func() {
		t.Helper()
		if _, err := d.Observe(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(look)
	}
	all.Wait()
	tokens := func() int { return strings.Count(s.paths(), "OAuth2-13") }
	if tokens() != 1 {
		t.Errorf("8 calls at once asked for %d tokens, want 1", tokens())
	}
	mu.Lock()
	now = time.Unix(1478228400, 0).Add(-5*time.Minute - time.Second)
	mu.Unlock()
	if look(); tokens() != 1 {
		t.Errorf("a second before its margin, %d tokens were asked for, want 1", tokens())
	}
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	if look(); tokens() != 2 {
		t.Errorf("within its margin, %d tokens were asked for, want 2", tokens())
	}
	mu.Lock()
	now = now.Add(-time.Hour) // The token is good again.
	mu.Unlock()
	w.Tenant = "fabrikam"
	if look(); tokens() != 3 {
		t.Errorf("another tenant used the token of the first; %d were asked for, want 3", tokens())
	}
	if look(); tokens() != 3 {
		t.Errorf("the other tenant's token is not kept; %d were asked for, want 3", tokens())
	}
}

func TestToken_FallsBackToWRAP(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"404": say(404, sample(t, "gateway.html")), "405": say(405, ""), "501": say(501, ""),
		"a page": say(200, sample(t, "gateway.html")), "no token": say(200, `{"access_token":""}`),
	} {
		s := newScript(t, map[string]http.HandlerFunc{"OAuth2-13": h})
		d := open(t, s)
		if _, err := d.Observe(t.Context(), newCertificates(t).work()); err != nil {
			t.Errorf("Observe where OAuth answers %s: %v", name, err)
		}
		if got, want := s.paths(), "OAuth2-13 WRAPv0.9 ServiceIdentities"; got != want {
			t.Errorf("where OAuth answers %s, asked for %q, want %q", name, got, want)
		}
		if got := s.last.Header.Get("Authorization"); !strings.HasPrefix(got, "Bearer http%3a%2f%2f") {
			t.Errorf("the token of WRAP is not unescaped once: %.40s", got)
		}
	}
}

func TestToken_IsRenewedOnceWhenRefused(t *testing.T) {
	s := newScript(t, map[string]http.HandlerFunc{"ServiceIdentities": inTurn(say(401, ""), say(200, sample(t, "identity.xml")))})
	if _, err := open(t, s).Observe(t.Context(), newCertificates(t).work()); err != nil {
		t.Errorf("Observe after one 401 = %v", err)
	}
	if got, want := s.paths(), "OAuth2-13 ServiceIdentities OAuth2-13 ServiceIdentities"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	s = newScript(t, map[string]http.HandlerFunc{"ServiceIdentities": say(401, "")})
	_, err := open(t, s).Observe(t.Context(), newCertificates(t).work())
	wantEnd(t, "Observe after two 401", err, rollover.HandedOver, rollover.NoAccess)
	if n := strings.Count(s.paths(), "ServiceIdentities"); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// What an answer means is decided by its status alone.
func TestErrors_AreMarkedByStatus(t *testing.T) {
	type mark struct {
		o     rollover.Outcome
		r     rollover.Reason
		after time.Duration
	}
	again, noAccess := mark{}, mark{rollover.HandedOver, rollover.NoAccess, 0}
	refused, unknown := mark{rollover.Failed, rollover.Refused, 0}, mark{rollover.HandedOver, rollover.NamespaceUnknown, 0}
	both := []string{"OAuth2-13", "WRAPv0.9"}
	manage := []string{"ServiceIdentities"}
	for _, c := range []struct {
		where  []string
		status int
		header string
		want   mark
	}{
		{both, 400, "", noAccess}, {both, 401, "", noAccess}, {both, 403, "", noAccess}, {both, 404, "", unknown},
		{both, 408, "", again}, {both, 429, "", again}, {both, 500, "", again}, {both, 502, "", again}, {both, 503, "", again}, {both, 504, "", again},
		{both, 429, "7", mark{after: 7 * time.Second}}, {both, 418, "", refused}, {both, 302, "", refused},
		{manage, 400, "", refused}, {manage, 401, "", noAccess}, {manage, 403, "", noAccess}, {manage, 404, "", refused}, {manage, 415, "", refused},
		{manage, 408, "", again}, {manage, 429, "", again}, {manage, 500, "", again}, {manage, 501, "", again}, {manage, 503, "", again}, {manage, 504, "", again},
		{manage, 503, "30", mark{after: 30 * time.Second}}, {manage, 429, "86400", mark{after: 10 * time.Minute}},
		{manage, 503, begin().AddDate(0, 0, -3).Add(time.Minute).Format(http.TimeFormat), mark{after: time.Minute}},
		{manage, 500, "30", again}, {manage, 503, "soon", again},
	} {
		answer := func(w http.ResponseWriter, _ *http.Request) {
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.Header().Set("Location", "https://evil.example/")
			w.Header().Set("x-ms-request-id", "d80e94a4-8571-45cc-82f1-b900f7f3ce16")
			w.WriteHeader(c.status)
			fmt.Fprintf(w, "%s echo %s", sample(t, "odata-error.xml"), managementKey)
		}
		change := map[string]http.HandlerFunc{}
		for _, p := range c.where {
			change[p] = answer
		}
		_, err := open(t, newScript(t, change)).Observe(t.Context(), newCertificates(t).work())
		var got mark
		var step *rollover.StepError
		if errors.As(err, &step) {
			got = mark{step.Outcome, step.Reason, step.After}
		}
		if err == nil || got != c.want {
			t.Errorf("HTTP %d (%s) from %v: %v is %+v, want %+v", c.status, c.header, c.where, err, got, c.want)
			continue
		}
		throttle := rollover.NotThrottled
		switch {
		case c.status == 429:
			throttle = rollover.ByHost
		case c.status == 503:
			throttle = rollover.ByService
		case c.status >= 500, c.status == 408:
			throttle = rollover.HostDown
		}
		if step.Throttle != throttle {
			t.Errorf("HTTP %d from %v is throttled %q, want %q", c.status, c.where, step.Throttle, throttle)
		}
		if !strings.Contains(err.Error(), "ACS60021, trace d80e94a4-8571-45cc-82f1-b900f7f3ce16") || strings.Contains(err.Error(), managementKey) {
			t.Errorf("error %q: want the code and the trace, and no secret", err)
		}
	}
}

func TestErrors_NameWhereThereIsNoAccess(t *testing.T) {
	s := newScript(t, nil)
	_, err := open(t, s, func(k *kit.Kit) {
		k.Access = func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{}, fmt.Errorf("tenant contoso: %w", kit.ErrNoAccess)
		}
	}).Observe(t.Context(), newCertificates(t).work())
	wantEnd(t, "Observe without access", err, rollover.HandedOver, rollover.NoAccess)
	_, err = open(t, s, func(k *kit.Kit) {
		k.Access = func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{}, errors.New("the vault is shut")
		}
	}).Observe(t.Context(), newCertificates(t).work())
	var step *rollover.StepError
	if err == nil || errors.As(err, &step) {
		t.Errorf("Observe while secrets cannot be read = %v, want an unmarked error", err)
	}
	if s.paths() != "" {
		t.Errorf("asked for %q, want nothing", s.paths())
	}
}

func TestErrors_CallNoHostThatIsNotACS(t *testing.T) {
	s := newScript(t, nil)
	for _, bad := range []string{
		"", "contoso.example", "accesscontrol.windows.net", "accounts.accesscontrol.windows.net", "a.b.accesscontrol.windows.net",
		"evil.example/.accesscontrol.windows.net", "x:y@evil.accesscontrol.windows.net", "evil.example#.accesscontrol.windows.net",
		"Contoso.accesscontrol.windows.net", "contoso-.accesscontrol.windows.net", "contoso.accesscontrol.windows.net.", "contoso.accesscontrol.windows.net:8443",
	} {
		w := newCertificates(t).work()
		w.Target.Host = bad
		_, err := open(t, s).Observe(t.Context(), w)
		wantEnd(t, "Observe on "+bad, err, rollover.HandedOver, rollover.NamespaceUnknown)
	}
	if s.paths() != "" {
		t.Errorf("asked for %q, want nothing", s.paths())
	}
	_, err := open(t, s, func(k *kit.Kit) {
		k.HTTP = &http.Client{Transport: lost{&net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}}
	}).Observe(t.Context(), newCertificates(t).work())
	wantEnd(t, "Observe on a host without DNS record", err, rollover.HandedOver, rollover.NamespaceUnknown)
}

// lost is a line on which everything fails.
type lost struct{ err error }

func (l lost) RoundTrip(*http.Request) (*http.Response, error) { return nil, l.err }

func TestRedirect_IsFollowedOnceAndOnlyOnTheHost(t *testing.T) {
	to := func(where string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, where, http.StatusTemporaryRedirect) }
	}
	s := newScript(t, map[string]http.HandlerFunc{
		"ServiceIdentities": inTurn(to("/v2/mgmt/service/Moved"), say(200, sample(t, "identity.xml"))), "Moved": say(200, sample(t, "identity.xml")),
	})
	if _, err := open(t, s).Observe(t.Context(), newCertificates(t).work()); err != nil || !strings.HasPrefix(s.last.Header.Get("Authorization"), "Bearer ") {
		t.Errorf("Observe over a redirect on the host = %v", err)
	}
	for name, h := range map[string]map[string]http.HandlerFunc{
		"to another host":             {"ServiceIdentities": to("https://evil-sb.accesscontrol.windows.net/v2/mgmt/service/Moved")},
		"for ever":                    {"ServiceIdentities": to("/v2/mgmt/service/ServiceIdentities")},
		"of a token request":          {"OAuth2-13": to("/v2/OAuth2-13-moved")},
		"of a token request far away": {"OAuth2-13": to("https://evil-sb.accesscontrol.windows.net/v2/OAuth2-13")},
	} {
		s := newScript(t, h)
		_, err := open(t, s).Observe(t.Context(), newCertificates(t).work())
		wantEnd(t, "Observe over a redirect "+name, err, rollover.Failed, rollover.Refused)
		if strings.Contains(s.last.Host, "evil") || len(s.asked) > 3 {
			t.Errorf("a redirect %s was followed: %v on %s", name, s.asked, s.last.Host)
		}
	}
}

func TestIdentity_ListsByItselfWhatMayBeCut(t *testing.T) {
	whole := sample(t, "identity.xml")
	cut := strings.Replace(whole, "</feed>\n      </m:inline>",
		`<link rel="next" href="ServiceIdentities(77L)/ServiceIdentityKeys?$skiptoken=503" /></feed>`+"\n      </m:inline>", 1)
	inner := whole[strings.Index(whole, "<m:inline>"):strings.Index(whole, "</m:inline>")]
	page2 := strings.Replace(strings.Replace(inner[strings.Index(inner, "<feed>"):], "<feed>",
		`<feed xmlns:d="d" xmlns:m="m">`, 1), "501<", "504<", 1)
	one := inner[strings.Index(inner, "<entry"):strings.Index(inner, "</entry>")] + "</entry>"
	for name, identities := range map[string]string{
		"cut":          cut,
		"a full page":  strings.Replace(whole, one, strings.Repeat(one, 50), 1),
		"not expanded": strings.Replace(whole, inner, "<m:inline>", 1),
	} {
		s := newScript(t, map[string]http.HandlerFunc{
			"ServiceIdentities":   say(200, identities),
			"ServiceIdentityKeys": inTurn(say(200, sample(t, "prefixed.xml")), say(200, page2)),
		})
		o, err := open(t, s).Observe(t.Context(), newCertificates(t).work())
		if name == "a full page" { // The list that follows is shorter than what was just seen.
			if err == nil || !strings.HasSuffix(s.paths(), "ServiceIdentityKeys ServiceIdentityKeys") {
				t.Errorf("Observe of %s = %v after %q, want its own listing, and an error since that is shorter", name, err, s.paths())
			}
			continue
		}
		if err != nil || len(o.Standing) != 2 {
			t.Errorf("Observe where the expanded keys are %s = %d, %v, want both pages", name, len(o.Standing), err)
		}
		if got, want := s.paths(), "OAuth2-13 ServiceIdentities ServiceIdentityKeys ServiceIdentityKeys"; got != want {
			t.Errorf("where the expanded keys are %s, asked for %q, want %q", name, got, want)
		}
		if s.last.URL.RawQuery != "$skiptoken=501" {
			t.Errorf("the second page was asked for by %q", s.last.URL.RawQuery)
		}
	}
}

func TestIdentity_DoesNotBelieveALooseFilter(t *testing.T) {
	other := strings.Replace(sample(t, "identity.xml"), `<d:ServiceIdentityId m:type="Edm.Int64">77<`, `<d:ServiceIdentityId m:type="Edm.Int64">78<`, 1)
	_, err := open(t, newScript(t, map[string]http.HandlerFunc{"ServiceIdentities": say(200, other)})).Observe(t.Context(), newCertificates(t).work())
	if err == nil {
		t.Error("Observe with another identity's key in the list = nil, want an error")
	}
}

func TestIdentity_BoundsPagesAndBodies(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a circle": say(200, `<feed xmlns="http://www.w3.org/2005/Atom"><link rel="next" href="ServiceIdentities?$skiptoken=1"/></feed>`),
		"no end": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `<feed><link rel="next" href="ServiceIdentities?$skiptoken=%sx"/></feed>`, strings.TrimPrefix(r.URL.RawQuery, "$skiptoken="))
		},
		"a huge page": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<feed>")
			for range 5 << 10 {
				_, _ = io.WriteString(w, "<!--"+strings.Repeat("x", 1017)+"-->")
			}
			_, _ = io.WriteString(w, "</feed>")
		},
	} {
		s := newScript(t, map[string]http.HandlerFunc{"ServiceIdentities": h})
		o, err := open(t, s).Observe(t.Context(), newCertificates(t).work())
		if err == nil || len(s.asked) > 41 {
			t.Errorf("Observe of %s = %v, %v after %d requests, want an error after 41 at most", name, o, err, len(s.asked))
		}
	}
}

func TestStage_PostsToTheIdentity(t *testing.T) {
	var posted string
	s := newScript(t, map[string]http.HandlerFunc{"ServiceIdentityKeys": say(201, "")})
	c := newCertificates(t)
	if added, err := open(t, s).Stage(t.Context(), c.work()); err != nil || !added {
		t.Fatalf("Stage = %v, %v, want true", added, err)
	}
	posted = s.body
	for _, want := range []string{
		"<d:DisplayName>Crossfade " + c.work().Rotation + "<", `"Edm.DateTime">2016-11-04T01:00:00Z<`, `"Edm.DateTime">2018-11-04T01:00:00Z<`,
		"<d:Usage>Signing<", "<d:Type>X509Certificate<", `<d:Id m:type="Edm.Int64">0<`,
	} {
		if !strings.Contains(posted, want) {
			t.Errorf("Stage posted without %s", want)
		}
	}
	if s.last.Method != "POST" || s.last.URL.Path != "/v2/mgmt/service/ServiceIdentities(77L)/ServiceIdentityKeys" ||
		s.last.Header.Get("Content-Type") != "application/atom+xml" {
		t.Errorf("Stage sent %s %s as %s", s.last.Method, s.last.URL, s.last.Header.Get("Content-Type"))
	}
}

func TestRequest_EndsByItsDeadline(t *testing.T) {
	held := make(chan struct{})
	k := kit.Kit{
		HTTP: lineTo(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		})),
		Now: begin,
		Access: func(context.Context, string, string) (kit.Access, error) {
			return kit.Access{Secret: secrets.NewSecret(managementKey)}, nil
		},
	}
	t.Cleanup(func() { close(held) }) // Before the server, which waits for its handlers, is closed.
	var seen []string
	k.Observe = func(_, op string, status int, _ time.Duration) { seen = append(seen, fmt.Sprint(op, status)) }
	d, err := acsx509.Open([]byte("request_timeout: 100ms"), k)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Observe(t.Context(), newCertificates(t).work())
	var step *rollover.StepError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &step) || step.Outcome != rollover.Open || step.Throttle != rollover.HostDown {
		t.Errorf("Observe of a host that never answers = %v, want it to be tried again, the host down: deadline exceeded", err)
	}
	if !slices.Equal(seen, []string{"oauth20"}) {
		t.Errorf("observed %q, want one call without a status", seen)
	}
}
