package acsx509

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Client is what the driver needs of ACS. Its errors are those of [mark]'s
// cases; nothing is tried again but a refused token.
type Client interface {
	// Identity reads the service identity with exactly that name, and all its
	// keys, from the host. It fails with a [rollover.StepError] where there is
	// none or more than one. A list that may not be whole is an error.
	Identity(ctx context.Context, at At, name string) (Identity, error)
	// AddKey adds a certificate to an identity that was just read, with the dates,
	// name and usage that s has. A second call adds a second copy. An error does
	// not mean that nothing was added.
	AddKey(ctx context.Context, at At, identity int64, s rollover.Standing) error
	// DeleteKey removes a key in the version that was read. Gone already is
	// success; another version is [rollover.ErrConflict].
	DeleteKey(ctx context.Context, at At, k Key) error
}

// Identity is a service identity as it was read.
type Identity struct {
	ID   int64
	Keys []Key // certificates only, in no order
}

// Key is one credential of a service identity. Ids are good for the reading that
// gave them: ACS may renumber its entities.
type Key struct {
	ID, IdentityID int64
	Version        string // for If-Match; empty: unknown
	X509           bool   // it is a certificate; else nothing below is set
	rollover.Standing
}

// servicePath is the root of the management service on every host.
const servicePath = "/v2/mgmt/service/"

// The content types that we send.
const (
	atomType = "application/atom+xml"
	formType = "application/x-www-form-urlencoded"
)

// Bounds on what is read of an answer.
const (
	maxAnswer = 4 << 20  // one page: 50 keys with certificates of a few KiB
	maxError  = 64 << 10 // where the codes and the trace are looked for

	maxTokenAnswer = 64 << 10 // of a token endpoint
	maxTokenBytes  = 8 << 10  // of a token; ACS's have one or two KiB
)

// pageSize is how many entries ACS puts on a page (ACS service limitations).
const pageSize = 50

// api is the [Client] that speaks to ACS.
type api struct {
	cfg    Config
	kit    kit.Kit
	http   *http.Client
	tokens *tokens
}

// newAPI returns a client that follows one redirect of a GET at most, and none
// to another host: the token would go with it.
func newAPI(cfg Config, k kit.Kit) (*api, error) {
	toks, err := newTokens(cfg.MaxTokens)
	if err != nil {
		return nil, err
	}
	c := *k.HTTP
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 1 || r.Method != http.MethodGet || via[0].Method != http.MethodGet ||
			r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &api{cfg: cfg, kit: k, http: &c, tokens: toks}, nil
}

// request is one HTTP exchange.
type request struct {
	op, method, url      string
	contentType, ifMatch string
	token                string
	body                 []byte
	read                 func(io.Reader) error // of a successful answer; nil: it is not read
}

// send does one exchange within its own deadline. Any status but 2xx is a
// [StatusError].
func (a *api) send(ctx context.Context, host string, q request) error {
	if err := a.kit.Pace(ctx, host); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.RequestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return fmt.Errorf("making a request to %s: %w", host, err)
	}
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.ifMatch != "" {
		r.Header.Set("If-Match", q.ifMatch)
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
		r.Header.Set("Accept", atomType)
		r.Header.Set("DataServiceVersion", "2.0")
		r.Header.Set("MaxDataServiceVersion", "2.0")
	}
	begun := a.kit.Now()
	answer, err := a.http.Do(r)
	if err != nil {
		a.kit.Observe(host, q.op, 0, a.kit.Now().Sub(begun))
		return sendError(ctx, q.op, host, err)
	}
	defer answer.Body.Close() //nolint:errcheck // Nothing was written to it.
	err = a.receive(q, host, answer)
	a.kit.Observe(host, q.op, answer.StatusCode, a.kit.Now().Sub(begun))
	return err
}

// receive reads an answer to its end, so that its connection is used again.
func (a *api) receive(q request, host string, answer *http.Response) error {
	if answer.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, maxError)) // Whatever came of it will do.
		return statusError(q.op, host, answer, body, a.kit.Now())
	}
	body := outbound.LimitBody(answer.Body, maxAnswer)
	if q.read != nil {
		if err := q.read(body); err != nil {
			return fmt.Errorf("%s on %s: %w", q.op, host, err)
		}
	}
	_, _ = io.Copy(io.Discard, body)
	return nil
}

// manage does one exchange with the management service. A token that is refused
// is dropped, and one more try is made with a new one.
func (a *api) manage(ctx context.Context, at At, q request) error {
	if !a.cfg.allows(at.Host) {
		return rollover.HandOver(rollover.NamespaceUnknown, fmt.Errorf("host %q is no ACS namespace that may be called", at.Host))
	}
	for second := false; ; second = true {
		t, err := a.token(ctx, at)
		if err != nil {
			return err
		}
		q.token = t.Reveal()
		err = a.send(ctx, at.Host, q)
		if second || statusOf(err) != http.StatusUnauthorized {
			return err
		}
		if err := a.dropToken(ctx, at, t); err != nil {
			return err
		}
	}
}

// Identity implements [Client]. One request brings the identity with its keys,
// as Microsoft's own clients asked for them. ACS cuts expanded lists at its page
// size, so a list that could be cut, or is empty, is asked for by itself.
func (a *api) Identity(ctx context.Context, at At, name string) (Identity, error) {
	found, err := a.entries(ctx, at, "find", "ServiceIdentities()?$filter="+escape("Name eq "+literal(name))+"&$expand=ServiceIdentityKeys")
	if err != nil {
		return Identity{}, err
	}
	var same []entry
	for _, e := range found {
		if e.Content.Name == name {
			same = append(same, e)
		}
	}
	switch len(same) {
	case 1:
	case 0:
		return Identity{}, rollover.HandOver(rollover.IdentityMissing,
			fmt.Errorf("no service identity %q on %s%s", name, at.Host, a.nearMisses(ctx, at, name)))
	default:
		return Identity{}, rollover.HandOver(rollover.IdentityAmbiguous,
			fmt.Errorf("%d service identities %q on %s", len(same), name, at.Host))
	}
	id := same[0].Content.ID
	keys := expandedKeys(same[0])
	if len(keys) == 0 || len(keys) >= pageSize {
		listed, err := a.entries(ctx, at, "list", "ServiceIdentityKeys()?$filter="+escape(fmt.Sprintf("ServiceIdentityId eq %dL", id)))
		if err != nil {
			return Identity{}, err
		}
		if len(listed) < len(keys) {
			return Identity{}, fmt.Errorf("listing keys on %s: fewer than were just seen: %w", at.Host, errAnswer)
		}
		if keys = listed; len(keys) >= pageSize && torn(keys) {
			if keys, err = a.entries(ctx, at, "list", "ServiceIdentityKeys()?$filter="+escape(fmt.Sprintf("ServiceIdentityId eq %dL", id))); err != nil {
				return Identity{}, err
			}
		}
	}
	return identityOf(id, at, keys)
}

// torn reports whether a list of several pages may be of two states: ACS pages by
// id, and where ids were given anew between two pages, keys come twice. Such a list
// is read once more; what stands there twice indeed is then seen again.
func torn(keys []entry) bool {
	seen := map[string]bool{}
	for _, e := range keys {
		k := e.key()
		if k.X509 && seen[string(k.DER)] {
			return true
		}
		seen[string(k.DER)] = true
	}
	return false
}

// expandedKeys returns the keys that came inside of an identity, none where that
// list is not known to be whole.
func expandedKeys(e entry) []entry {
	for _, l := range e.Links {
		if l.Inline == nil || l.Inline.Feed == nil || !strings.HasSuffix(l.Rel, "/related/ServiceIdentityKeys") {
			continue
		}
		if l.Inline.Feed.next() == "" {
			return l.Inline.Feed.Entries
		}
	}
	return nil
}

// identityOf returns the certificates among keys. A key of someone else means
// that the server did not filter: nothing may be concluded from such a list.
func identityOf(id int64, at At, keys []entry) (Identity, error) {
	out := Identity{ID: id}
	for _, e := range keys {
		if err := e.check(); err != nil {
			return Identity{}, err
		}
		k := e.key()
		if k.IdentityID != id {
			return Identity{}, fmt.Errorf("listing keys on %s: one is another identity's: %w", at.Host, errAnswer)
		}
		if k.X509 {
			out.Keys = append(out.Keys, k)
		}
	}
	return out, nil
}

// nearMisses returns what to tell people about names that look like the one that
// is not there. It is advice: where the list cannot be read there is none.
func (a *api) nearMisses(ctx context.Context, at At, name string) string {
	all, err := a.entries(ctx, at, "find", "ServiceIdentities()")
	if err != nil {
		return ""
	}
	crm := regexp.MustCompile(`^crm\d*\.dynamics\.com$`)
	var near []string
	for _, e := range all {
		n := strings.ToLower(strings.TrimSpace(e.Content.Name))
		if n == strings.ToLower(strings.TrimSpace(name)) || crm.MatchString(n) {
			near = append(near, fmt.Sprintf("%.100q", e.Content.Name))
		}
	}
	if len(near) == 0 {
		return ""
	}
	return ", but there is " + strings.Join(near[:min(len(near), 5)], ", ")
}

// entries reads a listing, all pages of it.
func (a *api) entries(ctx context.Context, at At, op, query string) ([]entry, error) {
	var all []entry
	left := int64(maxListing)
	address := managementScope(at.Host) + query
	seen := map[string]bool{}
	for len(seen) < a.cfg.MaxPages {
		seen[address] = true
		var page feed
		err := a.manage(ctx, at, request{
			op: op, method: http.MethodGet, url: address,
			read: func(r io.Reader) (err error) {
				read := &tally{in: r}
				page, err = parseFeed(outbound.LimitBody(read, left))
				left -= read.n
				return err
			},
		})
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Entries...); len(all) > maxListed {
			return nil, rollover.Permanent(rollover.Refused, fmt.Errorf("listing on %s: more than %d entries", at.Host, maxListed))
		}
		href := page.next()
		if href == "" {
			return all, nil
		}
		if address, err = nextPage(address, page.Base, href, at.Host); err != nil {
			return nil, err
		}
		if seen[address] {
			return nil, fmt.Errorf("listing on %s: the pages go in a circle: %w", at.Host, errAnswer)
		}
	}
	return nil, rollover.Permanent(rollover.Refused, fmt.Errorf("listing on %s: more than %d pages", at.Host, a.cfg.MaxPages))
}

// nextPage returns where the next page is. A link that leads away from the
// host's management service is refused: our token would go there.
func nextPage(current, base, href, host string) (string, error) {
	from, err := url.Parse(current)
	if err != nil {
		return "", fmt.Errorf("reading the address of a page on %s: %w", host, err)
	}
	for _, ref := range []string{base, href} {
		if from, err = from.Parse(ref); err != nil {
			return "", fmt.Errorf("reading a next link on %s: %w", host, errAnswer)
		}
	}
	if from.Port() == "443" {
		from.Host = from.Hostname()
	}
	if from.Scheme != "https" || from.Host != host || from.User != nil || !strings.HasPrefix(from.Path, servicePath) || slices.Contains(strings.Split(from.Path, "/"), "..") {
		return "", rollover.Permanent(rollover.Refused, fmt.Errorf("a next link on %s leads elsewhere", host))
	}
	return from.String(), nil
}

// AddKey implements [Client].
func (a *api) AddKey(ctx context.Context, at At, identity int64, s rollover.Standing) error {
	return a.manage(ctx, at, request{
		op: "add", method: http.MethodPost, contentType: atomType,
		url:  fmt.Sprintf("%sServiceIdentities(%dL)/ServiceIdentityKeys", managementScope(at.Host), identity),
		body: newKey(s, a.kit.Now()),
	})
}

// DeleteKey implements [Client].
func (a *api) DeleteKey(ctx context.Context, at At, k Key) error {
	if k.Version == "" {
		return rollover.Permanent(rollover.Refused, errors.New("the key was read without a version, so it cannot be named safely"))
	}
	err := a.manage(ctx, at, request{
		op: "delete", method: http.MethodDelete, contentType: atomType, ifMatch: k.Version,
		url: fmt.Sprintf("%sServiceIdentityKeys(%dL)", managementScope(at.Host), k.ID),
	})
	switch statusOf(err) {
	case http.StatusNotFound:
		return nil
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", rollover.ErrConflict, err)
	default:
		return err
	}
}

// literal quotes a string for $filter.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// escape makes s part of a query as WCF clients do, blanks as %20.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
