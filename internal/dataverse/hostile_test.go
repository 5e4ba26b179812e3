package dataverse_test

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/dataverse"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The bounds of what one reading of a hostile organisation may cost.
const (
	hostileMemory = 128 << 20 // bytes allocated in all, by client and test server together
	hostileTime   = 15 * time.Second
)

// strict returns a client as the service has it, with a short deadline: all names of
// the test lead to the world's listener, and no other name leads to loopback.
func (w *world) strict() *dataverse.Client {
	w.t.Helper()
	addr := w.server.Listener.Addr().String()
	line, err := outbound.New(outbound.Config{
		CAPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.TLS.Certificates[0].Leaf.Raw}),
		Dial:  map[string]string{entraHost: addr, "*.dynamics.com": addr, "evil.example.test": addr},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(line.CloseIdleConnections)
	return w.client(func(c *dataverse.Config) { c.HTTP, c.CallTimeout = line, 500*time.Millisecond })
}

// pour writes a block until the client has had enough.
func pour(w io.Writer, block []byte) {
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// drip writes a byte at a time, with what comes of it at once.
func drip(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
	}
}

// bomb answers with a text of which the middle is repeated n times, compressed.
func bomb(t *testing.T, n int, start, middle, end string) http.HandlerFunc {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, start)
	for range n {
		_, _ = io.WriteString(z, middle)
	}
	_, _ = io.WriteString(z, end)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	}
}

func TestOrganisation_AHostileOneCostsBoundedTimeAndMemory(t *testing.T) {
	block := bytes.Repeat([]byte("x"), 64<<10)
	pouring := func(status int, start string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, start)
			pour(w, block)
		}
	}
	var n atomic.Int64
	next := func() string {
		return fmt.Sprintf("https://%s/api/data/v9.2/serviceendpoints?$skiptoken=%d", orgHost, n.Add(1))
	}
	away := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	}
	link := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":%q}`, to)
		}
	}
	headers := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
		}
	}
	// 5,000 rows a page, for ever, none twice.
	fullPages := func(w http.ResponseWriter, _ *http.Request) {
		var b strings.Builder
		k := n.Add(1)
		for i := range 5000 {
			fmt.Fprintf(&b, `{"serviceendpointid":"aaaaaaaa-0000-0000-%04d-%012d"},`, k%10000, i)
		}
		fmt.Fprintf(w, `{"value":[%s],"@odata.nextLink":%q}`, strings.TrimSuffix(b.String(), ","), next())
	}
	for name, c := range map[string]struct{ entra, list http.HandlerFunc }{
		"Entra pours":              {pouring(200, `{"access_token":"`), nil},
		"Entra's refusal pours":    {pouring(400, `{"error":"`), nil},
		"Entra byte by byte":       {drip, nil},
		"Entra's gzip bomb":        {bomb(t, 200, `{"access_token":"`, strings.Repeat("x", 1<<20), ""), nil},
		"Entra's endless headers":  {headers, nil},
		"Entra elsewhere":          {away("https://evil.example.test/token"), nil},
		"a page without end":       {nil, pouring(200, `{"value":[{"name":"`)},
		"a page byte by byte":      {nil, drip},
		"a refusal that pours":     {nil, pouring(503, `{"error":{"message":"`)},
		"a gzip bomb":              {nil, bomb(t, 300, `{"x":"`, strings.Repeat("x", 1<<20), "")},
		"nothing but rows, zipped": {nil, bomb(t, 20, `{"value":[`, strings.Repeat("{},", 1<<16), "{}]}")},
		"levels without end":       {nil, bomb(t, 60, `{"value":`, strings.Repeat("[", 1<<16), "")},
		"endless headers":          {nil, headers},
		"full pages without end":   {nil, fullPages},
		"empty pages without end":  {nil, func(w http.ResponseWriter, r *http.Request) { link(next())(w, r) }},
		"fat pages without end": {nil, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"x":"%s","value":[],"@odata.nextLink":%q}`, bytes.Repeat(block, 40), next())
		}},
		"a page that leads to itself":   {nil, link("https://" + orgHost + "/api/data/v9.2/serviceendpoints?$skiptoken=7")},
		"a page that leads inside":      {nil, link("https://169.254.169.254/api/data/v9.2/serviceendpoints")},
		"a page that leads to a mapped": {nil, link("https://[::ffff:127.0.0.1]/api/data/v9.2/serviceendpoints")},
		"a page that leads away":        {nil, link("https://evil.example.test/api/data/v9.2/serviceendpoints")},
		"a page with a user":            {nil, link("https://u:p@" + orgHost + "/api/data/v9.2/serviceendpoints")},
		"a page with another port":      {nil, link("https://" + orgHost + ":8443/api/data/v9.2/serviceendpoints")},
		"a page with a dot at its end":  {nil, link("https://" + orgHost + "./api/data/v9.2/serviceendpoints")},
		"a page out of the Web API":     {nil, link("https://" + orgHost + "/api/data/%2e%2e/%2e%2e/admin")},
		"a link that is too long":       {nil, link("https://" + orgHost + "/api/data/v9.2/serviceendpoints?" + strings.Repeat("x", 20_000))},
		"a redirect away":               {nil, away("https://evil.example.test/api/data/v9.2/serviceendpoints")},
		"a redirect inside":             {nil, away("https://169.254.169.254/latest/meta-data/")},
		"a redirect to itself":          {nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }},
		"a row with a name that is long": {nil, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"value":[{"serviceendpointid":%q,"name":"%s"}]}`, orgID, block)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.organisation(orgHost)
			o.before = func(rw http.ResponseWriter, r *http.Request) bool {
				if c.list == nil || !strings.HasSuffix(r.URL.Path, "/serviceendpoints") {
					return false
				}
				c.list(rw, r)
				return true
			}
			if c.entra != nil {
				w.entra = func(rw http.ResponseWriter, r *http.Request) {
					if !w.discover(rw, r) {
						c.entra(rw, r)
					}
				}
			}
			client := w.strict()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begun := time.Now()
			org, err := client.Organisation(t.Context(), login())
			took := time.Since(begun)
			runtime.ReadMemStats(&after)
			if err == nil || len(org.Endpoints) != 0 {
				t.Errorf("Organisation = %d endpoints, %v; want none and an error", len(org.Endpoints), err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > hostileMemory {
				t.Errorf("Organisation allocated %d MiB, want at most %d", got>>20, hostileMemory>>20)
			}
			if took > hostileTime {
				t.Errorf("Organisation took %s, want at most %s", took, hostileTime)
			}
			most := 220
			if strings.HasSuffix(name, "to itself") {
				most = 10
			}
			if asked := w.asked(orgHost) + w.asked(entraHost); asked > most {
				t.Errorf("%d requests, want at most %d", asked, most)
			}
			if asked := w.asked("evil.example.test"); asked != 0 {
				t.Errorf("%d requests to another host", asked)
			}
			if err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "token-1-")) {
				t.Errorf("Organisation = an error of %d bytes: %.300s", len(err.Error()), err)
			}
		})
	}
}

// What an organisation says of its namespaces decides where a management key is sent:
// whatever it says, the host is one label below an access control service, or none.
func TestMap_ACraftedAddressLeadsNowhereElse(t *testing.T) {
	for _, at := range []string{
		"sb://169.254.169.254/", "sb://127.0.0.1/", "sb://[::1]/", "sb://[::ffff:169.254.169.254]/", "sb://localhost/", "sb://2130706433/", "sb://0x7f.1/", "sb://metadata.google.internal/",
		"sb://contoso.servicebus.windows.net:8443/", "sb://contoso.servicebus.windows.net@169.254.169.254/", "sb://u:p@contoso.servicebus.windows.net/", "sb://contoso.servicebus.windows.net./",
		"sb://contoso.servicebus.windows.net.evil.example/", "sb://evil.example/?x=contoso.servicebus.windows.net", "sb://a.b.servicebus.windows.net/", "sb://servicebus.windows.net/", "sb://.servicebus.windows.net/",
		"sb://contoso.servicebus.windows.net/../x", "sb://contoso.servicebus.windows.net#x", "https://contoso.servicebus.windows.net/", "sb:contoso.servicebus.windows.net", "sb:///contoso.servicebus.windows.net",
		"sb://contoso\u2024servicebus.windows.net/", "sb://conto\u0455o.servicebus.windows.net/", "sb://\u212Aontoso.servicebus.windows.net/", "sb://xn--conto-abc.servicebus.windows.net/",
		"sb://fabrikam-sb.servicebus.windows.net/", "sb://accounts.servicebus.windows.net/", "sb://-contoso.servicebus.windows.net/", "sb://con\x00toso.servicebus.windows.net/", "sb://contoso%2eevil.servicebus.windows.net/",
	} {
		for _, r := range []dataverse.Row{
			{AuthType: 1, Contract: 2, Connection: 2, Format: 2, Address: at},
			{AuthType: 1, Contract: 2, Connection: 2, Format: 1, Namespace: at, Address: at},
			{AuthType: 1, Contract: 2, Connection: 2, Format: 1, Namespace: strings.TrimPrefix(at, "sb://")},
		} {
			m := dataverse.Map(r, dataverse.Place{Tenant: "contoso", At: dataverse.Version{Major: 9, Minor: 2}})
			if len(m.Hosts) != 0 || m.Outcome != rollover.HandedOver || m.Reason != rollover.NamespaceUnknown {
				// A number is a name that a namespace may have; it is one label below ACS.
				if len(m.Hosts) == 2 && m.Hosts[0].Name == "2130706433-sb.accesscontrol.windows.net" {
					continue
				}
				t.Errorf("Map of %q = %+v, %s; want no host", r.Address+r.Namespace, m.Hosts, m.Reason)
			}
		}
	}
}
