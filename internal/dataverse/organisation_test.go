package dataverse_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// marked returns how an error is marked.
func marked(err error) (rollover.Outcome, rollover.Reason, time.Duration) {
	var s *rollover.StepError
	if !errors.As(err, &s) {
		return rollover.Open, rollover.NoReason, 0
	}
	return s.Outcome, s.Reason, s.After
}

// wantMark checks that there is an error, how it is marked, and that it holds no
// secret.
func (w *world) wantMark(err error, outcome rollover.Outcome, reason rollover.Reason) {
	w.t.Helper()
	if err == nil {
		w.t.Fatalf("Organisation: no error, want %q %q", outcome, reason)
	}
	if o, r, _ := marked(err); o != outcome || r != reason {
		w.t.Errorf("Organisation: %v is marked %q %q, want %q %q", err, o, r, outcome, reason)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for token := range w.tokens {
		if strings.Contains(err.Error(), token) {
			w.t.Errorf("error holds a token: %v", err)
		}
	}
	if strings.Contains(err.Error(), password) {
		w.t.Errorf("error holds the client secret: %v", err)
	}
}

func TestOrganisation_ReadsEveryVersion(t *testing.T) {
	for _, tt := range []struct {
		version string
		paths   []string
		missing []string // columns
		list    string   // path that the list must come from
	}{
		{"8.0.0.1088", []string{"v8.0"}, []string{"namespaceformat", "namespaceaddress", "authtype", "usekeyvaultconfiguration", "_managedidentityid_value"}, "v8.0"},
		{"8.0.1.79", []string{"v8.0"}, []string{"authtype", "usekeyvaultconfiguration", "_managedidentityid_value"}, "v8.0"},
		{"8.1.0.359", []string{"v8.0", "v8.1"}, []string{"usekeyvaultconfiguration", "_managedidentityid_value"}, "v8.1"},
		{"8.2.2.112", []string{"v8.0", "v8.1", "v8.2"}, []string{"usekeyvaultconfiguration", "_managedidentityid_value"}, "v8.2"},
		{"9.0.0.1", []string{"v8.0", "v8.1", "v8.2", "v9.0"}, []string{"usekeyvaultconfiguration", "_managedidentityid_value"}, "v9.0"},
		{"9.1.0.1", []string{"v8.0", "v8.2", "v9.0", "v9.1"}, []string{"usekeyvaultconfiguration", "_managedidentityid_value"}, "v9.1"},
		{"9.2.24011.165", []string{"v8.0", "v9.0", "v9.1", "v9.2"}, nil, "v9.2"},
		{"9.2.24011.165", []string{"v9.0", "v9.1", "v9.2"}, nil, "v9.2"},
		{"10.0.0.1", []string{"v9.2"}, nil, "v9.2"},
	} {
		t.Run(tt.version+" on "+strings.Join(tt.paths, " "), func(t *testing.T) {
			w := newWorld(t)
			o := w.organisation(orgHost)
			o.version, o.paths = tt.version, tt.paths
			o.columns = slices.DeleteFunc(allColumns(), func(c string) bool { return slices.Contains(tt.missing, c) })
			listed := ""
			o.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/serviceendpoints") {
					listed = strings.Split(r.URL.Path, "/")[3]
				}
				return false
			}
			got, err := w.client().Organisation(t.Context(), login())
			if err != nil {
				t.Fatalf("Organisation: %v", err)
			}
			if got.Version != tt.version || got.ID != orgID || len(got.Endpoints) != 3 || listed != tt.list {
				t.Errorf("Organisation = version %s, id %s, %d rows by %s; want %s, %s, 3 by %s",
					got.Version, got.ID, len(got.Endpoints), listed, tt.version, orgID, tt.list)
			}
			if has, want := got.Endpoints[0].AuthType == 1, !slices.Contains(tt.missing, "authtype"); has != want {
				t.Errorf("authtype read: %v, want %v", has, want)
			}
		})
	}
}

func TestOrganisation_NeverGivesUpTheAuthType(t *testing.T) {
	w := newWorld(t)
	o := w.organisation(orgHost)
	o.columns = []string{"serviceendpointid", "name", "connectionmode", "contract", "solutionnamespace", "path"}
	_, err := w.client().Organisation(t.Context(), login())
	w.wantMark(err, rollover.Failed, rollover.InventoryUnreadable)
}

func TestOrganisation_FollowsPagesAsTheyAreGiven(t *testing.T) {
	const cookie = "$select=name&$skiptoken=%3Ccookie%20pagenumber=%222%22%20x='%2e%2F%2f~'/%3E&extra"
	w := newWorld(t)
	o := w.organisation(orgHost)
	var prefer []string
	o.before = func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/serviceendpoints") {
			return false
		}
		prefer = append(prefer, r.Header.Get("Prefer"))
		if len(prefer) == 1 {
			answer(rw, http.StatusOK, map[string]any{
				"value": rows(1), "@odata.nextLink": "https://" + orgHost + "/api/data/v9.2/serviceendpoints?" + cookie,
			})
			return true
		}
		if got, want := r.RequestURI, "/api/data/v9.2/serviceendpoints?"+cookie; got != want {
			t.Errorf("second page asked as %s, want %s", got, want)
		}
		answer(rw, http.StatusOK, map[string]any{"value": rows(3)[1:]})
		return true
	}
	got, err := w.client(func(c *dataverse.Config) { c.PageSize = 7 }).Organisation(t.Context(), login())
	if err != nil || len(got.Endpoints) != 3 {
		t.Fatalf("Organisation = %d rows, %v; want 3", len(got.Endpoints), err)
	}
	if want := []string{"odata.maxpagesize=7", "odata.maxpagesize=7"}; !slices.Equal(prefer, want) {
		t.Errorf("Prefer = %q, want %q", prefer, want)
	}
}

func TestOrganisation_ReadsManyPages(t *testing.T) {
	w := newWorld(t)
	o := w.organisation(orgHost)
	o.rows, o.pageSize = rows(101), 10
	got, err := w.client().Organisation(t.Context(), login())
	if err != nil || len(got.Endpoints) != 101 {
		t.Fatalf("Organisation = %d rows, %v; want 101", len(got.Endpoints), err)
	}
	if !slices.IsSortedFunc(got.Endpoints, func(a, b dataverse.Row) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("rows are not sorted by id")
	}
}

func TestOrganisation_SendsTheTokenNowhereElse(t *testing.T) {
	for _, link := range []string{
		"https://evil.example.test/api/data/v9.2/serviceendpoints?$skiptoken=1",
		"http://" + orgHost + "/api/data/v9.2/serviceendpoints",
		"https://" + orgHost + ":8443/api/data/v9.2/serviceendpoints",
		"https://" + orgHost + "@evil.example.test/api/data/v9.2/serviceendpoints",
		"https://" + orgHost + ".evil.example.test/api/data/v9.2/serviceendpoints",
		"https://x:y@" + orgHost + "/api/data/v9.2/serviceendpoints",
		"https://" + orgHost + "/elsewhere",
		"//evil.example.test/api/data/v9.2/serviceendpoints",
		"/api/data/v9.2/serviceendpoints",
		"://",
	} {
		t.Run(link, func(t *testing.T) {
			w := newWorld(t)
			o := w.organisation(orgHost)
			lists := 0
			o.before = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/serviceendpoints") {
					return false
				}
				if lists++; lists > 1 {
					t.Error("a hostile link was followed")
				}
				answer(rw, http.StatusOK, map[string]any{"value": rows(1), "@odata.nextLink": link})
				return true
			}
			got, err := w.client().Organisation(t.Context(), login())
			w.wantMark(err, rollover.Failed, rollover.InventoryUnreadable)
			if len(got.Endpoints) != 0 {
				t.Errorf("%d rows came with the error", len(got.Endpoints))
			}
		})
	}
}

func TestOrganisation_FollowsNoRedirect(t *testing.T) {
	to := func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://evil.example.test/collect", http.StatusTemporaryRedirect)
	}
	t.Run("of the organisation", func(t *testing.T) {
		w := newWorld(t)
		w.organisation(orgHost).before = func(rw http.ResponseWriter, r *http.Request) bool { to(rw, r); return true }
		_, err := w.client().Organisation(t.Context(), login())
		w.wantMark(err, rollover.Failed, rollover.InventoryUnreadable)
	})
	t.Run("of Entra, where the client secret would go along", func(t *testing.T) {
		w := newWorld(t)
		w.organisation(orgHost)
		w.entra = func(rw http.ResponseWriter, r *http.Request) {
			if !w.discover(rw, r) {
				to(rw, r)
			}
		}
		if _, err := w.client().Organisation(t.Context(), login()); err == nil {
			t.Error("Organisation: no error")
		}
	})
}

func TestOrganisation_PartOfTheListIsNoList(t *testing.T) {
	page := func(rw http.ResponseWriter, v any) { answer(rw, http.StatusOK, v) }
	next := "https://" + orgHost + "/api/data/v9.2/serviceendpoints?$skiptoken=1"
	for _, tt := range []struct {
		name   string
		second func(rw http.ResponseWriter)
		reason rollover.Reason // empty: to be tried again
	}{
		{"second page 500", func(rw http.ResponseWriter) { refuse(rw, 500, "", "oops") }, ""},
		{"second page empty", func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusOK) }, ""},
		{"second page of a proxy", func(rw http.ResponseWriter) { fmt.Fprint(rw, "<html>sign in</html>") }, ""},
		{"second page an object without value", func(rw http.ResponseWriter) { page(rw, map[string]any{}) }, ""},
		{"second page with value null", func(rw http.ResponseWriter) { page(rw, map[string]any{"value": nil}) }, ""},
		{"second page cut in JSON", func(rw http.ResponseWriter) { fmt.Fprint(rw, `{"value":[`) }, ""},
		{"second page cut in the connection", func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "1000")
			fmt.Fprint(rw, `{"value":[]}`)
			panic(http.ErrAbortHandler)
		}, ""},
		{"row without id", func(rw http.ResponseWriter) {
			page(rw, map[string]any{"value": []map[string]any{{"name": "x"}}})
		}, ""},
		{"row that came before", func(rw http.ResponseWriter) { page(rw, map[string]any{"value": rows(1)}) }, ""},
		{"pages without end", func(rw http.ResponseWriter) {
			page(rw, map[string]any{"value": []any{}, "@odata.nextLink": next})
		}, rollover.InventoryUnreadable},
		{"page too long", func(rw http.ResponseWriter) {
			page(rw, map[string]any{"value": []any{}, "x": strings.Repeat("x", 20_000)})
		}, rollover.InventoryUnreadable},
		{"204", func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusNoContent) }, rollover.InventoryUnreadable},
		{"404", func(rw http.ResponseWriter) { refuse(rw, 404, "", "") }, rollover.InventoryUnreadable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.organisation(orgHost)
			lists := 0
			o.before = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/serviceendpoints") {
					return false
				}
				if lists++; lists == 1 {
					page(rw, map[string]any{"value": rows(1), "@odata.nextLink": next})
					return true
				}
				tt.second(rw)
				return true
			}
			c := w.client(func(c *dataverse.Config) { c.MaxPages, c.MaxPageBytes = 20, 10_000 })
			got, err := c.Organisation(t.Context(), login())
			outcome := rollover.Open
			if tt.reason != "" {
				outcome = rollover.Failed
			}
			w.wantMark(err, outcome, tt.reason)
			if len(got.Endpoints) != 0 {
				t.Errorf("%d rows came with the error", len(got.Endpoints))
			}
			if lists > 20 {
				t.Errorf("%d pages asked for, want at most 20", lists)
			}
		})
	}
}

func TestOrganisation_EmptyIsAList(t *testing.T) {
	w := newWorld(t)
	w.organisation(orgHost).rows = nil
	got, err := w.client().Organisation(t.Context(), login())
	if err != nil || len(got.Endpoints) != 0 {
		t.Errorf("Organisation = %d rows, %v; want none and no error", len(got.Endpoints), err)
	}
}

func TestOrganisation_RefusesOddAddresses(t *testing.T) {
	for _, at := range []string{
		"", "contoso.crm4.dynamics.com", "http://contoso.crm4.dynamics.com", "https://evil.example.test", "https://127.0.0.1",
		"https://contoso.crm4.dynamics.com.evil.example.test", "https://contoso.crm4.dynamics.com:8443", "https://[::1]",
		"https://u:p@contoso.crm4.dynamics.com", "https://contoso.crm4.dynamics.com/main.aspx", "https://contoso.crm4.dynamics.com?x=1",
		"https://crm4.dynamics.com", "https://a.b.c.crm4.dynamics.com", "https://dynamics.com", "https://contoso.crmx.dynamics.com",
		"https://contoso.\u212Arm.dynamics.com", "https://contoso.crm4.d\u0443namics.com", "https://contoso.crm.microsoftdynamics.de", "://",
	} {
		w := newWorld(t)
		l := login()
		l.Organization = at
		_, err := w.client().Organisation(t.Context(), l)
		w.wantMark(err, rollover.Failed, rollover.InventoryUnreadable)
		if w.asked(entraHost) != 0 {
			t.Errorf("Organisation(%q) signed in", at)
		}
	}
}
